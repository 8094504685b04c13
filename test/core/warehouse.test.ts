import { describe, expect, it } from "vitest";
import { defineWarehouse } from "warehouse-oauth";
import { isWarehouse } from "../../src/core/warehouse.ts";
import { ACME, acmeWarehouse, expectCode } from "./acme.ts";

describe("defineWarehouse", () => {
  it("fills in the defaults", () => {
    const { issuer, tokenEndpoint } = ACME;
    const machines = defineWarehouse({ id: "acme", issuer, tokenEndpoint, grants: ["client_credentials"] });
    expect(machines).toEqual({
      id: "acme",
      issuer,
      tokenEndpoint,
      apiOrigins: [],
      grants: ["client_credentials"],
      defaultScopes: [],
      machineScopes: [],
      scopeCatalogue: new Map(),
      refreshRotation: "unknown",
      rotationVoidsAccessTokens: false,
      issuerInCallback: "sometimes",
      hardMarginMs: 30_000,
      refusedBelowMs: 0,
    });
    expect(acmeWarehouse().grants).toEqual(["authorization_code", "refresh_token"]);
  });

  it("keeps what is given, frozen, and apart from the caller's own arrays", () => {
    const scopes = ["a"];
    const facts = {
      revocationEndpoint: "https://login.acme.example/revoke",
      revocationInstructions: "Ask.",
      jwksUri: "https://login.acme.example/keys",
      idTokenIssuers: scopes,
      apiOrigins: ["https://api.acme.example:443/", "https://b.example:8443"],
      grants: ["authorization_code", "refresh_token", "client_credentials", "jwt_bearer", "token_exchange"],
      machineScopes: scopes,
      defaultScopes: scopes,
      clientSecretMethod: "client_secret_post",
      refreshRotation: "single-use",
      rotationVoidsAccessTokens: true,
      refreshExtends: "on-rotation",
      issuerInCallback: "always",
      assertionAudience: "https://aud.example",
      accessTokenLifetimeMs: 600_000,
      refreshTokenLifetimeMs: 0,
      absoluteSessionLifetimeMs: 5,
      hardMarginMs: 0,
      refusedBelowMs: 40_000,
    } as const;
    const warehouse = acmeWarehouse(facts);
    scopes.push("b");
    expect(warehouse).toMatchObject({
      ...facts,
      apiOrigins: ["https://api.acme.example", "https://b.example:8443"],
      machineScopes: ["a"],
      defaultScopes: ["a"],
      idTokenIssuers: ["a"],
    });
    for (const part of [
      warehouse,
      warehouse.grants,
      warehouse.apiOrigins,
      warehouse.defaultScopes,
      warehouse.machineScopes,
    ]) {
      expect(Object.isFrozen(part)).toBe(true);
    }
  });

  it("takes another warehouse with changes", () => {
    const changed = defineWarehouse({ ...acmeWarehouse({ hardMarginMs: 7 }), id: "acme2" });
    expect(changed).toMatchObject({ id: "acme2", hardMarginMs: 7, issuer: ACME.issuer });
    expect(isWarehouse(changed)).toBe(true);
  });

  it("takes undefined for absent", () => {
    expect(
      acmeWarehouse({ hardMarginMs: undefined, scopeCatalogue: undefined, grants: undefined } as never),
    ).toMatchObject({
      hardMarginMs: 30_000,
      grants: ["authorization_code", "refresh_token"],
    });
  });

  it.each(["a", "acme", "acme-2.eu", "a".repeat(64)])("takes the id %j", (id) => {
    expect(acmeWarehouse({ id }).id).toBe(id);
  });

  it.each(["", "Acme", "1acme", "-acme", "a|b", "a b", "a_b", "a/b", "a".repeat(65), "acme\n", "__proto__"])(
    "refuses the id %j",
    async (id) => {
      expect(await expectCode(() => acmeWarehouse({ id }), "config_invalid")).toMatchObject({ option: "id" });
    },
  );

  it.each(["id", "issuer", "tokenEndpoint"])("needs %s", async (option) => {
    expect(await expectCode(() => acmeWarehouse({ [option]: undefined }), "config_invalid")).toMatchObject({ option });
    const without = Object.fromEntries(Object.entries(ACME).filter(([name]) => name !== option));
    expect(await expectCode(() => defineWarehouse(without as never), "config_invalid")).toMatchObject({ option });
  });

  it("needs authorizationEndpoint for people only", async () => {
    const machines = { authorizationEndpoint: undefined, grants: ["client_credentials"] } as never;
    expect(
      await expectCode(() => acmeWarehouse({ authorizationEndpoint: undefined } as never), "config_invalid"),
    ).toMatchObject({
      option: "authorizationEndpoint",
    });
    expect(acmeWarehouse(machines).authorizationEndpoint).toBeUndefined();
  });

  it.each(["constructor", "__proto__", "toString", "hasOwnProperty", "token_endpoint", "tokenendpoint", "revocation"])(
    "S-101 refuses the member %j",
    async (name) => {
      const definition = { ...ACME };
      Object.defineProperty(definition, name, { value: "x", enumerable: true });
      expect(await expectCode(() => defineWarehouse(definition), "config_invalid")).toMatchObject({ option: name });
    },
  );

  it.each([
    ["id", 5],
    ["issuer", new URL("https://a.example")],
    ["tokenEndpoint", null],
    ["apiOrigins", "https://a.example"],
    ["apiOrigins", {}],
    ["grants", {}],
    ["grants", "authorization_code"],
    ["grants", null],
    ["defaultScopes", "sql"],
    ["machineScopes", {}],
    ["scopeCatalogue", {}],
    ["scopeCatalogue", []],
    ["scopeCatalogue", null],
    ["refreshRotation", 1],
    ["rotationVoidsAccessTokens", "yes"],
    ["hardMarginMs", "30"],
    ["authorizationParameters", {}],
    ["tokenParameters", "x"],
    ["normalizeTokenResponse", 1],
    ["classifyTokenError", null],
    ["isTokenRejected", true],
  ])("refuses a member of the wrong type: %s = %j", async (name, value) => {
    await expectCode(() => acmeWarehouse({ [name]: value }), "invalid_argument");
  });

  it.each([
    ["grants", ["implicit"]],
    ["grants", ["authorization_code", "password"]],
    ["grants", ["__proto__"]],
    ["defaultScopes", ["a b"]],
    ["machineScopes", [""]],
    ["clientSecretMethod", "client_secret_jwt"],
    ["refreshRotation", "sometimes"],
    ["refreshExtends", "constructor"],
    ["issuerInCallback", ""],
    ["hardMarginMs", -1],
    ["refusedBelowMs", Number.NaN],
    ["accessTokenLifetimeMs", Infinity],
    ["refreshTokenLifetimeMs", -0.5],
    ["apiOrigins", ["https://api.acme.example/v1"]],
    ["apiOrigins", ["https://api.acme.example/?x"]],
    ["apiOrigins", ["https://u@api.acme.example"]],
    ["apiOrigins", [5]],
    ["idTokenIssuers", [5]],
    ["idTokenIssuers", [""]],
  ])("refuses a bad value: %s = %j", async (name, value) => {
    expect(await expectCode(() => acmeWarehouse({ [name]: value }), "config_invalid")).toMatchObject({ option: name });
  });

  it.each([undefined, null, 5, "acme"])("refuses %j for a definition", async (value) => {
    await expectCode(() => defineWarehouse(value as never), "invalid_argument");
  });
});

describe("isWarehouse", () => {
  it("knows what defineWarehouse made, and nothing else", () => {
    expect(isWarehouse(acmeWarehouse())).toBe(true);
    for (const value of [{ ...acmeWarehouse() }, ACME, null, undefined, 5, "acme"])
      expect(isWarehouse(value)).toBe(false);
  });
});
