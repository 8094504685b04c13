// A program: oidc-provider with rotating refresh tokens and revocation of the family on reuse. It writes down every
// token request itself; what tests say about requests they read there, and not from the library.
import { createServer } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { exportJWK, generateKeyPair } from "jose";
import Provider from "oidc-provider";
import { fingerprint } from "./fingerprint.ts";
import { machineTime } from "./machine-time.ts";
import type { LeaseWord, Login, ServerFault, ServerOperations, ServerSetup, TokenRequest } from "./messages.ts";
import { answerCalls, giveNotice, readSetup } from "./remote.ts";
import { ServerMemory } from "./server-memory.ts";

const { graceMs, accessTokenSeconds } = readSetup() as ServerSetup;

const CLIENT_ID = "fleet";
const SCOPE = "offline_access";
const ACCOUNT = "ada";

const http = createServer({ keepAliveTimeout: 60_000 });
await new Promise<void>((resolve) => http.listen(0, "127.0.0.1", resolve));
const origin = `http://127.0.0.1:${String((http.address() as AddressInfo).port)}`;

const { privateKey } = await generateKeyPair("ES256", { extractable: true });
const provider = new Provider(origin, {
  clients: [
    {
      client_id: CLIENT_ID,
      token_endpoint_auth_method: "none",
      application_type: "native",
      redirect_uris: ["http://127.0.0.1/callback"],
      grant_types: ["authorization_code", "refresh_token"],
      response_types: ["code"],
      scope: SCOPE,
    },
  ],
  clientDefaults: { id_token_signed_response_alg: "ES256" },
  scopes: [SCOPE],
  features: { devInteractions: { enabled: false }, revocation: { enabled: true } },
  rotateRefreshToken: true,
  ttl: { AccessToken: accessTokenSeconds, RefreshToken: 86_400, AuthorizationCode: 60, Grant: 86_400 },
  findAccount: (_context, sub) => ({ accountId: sub, claims: () => ({ sub }) }),
  cookies: { keys: ["test only"] },
  adapter: new ServerMemory(graceMs).adapterOf,
  jwks: { keys: [{ ...(await exportJWK(privateKey)), alg: "ES256", use: "sig", kid: "test" }] },
});

const log: TokenRequest[] = [];
const families = new Map<string, string>();
const dead = new Set<string>();
const usedAt = new Map<string, number>();

// ---------------------------------------------------------------- the log

interface Answered {
  readonly access_token?: string;
  readonly refresh_token?: string;
  readonly error?: string;
}

provider.use(async (context, next) => {
  const arrivedAt = machineTime();
  await next();
  if (context.path !== "/token") return;
  const { params } = context["oidc"] as { readonly params?: { readonly refresh_token?: string } };
  const sent = fingerprint(params?.refresh_token ?? "");
  const body = (context.body ?? {}) as Answered;
  const family = families.get(sent);
  const issued = body.refresh_token === undefined ? undefined : fingerprint(body.refresh_token);
  if (context.status === 200) {
    if (!usedAt.has(sent)) usedAt.set(sent, Date.now());
    if (issued !== undefined && family !== undefined) families.set(issued, family);
  } else if (body.error === "invalid_grant" && family !== undefined) dead.add(family);
  const isDelivered = !takeFault("drop-after");
  log.push({
    ...senderOf(context.req),
    arrivedAt,
    answeredAt: machineTime(),
    sent,
    family,
    status: context.status,
    detail: body.error,
    isDelivered,
    refreshToken: issued,
    accessToken: body.access_token === undefined ? undefined : fingerprint(body.access_token),
  });
  if (takeFault("hold-after")) await held(context.req);
  if (!isDelivered) context.req.socket.resetAndDestroy();
});

// ---------------------------------------------------------------- faults

const faults = new Map<ServerFault["kind"], number>();
const waiting = new Set<() => void>();

function takeFault(kind: ServerFault["kind"]): boolean {
  const left = faults.get(kind) ?? 0;
  if (left > 0) faults.set(kind, left - 1);
  return left > 0;
}

/** Until it is released, or its sender is gone: then the harness is told, too. */
async function held(request: IncomingMessage): Promise<void> {
  await giveNotice("held");
  await new Promise<void>((resolve) => {
    const onClose = (): void => {
      waiting.delete(go);
      void giveNotice("sender gone").then(resolve);
    };
    const go = (): void => {
      request.socket.off("close", onClose);
      resolve();
    };
    waiting.add(go);
    if (request.socket.destroyed) onClose();
    else request.socket.once("close", onClose);
  });
}

/** @returns Whether the provider is to see the request. */
async function passes(request: IncomingMessage, response: ServerResponse): Promise<boolean> {
  if (takeFault("hold-before")) {
    await held(request);
    return !request.socket.destroyed;
  }
  if (takeFault("drop-before")) {
    request.socket.resetAndDestroy();
    return false;
  }
  if (takeFault("unavailable")) {
    response.writeHead(503).end();
    return false;
  }
  if (takeFault("too-many")) {
    response.writeHead(429, { "retry-after": "1" }).end();
    return false;
  }
  return true;
}

const handle = provider.callback();
http.on("request", (request, response) => {
  void (async () => {
    const { url = "/" } = request;
    if (url === "/token" && !(await passes(request, response))) {
      note(request, response.statusCode);
      return;
    }
    await handle(request, response);
  })();
});

function senderOf({ headers }: IncomingMessage): Pick<TokenRequest, "by" | "sentAt" | "lease"> {
  const lease = headers["x-fleet-lease"];
  return {
    by: String(headers["x-fleet-worker"]),
    sentAt: Number(headers["x-fleet-sent-at"]),
    lease: typeof lease === "string" ? (JSON.parse(lease) as LeaseWord) : undefined,
  };
}

function note(request: IncomingMessage, status: number): void {
  const at = machineTime();
  const unknown = { family: undefined, refreshToken: undefined, accessToken: undefined, isDelivered: status !== 200 };
  log.push({
    ...senderOf(request),
    arrivedAt: at,
    answeredAt: at,
    sent: "",
    status: status === 200 ? 0 : status,
    detail: "not processed",
    ...unknown,
  });
}

// ---------------------------------------------------------------- logins

/** What a person's login brings, without the person: the server's own models make it. */
async function login(): Promise<Login> {
  const client = await provider.Client.find(CLIENT_ID);
  if (client === undefined) throw new TypeError("unreachable: the client is static");
  const grant = new provider.Grant({ accountId: ACCOUNT, clientId: CLIENT_ID });
  grant.addOIDCScope(SCOPE);
  const grantId = await grant.save();
  const common = { accountId: ACCOUNT, client, grantId, scope: SCOPE, gty: "authorization_code" };
  const accessToken = await new provider.AccessToken(common).save();
  const refreshToken = await new provider.RefreshToken(common).save();
  families.set(fingerprint(refreshToken), grantId);
  return { accessToken, refreshToken };
}

const operations: ServerOperations = {
  address: () => origin,
  login: ({ count }) => Promise.all(Array.from({ length: count }, () => login())),
  log: ({ from }) => log.slice(from),
  fault({ kind, times }) {
    faults.set(kind, times);
  },
  release() {
    faults.clear();
    for (const go of waiting) go();
    waiting.clear();
  },
  isLive({ fingerprint: token }) {
    const family = families.get(token);
    if (family === undefined || dead.has(family)) return false;
    const since = usedAt.get(token);
    return since === undefined || Date.now() - since < graceMs;
  },
};
answerCalls<ServerOperations>(operations);
