import { fakeBigQuery } from "warehouse-oauth/testing";
import { generateKeyPair } from "jose";
import { expect, test } from "vitest";
import {
  beginLogin,
  createWebClient,
  finishLogin,
  query,
  signInAsServiceAccount,
  signOut,
} from "../../examples/bigquery.ts";

const SCOPES = ["https://www.googleapis.com/auth/bigquery", "openid", "email"];
const QUERY = { sql: "select 1", projectId: "acme" };

test("a person signs in with Google, unticks a scope, queries, signs out", async () => {
  const fake = fakeBigQuery({ projectId: "acme" });
  const client = fake.register({ redirectUri: "https://app.example/callback", login: { scopes: SCOPES } });
  const email = "ada@acme.example";
  const { url, pending } = await beginLogin(client, { email, hasRefreshToken: false });
  expect(url.searchParams.get("prompt")).toBe("consent");
  const granted = SCOPES.slice(0, 2);
  const request = new Request(await fake.signIn(url, { granted }));
  const { tokens, missing } = await finishLogin(client, request, pending);
  expect(tokens.user?.id).toBe(email);
  expect(tokens.refreshToken).toBeDefined();
  expect(missing).toEqual(["See your email address."]);

  const { fetch } = fake;
  expect((await query(client, tokens, { ...QUERY, fetch })).status).toBe(200);
  expect(await signOut(client, tokens)).toBe(true);
  expect((await query(client, tokens, { ...QUERY, fetch })).status).toBe(401);
});

test("with a refresh token in the store, nobody is asked again", async () => {
  const fake = fakeBigQuery();
  const client = fake.register({ login: { scopes: SCOPES } });
  const { url } = await beginLogin(client, { hasRefreshToken: true });
  expect(url.searchParams.has("prompt")).toBe(false);
});

test("a service account signs for itself", async () => {
  const clientEmail = "job@acme.iam.gserviceaccount.com";
  const { privateKey, publicKey } = await generateKeyPair("RS256", { extractable: true });
  const fake = fakeBigQuery({
    projectId: "acme",
    serviceAccounts: [{ issuer: clientEmail, publicKey }],
  });
  const tokens = await signInAsServiceAccount({ clientEmail, privateKey, keyId: "k1", client: fake.client });
  expect((await query(fake.client, tokens, { ...QUERY, fetch: fake.fetch })).status).toBe(200);
});

test("the client of the example is Google's", () => {
  const redirectUri = "https://app.example/callback";
  const { warehouse } = createWebClient({ clientId: "c", clientSecret: "s", redirectUri });
  expect(warehouse.issuer).toBe("https://accounts.google.com");
});
