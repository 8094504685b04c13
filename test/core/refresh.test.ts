import { describe, expect, it } from "vitest";
import {
  OAuthError,
  type TokenSet,
  type WarehouseDefinition,
  clientCredentials,
  exportTokens,
  importTokens,
  missingScopes,
  refreshTokens,
} from "warehouse-oauth";
import { attemptRefresh } from "../../src/core/refresh.ts";
import { rescuedRefreshToken } from "../../src/core/token-response.ts";
import {
  NOW,
  TOKENS,
  acme,
  acmeClient,
  json,
  refusal,
  savedTokens,
  script,
  stillClock,
  text,
} from "./scripted-client.ts";

const HOUR = 3_600_000;
const DAY = 24 * HOUR;

async function refreshed(
  answer: Record<string, unknown>,
  saved: Record<string, unknown> = {},
  warehouse: Partial<WarehouseDefinition<object>> = {},
): Promise<TokenSet> {
  const { fetch } = script(json({ ...TOKENS, ...answer }));
  const client = acmeClient(fetch, {}, acme(warehouse));
  return refreshTokens(client, savedTokens(client, saved));
}

describe("S-043 the refresh token", () => {
  it("stays if none came, and is replaced if one came", async () => {
    expect(await refreshed({})).toMatchObject({ accessToken: "access-1", refreshToken: "refresh-0" });
    expect(await refreshed({ refresh_token: "refresh-1" })).toMatchObject({ refreshToken: "refresh-1" });
  });

  it("rotation may begin and end in the middle of a session", async () => {
    const { fetch, sent } = script(
      json(TOKENS),
      json({ ...TOKENS, refresh_token: "refresh-1" }),
      json(TOKENS),
      json(TOKENS),
    );
    const client = acmeClient(fetch);
    let tokens = savedTokens(client);
    for (let round = 0; round < 4; round++) tokens = await refreshTokens(client, tokens);
    expect(sent.map(({ form }) => form.get("refresh_token"))).toEqual([
      "refresh-0",
      "refresh-0",
      "refresh-1",
      "refresh-1",
    ]);
    expect(importTokens(JSON.parse(JSON.stringify(exportTokens(tokens)))).refreshToken).toBe("refresh-1");
  });

  it("leaves the old tokens as they are", async () => {
    const client = acmeClient(script(json({ ...TOKENS, refresh_token: "refresh-1" })).fetch);
    const old = savedTokens(client);
    await refreshTokens(client, old);
    expect(old).toMatchObject({ accessToken: "access-0", refreshToken: "refresh-0" });
  });

  it.each([
    [{}, "refresh-0", false],
    [{ refresh_token: "refresh-0" }, "refresh-0", false],
    [{ refresh_token: "refresh-1" }, "refresh-1", true],
  ])("the outcome says whether it rotated: %j", async (answer, refreshToken, rotated) => {
    const client = acmeClient(script(json({ ...TOKENS, ...answer })).fetch);
    const outcome = await attemptRefresh(client, savedTokens(client), {});
    expect(outcome).toMatchObject({ rotated, lifetimeInvalid: false, tokens: { refreshToken } });
  });

  it("a bad lifetime can be tolerated, so that its refresh token is not lost", async () => {
    const bad = json({ ...TOKENS, refresh_token: "refresh-1", expires_in: "soon" });
    const client = acmeClient(script(bad, bad).fetch);
    const outcome = await attemptRefresh(client, savedTokens(client), { tolerateLifetime: true });
    expect(outcome).toMatchObject({
      rotated: true,
      lifetimeInvalid: true,
      tokens: { expiresAt: undefined, refreshToken: "refresh-1" },
    });
    const error = await refusal(refreshTokens(client, savedTokens(client)));
    expect(error).toMatchObject({ code: "token_expires_in_invalid", ambiguous: true });
    expect(rescuedRefreshToken(error)).toBe("refresh-1");
  });

  it("says when it leaves", async () => {
    const { fetch, sent } = script(json(TOKENS));
    const client = acmeClient(fetch);
    const seen: number[] = [];
    const onSend = (): void => {
      seen.push(sent.length);
    };
    await attemptRefresh(client, savedTokens(client), { onSend });
    expect(seen).toEqual([0]);
  });
});

