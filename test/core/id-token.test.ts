import { type CryptoKey, type JWTPayload, SignJWT, base64url, exportJWK, generateKeyPair } from "jose";
import { beforeAll, describe, expect, it, vi } from "vitest";
import {
  type OAuthClient,
  TokenManager,
  type TokenSet,
  exchangeCode,
  refreshTokens,
  rescuedRefreshToken,
} from "warehouse-oauth";
import { checkIdToken } from "../../src/core/id-token.ts";
import {
  NOW,
  type Script,
  type Sent,
  type Step,
  TOKENS,
  acme,
  acmeClient,
  json,
  loggedIn,
  refusal,
  savedTokens,
  script,
  stillClock,
  text,
} from "./scripted-client.ts";

const ISSUER = "https://login.acme.example";
const KEYS = `${ISSUER}/keys`;
const CLIENT_ID = "s6BhdRkqt3";

let key: CryptoKey;
let strangersKey: CryptoKey;
let keys: Step;
beforeAll(async () => {
  const pair = await generateKeyPair("ES256", { extractable: true });
  key = pair.privateKey;
  strangersKey = (await generateKeyPair("ES256")).privateKey;
  keys = json({ keys: [{ ...(await exportJWK(pair.publicKey)), alg: "ES256", use: "sig", kid: "k1" }] });
});

const seconds = (): number => Math.floor(Date.now() / 1000);
const claimsFor = (nonce: string | undefined): JWTPayload => ({
  iss: ISSUER,
  sub: "user-1",
  aud: CLIENT_ID,
  iat: seconds() - 10,
  exp: seconds() + 600,
  ...(nonce !== undefined && { nonce }),
});
const sign = (claims: JWTPayload, header: Record<string, unknown> = {}, by: CryptoKey = key): Promise<string> =>
  new SignJWT(claims).setProtectedHeader({ alg: "ES256", kid: "k1", ...header }).sign(by);

/** A login with `openid` whose token answer has the ID token that `make` gives. */
async function login(
  make: (nonce: string) => Promise<string | undefined>,
  {
    others = [keys],
    known = true,
    clock = stillClock(Date.now()),
    returnTo,
  }: { others?: readonly Step[]; known?: boolean; clock?: ReturnType<typeof stillClock>; returnTo?: string } = {},
): Promise<{ readonly result: Promise<TokenSet>; readonly sent: Script["sent"]; readonly client: OAuthClient }> {
  let nonce = "";
  const answer = async (): Promise<Response> => {
    const idToken = await make(nonce);
    return Response.json({
      ...TOKENS,
      refresh_token: "refresh-1",
      ...(idToken !== undefined && { id_token: idToken }),
    });
  };
  const { fetch, sent } = script(answer, ...others);
  const client = acmeClient(fetch, { clock }, acme(known ? { jwksUri: KEYS } : {}));
  const begun = await loggedIn(client, { scopes: ["openid"], ...(returnTo !== undefined && { returnTo }) });
  nonce = begun.nonce ?? "";
  return { result: exchangeCode(client, begun.callback), sent, client };
}

const changed = (changes: JWTPayload): Promise<Awaited<ReturnType<typeof login>>> =>
  login((nonce) => sign({ ...claimsFor(nonce), ...changes }), { returnTo: "/report" });

