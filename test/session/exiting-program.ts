// A program of its own, for tests of how a process ends: bundled and run by exiting-programs.test.ts.
// Arguments: what it does, and where its token endpoint is.
import { TokenManager, createClient, defineWarehouse, importTokens, memoryStore } from "warehouse-oauth";
import type { TokenStore } from "warehouse-oauth";

const [, , mode = "", tokenEndpoint = ""] = process.argv;
const HOUR = 3_600_000;

const say = (text: string): void => void process.stdout.write(`${text}\n`);

const client = createClient({
  warehouse: defineWarehouse({
    id: "acme",
    issuer: new URL(tokenEndpoint).origin,
    tokenEndpoint,
    grants: ["refresh_token"],
    refreshRotation: "single-use",
  }),
  clientId: "program",
  clientSecret: "secret",
  allowLoopbackHttp: true,
  ...(mode === "never answered" && { timeoutMs: 2_000 }),
});

const inner = memoryStore();
let holding = mode === "busy lease";
let hanging = false;
const store: TokenStore = {
  capabilities: inner.capabilities,
  read: (key, options) => (hanging ? new Promise<never>(() => undefined) : inner.read(key, options)),
  async write(key, record, options) {
    const isSave = record.value.includes("second-token");
    if (isSave && mode === "in save") {
      say("ready");
      await new Promise((resolve) => setTimeout(resolve, 500).unref());
    }
    if (isSave && mode === "unsaved") throw new Error("disk full");
    const version = await inner.write(key, record, options);
    if (isSave) say("saved");
    return version;
  },
  delete: inner.delete.bind(inner),
  lease: async (key, options) => (holding ? undefined : inner.lease?.(key, options)),
};

/** Nobody is so late that the repeat comes first. */
const LONG_BACKOFF = { random: () => 0.999, retry: { baseDelayMs: 20_000, maxDelayMs: 20_000, totalMs: 60_000 } };
const manager = new TokenManager({ store, ...(mode === "in backoff" && LONG_BACKOFF) });
const now = Date.now();
const isFresh = mode === "idle" || mode === "idle, stopped by a signal" || mode === "put to sleep";
/** So short that it is due, and over, while the process sleeps. */
const lifetimeMs = mode === "put to sleep" ? 4_000 : HOUR;
const session = await manager.save(
  client,
  { subject: "ada" },
  importTokens({
    accessToken: "first-token",
    refreshToken: "first-refresh-token",
    tokenType: "Bearer",
    obtainedAt: isFresh ? now : now - lifetimeMs,
    expiresAt: isFresh ? now + lifetimeMs : now,
    scopes: [],
    scopesAssumed: false,
    connectionId: client.connectionId,
  }),
);
manager.on("refresh_retried", () => {
  say("ready");
});
manager.on("refresh_succeeded", () => {
  // A little later: a second refresh would come by then.
  if (mode === "put to sleep") setTimeout(() => process.kill(process.pid, "SIGTERM"), 1_000);
});
manager.start();

if (mode === "silent store") {
  hanging = true;
  await session.refresh().catch((error: unknown) => {
    say((error as { readonly code: string }).code);
  });
} else if (mode === "idle") say(session.peek() ?? "none");
else if (mode === "awaits") say(await session.getAccessToken());
else if (mode === "busy lease") {
  setTimeout(() => {
    holding = false;
  }, 400).unref();
  say(await session.getAccessToken());
} else if (mode === "unsaved") {
  say(await session.getAccessToken());
  say(JSON.stringify((await manager.close()).unsaved.length));
} else {
  const alive = setInterval(() => undefined, 1_000);
  // What the program has to say to whoever started it; it calls no `process.exit`.
  process.exitCode = 7;
  process.once("SIGTERM", () => {
    clearInterval(alive);
    void manager.close({ drainMs: mode === "never answered" ? 500 : 5_000 }).then(({ unsaved }) => {
      say(`closed ${String(unsaved.length)}`);
    });
  });
  if (isFresh) say("ready");
  else
    session.getAccessToken().then(say, (error: unknown) => {
      say((error as { code: string }).code);
    });
}
