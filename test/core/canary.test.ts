import { inspect } from "node:util";
import { CompactSign, type JWTPayload, SignJWT, exportJWK, exportPKCS8, generateKeyPair, jwtVerify } from "jose";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import {
  type ClientOptions,
  type Fetch,
  type LoginOptions,
  OAuthError,
  TokenSet,
  clientCredentials,
  clientSecretPost,
  createAuthorizationRequest,
  discover,
  exchangeCode,
  exchangeToken,
  exportTokens,
  importTokens,
  jwtBearer,
  privateKeyJwt,
  refreshTokens,
  rescuedRefreshToken,
  revokeTokens,
  validateCallback,
} from "warehouse-oauth";
import { NOW, type Sent, acme, acmeClient, savedTokens, stillClock } from "./scripted-client.ts";

/** Every secret begins with this, so that no place need be known in which one could turn up. */
const MARK = "CANARY";
const ISSUER = "https://login.acme.example";
const KEYS = `${ISSUER}/keys`;
const CLIENT_ID = "s6BhdRkqt3";
const SECRET = {
  accessToken: `${MARK}-access-token`,
  refreshToken: `${MARK}-refresh-token`,
  newAccessToken: `${MARK}-new-access-token`,
  newRefreshToken: `${MARK}-new-refresh-token`,
  idToken: `${MARK}.id.token`,
  code: `${MARK}-code`,
  clientSecret: `${MARK}-client-secret-%:é`,
  assertion: `${MARK}.an.assertion`,
  subjectToken: `${MARK}-subject-token`,
  actorToken: `${MARK}-actor-token`,
};

/** What else must not be seen: secrets that are made at random, and other spellings. */
const forbidden = new Set<string>([
  MARK,
  btoa(MARK).slice(0, 8), // also where base64 begins with one
  btoa(`${CLIENT_ID}:${MARK}`).slice(0, 20),
]);

let pem = "";
let privateKey: CryptoKey;
let publicKey: CryptoKey;
let strangersKey: CryptoKey;
let keySet: unknown;
beforeAll(async () => {
  const pair = await generateKeyPair("RS256", { extractable: true });
  ({ privateKey, publicKey } = pair);
  strangersKey = (await generateKeyPair("RS256")).privateKey;
  keySet = { keys: [{ ...(await exportJWK(publicKey)), alg: "RS256", use: "sig", kid: "k1" }] };
  pem = await exportPKCS8(pair.privateKey);
  for (const line of pem.split("\n")) if (/^[A-Za-z0-9+/]{64}$/.test(line)) forbidden.add(line);
});

/** Everything that a program might do to show a value. */
function shown(value: unknown, seen = new Set<unknown>()): string {
  if (seen.has(value)) return "";
  seen.add(value);
  const tried = (show: () => unknown): string => {
    try {
      const text = show();
      return typeof text === "string" ? text : String(text);
    } catch (error) {
      return String(error);
    }
  };
  const everything = {
    depth: Infinity,
    showHidden: true,
    maxArrayLength: Infinity,
    maxStringLength: Infinity,
  } as const;
  const own =
    typeof value === "object" && value !== null
      ? Reflect.ownKeys(value).map((key) => tried(() => String(Reflect.get(value, key))))
      : [];
  return [
    tried(() => String(value)),
    tried(() => `in text: ${value as string}`),
    tried(() => JSON.stringify(value)),
    tried(() => JSON.stringify({ value, list: [value] })),
    inspect(value, everything),
    inspect(value, { ...everything, customInspect: false }),
    tried(() => inspect(structuredClone(value), everything)),
    inspect(new AggregateError([value], "all"), everything),
    inspect(new Error("wrapped", { cause: value }), everything),
    ...own,
    ...(value instanceof Error ? [value.message, value.stack ?? "", shown(value.cause, seen)] : []),
  ].join("\n");
}

function leaks(text: string): readonly string[] {
  return [...forbidden].filter((secret) => text.includes(secret));
}