describe("S-022 an ID token that is good", () => {
  it("names the user, and its keys are asked for once", async () => {
    const { result, sent } = await login((nonce) => sign({ ...claimsFor(nonce), email: "jane@acme.example" }));
    const tokens = await result;
    expect(tokens.user).toEqual({ issuer: ISSUER, id: "user-1", email: "jane@acme.example" });
    expect(tokens.idToken).toMatch(/^ey/);
    expect(sent.map(({ url, method }) => [method, url])).toEqual([
      ["POST", `${ISSUER}/token`],
      ["GET", KEYS],
    ]);
    expect(sent[1]?.redirect).toBe("manual");
  });

  it("passes without keys where the warehouse names none: TLS vouches for it", async () => {
    const { result, sent } = await login((nonce) => sign(claimsFor(nonce), {}, strangersKey), { known: false });
    expect((await result).user).toEqual({ issuer: ISSUER, id: "user-1", email: undefined });
    expect(sent).toHaveLength(1);
  });

  it("S-022 another name of the issuer, where the warehouse says so; the user has the issuer's own", async () => {
    const idToken = await sign({ ...claimsFor("n"), iss: "login.acme.example" });
    const clientOf = (idTokenIssuers: readonly string[]): OAuthClient =>
      acmeClient(script(keys).fetch, { clock: stillClock(Date.now()) }, acme({ jwksUri: KEYS, idTokenIssuers }));
    const user = await checkIdToken(clientOf(["login.acme.example"]), { idToken, nonce: "n" });
    expect(user).toMatchObject({ issuer: ISSUER, id: "user-1" });
    const refused = await refusal(checkIdToken(clientOf([]), { idToken, nonce: "n" }));
    expect(refused.message).toMatch(/its "iss"/);
  });

  it.each(["", 7])("takes no address of %j", async (email) => {
    const { result } = await login((nonce) => sign({ ...claimsFor(nonce), email }));
    expect((await result).user?.email).toBeUndefined();
  });

  it("an audience list with this client alone", async () => {
    const { result } = await changed({ aud: [CLIENT_ID] });
    expect((await result).user?.id).toBe("user-1");
  });

  it("an audience list with azp", async () => {
    const { result } = await changed({ aud: [CLIENT_ID, "other"], azp: CLIENT_ID });
    expect((await result).user?.id).toBe("user-1");
  });
});

describe("the keys", () => {
  it("are asked for once at a time and kept, each for the fetch that brought it", async () => {
    const warehouse = acme({ jwksUri: KEYS });
    const clientOf = (steps: readonly Step[]): { client: OAuthClient; sent: Script["sent"] } => {
      const { fetch, sent } = script(...steps);
      return { client: acmeClient(fetch, { clock: stillClock(Date.now()) }, warehouse), sent };
    };
    const { client, sent } = clientOf([keys]);
    const check = { idToken: await sign(claimsFor("n")), nonce: "n" };
    await Promise.all([checkIdToken(client, check), checkIdToken(client, check)]);
    await checkIdToken(client, check);
    expect(sent.map(({ url }) => url)).toEqual([KEYS]);
    expect(sent[0]?.headers.get("accept-encoding")).toBe("identity");
    const other = clientOf([json({ keys: [] })]);
    expect(await refusal(checkIdToken(other.client, check))).toMatchObject({ code: "id_token_invalid" });
    expect(other.sent).toHaveLength(1);
  });

  it("S-027 have a deadline, also where fetch hears nothing of it", async () => {
    const clock = stillClock(Date.now());
    const { fetch, sent } = script(() => new Promise<Response>(() => undefined));
    const client = acmeClient(fetch, { clock, timeoutMs: 700 }, acme({ jwksUri: KEYS }));
    const waiting = refusal(checkIdToken(client, { idToken: await sign(claimsFor("n")), nonce: "n" }));
    await vi.waitFor(() => {
      expect(sent).toHaveLength(1);
    });
    clock.advance(700);
    expect(await waiting).toMatchObject({ code: "timeout", action: "reauthorize" });
  });

  it("an abort of one who waits leaves the others waiting", async () => {
    let answer: (response: Response) => void = () => undefined;
    const { fetch, sent } = script(
      () =>
        new Promise<Response>((resolve) => {
          answer = resolve;
        }),
    );
    const client = acmeClient(fetch, { clock: stillClock(Date.now()) }, acme({ jwksUri: KEYS }));
    const check = { idToken: await sign(claimsFor("n")), nonce: "n" };
    const controller = new AbortController();
    const one = refusal(checkIdToken(client, { ...check, signal: controller.signal }));
    const other = checkIdToken(client, check);
    await vi.waitFor(() => {
      expect(sent).toHaveLength(1);
    });
    const reason = new Error("mine");
    controller.abort(reason);
    expect(await one).toBe(reason);
    answer((keys as (sent: Sent) => Response)(undefined as never));
    expect((await other).id).toBe("user-1");
  });
});