describe("refused before anything is sent", () => {
  it("tokens without a refresh token", async () => {
    const { fetch, sent } = script();
    const client = acmeClient(fetch);
    const error = await refusal(refreshTokens(client, savedTokens(client, { refreshToken: undefined })));
    expect(error).toMatchObject({
      name: "ReauthorizationRequiredError",
      reason: "refresh_token_absent",
      action: "reauthorize",
    });
    expect(sent).toHaveLength(0);
  });

  it("S-044 tokens of another client", async () => {
    const { fetch, sent } = script();
    const client = acmeClient(fetch);
    for (const other of [
      acmeClient(fetch, { clientId: "other" }),
      acmeClient(fetch, {}, acme({ tokenEndpoint: "https://login.acme.example/other" })),
      acmeClient(fetch, {}, acme({ issuer: "https://other.example" })),
      acmeClient(fetch, {}, acme({ id: "other" })),
    ]) {
      expect(await refusal(refreshTokens(other, savedTokens(client)))).toMatchObject({
        code: "tokens_invalid",
        option: "tokens",
      });
    }
    expect(sent).toHaveLength(0);
  });

  it("what is no TokenSet", async () => {
    const client = acmeClient(script().fetch);
    expect(await refusal(refreshTokens(client, exportTokens(savedTokens(client)) as never))).toMatchObject({
      code: "invalid_argument",
    });
  });
});

describe("S-041 scopes", () => {
  it("asks for none unless told to, and for fewer if told to", async () => {
    const { fetch, sent } = script(json(TOKENS), json(TOKENS));
    const client = acmeClient(fetch);
    const kept = await refreshTokens(client, savedTokens(client));
    expect(sent[0]?.form.has("scope")).toBe(false);
    expect(kept).toMatchObject({ scopes: ["read", "write"], scopesAssumed: false });
    const fewer = await refreshTokens(client, kept, { scopes: ["write"] });
    expect(sent[1]?.form.get("scope")).toBe("write");
    expect(fewer).toMatchObject({ scopes: ["write"], scopesAssumed: true });
  });

  it("never asks for more than was granted; asking for offline access again is not more", async () => {
    const { fetch, sent } = script(json(TOKENS));
    const client = acmeClient(fetch);
    const error = await refusal(refreshTokens(client, savedTokens(client), { scopes: ["read", "admin"] }));
    expect(error).toMatchObject({ code: "config_invalid", option: "scopes" });
    expect(error.message).toContain("granted: admin;");
    expect(await refusal(refreshTokens(client, savedTokens(client), { scopes: ["READ"] }))).toMatchObject({
      code: "config_invalid",
    });
    expect(await refusal(refreshTokens(client, savedTokens(client), { scopes: ["a b"] }))).toMatchObject({
      code: "config_invalid",
    });
    expect(sent).toHaveLength(0);
    await refreshTokens(client, savedTokens(client), { scopes: ["read", "offline_access", "refresh_token"] });
    expect(sent[0]?.form.get("scope")).toBe("read offline_access refresh_token");
  });

  it("what the server names is what is there, also if it is more or less", async () => {
    expect(await refreshed({ scope: "read admin" })).toMatchObject({ scopes: ["read", "admin"], scopesAssumed: false });
    expect(await refreshed({ scope: "" })).toMatchObject({ scopes: [], scopesAssumed: false });
    expect(await refreshed({ scope: "read" }, { scopesAssumed: true })).toMatchObject({ scopesAssumed: false });
    expect(await refreshed({}, { scopesAssumed: true })).toMatchObject({
      scopes: ["read", "write"],
      scopesAssumed: true,
    });
  });

  it("offline access that the answer drops is not missed", async () => {
    const { fetch } = script(json({ ...TOKENS, scope: "read write" }));
    const client = acmeClient(fetch, {}, acme({ defaultScopes: ["read", "write", "offline_access"] }));
    const tokens = await refreshTokens(client, savedTokens(client, { scopes: ["read", "write", "offline_access"] }));
    expect(missingScopes(client, tokens)).toEqual([]);
  });
});