/** Fails if a value shows a secret, or is an error of somebody else. */
function expectNothingShown(where: string, value: unknown): void {
  expect([where, leaks(shown(value))]).toEqual([where, []]);
  if (!(value instanceof Error)) return;
  expect([where, OAuthError.is(value)]).toEqual([where, true]);
  expect([where, leaks(inspect(value.cause, { showHidden: true, depth: Infinity }))]).toEqual([where, []]);
}

/** What a server can do with what it got: send it back. */
function echo(sent: Sent): string {
  const parts = [sent.url, sent.body, ...sent.form.values(), ...sent.headers.values()];
  for (const name of ["code_verifier", "client_assertion", "assertion"]) {
    const secret = sent.form.get(name);
    if (secret !== null) forbidden.add(secret);
  }
  return [...parts, SECRET.newAccessToken, SECRET.newRefreshToken].join(" ").replace(/[^\x20-\x7E]/g, "?");
}

const good = {
  access_token: SECRET.newAccessToken,
  refresh_token: SECRET.newRefreshToken,
  token_type: "Bearer",
  expires_in: 3600,
  issued_token_type: "urn:ietf:params:oauth:token-type:access_token",
};

type Behaviour = (sent: Sent) => Response | Promise<Response>;
const fail =
  (make: (text: string) => unknown): Behaviour =>
  (sent) => {
    throw make(echo(sent)) as Error;
  };
const typed =
  (
    type: string,
    status: number,
    body: (text: string) => string,
    headers?: (text: string) => Record<string, string>,
  ): Behaviour =>
  (sent) =>
    new Response(body(echo(sent)), { status, headers: { "content-type": type, ...headers?.(echo(sent)) } });
const json = (
  status: number,
  body: (text: string) => unknown,
  headers?: (text: string) => Record<string, string>,
): Behaviour => typed("application/json", status, (text) => JSON.stringify(body(text)), headers);
const coded = (text: string, code: string): Error =>
  Object.assign(new Error(text, { cause: { text } }), { code, text });

const silence: Behaviour = () => new Promise<Response>(() => undefined);
const behaviours: Readonly<Record<string, Behaviour>> = {
  success: json(200, () => good),
  "success with what nobody asked for": json(200, (text) => ({
    ...good,
    username: "JANE",
    extra: text,
    scope: "read",
  })),
  "invalid_grant that quotes": json(400, (text) => ({
    error: "invalid_grant",
    error_description: text,
    error_uri: text,
  })),
  "invalid_client that quotes": json(
    401,
    (text) => ({ error: "invalid_client", message: text }),
    (text) => ({ "www-authenticate": text }),
  ),
  "an unknown code": json(400, (text) => ({ error: "computer_says_no", error_description: text, detail: { text } })),
  "a code that is none": json(400, (text) => ({ error: text, error_description: text })),
  "an object for a code": json(400, (text) => ({ error: { message: text } })),
  "an error with status 200": json(200, (text) => ({ error: "server_error", error_description: text })),
  throttled: json(
    429,
    (text) => ({ error: "slow_down", error_description: text }),
    (text) => ({ "retry-after": text }),
  ),
  unavailable: typed("text/html", 503, (text) => `<html>${text}</html>`),
  "500 that quotes": typed("text/plain", 500, (text) => text),
  "404 that quotes": json(404, (text) => ({ message: text })),
  redirect: typed(
    "text/html",
    302,
    (text) => text,
    (text) => ({ location: `https://evil.example/?${encodeURIComponent(text)}` }),
  ),
  "no JSON": typed("application/json", 200, (text) => `{"access_token":"${SECRET.newAccessToken}","x":"${text}`),
  HTML: typed("text/html", 200, (text) => text),
  "201": json(201, () => good),
  "a token that is none": json(200, (text) => ({ ...good, access_token: `${text}\r\n` })),
  "a token type that quotes": json(200, (text) => ({ ...good, token_type: text })),
  "a lifetime that quotes": json(200, (text) => ({ ...good, expires_in: text })),
  "a scope that is none": json(200, (text) => ({ ...good, scope: [text] })),
  "token and error": json(200, (text) => ({ ...good, error: text })),
  "an ID token that is none": json(200, () => ({ ...good, id_token: SECRET.idToken })),
  "a flood": typed("application/json", 200, (text) => text.repeat(2000)),
  reset: fail((text) => new TypeError("fetch failed", { cause: coded(text, "ECONNRESET") })),
  "not reachable": fail((text) => new TypeError(text, { cause: coded(text, "ECONNREFUSED") })),
  "no certificate": fail((text) => coded(text, "CERT_HAS_EXPIRED")),
  "a code that quotes": fail((text) => coded(text, text)),
  "a name that quotes": fail((text) => Object.assign(new Error(text), { name: text })),
  "many errors": fail((text) => new AggregateError([coded(text, "ECONNREFUSED"), coded(text, text)], text)),
  "a DOMException": fail((text) => new DOMException(text, "NetworkError")),
  "bare text": fail((text) => text),
  "an error with a response": fail((text) =>
    Object.assign(new Error(text), { response: new Response(text), config: { text }, status: 500 }),
  ),
  "a body that breaks": (sent) =>
    new Response(
      new ReadableStream({
        pull(controller): void {
          controller.error(coded(echo(sent), "UND_ERR_SOCKET"));
        },
      }),
      { headers: { "content-type": "application/json" } },
    ),
  silence,
};

