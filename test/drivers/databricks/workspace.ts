import { DBSQLClient } from "@databricks/sql";
import { createServer, Agent, type RequestOptions } from "node:https";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { createClient, type Clock, type Fetch, type OAuthClient, type TokenSet } from "warehouse-oauth";
import { fakeDatabricks, type FakeDatabricksOptions, type FakeRequest } from "warehouse-oauth/testing";
import { selfSigned } from "../../node/self-signed.ts";
import { createService, nameOfCall, runCall } from "./thrift-service.ts";

/** A request of the driver for its statements, as the workspace saw it. */
export interface Call {
  readonly method: string;
  readonly status: number;
  /** The access token that came with it. */
  readonly token: string;
}

type FakeDatabricks = ReturnType<typeof fakeDatabricks>;

/** A Databricks workspace on this machine: its OAuth, its REST API, and the Thrift service that the driver speaks to. */
export interface Workspace {
  readonly host: string;
  /** Path of its SQL warehouse. */
  readonly path: string;
  readonly fake: FakeDatabricks;
  /** A registered client without a secret, as the driver's own sign-in has. */
  readonly client: OAuthClient;
  /** The calls of the driver so far. */
  readonly calls: readonly Call[];
  /** Requests to the token endpoint so far. */
  readonly tokenRequests: () => readonly FakeRequest[];
  /** Whether a result comes with its statement. Default is `true`. */
  direct: boolean;
  /** Status of a refused token. Default is the fake's own: 403 with the reason in a header. */
  refusal: number | undefined;
  /** Takes the tokens back just before this call of this name. */
  refuseAt: { readonly method: string; readonly call: number } | undefined;
  /** A person's login. */
  readonly signIn: () => Promise<TokenSet>;
  readonly close: () => Promise<void>;
}

const PATH = "/sql/1.0/warehouses/0123456789abcdef";

let workspaces = 0;

