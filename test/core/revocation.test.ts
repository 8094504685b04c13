import { describe, expect, it } from "vitest";
import { revokeTokens } from "warehouse-oauth";
import {
  type Step,
  acme,
  acmeClient,
  json,
  refusal,
  savedTokens,
  script,
  stillClock,
  text,
} from "./scripted-client.ts";

const ok = text("");

describe("S-046 revokeTokens", () => {
  it("revokes the refresh token first, then the access token", async () => {
    const { fetch, sent } = script(ok, ok);
    const client = acmeClient(fetch);
    expect(await revokeTokens(client, savedTokens(client))).toEqual({
      refreshToken: "revoked",
      accessToken: "revoked",
      instructions: undefined,
    });
    expect(sent.map(({ body }) => body)).toEqual([
      "token_type_hint=refresh_token&token=refresh-0&client_id=s6BhdRkqt3",
      "token_type_hint=access_token&token=access-0&client_id=s6BhdRkqt3",
    ]);
  });

  it.each<[string, Step, string]>([
    ["200 with anything in it", text("<html>{", {}, "text/html"), "revoked"],
    ["200 with an error in it", json({ error: "invalid_token" }), "revoked"],
    ["unsupported_token_type", json({ error: "unsupported_token_type" }, { status: 400 }), "unsupported"],
    ["invalid_token", json({ error: "invalid_token" }, { status: 400 }), "already_invalid"],
    ["invalid_grant", json({ error: "invalid_grant" }, { status: 400 }), "already_invalid"],
    ["invalid_request", json({ error: "invalid_request" }, { status: 400 }), "failed"],
    ["invalid_client", json({ error: "invalid_client" }, { status: 401 }), "failed"],
    ["400 without a code", text("", { status: 400 }), "failed"],
    ["201", text("", { status: 201 }), "failed"],
    ["503", text("", { status: 503, headers: { "retry-after": "1" } }), "failed"],
    ["a redirect", text("", { status: 307, headers: { location: "https://evil.example" } }), "failed"],
    ["no connection", Object.assign(new Error("x"), { code: "ECONNREFUSED" }), "failed"],
    ["a flood", text("x".repeat(300_000)), "failed"],
  ])("%s", async (_name, step, outcome) => {
    const { fetch, sent } = script(step, ok);
    const client = acmeClient(fetch);
    const result = await revokeTokens(client, savedTokens(client));
    expect(result).toEqual({ refreshToken: outcome, accessToken: "revoked", instructions: undefined });
    expect(sent).toHaveLength(2);
  });

  it("says what was not there", async () => {
    const { fetch, sent } = script(ok);
    const client = acmeClient(fetch);
    const tokens = savedTokens(client, { refreshToken: undefined });
    expect(await revokeTokens(client, tokens)).toMatchObject({ refreshToken: "absent", accessToken: "revoked" });
    expect(sent).toHaveLength(1);
  });

  it("says what the warehouse cannot, and what a person can do instead", async () => {
    const { fetch, sent } = script();
    const client = acmeClient(
      fetch,
      {},
      acme({ revocationEndpoint: undefined as never, revocationInstructions: "call us" }),
    );
    expect(await revokeTokens(client, savedTokens(client))).toEqual({
      refreshToken: "unsupported",
      accessToken: "unsupported",
      instructions: "call us",
    });
    expect(sent).toHaveLength(0);
  });

  it("waits for the first before it sends the second", async () => {
    let answer: (response: Response) => void = () => undefined;
    const { fetch, sent } = script(
      () =>
        new Promise<Response>((resolve) => {
          answer = resolve;
        }),
      ok,
    );
    const client = acmeClient(fetch);
    const run = revokeTokens(client, savedTokens(client));
    await new Promise((resolve) => setTimeout(resolve, 2));
    expect(sent).toHaveLength(1);
    answer(new Response(""));
    expect(await run).toMatchObject({ refreshToken: "revoked", accessToken: "revoked" });
  });

  it("goes on to the second when the first took too long", async () => {
    const clock = stillClock();
    const { fetch } = script(() => new Promise<Response>(() => undefined), ok);
    const client = acmeClient(fetch, { clock });
    const run = revokeTokens(client, savedTokens(client));
    await new Promise((resolve) => setTimeout(resolve, 2));
    clock.advance(10_000);
    expect(await run).toMatchObject({ refreshToken: "failed", accessToken: "revoked" });
  });

  it("authenticates as for tokens (RFC 7009 §2.1)", async () => {
    const { fetch, sent } = script(ok, ok);
    const client = acmeClient(fetch, { clientSecret: "s" });
    await revokeTokens(client, savedTokens(client));
    expect(sent.map(({ headers }) => headers.get("authorization"))).toEqual([
      `Basic ${btoa("s6BhdRkqt3:s")}`,
      `Basic ${btoa("s6BhdRkqt3:s")}`,
    ]);
  });

  it("throws for tokens of another client, for a wrong configuration, and the abort reason", async () => {
    const { fetch, sent } = script(ok);
    const client = acmeClient(fetch);
    const other = acmeClient(fetch, { clientId: "other" });
    expect(await refusal(revokeTokens(other, savedTokens(client)))).toMatchObject({ code: "tokens_invalid" });
    const empty = acmeClient(fetch, { clientSecret: () => "" });
    expect(await refusal(revokeTokens(empty, savedTokens(empty)))).toMatchObject({ code: "config_invalid" });
    const reason = new Error("mine");
    await expect(revokeTokens(client, savedTokens(client), { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    expect(sent).toHaveLength(0);
    const controller = new AbortController();
    const { fetch: hanging } = script(() => {
      controller.abort(reason);
      return new Promise<Response>(() => undefined);
    });
    const slow = acmeClient(hanging);
    await expect(revokeTokens(slow, savedTokens(slow), { signal: controller.signal })).rejects.toBe(reason);
  });
});