const addressOf = (input: Parameters<Fetch>[0]): string => (input instanceof Request ? input.url : String(input));

function fetchThat(behaviour: Behaviour, clock: ReturnType<typeof stillClock>): Fetch {
  return async (input, init) => {
    const body = init?.body instanceof URLSearchParams ? init.body.toString() : "";
    const url = addressOf(input);
    const headers = new Headers(init?.headers);
    if (behaviour === silence) {
      setTimeout(() => {
        clock.advance(60_000);
      }, 1);
    }
    return behaviour({
      url,
      body,
      headers,
      form: new URLSearchParams(body),
      method: init?.method,
      redirect: undefined,
      signal: AbortSignal.timeout(1),
    });
  };
}

const authentications: Readonly<Record<string, () => Partial<ClientOptions>>> = {
  public: () => ({}),
  basic: () => ({ clientSecret: () => Promise.resolve(SECRET.clientSecret) }),
  post: () => ({ clientAuthentication: clientSecretPost(SECRET.clientSecret) }),
  jwt: () => ({ clientAuthentication: privateKeyJwt(pem, { keyId: "k1" }) }),
};

/** The nonce of the login that was begun last. */
let nonce = "";

type Flow = (
  client: ReturnType<typeof acmeClient>,
  ports: { readonly fetch: Fetch; readonly clock: ReturnType<typeof stillClock> },
) => Promise<unknown>;
const login =
  (scopes: readonly string[]): Flow =>
  async (client) => {
    const { url, pending } = await createAuthorizationRequest<LoginOptions>(client, { scopes, returnTo: "/report" });
    for (const secret of [pending.state, pending.codeVerifier, pending.nonce])
      if (secret !== undefined) forbidden.add(secret);
    nonce = pending.nonce ?? "";
    const callback = validateCallback(
      client,
      new URLSearchParams({ code: SECRET.code, state: pending.state }),
      pending,
    );
    expect(leaks(shown(callback))).toEqual([]);
    expect(url.href).not.toContain(pending.codeVerifier);
    const first = await exchangeCode(client, callback).catch((error: unknown) => error);
    const second = await exchangeCode(client, callback).catch((error: unknown) => error);
    return [first, second];
  };
