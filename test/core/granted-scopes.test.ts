import { describe, expect, it } from "vitest";
import {
  TokenEndpointError,
  clientCredentials,
  createAuthorizationRequest,
  exchangeCode,
  missingScopes,
  refreshTokens,
  requireScopes,
  revokeTokens,
  validateCallback,
} from "warehouse-oauth";
import { acmeClient, acmeTokens, expectCode } from "./acme.ts";

describe("missingScopes", () => {
  it("S-040 S-041 names what the client asks for and did not get, but for offline access", () => {
    const client = acmeClient({}, { defaultScopes: ["sql", "read", "offline_access", "refresh_token"] });
    expect(missingScopes(client, acmeTokens({ scopes: ["sql", "more"] }))).toEqual(["read"]);
    expect(missingScopes(client, acmeTokens({ scopes: ["read", "sql"] }))).toEqual([]);
    expect(missingScopes(client, acmeTokens({ scopes: ["READ", "SQL"] }))).toEqual(["sql", "read"]);
    expect(missingScopes(acmeClient({ login: { scopes: ["x"] } }), acmeTokens())).toEqual(["x"]);
  });

  it("refuses what is no token set", async () => {
    await expectCode(() => missingScopes(acmeClient(), { scopes: ["sql"] } as never), "invalid_argument");
  });
});

describe("a client that createClient did not make", () => {
  it.each([undefined, null, {}])("%j is an invalid argument, everywhere", async (value) => {
    const client = value as never;
    const runs: readonly (() => unknown)[] = [
      () => missingScopes(client, acmeTokens()),
      () => refreshTokens(client, acmeTokens()),
      () => revokeTokens(client, acmeTokens()),
      () => exchangeCode(client, undefined as never),
      () => clientCredentials(client),
      () => createAuthorizationRequest(client),
      () => validateCallback(client, new URLSearchParams(), undefined),
    ];
    for (const run of runs) {
      const error = await expectCode(run, "invalid_argument");
      expect((error as Error).message).toContain("createClient");
    }
  });
});

describe("requireScopes", () => {
  it("S-040 refuses tokens that lack one, and names it", async () => {
    const tokens = acmeTokens({ scopes: ["sql"] });
    const error = await expectCode(() => {
      requireScopes(tokens, ["sql", "read", "write"]);
    }, "scope_not_granted");
    expect(error).toBeInstanceOf(TokenEndpointError);
    expect(error).toMatchObject({ action: "reauthorize", retryable: false });
    expect((error as Error).message).toContain("did not grant read, write;");
    await expectCode(() => {
      requireScopes(tokens, ["offline_access"]);
    }, "scope_not_granted");
    await expectCode(() => {
      requireScopes(tokens, ["SQL"]);
    }, "scope_not_granted");
    expect(tokens.accessToken).toBe("access-token-1");
  });

  it("passes tokens that have them all", () => {
    expect(() => {
      requireScopes(acmeTokens({ scopes: ["sql", "read"] }), ["read"]);
    }).not.toThrow();
    expect(() => {
      requireScopes(acmeTokens({ scopes: [] }), []);
    }).not.toThrow();
  });

  it("refuses what is none", async () => {
    await expectCode(() => {
      requireScopes(acmeTokens(), ["a b"]);
    }, "config_invalid");
    await expectCode(() => {
      requireScopes(acmeTokens(), "sql" as never);
    }, "invalid_argument");
    await expectCode(() => {
      requireScopes({ scopes: ["sql"] } as never, ["sql"]);
    }, "invalid_argument");
    await expectCode(() => {
      requireScopes(undefined as never, ["sql"]);
    }, "invalid_argument");
  });
});
