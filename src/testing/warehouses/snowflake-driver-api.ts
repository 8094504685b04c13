import { splitOnce } from "../request-log.ts";
import { randomSecret } from "../token-ledger.ts";
import { ResultCache, type StatementResult } from "../statement-result.ts";
import { jsonResponse, parseJsonObject, type ApiCall } from "../warehouse-profile.ts";

/** Life of a session token; the driver then renews it with the master token (snowflake-sdk 3.3.0, checked 2026-11-22). */
const SESSION_TOKEN_MS = 3_600_000;

/** Life of a master token, from the last use of the session. After it only a login helps (the same, checked 2026-11-22). */
const MASTER_TOKEN_MS = 14_400_000;

/** A login of a driver: it lives on when the OAuth token that opened it has ended. */
interface DriverSession {
  readonly id: number;
  readonly user: string;
  token: string;
  tokenEndsAt: number;
  master: string;
  masterEndsAt: number;
}

/** Code and words of a refusal. */
interface Refused {
  readonly code: string;
  readonly message: string;
}

const GONE: Refused = {
  code: "390111",
  message: "Session no longer exists. New login required to access the service.",
};
const EXPIRED: Refused = { code: "390112", message: "Your session has expired. Please login again." };
const UNKNOWN: Refused = { code: "390104", message: "Session token is invalid." };

/**
 * Makes what Snowflake's drivers talk to: sessions with tokens of their own, and statements in them. Gives `undefined`
 * for paths that are none of theirs. Closed sessions are kept as such: they answer otherwise than unknown ones.
 *
 * @internal
 */
export function createDriverApi(
  results: (user: string) => StatementResult,
  isRoleOf: (scopes: readonly string[], role: string) => boolean,
): (call: ApiCall) => Response | undefined {
  const sessions = new DriverSessions();
  const inSession = (call: ApiCall, answer: (session: DriverSession) => unknown): Response => {
    const found = sessions.find(call);
    if ("message" in found) return refuse(found.code, found.message);
    found.masterEndsAt = call.now + MASTER_TOKEN_MS;
    return succeed(answer(found));
  };

  return (call) => {
    switch (`${call.method} ${call.url.pathname}`) {
      case "POST /session/v1/login-request":
        return logIn(call, sessions, isRoleOf);
      case "POST /session/token-request":
        return sessions.renew(call);
      case "POST /session/heartbeat":
        return inSession(call, () => null);
      case "POST /session":
        return inSession(call, (session) => {
          sessions.close(session);
          return null;
        });
      case "POST /queries/v1/query-request":
        return inSession(call, ({ user }) => describeRows(results(user)));
      case "POST /telemetry/send":
        return succeed("Log Received");
      default:
        return undefined;
    }
  };
}

function logIn(
  call: ApiCall,
  sessions: DriverSessions,
  isRoleOf: (scopes: readonly string[], role: string) => boolean,
): Response {
  const data = parseJsonObject(call.body)?.["data"];
  const { AUTHENTICATOR, TOKEN, LOGIN_NAME } = (data ?? {}) as Readonly<Record<string, unknown>>;
  if (AUTHENTICATOR !== "OAUTH" || typeof TOKEN !== "string") {
    return refuse("390100", "This fake signs in with an OAuth token only.");
  }
  const check = call.checkToken(TOKEN);
  if (check.state === "expired") return refuseLogin("390318", "OAuth access token expired.");
  if (check.state !== "good") return refuseLogin("390303", "Invalid OAuth access token.");
  const { user } = check.token.grant;
  if (typeof LOGIN_NAME === "string" && LOGIN_NAME.toUpperCase() !== user.toUpperCase()) {
    return refuseLogin("390309", "The user you were trying to authenticate as differs from the user of the token.");
  }
  const role = call.url.searchParams.get("roleName");
  if (role !== null && !isRoleOf(check.token.scopes, role)) {
    // What the real one says is not documented; that it refuses is (facts sheet §9).
    return refuseLogin("390317", "The role requested is not the one of the access token.");
  }
  const { id, token, master } = sessions.open(user, call.now);
  return succeed({
    token,
    validityInSeconds: SESSION_TOKEN_MS / 1_000,
    masterToken: master,
    masterValidityInSeconds: MASTER_TOKEN_MS / 1_000,
    sessionId: id,
    displayUserName: user.toUpperCase(),
    parameters: [],
  });
}