const flows: Readonly<Record<string, Flow>> = {
  login: login(["read"]),
  "login with an ID token": login(["openid"]),
  refresh: (client) =>
    refreshTokens(client, savedTokens(client, { accessToken: SECRET.accessToken, refreshToken: SECRET.refreshToken })),
  "refresh with an ID token": (client) =>
    refreshTokens(
      client,
      savedTokens(client, {
        accessToken: SECRET.accessToken,
        refreshToken: SECRET.refreshToken,
        idToken: SECRET.idToken,
        user: { issuer: ISSUER, id: "user-1" },
      }),
    ),
  "client credentials": (client) => clientCredentials(client, { scopes: ["read"] }),
  "an assertion": (client) => jwtBearer(client, { assertion: SECRET.assertion }),
  "a key": (client) => jwtBearer(client, { key: () => pem, issuer: "svc@acme.example" }),
  "a CryptoKey": (client) => jwtBearer(client, { key: privateKey, issuer: "svc@acme.example" }),
  "token exchange": (client) =>
    exchangeToken(client, {
      subjectToken: () => SECRET.subjectToken,
      subjectTokenType: "urn:ietf:params:oauth:token-type:jwt",
      actor: { token: SECRET.actorToken, tokenType: "urn:ietf:params:oauth:token-type:jwt" },
    }),
  revocation: (client) =>
    revokeTokens(client, savedTokens(client, { accessToken: SECRET.accessToken, refreshToken: SECRET.refreshToken })),
  discovery: (_client, ports) => discover(ISSUER, ports),
};

/** What the process itself says: streams, warnings, rejections that nobody caught. */
const heard: string[] = [];
const onWarning = (warning: Error): void => {
  heard.push(shown(warning));
};
const onRejection = (reason: unknown): void => {
  heard.push(`unhandled rejection: ${shown(reason)}`);
};
const written: string[] = [];
beforeAll(() => {
  process.on("warning", onWarning);
  process.on("unhandledRejection", onRejection);
});
afterAll(() => {
  process.off("warning", onWarning);
  process.off("unhandledRejection", onRejection);
});
beforeEach(() => {
  heard.length = 0;
  written.length = 0;
  const keep = (chunk: unknown): boolean => written.push(String(chunk)) > 0;
  vi.spyOn(process.stdout, "write").mockImplementation(keep);
  vi.spyOn(process.stderr, "write").mockImplementation(keep);
  for (const method of ["log", "info", "warn", "error", "debug", "trace", "dir", "table"] as const) {
    vi.spyOn(console, method).mockImplementation((...values: unknown[]) => {
      written.push(inspect(values));
    });
  }
});
afterEach(() => {
  vi.restoreAllMocks();
});

