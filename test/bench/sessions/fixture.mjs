// What the session benches share: a warehouse on this machine, tokens for it, and figures of this process.
import { randomBytes } from "node:crypto";
import { Agent, request } from "node:http";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { createClient, defineWarehouse, importTokens } from "../dist/index.js";
import { clientId, scopes } from "../login-settings.mjs";

/** A number from the environment. */
export const setting = (name, otherwise) => Number(process.env[name] ?? otherwise);

/** Of access tokens here and at the token server. */
export const LIFETIME_MS = 600_000;
/** A fifth of it before its end, a tenth of that to either side, a session is refreshed by itself. */
export const DUE_AFTER_MS = 480_000;
export const DUE_SPREAD_MS = 12_000;

/** Characters of the tokens, as at the token server. */
const ACCESS_TOKEN = 400;
const REFRESH_TOKEN = 200;
/** Bytes that a session's tokens take whoever holds them. */
export const TOKEN_BYTES = ACCESS_TOKEN + REFRESH_TOKEN;

export function connectWarehouse(origin, { refreshRotation = "single-use", ...options } = {}) {
  const warehouse = defineWarehouse({
    id: "bench",
    issuer: "https://acme.example",
    authorizationEndpoint: "https://acme.example/authorize",
    tokenEndpoint: `${origin}/oauth/token-request`,
    apiOrigins: ["https://acme.example"],
    grants: ["authorization_code", "refresh_token"],
    defaultScopes: scopes,
    refreshRotation,
  });
  return createClient({ warehouse, clientId, allowLoopbackHttp: true, ...options });
}

/** Tokens like no others: what is equal might be kept once. */
export function createTokens({ connectionId }, obtainedAt = Date.now()) {
  return importTokens({
    accessToken: randomBytes(ACCESS_TOKEN / 2).toString("hex"),
    refreshToken: randomBytes(REFRESH_TOKEN / 2).toString("hex"),
    tokenType: "Bearer",
    obtainedAt,
    expiresAt: obtainedAt + LIFETIME_MS,
    scopes,
    scopesAssumed: false,
    connectionId,
  });
}

/** Names of users in customers, of a usual length. */
export const identityOf = (at) => ({ tenant: `customer-${at % 1000}`, subject: `user-${at}@example.com` });

/** Runs `work` for 0 to `count - 1`, at most `concurrency` at a time. */
export async function forEach(count, concurrency, work) {
  let next = 0;
  const worker = async () => {
    while (next < count) await work(next++);
  };
  await Promise.all(Array.from({ length: concurrency }, worker));
}

/** Bytes in use once all garbage is gone. */
export function heldBytes() {
  for (let turn = 0; turn < 3; turn += 1) globalThis.gc();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

/** Interval of the samples. It is part of each: an idle process shows a little more than it. */
const SAMPLE_MS = 1;

/** Watches the event loop and the processor until `stop`. */
export function watchProcess() {
  const delay = monitorEventLoopDelay({ resolution: SAMPLE_MS });
  const cpu = process.cpuUsage();
  const start = performance.now();
  delay.enable();
  return () => {
    delay.disable();
    const { user, system } = process.cpuUsage(cpu);
    const millis = (nanos) => nanos / 1e6;
    return {
      p50: millis(delay.percentile(50)),
      p99: millis(delay.percentile(99)),
      max: millis(delay.max),
      cpuShare: (user + system) / 1000 / (performance.now() - start),
    };
  };
}

/** The columns of {@link watchProcess}. */
export const WATCH_HEADER = ["delay p50 ms", "p99 ms", "max ms", "CPU %"];
export const watchCells = ({ p50, p99, max, cpuShare }) => [
  p50.toFixed(1),
  p99.toFixed(1),
  max.toFixed(0),
  (cpuShare * 100).toFixed(0),
];

export const sleep = (delayMs) => new Promise((resolve) => setTimeout(resolve, delayMs));

const createBody = () =>
  new URLSearchParams({ grant_type: "refresh_token", refresh_token: "r".repeat(REFRESH_TOKEN), client_id: clientId });

/** The least that a refresh can be: what a program without a library sends and reads. */
export async function fetchBare(url) {
  const response = await fetch(url, { method: "POST", body: createBody() });
  return response.json();
}

const agent = new Agent({ keepAlive: true, maxSockets: 32 });
const headers = { "content-type": "application/x-www-form-urlencoded;charset=UTF-8" };

/** The same over `node:http`, with as many connections as the Node transport has. */
export function requestBare(url) {
  return new Promise((resolve, reject) => {
    const sent = request(url, { method: "POST", agent, headers }, (message) => {
      const chunks = [];
      message.on("data", (chunk) => chunks.push(chunk));
      message.on("end", () => resolve(JSON.parse(Buffer.concat(chunks).toString())));
    });
    sent.on("error", reject);
    sent.end(createBody().toString());
  });
}
