// What it costs to be given a token that is good already, beside others who keep one and beside the least it can cost.
import { ConfidentialClientApplication } from "@azure/msal-node";
import { OAuth2Client, OAuth2Fetch } from "@badgateway/oauth2-client";
import { OAuth2Client as GoogleClient } from "google-auth-library";
import { TokenManager } from "../dist/index.js";
import { formatSpread, printTable, spread } from "../harness.mjs";
import { LIFETIME_MS, connectWarehouse, createTokens, identityOf, setting } from "./fixture.mjs";

const ROUNDS = setting("ROUNDS", 31);
const TURN_MS = setting("TURN_MS", 20);

const token = "a".repeat(400);
const expiresAt = Date.now() + LIFETIME_MS;
const kept = { token, expiresAt };

const client = connectWarehouse("http://127.0.0.1:9");
const session = await new TokenManager().save(client, identityOf(1), createTokens(client));

const google = new GoogleClient({ clientId: "client-id", clientSecret: "secret" });
google.setCredentials({ access_token: token, refresh_token: "refresh", expiry_date: expiresAt });

const badgateway = new OAuth2Fetch({
  client: new OAuth2Client({ clientId: "client-id", tokenEndpoint: "http://127.0.0.1:9/token" }),
  getNewToken: () => ({ accessToken: token, refreshToken: "refresh", expiresAt }),
  scheduleRefresh: false,
});

const msal = new ConfidentialClientApplication({
  auth: { clientId: "client-id", clientSecret: "secret", authority: "https://login.microsoftonline.com/acme" },
  system: { networkClient: answerAsEntra() },
});
const msalRequest = { scopes: ["https://example.com/.default"] };

/** Each has a loop of its own: a shared one would be compiled for all of them, and fast for none. */
const ASYNC = {
  floor: async (count) => {
    for (let at = 0; at < count; at += 1) await readAsync();
  },
  "getAccessToken()": async (count) => {
    for (let at = 0; at < count; at += 1) await session.getAccessToken();
  },
  "google-auth-library": async (count) => {
    for (let at = 0; at < count; at += 1) await google.getAccessToken();
  },
  "@badgateway/oauth2-client": async (count) => {
    for (let at = 0; at < count; at += 1) await badgateway.getAccessToken();
  },
  "@azure/msal-node": async (count) => {
    for (let at = 0; at < count; at += 1) await msal.acquireTokenByClientCredential(msalRequest);
  },
};
/** Sums up, or nothing would be left to measure. */
const SYNC = {
  floor: (count) => {
    let characters = 0;
    for (let at = 0; at < count; at += 1) characters += readSync()?.length ?? 0;
    return characters;
  },
  "peek()": (count) => {
    let characters = 0;
    for (let at = 0; at < count; at += 1) characters += session.peek()?.length ?? 0;
    return characters;
  },
};

await report("a token that is fresh, asynchronously; floor: an async function that reads a field and the time", ASYNC);
await report("the same at once; floor: a function that reads a field and the time", SYNC);

async function readAsync() {
  if (Date.now() >= kept.expiresAt) throw new Error("expired");
  return kept.token;
}

function readSync() {
  return Date.now() < kept.expiresAt ? kept.token : undefined;
}

async function report(title, contenders) {
  const names = Object.keys(contenders);
  const counts = new Map();
  for (const name of names) counts.set(name, await calibrate(contenders[name]));
  const series = new Map(names.map((name) => [name, []]));
  for (let round = 0; round < ROUNDS; round += 1) {
    for (let at = 0; at < names.length; at += 1) {
      const name = names[(round + at) % names.length];
      series.get(name).push(await nanosEach(contenders[name], counts.get(name)));
    }
  }
  printTable(
    `${title} (${ROUNDS} rounds; median (least–greatest))`,
    ["", "ns", "to the floor"],
    names.map((name) => {
      const ratios = series.get(name).map((nanos, round) => nanos / series.get("floor")[round]);
      return [name, formatSpread(spread(series.get(name)), 0), formatSpread(spread(ratios))];
    }),
  );
}

/** Warms up, and finds how many calls take a turn. */
async function calibrate(run) {
  let nanos = await nanosEach(run, 100);
  for (let turn = 0; turn < 5; turn += 1) nanos = await nanosEach(run, Math.ceil((TURN_MS * 1e6) / nanos));
  return Math.ceil((TURN_MS * 1e6) / nanos);
}

async function nanosEach(run, count) {
  const start = performance.now();
  await run(count);
  return ((performance.now() - start) * 1e6) / count;
}

/** What msal asks before it keeps a token: where to ask, and for one. */
function answerAsEntra() {
  const origin = "https://login.microsoftonline.com";
  const bodyOf = (url) => {
    if (url.includes("openid-configuration")) {
      const endpoint = (name) => `${origin}/acme/oauth2/v2.0/${name}`;
      return {
        issuer: `${origin}/acme/v2.0`,
        authorization_endpoint: endpoint("authorize"),
        token_endpoint: endpoint("token"),
        jwks_uri: endpoint("keys"),
      };
    }
    return { token_type: "Bearer", expires_in: LIFETIME_MS / 1000, access_token: token };
  };
  const answer = (url) => Promise.resolve({ headers: {}, status: 200, body: bodyOf(url) });
  return { sendGetRequestAsync: answer, sendPostRequestAsync: answer };
}