describe("S-082, S-083, S-084, S-085, S-088 no secret is shown", () => {
  it("and one that is shown would be found", () => {
    for (const secret of [SECRET.clientSecret, SECRET.accessToken]) {
      expect(leaks(shown(new Error(secret)))).toContain(MARK);
      expect(leaks(shown(Object.assign(new Error("x"), { hidden: { deep: { secret } } })))).toContain(MARK);
      expect(
        leaks(shown(Object.defineProperty(new Error("x"), "secret", { value: secret, enumerable: false }))),
      ).toContain(MARK);
      expect(leaks(shown(new Error("x", { cause: new Error("y", { cause: { secret } }) })))).toContain(MARK);
      expect(leaks(shown({ header: `Basic ${btoa(`${CLIENT_ID}:${MARK}-x`)}` }))).not.toEqual([]);
    }
    expect(leaks(shown(pem))).not.toEqual([]);
  });

  it.each(Object.keys(flows))(
    "in %s, whatever the server does and however the client authenticates",
    async (name) => {
      const flow = flows[name] ?? ((): never => expect.fail("no such flow"));
      let failures = 0;
      for (const [behaviourName, behaviour] of Object.entries(behaviours)) {
        for (const [authenticationName, authentication] of Object.entries(authentications)) {
          const clock = stillClock(NOW);
          const fetch = fetchThat(behaviour, clock);
          const client = acmeClient(fetch, { clock, ...authentication() }, acme({ jwksUri: KEYS }));
          const result = await flow(client, { fetch, clock }).catch((error: unknown) => error);
          for (const value of [result, ...(Array.isArray(result) ? (result as unknown[]) : []), client]) {
            expectNothingShown(`${behaviourName}, ${authenticationName}`, value);
            if (value instanceof Error) failures++;
          }
        }
      }
      if (name !== "revocation") expect(failures).toBeGreaterThan(80);
      await new Promise((resolve) => setTimeout(resolve, 5));
      expect(heard).toEqual([]);
      expect(written).toEqual([]);
    },
    60_000,
  );

  it("in the message for a code that is the secret itself, which stands only in oauthError (S-034)", async () => {
    const clock = stillClock(NOW);
    const behaviour: Behaviour = () => Response.json({ error: `${MARK}-client-secret` }, { status: 400 });
    const error: unknown = await clientCredentials(acmeClient(fetchThat(behaviour, clock), { clock })).catch(
      (caught: unknown) => caught,
    );
    if (!OAuthError.is(error)) expect.fail("no error of ours");
    expect(leaks(`${error.message} ${error.stack ?? ""} ${String(error)}`)).toEqual([]);
    expect(error.oauthError).toBe(`${MARK}-client-secret`);
  });
});

interface SignedToken {
  /** What is other than in a good one; the nonce too is one that was asked for. */
  readonly claims?: JWTPayload;
  readonly by?: () => CryptoKey;
  /** Signed as it stands, instead of claims. */
  readonly text?: string;
  /** What becomes of it: kept, left out of the refreshed tokens, or an error's code. */
  readonly login?: "kept" | "id_token_invalid" | "nonce_mismatch";
  readonly refresh: "kept" | "left out" | "id_token_invalid";
}

const SECONDS = NOW / 1000;
const refused = { login: "id_token_invalid", refresh: "left out" } as const;

/** ID tokens, really signed. Whatever stands in their claims is a secret here, but for the user of the good ones. */
const signedTokens: Readonly<Record<string, SignedToken>> = {
  good: { login: "kept", refresh: "kept" },
  "of another issuer": { claims: { iss: `https://evil.example/${MARK}`, sub: MARK }, ...refused },
  "for another audience": { claims: { aud: `${MARK}-audience`, sub: MARK }, ...refused },
  "for several audiences": { claims: { aud: [CLIENT_ID, `${MARK}-audience`] }, ...refused },
  "for another party": { claims: { azp: `${MARK}-party` }, ...refused },
  ended: { claims: { exp: SECONDS - 3600, sub: MARK }, ...refused },
  "with an end that is none": { claims: { exp: `${MARK}-end` as never }, ...refused },
  "not yet good": { claims: { nbf: SECONDS + 3600 }, ...refused },
  "without a time of issue": { claims: { iat: undefined as never }, ...refused },
  "without a user": { claims: { sub: undefined as never, email: MARK }, ...refused },
  "of another login": { claims: { nonce: `${MARK}-nonce` }, login: "nonce_mismatch", refresh: "kept" },
  "without a nonce": { claims: { nonce: undefined }, login: "id_token_invalid", refresh: "kept" },
  "of another user": { claims: { sub: `${MARK}-user` }, refresh: "id_token_invalid" },
  "of a stranger": { by: () => strangersKey, ...refused },
  "with claims that are no JSON": { text: `{"sub":"${MARK}`, ...refused },
};

