import { TokenManager, type OAuthClient, type SessionStatus, type TokenSession } from "warehouse-oauth";
import {
  fakeBigQuery,
  fakeDatabricks,
  fakeSnowflake,
  manualClock,
  type FakeWarehouse,
  type ManualClock,
} from "warehouse-oauth/testing";
import { LIFETIMES_MS } from "./embedded.ts";
import { WAREHOUSE_IDS, WAREHOUSE_NAMES, type WarehouseId } from "./warehouses.ts";

/** As many as a busy page of reports. */
const CALLERS = 100;

/** Longer than the waits between the tries of these few failures. */
const HEALING_MS = 30_000;

/** Takes a session through its life at each warehouse, on a clock that is moved by hand. Gives whether all went well. */
export async function walkSessions(print: (line: string) => void): Promise<boolean> {
  for (const id of WAREHOUSE_IDS) {
    print(`${WAREHOUSE_NAMES[id]}, a session over time (the clock is moved by hand)`);
    const failure = await walkSession(id, print);
    if (failure !== undefined) {
      print(`  ✗ ${failure}`);
      return false;
    }
  }
  return true;
}

/** What the walk needs of a fake, whichever it is. */
interface Driven extends Pick<FakeWarehouse<never>, "issueTokens" | "fail" | "revokeGrants" | "requests"> {
  readonly client: OAuthClient;
}

function createFake(id: WarehouseId, clock: ManualClock): Driven {
  const options = { clock, accessTokenLifetimeMs: LIFETIMES_MS[id] };
  switch (id) {
    case "snowflake":
      return fakeSnowflake(options);
    case "databricks":
      return fakeDatabricks(options);
    case "bigquery":
      return fakeBigQuery(options);
  }
}

/** Gives what failed. */
async function walkSession(id: WarehouseId, print: (line: string) => void): Promise<string | undefined> {
  const clock = manualClock();
  const fake = createFake(id, clock);
  // Without jitter, or a first retry could come so soon that nobody sees the failure before it.
  const manager = new TokenManager({ clock, random: () => 0.5 });
  try {
    const tokens = await fake.issueTokens();
    const session = await manager.save(fake.client, { subject: "ada" }, tokens);
    const startedAt = clock.now();
    let requests = refreshesAt(fake);
    for (const { title, run, expected } of stepsOf({ id, clock, fake, manager, session })) {
      const said = await run();
      const status = await session.status();
      const sent = refreshesAt(fake) - requests;
      requests += sent;
      const outcome = `${describe(status)}, token requests: ${String(sent)}${said === undefined ? "" : `, ${said}`}`;
      if (!expected.test(outcome)) return `${title}: ${outcome}`;
      print(`  ✓ ${formatOffset(clock.now() - startedAt)}  ${title.padEnd(36)} ${outcome}`);
    }
    return undefined;
  } finally {
    await manager.close();
  }
}

interface Walk {
  readonly id: WarehouseId;
  readonly clock: ManualClock;
  readonly fake: Driven;
  readonly manager: TokenManager;
  readonly session: TokenSession;
}

interface WalkStep {
  readonly title: string;
  readonly run: () => Promise<string | undefined>;
  /** What the outcome must look like. */
  readonly expected: RegExp;
}

function stepsOf({ id, clock, fake, manager, session }: Walk): readonly WalkStep[] {
  const lifetimeMs = LIFETIMES_MS[id];
  const pass = async (durationMs: number): Promise<undefined> => {
    await clock.advance(durationMs);
    return undefined;
  };
  return [
    {
      title: "saved",
      run: () => Promise.resolve(undefined),
      expected: /^active, generation 1, token requests: 0$/,
    },
    {
      title: "nobody asked for a whole life",
      run: () => pass(lifetimeMs),
      expected: /^active, generation 1, token requests: 0$/,
    },
    {
      title: `${String(CALLERS)} callers with an expired token`,
      async run() {
        const given = await Promise.all(Array.from({ length: CALLERS }, () => session.getAccessToken()));
        return `${String(given.length)} answers, tokens: ${String(new Set(given).size)}`;
      },
      expected: /^active, generation 2, token requests: 1, 100 answers, tokens: 1$/,
    },
    {
      title: "started: refreshed ahead of time",
      async run() {
        manager.start();
        return pass(0.85 * lifetimeMs);
      },
      expected: /^active, generation 3, token requests: 1$/,
    },
    {
      title: "503, three times",
      async run() {
        fake.fail({ at: "token", grant: "refresh_token", kind: "status", status: 503, times: 3 });
        // In small steps: the first failure is to be seen, not what came of it.
        for (let passed = 0; passed < lifetimeMs; passed += 100) {
          await clock.advance(100);
          if ((await session.status()).state === "degraded") break;
        }
        return session.peek() === undefined ? "no token" : "the token at hand is still good";
      },
      expected: /^degraded \(server_unavailable\), generation 3, token requests: 1, the token at hand is still good$/,
    },
    {
      title: "healed by itself",
      run: () => pass(HEALING_MS),
      expected: /^active, generation 4, token requests: 3$/,
    },
    {
      title: "the grant is withdrawn",
      async run() {
        fake.revokeGrants();
        return pass(lifetimeMs);
      },
      expected: /^sign in again \(refresh_token_dead\), generation 4, token requests: 1$/,
    },
    {
      title: "an hour later, nothing more was sent",
      run: () => pass(3_600_000),
      expected: /^sign in again \(refresh_token_dead\), generation 4, token requests: 0$/,
    },
  ];
}

function refreshesAt({ requests }: Driven): number {
  return requests.filter(({ at, grant }) => at === "token" && grant === "refresh_token").length;
}

function describe(status: SessionStatus): string {
  switch (status.state) {
    case "absent":
    case "revoked":
      return status.state;
    case "reauthorization_required":
      return `sign in again (${status.cause}), generation ${String(status.generation)}`;
    case "active":
    case "refreshing":
    case "degraded": {
      const cause = status.cause === undefined ? "" : ` (${status.cause})`;
      return `${status.state}${cause}, generation ${String(status.generation)}`;
    }
  }
}

/** Time since the login, as `mm:ss.s`. */
function formatOffset(offsetMs: number): string {
  const minutes = Math.floor(offsetMs / 60_000);
  const seconds = ((offsetMs % 60_000) / 1_000).toFixed(1);
  return `${String(minutes).padStart(2, "0")}:${seconds.padStart(4, "0")}`;
}
