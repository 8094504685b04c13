import { generateKeyPairSync, randomUUID } from "node:crypto";
import { inspect } from "node:util";
import { decodeProtectedHeader, jwtVerify } from "jose";
import { describe, expect, it } from "vitest";
import { clientSecretBasic, clientSecretPost, none, privateKeyJwt } from "warehouse-oauth";
import type { ClientAuthentication } from "warehouse-oauth";
import { resolveSecret } from "../../src/core/client-authentication.ts";
import { NOON, expectCode } from "./acme.ts";

const ISSUER = "https://login.acme.example";

interface Sent {
  readonly headers: Record<string, string>;
  readonly body: Record<string, string>;
}

async function send(
  authenticate: ClientAuthentication,
  changes: { clientId?: string; audience?: string; endpoint?: string } = {},
): Promise<Sent> {
  const headers = new Headers({ accept: "application/json" });
  const body = new URLSearchParams({ grant_type: "refresh_token" });
  await authenticate({
    clientId: "client-1",
    issuer: ISSUER,
    endpoint: `${ISSUER}/token`,
    audience: ISSUER,
    headers,
    body,
    now: NOON,
    ...changes,
  });
  return { headers: Object.fromEntries(headers), body: Object.fromEntries(body) };
}

const basicText = ({ headers }: Sent): string =>
  Buffer.from((headers["authorization"] ?? "").replace(/^Basic /, ""), "base64").toString("utf8");

describe("clientSecretBasic", () => {
  it.each([
    ["s3cr3t", "s3cr3t"],
    ["-_.~", "-_.~"],
    ["azAZ09", "azAZ09"],
    ["!", "%21"],
    ["*", "%2A"],
    ["'", "%27"],
    ["(", "%28"],
    [")", "%29"],
    ["+", "%2B"],
    ["/", "%2F"],
    ["=", "%3D"],
    ["%", "%25"],
    [":", "%3A"],
    [" ", "%20"],
    ["é", "%C3%A9"],
    ["😀", "%F0%9F%98%80"],
    ["\r\n", "%0D%0A"],
    ["-_.~!*'()+/=%: é", "-_.~%21%2A%27%28%29%2B%2F%3D%25%3A%20%C3%A9"],
  ])("S-049 writes %j as %s", async (secret, encoded) => {
    expect(basicText(await send(clientSecretBasic(secret)))).toBe(`client-1:${encoded}`);
    expect(basicText(await send(clientSecretBasic(secret, { encoding: "form" })))).toBe(`client-1:${encoded}`);
    expect(basicText(await send(clientSecretBasic("s"), { clientId: secret }))).toBe(`${encoded}:s`);
    expect(basicText(await send(clientSecretBasic(secret, { encoding: "raw" })))).toBe(`client-1:${secret}`);
  });

  it("S-049 makes the exact header", async () => {
    expect((await send(clientSecretBasic("-_.~!*'()+/=%: é"))).headers["authorization"]).toBe(
      "Basic Y2xpZW50LTE6LV8ufiUyMSUyQSUyNyUyOCUyOSUyQiUyRiUzRCUyNSUzQSUyMCVDMyVBOQ==",
    );
    expect((await send(clientSecretBasic("é", { encoding: "raw" }))).headers["authorization"]).toBe(
      "Basic Y2xpZW50LTE6w6k=",
    );
  });

  it("S-050 puts nothing into the body", async () => {
    expect((await send(clientSecretBasic("s"))).body).toEqual({ grant_type: "refresh_token" });
  });

  it("S-049 refuses a client id with a colon under raw", async () => {
    const error = await expectCode(
      () => send(clientSecretBasic("s", { encoding: "raw" }), { clientId: "a:b" }),
      "config_invalid",
    );
    expect(error).toMatchObject({ option: "clientId" });
    expect(basicText(await send(clientSecretBasic("s"), { clientId: "a:b" }))).toBe("a%3Ab:s");
  });

  it("refuses another encoding", async () => {
    expect(
      await expectCode(() => clientSecretBasic("s", { encoding: "none" } as never), "config_invalid"),
    ).toMatchObject({ option: "encoding" });
  });

  it("S-103 survives a secret of 64 KB", async () => {
    expect(basicText(await send(clientSecretBasic("é".repeat(65_536))))).toHaveLength(9 + 6 * 65_536);
  });
});

describe("clientSecretPost", () => {
  it("S-049 S-050 puts id and secret into the body, and nothing into the header", async () => {
    expect(await send(clientSecretPost("-_.~!*'()+/=%: é"))).toEqual({
      headers: { accept: "application/json" },
      body: { grant_type: "refresh_token", client_id: "client-1", client_secret: "-_.~!*'()+/=%: é" },
    });
  });
});

describe("none", () => {
  it("sends only the id", async () => {
    expect(await send(none())).toEqual({
      headers: { accept: "application/json" },
      body: { grant_type: "refresh_token", client_id: "client-1" },
    });
  });
});