async function sign({ claims, by, text }: Omit<SignedToken, "login" | "refresh">): Promise<string> {
  const all = {
    iss: ISSUER,
    aud: CLIENT_ID,
    sub: "user-1",
    iat: SECONDS - 10,
    exp: SECONDS + 3600,
    nonce,
    jti: `${MARK}-jti`,
    sid: { deep: [`${MARK}-sid`] },
    ...claims,
  };
  const token = await new CompactSign(new TextEncoder().encode(text ?? JSON.stringify(all)))
    .setProtectedHeader({ alg: "RS256", kid: "k1" })
    .sign(by?.() ?? privateKey);
  for (const part of token.split(".").slice(1)) forbidden.add(part.slice(0, 20));
  return token;
}

/** Answers with tokens and this ID token, and at the address of the keys as told. */
function fetchWith(
  make: () => Promise<string>,
  atKeys: Behaviour,
  clock: ReturnType<typeof stillClock>,
): Fetch & { readonly idTokens: string[] } {
  const idTokens: string[] = [];
  const atToken: Behaviour = async () => {
    const idToken = await make();
    idTokens.push(idToken);
    return Response.json({ ...good, id_token: idToken });
  };
  const fetch: Fetch = (input, init) => fetchThat(addressOf(input) === KEYS ? atKeys : atToken, clock)(input, init);
  return Object.assign(fetch, { idTokens });
}

/** A login or a refresh, and what became of its ID token. Nothing of it may be shown. */
async function outcomeOf(
  where: string,
  kind: "login" | "refresh",
  ports: { readonly fetch: ReturnType<typeof fetchWith>; readonly clock: ReturnType<typeof stillClock> },
  jwksUri: string | undefined,
): Promise<string> {
  const flow = flows[`${kind} with an ID token`] ?? ((): never => expect.fail("no such flow"));
  const client = acmeClient(ports.fetch, { clock: ports.clock }, acme(jwksUri === undefined ? {} : { jwksUri }));
  const values: readonly unknown[] = [await flow(client, ports).catch((error: unknown) => error)].flat();
  for (const value of [...values, client]) expectNothingShown(where, value);
  const [result] = values;
  if (result instanceof TokenSet) {
    expect([where, result.accessToken, result.refreshToken]).toEqual([where, good.access_token, good.refresh_token]);
    if (result.idToken === SECRET.idToken) return "left out";
    expect([where, result.idToken]).toEqual([where, ports.fetch.idTokens[0]]);
    return "kept";
  }
  if (!OAuthError.is(result)) expect.fail(`${where}: no error of ours`);
  if (kind === "refresh") expect(rescuedRefreshToken(result)).toBe(good.refresh_token);
  return result.code;
}

describe("S-082, S-083 no claim of an ID token is shown", () => {
  const goodKeys: Behaviour = () => Response.json(keySet);
  afterEach(async () => {
    await new Promise((resolve) => setTimeout(resolve, 5));
    expect(heard).toEqual([]);
    expect(written).toEqual([]);
  });

  it("and one that is shown would be found: the library's own errors hold them", async () => {
    const idToken = await sign({ claims: { aud: "other" } });
    const error: unknown = await jwtVerify(idToken, publicKey, { audience: CLIENT_ID }).catch(
      (caught: unknown) => caught,
    );
    expect(leaks(shown(error))).toContain(MARK);
    expect(leaks(shown(new Error(idToken)))).toHaveLength(2);
    expect(leaks(shown({ payload: idToken.split(".")[1] }))).toHaveLength(1);
  });

  describe.each(["login", "refresh"] as const)("of a %s", (kind) => {
    it.each(Object.keys(signedTokens).filter((name) => signedTokens[name]?.[kind] !== undefined))(
      "that brings one %s, keys known or not",
      async (name) => {
        const token = signedTokens[name] ?? ((): never => expect.fail("no such token"))();
        for (const jwksUri of [KEYS, undefined]) {
          const where = `${name}, keys at ${String(jwksUri)}`;
          const clock = stillClock(NOW);
          const outcome = await outcomeOf(
            where,
            kind,
            { fetch: fetchWith(() => sign(token), goodKeys, clock), clock },
            jwksUri,
          );
          // Without keys, the connection vouches for whoever signed (OpenID Connect Core §3.1.3.7).
          const expected = jwksUri === undefined && token.by !== undefined ? "kept" : token[kind];
          expect([where, outcome]).toEqual([where, expected]);
        }
      },
    );

    it("whatever the key server does", async () => {
      for (const [name, behaviour] of Object.entries(behaviours)) {
        const clock = stillClock(NOW);
        const fetch = fetchWith(() => sign({}), behaviour, clock);
        const outcome = await outcomeOf(name, kind, { fetch, clock }, KEYS);
        if (kind === "refresh") expect([name, outcome]).toEqual([name, "left out"]);
        else expect([name, outcome]).not.toEqual([name, "kept"]);
      }
    });
  });
});