describe("S-022 an ID token that is not", () => {
  const bad: readonly [string, JWTPayload, string, RegExp][] = [
    ["another nonce", { nonce: "other" }, "nonce_mismatch", /another login/],
    ["another issuer", { iss: "https://evil.example" }, "id_token_invalid", /its "iss"/],
    ["a slash more", { iss: `${ISSUER}/` }, "id_token_invalid", /its "iss"/],
    ["another audience", { aud: "other" }, "id_token_invalid", /its "aud"/],
    ["a list without us", { aud: ["other"] }, "id_token_invalid", /its "aud"/],
    ["expired", { exp: seconds() - 120 }, "id_token_invalid", /its "exp"/],
    ["another party", { aud: [CLIENT_ID, "other"], azp: "other" }, "id_token_invalid", /its "azp"/],
    ["another party for us alone", { azp: "other" }, "id_token_invalid", /its "azp"/],
    ["several audiences and no party", { aud: [CLIENT_ID, "other"] }, "id_token_invalid", /its "azp"/],
    ["an empty subject", { sub: "" }, "id_token_invalid", /form, algorithm or signature/],
    ["no time of issue", { iat: undefined as never }, "id_token_invalid", /form, algorithm or signature/],
    ["no end", { exp: undefined as never }, "id_token_invalid", /its "exp"/],
    ["not yet good", { nbf: seconds() + 600 }, "id_token_invalid", /its "nbf"/],
    ["no subject", { sub: undefined as never }, "id_token_invalid", /form, algorithm or signature/],
    ["no nonce", { nonce: undefined }, "id_token_invalid", /form, algorithm or signature/],
  ];
  it.each(bad.flatMap((row) => [[...row, true] as const, [...row, false] as const]))(
    "%s",
    async (_name, changes, code, message, known) => {
      const make = (nonce: string): Promise<string> => sign({ ...claimsFor(nonce), ...changes });
      const { result } = await login(make, { returnTo: "/report", known });
      const error = await refusal(result);
      expect(error).toMatchObject({
        name: "CallbackError",
        code,
        returnTo: "/report",
        retryable: false,
      });
      expect(error.message).toMatch(message);
      expect(error.message).not.toContain("evil.example");
      expect(error.cause).toBeUndefined();
    },
  );

  it("is missing", async () => {
    const { result, sent } = await login(() => Promise.resolve(undefined), { returnTo: "/report" });
    const error = await refusal(result);
    expect(error).toMatchObject({ code: "id_token_invalid", returnTo: "/report" });
    expect(error.message).toContain("no ID token came");
    expect(sent).toHaveLength(1);
  });

  it.each([
    ["no JWT", "not.a-jwt"],
    ["alg none", `${btoa('{"alg":"none"}')}.${btoa("{}").replace(/=/g, "")}.`],
    ["five parts", "a.b.c.d.e"],
  ])("%s", async (_name, idToken) => {
    for (const known of [true, false]) {
      const { result } = await login(() => Promise.resolve(idToken), { known });
      expect(await refusal(result)).toMatchObject({ code: "id_token_invalid" });
    }
  });

  it.each([
    ["five parts", { alg: "ES256", kid: "k1" }, ".a.b.c"],
    ["an extension that nobody knows", { alg: "ES256", kid: "k1", crit: ["x"], x: 1 }, ".AA"],
  ])("good claims in %s, keys known or not", async (_name, header, rest) => {
    const part = (value: unknown): string => base64url.encode(JSON.stringify(value));
    for (const known of [true, false]) {
      const { result } = await login((nonce) => Promise.resolve(`${part(header)}.${part(claimsFor(nonce))}${rest}`), {
        known,
      });
      expect(await refusal(result)).toMatchObject({ code: "id_token_invalid" });
    }
  });

  it("genuine, with an algorithm that is not on the list", async () => {
    const pair = await generateKeyPair("ES512", { extractable: true });
    const set = json({ keys: [{ ...(await exportJWK(pair.publicKey)), use: "sig", kid: "k1" }] });
    const { result } = await login((nonce) => sign(claimsFor(nonce), { alg: "ES512" }, pair.privateKey), {
      others: [set],
    });
    expect(await refusal(result)).toMatchObject({ code: "id_token_invalid" });
  });

  it("signed with a shared secret, keys known or not (RFC 8725 §3.1)", async () => {
    for (const known of [true, false]) {
      const { result } = await login(
        (nonce) =>
          new SignJWT(claimsFor(nonce))
            .setProtectedHeader({ alg: "HS256" })
            .sign(new TextEncoder().encode("x".repeat(32))),
        { known },
      );
      expect(await refusal(result)).toMatchObject({ code: "id_token_invalid" });
    }
  });

  it("signed by a stranger, or with a key that nobody knows", async () => {
    const { result } = await login((nonce) => sign(claimsFor(nonce), {}, strangersKey));
    expect(await refusal(result)).toMatchObject({ code: "id_token_invalid" });
    const { result: unknown } = await login((nonce) => sign(claimsFor(nonce), { kid: "k2" }));
    expect(await refusal(unknown)).toMatchObject({ code: "id_token_invalid" });
  });
});