export async function startWorkspace(options: FakeDatabricksOptions & { readonly clock: Clock }): Promise<Workspace> {
  const host = `fake-${String(++workspaces)}.cloud.databricks.com`;
  const fake = fakeDatabricks({ host, ...options });
  const handle = withJsonWebTokens(fake, options.clock);
  const registered = fake.register({ public: true });
  const client = createClient({
    warehouse: fake.warehouse,
    clientId: registered.clientId,
    ...(registered.redirectUri !== undefined && { redirectUri: registered.redirectUri }),
    fetch: handle,
    clock: options.clock,
  }) as OAuthClient;
  const calls: Call[] = [];
  const service = createService({ direct: () => workspace.direct });

  const serve = async (incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> => {
    const body = await readAll(incoming);
    const url = new URL(incoming.url ?? "/", `https://${host}`);
    const headers = new Headers();
    for (const [name, value] of Object.entries(incoming.headers)) {
      if (typeof value === "string" && !HOP_BY_HOP.has(name)) headers.set(name, value);
    }
    if (!url.pathname.startsWith(PATH)) {
      const { method = "GET" } = incoming;
      await send(
        outgoing,
        await handle(url, { method, headers, ...(body.length > 0 && { body: new Uint8Array(body) }) }),
      );
      return;
    }
    const authorization = headers.get("authorization") ?? "";
    const name = nameOfCall(body);
    const { method, call } = workspace.refuseAt ?? {};
    if (name === method && calls.filter((earlier) => earlier.method === name).length + 1 === call) {
      fake.expireAccessTokens();
    }
    // A statement that is not there: 404 if the token is good, else the refusal in Databricks' own words.
    const probe = await handle(new URL("/api/2.0/sql/statements/none", url), { headers: { authorization } });
    const status = probe.status === 404 ? 200 : (workspace.refusal ?? probe.status);
    calls.push({ method: name, status, token: authorization.replace("Bearer ", "") });
    if (status === 200) {
      outgoing.writeHead(200, { "content-type": "application/x-thrift" }).end(await runCall(service, body));
    } else {
      await send(outgoing, new Response(probe.body, { status, headers: probe.headers }));
    }
  };
  const { key, cert } = selfSigned();
  const server = createServer({ key, cert }, (incoming, outgoing) => {
    serve(incoming, outgoing).catch(() => outgoing.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  ROUTES.set(host, { port: (server.address() as AddressInfo).port, cert });

  const workspace: Workspace = {
    host,
    path: PATH,
    fake,
    client,
    calls,
    tokenRequests: () => fake.requests.filter(({ at, grant }) => at === "token" && grant !== "authorization_code"),
    direct: true,
    refusal: undefined,
    refuseAt: undefined,
    signIn: () => fake.issueTokens({ client }),
    close: () =>
      new Promise((resolve) => {
        ROUTES.delete(host);
        server.close(() => {
          resolve();
        });
        server.closeAllConnections();
      }),
  };
  return workspace;
}

type ConnectOptions = Parameters<DBSQLClient["connect"]>[0];
type Without<T, K extends PropertyKey> = T extends unknown ? Omit<T, K> : never;

/** Connects the real driver, without its log and its telemetry. */
export async function connect(
  { host, path }: Workspace,
  authentication: Without<ConnectOptions, "host" | "path">,
): Promise<DBSQLClient> {
  const client = new DBSQLClient({ logger: { log: () => undefined } });
  await client.connect({ host, path, telemetryEnabled: false, ...authentication });
  return client;
}

// ---------------------------------------------------------------- tokens as Databricks makes them

/**
 * Databricks' access tokens are JSON Web Tokens, and the driver's own OAuth reads their end out of them (it fails on
 * others). The fake's are opaque: they are packed on the way out and unpacked on the way in.
 */
function withJsonWebTokens(fake: FakeDatabricks, clock: Clock): Fetch {
  return async (input, init) => {
    const request = new Request(input, init);
    if (request.url !== fake.warehouse.tokenEndpoint) {
      const headers = new Headers(request.headers);
      const authorization = headers.get("authorization");
      if (authorization !== null)
        headers.set("authorization", `Bearer ${unpack(authorization.replace("Bearer ", ""))}`);
      return fake.fetch(new Request(request, { headers }));
    }
    const response = await fake.fetch(request);
    if (!response.ok) return response;
    const body = (await response.json()) as { access_token: string; expires_in: number };
    const claims = {
      iss: fake.warehouse.issuer,
      exp: Math.floor(clock.now() / 1_000) + body.expires_in,
      jti: body.access_token,
    };
    return Response.json({ ...body, access_token: `${encode({ alg: "RS256", typ: "JWT" })}.${encode(claims)}.c2ln` });
  };
}

const encode = (part: object): string => Buffer.from(JSON.stringify(part)).toString("base64url");

function unpack(token: string): string {
  try {
    const { jti } = JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString()) as { jti?: string };
    return jti ?? token;
  } catch {
    return token;
  }
}

// ---------------------------------------------------------------- the way to it

/**
 * The driver speaks `https` to port 443 and takes its own OAuth only at names like `x.cloud.databricks.com`. So the names of
 * the workspaces here lead to their loopback ports, as an entry in /etc/hosts would, and their certificates are trusted.
 */
const ROUTES = new Map<string, { readonly port: number; readonly cert: string }>();

const HOP_BY_HOP: ReadonlySet<string> = new Set(["connection", "host", "content-length", "transfer-encoding"]);

type Connect = (this: unknown, options: RequestOptions, callback?: unknown) => unknown;

const agents = Agent.prototype as unknown as { createConnection: Connect };
const connectDirectly = agents.createConnection;
agents.createConnection = function (options, callback) {
  const to = ROUTES.get(options.host ?? "");
  if (to === undefined) return connectDirectly.call(this, options, callback);
  // The certificate is for the loopback address: who signed it is checked, the name is not.
  const routed = { host: "127.0.0.1", port: to.port, ca: to.cert, checkServerIdentity: () => undefined };
  return connectDirectly.call(this, { ...options, ...routed }, callback);
};

async function readAll(incoming: IncomingMessage): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of incoming) parts.push(part as Buffer);
  return Buffer.concat(parts);
}

async function send(outgoing: ServerResponse, response: Response): Promise<void> {
  outgoing.writeHead(response.status, Object.fromEntries(response.headers));
  outgoing.end(Buffer.from(await response.arrayBuffer()));
}