describe("S-082 no secret is shown by a discovery", () => {
  const metadata = { issuer: ISSUER, authorization_endpoint: `${ISSUER}/authorize`, token_endpoint: `${ISSUER}/token` };
  const refusalOf = async (issuer: string, document: unknown): Promise<unknown> => {
    const fetch: Fetch = () => Promise.resolve(Response.json(document));
    return discover(issuer, { fetch, clock: stillClock(NOW) }).catch((error: unknown) => error);
  };

  it.each(["issuer", "authorization_endpoint", "token_endpoint", "revocation_endpoint", "jwks_uri"])(
    "whose metadata has a bad %s",
    async (member) => {
      for (const value of [
        MARK,
        `https://evil.example/${MARK}`,
        `https://${MARK}.evil.example/`,
        `https://user:${MARK}@login.acme.example/token`,
        `http://login.acme.example/${MARK}`,
        `${ISSUER}/token#${MARK}`,
        `${ISSUER}/token\n${MARK}`,
        { secret: MARK },
        [MARK],
      ]) {
        const error = await refusalOf(ISSUER, { ...metadata, [member]: value });
        expect(error).toMatchObject({ name: "ConfigurationError", option: member });
        expectNothingShown(`${member} ${JSON.stringify(value)}`, error);
      }
    },
  );

  it.each([
    ["code_challenge_methods_supported", [MARK]],
    ["response_types_supported", [MARK]],
    ["token_endpoint", undefined],
  ])("whose metadata has no good %s", async (member, value) => {
    const error = await refusalOf(ISSUER, { ...metadata, extra: MARK, [member]: value });
    expect(error).toMatchObject({ name: "ConfigurationError", option: member });
    expectNothingShown(member, error);
  });

  it("whose issuer has a user, a query, a fragment or no encryption, or is none", async () => {
    for (const issuer of [
      MARK,
      `https://user:${MARK}@login.acme.example`,
      `${ISSUER}/?secret=${MARK}`,
      `${ISSUER}/#${MARK}`,
      `http://login.acme.example/${MARK}`,
    ]) {
      const error = await refusalOf(issuer, metadata);
      expect(error).toMatchObject({ name: "ConfigurationError", option: "issuer" });
      expectNothingShown(issuer, error);
    }
  });
});