/** The sessions of one fake, by both of their tokens. */
class DriverSessions {
  readonly #byToken = new Map<string, DriverSession>();
  readonly #byMaster = new Map<string, DriverSession>();
  /** What is said to session tokens that worked once. */
  readonly #ended = new ResultCache<Refused>();
  #count = 0;

  open(user: string, now: number): DriverSession {
    const session = { id: ++this.#count, user, token: "", tokenEndsAt: 0, master: "", masterEndsAt: 0 };
    this.#issue(session, now);
    return session;
  }

  close(session: DriverSession, said = GONE): void {
    this.#ended.keep(session.token, said);
    this.#byToken.delete(session.token);
    this.#byMaster.delete(session.master);
  }

  find({ headers, now }: ApiCall): DriverSession | Refused {
    const token = readToken(headers);
    const session = this.#byToken.get(token);
    if (session === undefined) return this.#ended.find(token) ?? UNKNOWN;
    return session.tokenEndsAt > now ? session : EXPIRED;
  }

  /** Gives new tokens for the master token. */
  renew({ headers, now }: ApiCall): Response {
    const session = this.#byMaster.get(readToken(headers));
    if (session === undefined) return refuse("390113", "The master token is unknown.");
    if (session.masterEndsAt <= now) return refuse("390114", "Authentication token has expired. Please login again.");
    this.close(session, EXPIRED);
    this.#issue(session, now);
    return succeed({
      sessionToken: session.token,
      validityInSecondsST: SESSION_TOKEN_MS / 1_000,
      masterToken: session.master,
      validityInSecondsMT: MASTER_TOKEN_MS / 1_000,
      sessionId: session.id,
    });
  }

  #issue(session: DriverSession, now: number): void {
    session.token = randomSecret("ver:3-hint:1-");
    session.master = randomSecret("ver:3-hint:2-");
    session.tokenEndsAt = now + SESSION_TOKEN_MS;
    session.masterEndsAt = now + MASTER_TOKEN_MS;
    this.#byToken.set(session.token, session);
    this.#byMaster.set(session.master, session);
  }
}

/** `Snowflake Token="…"`. */
function readToken(headers: Headers): string {
  const [scheme, value = ""] = splitOnce(headers.get("authorization") ?? "", " ");
  return scheme === "Snowflake" ? (/^Token="([^"]*)"$/.exec(value)?.[1] ?? "") : "";
}

const TYPES = { text: "text", number: "real", boolean: "boolean" } as const;

function describeRows({ columns, rows }: StatementResult): Readonly<Record<string, unknown>> {
  return {
    parameters: [],
    rowtype: columns.map(({ name, type }) => ({ name, type: TYPES[type], nullable: true })),
    rowset: rows.map((row) => row.map((cell) => cell ?? null)),
    // Without these the driver waits for ever.
    total: rows.length,
    returned: rows.length,
    queryId: crypto.randomUUID(),
    queryResultFormat: "json",
    version: 1,
  };
}

function succeed(data: unknown): Response {
  return jsonResponse({ data, code: null, message: null, success: true });
}

/** Drivers read refusals out of the body; the status is 200. */
function refuse(code: string, message: string, data: unknown = null): Response {
  return jsonResponse({ data, code, message, success: false });
}

/** A refused login carries a number that an administrator looks up. */
function refuseLogin(code: string, message: string): Response {
  return refuse(code, `${message} [${crypto.randomUUID()}]`, { nextAction: "RETRY_LOGIN", authnMethod: "OAUTH" });
}
