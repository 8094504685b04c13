import { OAuthError } from "warehouse-oauth";
import { formatDuration } from "../pages/duration.ts";
import { QueryError, UnreachableError, runStatement, type QueryResult } from "../query.ts";
import type { FakeControls } from "../warehouses.ts";
import type { SessionKeeper } from "./keeper.ts";
import type { SessionWatch } from "./watch.ts";

/** Something a person does to a session. */
export interface SessionAction {
  readonly id: string;
  readonly label: string;
  /** What to expect. */
  readonly hint: string;
  /** Breaks something; otherwise it is what an application does all day. */
  readonly breaks: boolean;
  /** Only an embedded warehouse can be made to do it. */
  readonly needsFake: boolean;
  run(context: ActionContext): Promise<void>;
}

/** What an action works with. */
export interface ActionContext {
  readonly keeper: SessionKeeper;
  readonly watch: SessionWatch;
}

/** Fewer than the tries of one waiting caller, who gets a token all the same: the failure is seen where nobody waits. */
const FAILURES = 3;

/** Callers at the same moment: a busy page of reports. */
const CALLERS = 100;

/** What a person may do to a session, in the order of the buttons. */
export const SESSION_ACTIONS: readonly SessionAction[] = [
  {
    id: "query",
    label: "Run a query",
    hint: "The token is attached, and replaced if it is refused.",
    breaks: false,
    needsFake: false,
    async run({ watch }) {
      await attempt(watch, "query", async () => {
        const { rows } = await query(watch);
        watch.note(`query: ${String(rows.length)} rows through ${watch.warehouse.way.name}`, "good");
      });
    },
  },
  {
    id: "refresh",
    label: "Refresh now",
    hint: "Whatever the token's age. A caller waits, so failures are repeated at once.",
    breaks: false,
    needsFake: false,
    async run({ watch }) {
      watch.noteDone("asked for a refresh");
      await attempt(watch, "refresh", () => watch.session.refresh());
    },
  },
  {
    id: "hundred",
    label: `${String(CALLERS)} queries at once`,
    hint: "With a dead access token: 100 refusals, one refresh, 100 answers.",
    breaks: false,
    needsFake: true,
    run: askAtOnce,
  },
  {
    id: "expire",
    label: "End the access token",
    hint: "The warehouse ends it and tells nobody. The next query finds out, and nobody notices.",
    breaks: true,
    needsFake: true,
    run({ watch }) {
      fakeOf(watch).expireAccessTokens();
      watch.noteDone("ended the access token at the warehouse; nobody was told");
      return Promise.resolve();
    },
  },
  {
    id: "outage",
    label: "Answer 503, three times",
    hint: "A refresh ahead of time fails: degraded, but the token is still good. It heals by itself.",
    breaks: true,
    needsFake: true,
    run({ watch }) {
      fakeOf(watch).failRefreshes(FAILURES);
      watch.note("the next three refreshes will be answered with 503");
      return Promise.resolve();
    },
  },
  {
    id: "drop",
    label: "Lose the next answer",
    hint: "The warehouse refreshes, the line breaks before its answer. With a refresh token that works once, no client can survive this; with any other, it is just sent again.",
    breaks: true,
    needsFake: true,
    run({ watch }) {
      fakeOf(watch).dropNextAnswer();
      watch.note("the next refresh will be done, and its answer lost");
      return Promise.resolve();
    },
  },
  {
    id: "rotate",
    label: "Refresh in another process",
    hint: "A second TokenManager on the same store. This one takes over what it finds there, and sends nothing.",
    breaks: true,
    needsFake: false,
    async run({ keeper, watch }) {
      await attempt(watch, "refresh in another process", async () => {
        watch.otherGeneration = await keeper.refreshElsewhere(watch);
        watch.note(`another process refreshed: generation ${String(watch.otherGeneration)} is in the store`);
      });
    },
  },
  {
    id: "kill",
    label: "Kill the server",
    hint: "Its port is closed and opened again after a while. Tokens at hand go on being handed out.",
    breaks: true,
    needsFake: true,
    async run({ watch }) {
      const fake = fakeOf(watch);
      watch.noteDone(`killed the server for ${formatDuration(fake.outageMs)}`);
      await fake.kill();
    },
  },
  {
    id: "revoke",
    label: "Withdraw the grant",
    hint: "As an administrator would. The next refresh learns it, once; a person must sign in again.",
    breaks: true,
    needsFake: true,
    run({ watch }) {
      fakeOf(watch).revokeGrants();
      watch.note("an administrator withdrew the grant");
      return Promise.resolve();
    },
  },
];

async function askAtOnce({ watch }: ActionContext): Promise<void> {
  const fake = fakeOf(watch);
  fake.expireAccessTokens();
  const before = fake.refreshRequests;
  watch.noteDone(`ended the access token, and asked ${String(CALLERS)} queries at once`);
  const outcomes = await Promise.allSettled(Array.from({ length: CALLERS }, () => query(watch)));
  const answered = outcomes.filter(({ status }) => status === "fulfilled").length;
  const sent = fake.refreshRequests - before;
  const requests = `${String(sent)} token ${sent === 1 ? "request" : "requests"}`;
  watch.note(`${String(answered)} of ${String(CALLERS)} answered, ${requests}`, answered === CALLERS ? "good" : "warn");
}

function query({ session, warehouse }: SessionWatch): Promise<QueryResult> {
  return runStatement(warehouse, session);
}

/** What goes wrong is a line of the log: a code, never a message from outside. */
async function attempt(watch: SessionWatch, what: string, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    watch.note(`${what} failed: ${nameOf(error)}`, "bad");
  }
}

function nameOf(error: unknown): string {
  if (OAuthError.is(error)) return error.code;
  if (error instanceof QueryError) return `status ${String(error.status)}`;
  return error instanceof UnreachableError ? error.message : "for a reason without a name";
}

function fakeOf({ warehouse }: SessionWatch): FakeControls {
  if (warehouse.fake === undefined) throw new TypeError("a real account was told to break");
  return warehouse.fake;
}