describe("no secret is shown where nothing is sent", () => {
  it("by tokens", () => {
    const client = acmeClient(fetch);
    const tokens = savedTokens(client, {
      accessToken: SECRET.accessToken,
      refreshToken: SECRET.refreshToken,
      idToken: SECRET.idToken,
    });
    expect(tokens).toBeInstanceOf(TokenSet);
    expect(leaks(shown(tokens))).toEqual([]);
    expect(leaks(shown({ session: { tokens: [tokens] } }))).toEqual([]);
    expect(leaks(shown(Object.assign(new Error("x"), { tokens })))).toEqual([]);
    expect(exportTokens(tokens).accessToken).toBe(SECRET.accessToken);
  });

  it("by refusals of saved tokens", () => {
    const client = acmeClient(fetch);
    const saved = { ...exportTokens(savedTokens(client)), ...SECRET };
    for (const name of Object.keys(saved)) {
      for (const value of [`${MARK}\n`, { secret: MARK }, [MARK], 7]) {
        try {
          importTokens({ ...saved, [name]: value });
        } catch (error) {
          expect([name, leaks(shown(error))]).toEqual([name, []]);
        }
      }
    }
  });

  it("by refusals of callbacks", async () => {
    const client = acmeClient(fetch, {}, acme({ issuerInCallback: "always" }));
    const { pending } = await createAuthorizationRequest<LoginOptions>(client, { scopes: ["openid"] });
    for (const secret of [pending.state, pending.codeVerifier, pending.nonce ?? MARK]) forbidden.add(secret);
    const { state } = pending;
    const code = SECRET.code;
    const callbacks: readonly (readonly [string, string])[][] = [
      [],
      [
        ["code", code],
        ["code", code],
        ["state", state],
      ],
      [
        ["code", code],
        ["state", `${MARK}${state.slice(6)}`],
      ],
      [
        ["code", code],
        ["state", state],
      ],
      [
        ["code", code],
        ["state", state],
        ["iss", `https://evil.example/${MARK}`],
      ],
      [
        ["error", "access_denied"],
        ["error_description", `${code} ${state}`],
        ["state", state],
        ["iss", client.warehouse.issuer],
      ],
      [
        ["error", MARK],
        ["error_description", `${code} ${state}`],
        ["state", state],
        ["iss", client.warehouse.issuer],
      ],
      [
        ["code", code],
        ["access_token", SECRET.accessToken],
        ["state", state],
        ["iss", client.warehouse.issuer],
      ],
      [
        ["response", SECRET.idToken],
        ["state", state],
        ["iss", client.warehouse.issuer],
      ],
    ];
    for (const parameters of callbacks) {
      for (const known of [
        pending,
        undefined,
        { ...pending, connectionId: "other" },
        { ...pending, expiresAt: 0 },
        { ...pending, state: 7 as never },
      ]) {
        try {
          validateCallback(client, new URLSearchParams(parameters.map(([name, value]) => [name, value])), known);
          expect.fail("nothing was refused");
        } catch (error) {
          expect([parameters, leaks(shown(error))]).toEqual([parameters, []]);
        }
      }
    }
  });

  it("by refusals of keys and secrets", async () => {
    const cut = pem.replace(/\n[A-Za-z0-9+/]{64}\n/, "\n");
    for (const key of [
      cut,
      `${MARK} ${pem}`,
      pem.replaceAll("PRIVATE KEY", "RSA PRIVATE KEY"),
      pem.slice(0, 200),
      `-----BEGIN PRIVATE KEY-----\n${MARK}\n-----END PRIVATE KEY-----`,
    ]) {
      const client = acmeClient(fetch, { clientAuthentication: privateKeyJwt(() => key) });
      const error: unknown = await clientCredentials(client).catch((caught: unknown) => caught);
      expect(error).toBeInstanceOf(Error);
      expect(leaks(shown(error))).toEqual([]);
    }
    for (const secret of [{ value: MARK }, [MARK]]) {
      const client = acmeClient(fetch, { clientSecret: () => secret as never });
      const error: unknown = await clientCredentials(client).catch((caught: unknown) => caught);
      expect(error).toMatchObject({ code: "invalid_argument" });
      expect(leaks(shown(error))).toEqual([]);
    }
  });

  it("by a client, its options, or its authentication", async () => {
    for (const authentication of Object.values(authentications)) {
      const options = authentication();
      const client = acmeClient(fetch, options);
      expect(leaks(shown(client))).toEqual([]);
      if (options.clientAuthentication !== undefined) expect(leaks(shown(options.clientAuthentication))).toEqual([]);
    }
    const signed = await new SignJWT({ a: MARK }).setProtectedHeader({ alg: "RS256" }).sign(privateKey);
    expect(leaks(shown(acmeClient(fetch, { clientSecret: signed })))).toEqual([]);
  });
});