describe("S-037 clocks", () => {
  const end = NOW / 1000;
  it.each<[string, JWTPayload, number, string | undefined]>([
    ["ended 29 s ago", { exp: end }, 29_000, undefined],
    ["ended a millisecond less than 30 s ago", { exp: end }, 29_999, undefined],
    ["ended 30 s ago", { exp: end }, 30_000, "exp"],
    ["ended 31 s ago", { exp: end }, 31_000, "exp"],
    ["begins in 29 s", { nbf: end }, -29_000, undefined],
    ["begins in 30 s", { nbf: end }, -30_000, undefined],
    ["begins in a millisecond more than 30 s", { nbf: end }, -30_001, "nbf"],
    ["begins in 31 s", { nbf: end }, -31_000, "nbf"],
  ])("an ID token that %s by the client's clock, keys known or not", async (_name, times, afterMs, refused) => {
    for (const known of [true, false]) {
      const clock = stillClock(NOW + afterMs);
      const claims = { iat: end - 600, exp: end + 600, ...times };
      const { result } = await login((nonce) => sign({ ...claimsFor(nonce), ...claims }), { clock, known });
      if (refused === undefined) expect((await result).user?.id).toBe("user-1");
      else expect((await refusal(result)).message).toContain(`its "${refused}"`);
    }
  });

  it("the client's clock counts, whatever the machine's says", async () => {
    const clock = stillClock(Date.now() + 3_600_000);
    const { result } = await login((nonce) => sign(claimsFor(nonce)), { clock });
    expect((await refusal(result)).message).toMatch(/its "exp"/);
    const back = stillClock(Date.now() - 3_600_000);
    const { result: earlier } = await login((nonce) => sign({ ...claimsFor(nonce), exp: seconds() - 3000 }), {
      clock: back,
    });
    expect((await earlier).user?.id).toBe("user-1");
  });
});

