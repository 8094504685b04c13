// What sealing costs: a record through encryptedStore, beside the least that Web Crypto does for the same text.
import { randomBytes } from "node:crypto";
import { encryptedStore, keyRing, localKeyProvider } from "../dist/stores/encrypted.js";
import { formatSpread, printTable, spread } from "../harness.mjs";

const ROUNDS = Math.max(7, Number(process.env.ROUNDS ?? 31));
const TURN_MS = Number(process.env.TURN_MS ?? 20);

const key = "acme/ada//warehouse%7Chttps%253A%252F%252Facme.example%7Cclient";
const refreshToken = randomBytes(100).toString("hex");
/** As a manager writes it. */
const value = JSON.stringify({
  format: 1,
  generation: 7,
  state: "active",
  tokens: {
    accessToken: randomBytes(200).toString("hex"),
    refreshToken,
    tokenType: "Bearer",
    obtainedAt: Date.now(),
    expiresAt: Date.now() + 600_000,
    scopes: ["sql", "offline_access"],
    scopesAssumed: false,
    connectionId: "warehouse|https%3A%2F%2Facme.example|https%3A%2F%2Facme.example%2Ftoken|client",
  },
  rotates: true,
  loginAt: Date.now(),
  revokeLate: false,
});
const record = { value };
const options = { ifVersion: undefined };

/** A store that keeps the last record: what is measured is the sealing. */
function keeper() {
  let kept;
  return {
    capabilities: { compareAndSet: false, durable: false },
    read: () => Promise.resolve(kept),
    write: (_key, written) => {
      kept = { record: written, version: "1" };
      return Promise.resolve("1");
    },
    delete: () => Promise.resolve(true),
  };
}

const secret = () => crypto.getRandomValues(new Uint8Array(32));
const raw = await crypto.subtle.importKey("raw", secret(), "AES-GCM", false, ["encrypt", "decrypt"]);
const encoder = new TextEncoder();
const decoder = new TextDecoder();
const additionalData = encoder.encode(key);

async function sealRaw(text) {
  const iv = crypto.getRandomValues(new Uint8Array(12));
  return { iv, bytes: await crypto.subtle.encrypt({ name: "AES-GCM", iv, additionalData }, raw, encoder.encode(text)) };
}

async function openRaw({ iv, bytes }) {
  return decoder.decode(await crypto.subtle.decrypt({ name: "AES-GCM", iv, additionalData }, raw, bytes));
}

const ring = keyRing([{ id: "2026", key: secret() }]);
const withRing = encryptedStore(keeper(), { keys: ring });
const withProvider = encryptedStore(keeper(), { keys: localKeyProvider(ring) });
const sealed = await sealRaw(value);
const sealedToken = await sealRaw(refreshToken);
for (const store of [withRing, withProvider]) {
  await store.write(key, record, options);
  if ((await store.read(key, {})).record.value !== value) throw new Error("a record came back changed");
}

/** Each has a loop of its own: a shared one would be compiled for all of them, and fast for none. */
const SEALING = {
  "Web Crypto": async (count) => {
    for (let at = 0; at < count; at += 1) await sealRaw(value);
  },
  "its operations bare": async (count) => {
    for (let at = 0; at < count; at += 1) {
      await crypto.subtle.digest("SHA-256", additionalData);
      await sealRaw(refreshToken);
      await sealRaw(value);
    }
  },
  "write, key ring": async (count) => {
    for (let at = 0; at < count; at += 1) await withRing.write(key, record, options);
  },
  "write, key provider": async (count) => {
    for (let at = 0; at < count; at += 1) await withProvider.write(key, record, options);
  },
};
const OPENING = {
  "Web Crypto": async (count) => {
    for (let at = 0; at < count; at += 1) await openRaw(sealed);
  },
  "its operations bare": async (count) => {
    for (let at = 0; at < count; at += 1) {
      await crypto.subtle.digest("SHA-256", additionalData);
      await Promise.all([openRaw(sealedToken), openRaw(sealed)]);
    }
  },
  "read, key ring": async (count) => {
    for (let at = 0; at < count; at += 1) await withRing.read(key, {});
  },
  "read, key provider": async (count) => {
    for (let at = 0; at < count; at += 1) await withProvider.read(key, {});
  },
};

const size = `a record of ${String(value.length)} characters`;
await report(
  `${size}, sealed; Web Crypto: AES-256-GCM, once; bare: a hash and two of them, as many as a write does`,
  SEALING,
);
await report(`${size}, opened; bare: a hash and two decryptions, as many as a read does`, OPENING);

async function report(title, contenders) {
  const names = Object.keys(contenders);
  const counts = new Map();
  for (const name of names) counts.set(name, await calibrate(contenders[name]));
  const series = new Map(names.map((name) => [name, []]));
  for (let round = 0; round < ROUNDS; round += 1) {
    for (let at = 0; at < names.length; at += 1) {
      const name = names[(round + at) % names.length];
      series.get(name).push(await microsEach(contenders[name], counts.get(name)));
    }
  }
  printTable(
    `${title} (${String(ROUNDS)} rounds; median (least–greatest))`,
    ["", "µs", "to Web Crypto"],
    names.map((name) => {
      const ratios = series.get(name).map((micros, round) => micros / series.get("Web Crypto")[round]);
      return [name, formatSpread(spread(series.get(name)), 1), formatSpread(spread(ratios))];
    }),
  );
}

/** Warms up, and finds how many calls take a turn. */
async function calibrate(run) {
  let micros = await microsEach(run, 50);
  for (let turn = 0; turn < 5; turn += 1) micros = await microsEach(run, Math.ceil((TURN_MS * 1e3) / micros));
  return Math.ceil((TURN_MS * 1e3) / micros);
}

async function microsEach(run, count) {
  const start = performance.now();
  await run(count);
  return ((performance.now() - start) * 1e3) / count;
}