describe("times", () => {
  const LIFE = { refreshTokenLifetimeMs: 90 * DAY };
  const saved = { refreshExpiresAt: NOW + DAY, refreshExpiresAssumed: true };
  const told = { refreshExpiresAt: NOW + DAY };

  it("of the access token are those of this answer alone", async () => {
    expect(await refreshed({ expires_in: 60 })).toMatchObject({ obtainedAt: NOW, expiresAt: NOW + 60_000 });
    expect((await refreshed({ expires_in: undefined })).expiresAt).toBeUndefined();
    expect((await refreshed({ expires_in: undefined }, {}, { accessTokenLifetimeMs: HOUR })).expiresAt).toBe(
      NOW + HOUR,
    );
  });

  it.each<
    [string, Record<string, unknown>, Record<string, unknown>, Partial<WarehouseDefinition<object>>, number | undefined]
  >([
    ["the server says so", { refresh_token_expires_in: 60 }, saved, { ...LIFE, refreshExtends: "never" }, NOW + 60_000],
    ["never, not rotated", {}, saved, { ...LIFE, refreshExtends: "never" }, NOW + DAY],
    ["never, rotated", { refresh_token: "r" }, saved, { ...LIFE, refreshExtends: "never" }, NOW + DAY],
    ["by default never", { refresh_token: "r" }, saved, LIFE, NOW + DAY],
    ["on use, not rotated", {}, saved, { ...LIFE, refreshExtends: "on-use" }, NOW + 90 * DAY],
    ["on use, rotated", { refresh_token: "r" }, saved, { ...LIFE, refreshExtends: "on-use" }, NOW + 90 * DAY],
    ["on rotation, rotated", { refresh_token: "r" }, saved, { ...LIFE, refreshExtends: "on-rotation" }, NOW + 90 * DAY],
    ["on rotation, not rotated", {}, saved, { ...LIFE, refreshExtends: "on-rotation" }, NOW + DAY],
    [
      "on rotation, the same came back",
      { refresh_token: "refresh-0" },
      saved,
      { ...LIFE, refreshExtends: "on-rotation" },
      NOW + DAY,
    ],
    ["the server once said so, on use", {}, told, { ...LIFE, refreshExtends: "on-use" }, NOW + DAY],
    [
      "the server once said so, on rotation",
      { refresh_token: "r" },
      told,
      { ...LIFE, refreshExtends: "on-rotation" },
      NOW + DAY,
    ],
    ["nobody said so before, on use", {}, {}, { ...LIFE, refreshExtends: "on-use" }, NOW + 90 * DAY],
    ["extended by an unknown time", { refresh_token: "r" }, saved, { refreshExtends: "on-use" }, NOW + DAY],
    ["nobody knows", { refresh_token: "r" }, {}, {}, undefined],
    ["not known before, and not extended", { refresh_token: "r" }, {}, { ...LIFE, refreshExtends: "never" }, undefined],
  ])("of the refresh token: %s", async (_name, answer, before, warehouse, expected) => {
    expect((await refreshed(answer, before, warehouse)).refreshExpiresAt).toBe(expected);
  });
});