describe("keys that cannot be had", () => {
  it.each<[number | undefined, Step]>([
    [undefined, Object.assign(new Error("x"), { code: "ECONNREFUSED" })],
    [500, text("", { status: 500 })],
    [404, text("", { status: 404 })],
    [204, text(null, { status: 204 })],
  ])("status %s: a person must sign in again, and that is no fault of the token", async (status, step) => {
    const { result } = await login((nonce) => sign(claimsFor(nonce)), { others: [step] });
    const error = await refusal(result);
    expect(error).toMatchObject({ name: "TransportError", action: "reauthorize", retryable: false });
    expect(error["status"]).toBe(status);
    expect(error.message).toMatch(/^the keys of the ID token could not be fetched: /);
  });

  it("a redirect, a flood, no key set", async () => {
    for (const [step, code] of [
      [text("", { status: 302 }), "token_redirect_refused"],
      [text("x".repeat(1_100_000)), "token_response_too_large"],
      [text("<html>", {}, "text/html"), "id_token_invalid"],
      [json({}), "id_token_invalid"],
    ] as const) {
      const { result } = await login((nonce) => sign(claimsFor(nonce)), { others: [step] });
      expect(await refusal(result)).toMatchObject({ code });
    }
  });

  it("S-028 a set of 1 MB is read", async () => {
    const set = (await (keys as (sent: Sent) => Response)(undefined as never).json()) as { keys: unknown[] };
    const large = json({ ...set, padding: "x".repeat(900_000) });
    const { result } = await login((nonce) => sign(claimsFor(nonce)), { others: [large] });
    expect((await result).user?.id).toBe("user-1");
  });

  it("the abort reason comes out as it is", async () => {
    const reason = new Error("mine");
    const controller = new AbortController();
    const { fetch } = script(() => {
      controller.abort(reason);
      return new Promise<Response>(() => undefined);
    });
    const client = acmeClient(fetch, { clock: stillClock(Date.now()) }, acme({ jwksUri: KEYS }));
    const idToken = await sign(claimsFor("n"));
    const check = { idToken, nonce: "n", signal: controller.signal };
    await expect(checkIdToken(client, check)).rejects.toBe(reason);
  });
});