describe("secrets", () => {
  it("S-055 may be functions, asked each time", async () => {
    let asked = 0;
    const secret = (): Promise<string> => Promise.resolve(`s${String(++asked)}`);
    const [basic, post] = [clientSecretBasic(secret), clientSecretPost(secret)];
    expect(asked).toBe(0);
    expect(basicText(await send(basic))).toBe("client-1:s1");
    expect(basicText(await send(basic))).toBe("client-1:s2");
    expect((await send(post)).body["client_secret"]).toBe("s3");
    expect(await resolveSecret(() => "sync", "clientSecret")).toBe("sync");
  });

  it("are refused if they are none", async () => {
    for (const make of [clientSecretBasic, clientSecretPost]) {
      expect(await expectCode(() => make(""), "config_invalid")).toMatchObject({ option: "clientSecret" });
      for (const value of [undefined, null, 5, {}]) await expectCode(() => make(value as never), "invalid_argument");
      await expectCode(() => send(make(() => "")), "config_invalid");
      await expectCode(() => send(make((() => undefined) as never)), "invalid_argument");
      await expectCode(() => send(make((() => Promise.resolve(5)) as never)), "invalid_argument");
      const failure = new Error("the vault is closed");
      await expect(send(make(() => Promise.reject(failure)))).rejects.toBe(failure);
    }
  });
});

describe("privateKeyJwt", () => {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const pem = privateKey.export({ type: "pkcs8", format: "pem" }).toString();
  const verify = async ({ body }: Sent): Promise<Record<string, unknown>> => {
    const { payload } = await jwtVerify(body["client_assertion"] ?? "", publicKey, {
      currentDate: new Date(NOON),
    });
    return payload;
  };

  it("S-051 sends exactly these claims to the issuer alone", async () => {
    const sent = await send(privateKeyJwt(pem, { keyId: "key-1" }), { endpoint: "https://other.example/token" });
    expect(sent).toEqual({
      headers: { accept: "application/json" },
      body: {
        grant_type: "refresh_token",
        client_id: "client-1",
        client_assertion_type: "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        client_assertion: expect.stringMatching(/^[\w-]+\.[\w-]+\.[\w-]+$/) as string,
      },
    });
    expect(await verify(sent)).toStrictEqual({
      iss: "client-1",
      sub: "client-1",
      aud: ISSUER,
      jti: expect.stringMatching(/^[0-9a-f-]{36}$/) as string,
      iat: NOON / 1000 - 5,
      exp: NOON / 1000 + 60,
    });
    expect(decodeProtectedHeader(sent.body["client_assertion"] ?? "")).toEqual({
      alg: "ES256",
      typ: "JWT",
      kid: "key-1",
    });
  });

  it("S-051 has a new jti for each attempt", async () => {
    const authenticate = privateKeyJwt(pem);
    const ids = await Promise.all([1, 2, 3].map(async () => (await verify(await send(authenticate)))["jti"]));
    expect(new Set(ids).size).toBe(3);
  });

  it("S-051 takes the warehouse's audience, or one's own", async () => {
    expect((await verify(await send(privateKeyJwt(pem), { audience: "https://aud.example" })))["aud"]).toBe(
      "https://aud.example",
    );
    expect((await verify(await send(privateKeyJwt(pem, { audience: "own" }))))["aud"]).toBe("own");
  });

  it.each([1_000, 300_000])("S-037 S-051 lives for %d ms", async (lifetimeMs) => {
    const { iat, exp } = await verify(await send(privateKeyJwt(pem, { lifetimeMs })));
    expect([iat, exp]).toEqual([NOON / 1000 - 5, NOON / 1000 + lifetimeMs / 1000]);
  });

  it.each([999, 300_001, Number.NaN, -1])("S-051 does not live for %d ms", async (lifetimeMs) => {
    expect(await expectCode(() => privateKeyJwt(pem, { lifetimeMs }), "config_invalid")).toMatchObject({
      option: "lifetimeMs",
    });
  });

  it("refuses a lifetime that is text", async () => {
    await expectCode(() => privateKeyJwt(pem, { lifetimeMs: "60000" } as never), "invalid_argument");
  });

  it("S-055 S-083 quotes no key in an error", async () => {
    const marker = randomUUID().replaceAll("-", "");
    for (const key of [
      `-----BEGIN PRIVATE KEY-----\n${marker}\n-----END PRIVATE KEY-----`,
      marker,
      `-----BEGIN EC PRIVATE KEY-----\n${marker}\n-----END EC PRIVATE KEY-----`,
    ]) {
      const error = await expectCode(() => send(privateKeyJwt(key)), "config_invalid");
      expect(inspect(error, { depth: Infinity, showHidden: true })).not.toContain(marker);
    }
  });
});