describe("time-limited access (Google)", () => {
  it("what the server said once stays, over any number of refreshes and a trip through JSON", async () => {
    const warehouse = { refreshTokenLifetimeMs: 180 * DAY, refreshExtends: "on-use" } as const;
    const first = json({ ...TOKENS, refresh_token: "refresh-1", refresh_token_expires_in: 86_400 });
    const client = acmeClient(script(first, json(TOKENS), json(TOKENS)).fetch, {}, acme(warehouse));
    let tokens = await refreshTokens(client, savedTokens(client));
    for (let round = 0; round < 2; round++) {
      tokens = await refreshTokens(client, importTokens(JSON.parse(JSON.stringify(exportTokens(tokens)))));
      expect(tokens).toMatchObject({ refreshExpiresAt: NOW + DAY, refreshExpiresAssumed: false });
    }
  });

  it("an assumed end moves on with each use", async () => {
    const warehouse = { refreshTokenLifetimeMs: 180 * DAY, refreshExtends: "on-use" } as const;
    const clock = stillClock();
    const client = acmeClient(script(json(TOKENS), json(TOKENS)).fetch, { clock }, acme(warehouse));
    let tokens = await refreshTokens(client, savedTokens(client));
    clock.advance(DAY);
    tokens = await refreshTokens(client, importTokens(JSON.parse(JSON.stringify(exportTokens(tokens)))));
    expect(tokens).toMatchObject({ refreshExpiresAt: NOW + 181 * DAY, refreshExpiresAssumed: true });
  });
});

describe("the user", () => {
  const user = { issuer: "https://login.acme.example", id: "JANE", email: "jane@acme.example" };
  it("stays, or is named by the answer", async () => {
    expect((await refreshed({}, { user })).user).toEqual(user);
    const named = { userNameMember: "username" };
    expect((await refreshed({ username: "OTHER" }, { user }, named)).user).toEqual(user);
    expect((await refreshed({ username: "JANE" }, {}, named)).user).toEqual({ ...user, email: undefined });
    expect((await refreshed({})).user).toBeUndefined();
  });
  it("an ID token that was not there before is not taken, and one that was stays", async () => {
    expect((await refreshed({ id_token: "not.checked.at-all" })).idToken).toBeUndefined();
    expect((await refreshed({}, { idToken: "old.id.token" })).idToken).toBe("old.id.token");
  });
});

describe("failures", () => {
  it.each<[number, Record<string, unknown> | undefined, Record<string, unknown>]>([
    [400, { error: "invalid_grant" }, { reason: "refresh_token_dead", ambiguous: false }],
    [400, undefined, { reason: "refresh_token_dead" }],
    [400, { error: "interaction_required" }, { reason: "interaction_required" }],
    [401, { error: "invalid_client" }, { code: "client_auth_failed" }],
    [500, { error: "server_error" }, { code: "server_unavailable", ambiguous: true, retryable: true }],
    [503, undefined, { code: "server_unavailable", ambiguous: false, retryable: true }],
    [429, undefined, { code: "rate_limited", ambiguous: false }],
  ])("%i %j", async (status, body, expected) => {
    const { fetch, sent } = script(body === undefined ? text("", { status }) : json(body, { status }), json(TOKENS));
    const client = acmeClient(fetch);
    const error = await refusal(refreshTokens(client, savedTokens(client)));
    expect(OAuthError.is(error)).toBe(true);
    expect(error).toMatchObject(expected);
    expect(sent).toHaveLength(1);
  });

  it("are one attempt each, also where nothing was sent", async () => {
    const refusedConnection = Object.assign(new Error("x"), { code: "ECONNREFUSED" });
    const { fetch, sent } = script(refusedConnection, json(TOKENS));
    const client = acmeClient(fetch);
    expect(await refusal(refreshTokens(client, savedTokens(client)))).toMatchObject({
      code: "network_error",
      ambiguous: false,
    });
    expect(sent).toHaveLength(1);
  });

  it("the abort reason comes out as it is", async () => {
    const reason = new Error("mine");
    const client = acmeClient(script().fetch);
    await expect(refreshTokens(client, savedTokens(client), { signal: AbortSignal.abort(reason) })).rejects.toBe(
      reason,
    );
    await expect(clientCredentials(client, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
  });
});