describe("the ID token of a refresh (OpenID Connect Core §12.2)", () => {
  const user = { issuer: ISSUER, id: "user-1", email: "jane@acme.example" };
  async function refresh(
    claims: JWTPayload,
    saved: Record<string, unknown> = { user },
    before: readonly Step[] = [keys],
  ): Promise<TokenSet> {
    const idToken = await sign(claims);
    const { fetch } = script(...before, json({ ...TOKENS, refresh_token: "refresh-1", id_token: idToken }));
    const client = acmeClient(fetch, { clock: stillClock(Date.now()) }, acme({ jwksUri: KEYS }));
    return refreshTokens(client, savedTokens(client, { idToken: "old.id.token", ...saved }));
  }

  it("is checked, needs no nonce, and replaces the old one", async () => {
    const tokens = await refresh(claimsFor(undefined));
    expect(tokens.idToken).toMatch(/^ey/);
    expect(tokens.user).toEqual(user);
    const renamed = await refresh({ ...claimsFor(undefined), email: "new@acme.example" });
    expect(renamed.user?.email).toBe("new@acme.example");
    expect((await refresh(claimsFor(undefined), {})).user).toEqual({ ...user, email: undefined });
  });

  it("S-022 of another user is refused, and the refresh token that came with it is not lost", async () => {
    const error = await refusal(refresh({ ...claimsFor(undefined), sub: "user-2" }));
    expect(error).toMatchObject({ name: "CallbackError", code: "id_token_invalid" });
    expect(rescuedRefreshToken(error)).toBe("refresh-1");
  });

  it.each([
    ["for another audience", { aud: "other" }],
    ["of another issuer", { iss: "https://evil.example", sub: "user-2" }],
    ["expired", { exp: seconds() - 600 }],
  ])("S-022 S-043 %s is left out: the old one, its user and what was granted stay", async (_name, changes) => {
    const tokens = await refresh({ ...claimsFor(undefined), ...changes });
    expect(tokens).toMatchObject({ accessToken: "access-1", refreshToken: "refresh-1", idToken: "old.id.token", user });
  });

  it("S-043 is left out where the keys cannot be had", async () => {
    for (const step of [text("", { status: 503 }), Object.assign(new Error("x"), { code: "ECONNREFUSED" })]) {
      const tokens = await refresh(claimsFor(undefined), { user }, [step]);
      expect(tokens).toMatchObject({ accessToken: "access-1", refreshToken: "refresh-1", user });
      expect(tokens.idToken).toBe("old.id.token");
    }
  });

  it("S-043 keys are asked for before the refresh token is sent: nothing takes time between the answer and the save", async () => {
    const idToken = await sign(claimsFor(undefined));
    const { fetch, sent } = script(keys, json({ ...TOKENS, refresh_token: "refresh-1", id_token: idToken }));
    const client = acmeClient(fetch, { clock: stillClock(Date.now()) }, acme({ jwksUri: KEYS }));
    const tokens = await refreshTokens(client, savedTokens(client, { idToken: "old.id.token" }));
    expect(tokens.idToken).toBe(idToken);
    expect(sent.map(({ url }) => url)).toEqual([KEYS, client.warehouse.tokenEndpoint]);
  });

  it("keys that just came are not asked for again", async () => {
    const idToken = await sign(claimsFor(undefined));
    const answer = json({ ...TOKENS, refresh_token: "refresh-1", id_token: idToken });
    const { fetch, sent } = script(keys, answer, answer);
    const client = acmeClient(fetch, { clock: stillClock(Date.now()) }, acme({ jwksUri: KEYS }));
    const tokens = await refreshTokens(client, savedTokens(client, { idToken: "old.id.token" }));
    expect((await refreshTokens(client, tokens)).idToken).toBe(idToken);
    expect(sent.map(({ method }) => method)).toEqual(["GET", "POST", "POST"]);
  });

  it("S-043 keys that could not be had are not asked for again after the answer", async () => {
    const idToken = await sign(claimsFor(undefined));
    const { fetch, sent } = script(text("", { status: 503 }), json({ ...TOKENS, id_token: idToken }), keys);
    const client = acmeClient(fetch, { clock: stillClock(Date.now()) }, acme({ jwksUri: KEYS }));
    const tokens = await refreshTokens(client, savedTokens(client, { idToken: "old.id.token" }));
    expect(tokens.idToken).toBe("old.id.token");
    expect(sent.map(({ method }) => method)).toEqual(["GET", "POST"]);
  });

  it("an abort while the keys are on their way sends no refresh token", async () => {
    const controller = new AbortController();
    const reason = new Error("bored");
    const { fetch, sent } = script(() => {
      controller.abort(reason);
      return new Promise<Response>(() => undefined);
    });
    const client = acmeClient(fetch, { clock: stillClock(Date.now()) }, acme({ jwksUri: KEYS }));
    const saved = savedTokens(client, { idToken: "old.id.token" });
    await expect(refreshTokens(client, saved, { signal: controller.signal })).rejects.toBe(reason);
    expect(sent).toHaveLength(1);
  });

  it("R-22 a session outlives an outage of the key server", async () => {
    const idToken = await sign(claimsFor(undefined));
    const { fetch } = script(text("", { status: 503 }), json({ ...TOKENS, id_token: idToken }));
    const clock = stillClock(Date.now());
    const client = acmeClient(fetch, { clock }, acme({ jwksUri: KEYS, refreshRotation: "none" }));
    const manager = new TokenManager({ clock });
    const saved = savedTokens(client, { idToken: "old.id.token", user });
    const session = await manager.save(client, { subject: "user-1" }, saved);
    expect(await session.getAccessToken()).toBe("access-1");
    await manager.close();
  });

  it("another issuer with the same name is another user", async () => {
    const error = await refusal(refresh(claimsFor(undefined), { user: { ...user, issuer: "https://other.example" } }));
    expect(error.message).toMatch(/another user/);
  });
});
