import { OAuthError, type ErrorAction, type ErrorCode } from "warehouse-oauth";
import { QueryError, UnreachableError } from "../query.ts";

/** An error in words: what happened, and what to do. */
export interface Explanation {
  readonly title: string;
  /** The stable name that a program would switch on; `undefined` for what is not the library's. */
  readonly code: string | undefined;
  readonly kind: string;
  readonly message: string;
  readonly what: string;
  readonly todo: string;
}

const WHAT: Partial<Readonly<Record<ErrorCode, readonly [title: string, what: string]>>> = {
  authorization_denied: [
    "You declined, and nothing happened",
    "The warehouse sent you back with “access_denied”. The callback passed every check first: even a refusal must come from the right server and belong to this browser. There was no code, so nobody asked for tokens.",
  ],
  transaction_not_found: [
    "Nobody here began this login",
    "The callback names a login that this browser did not begin, or that was finished before. This is what a forged callback looks like, and a used one. Its code was not sent anywhere.",
  ],
  callback_state_mismatch: [
    "This callback answers another request",
    "Its “state” is not one that this application makes. A page that sends your browser here with its own code cannot know the right one.",
  ],
  callback_state_missing: [
    "This callback answers no request",
    "It has no “state”, so nothing ties it to a login of this browser.",
  ],
  callback_param_duplicated: [
    "This callback says two things at once",
    "A parameter is there more than once. Two readers might pick different ones, so none is picked.",
  ],
  callback_issuer_mismatch: [
    "Another server answered",
    "The callback says that it comes from another authorization server than the one you were sent to. That is a mix-up attack, or a wrong configuration.",
  ],
  transaction_expired: ["That took too long", "A login waits ten minutes for its answer. Then it is over."],
  reauthorization_required: [
    "The grant is dead: a person must sign in again",
    "The warehouse answered that the refresh token is no longer good. No retry will change that.",
  ],
  server_unavailable: [
    "The token endpoint is not well",
    "It answered with a status that passes. A 503 uses no refresh token up: the tokens are still yours, and nobody has to sign in again because of it.",
  ],
  rate_limited: ["Too many requests", "The warehouse asks to wait. The tokens are still good."],
  network_error: ["The warehouse cannot be reached", "No answer came from it."],
  timeout: ["The warehouse takes too long", "No answer came in time."],
  client_auth_failed: [
    "The warehouse does not know this application",
    "It refused the client id or the client secret. Signing in again does not help; the registration must be put right.",
  ],
};

const NEXT_STEPS: Readonly<Record<ErrorAction, string>> = {
  retry: "Try again in a moment.",
  reauthorize: "Sign in again.",
  fix_config: "Put the registration or the configuration right, then begin again.",
  none: "Nothing is broken. Begin again whenever you like.",
};

/** How a warehouse says that a token is good and allows too little. */
const FORBIDDEN = 403;

/**
 * Puts an error into words. The message of an unknown error is not shown: nobody knows what is in it.
 *
 * @param lacking Scopes that were not granted and that a query may need.
 */
export function explain(error: unknown, lacking: readonly string[] = []): Explanation {
  if (OAuthError.is(error)) {
    const [title, what] = WHAT[error.code] ?? ["That did not work", ""];
    return { title, code: error.code, kind: error.name, message: error.message, what, todo: NEXT_STEPS[error.action] };
  }
  if (error instanceof QueryError) {
    const { name: kind, message, status } = error;
    if (status === FORBIDDEN && !error.tokenRejected && lacking.length > 0) {
      return {
        title: "The access token does not allow queries",
        code: undefined,
        kind,
        message: `${message} with status ${String(status)}`,
        what: `This login was not granted ${lacking.join(" ")}. A refresh does not change what was granted.`,
        todo: "Sign in again, and grant it.",
      };
    }
    return error.tokenRejected
      ? {
          title: "The warehouse refused the access token",
          code: undefined,
          kind,
          message: `${message} with status ${String(status)}`,
          what: "The token looked fresh here, but the warehouse ended it without a word. The adapter knows how this warehouse says so.",
          todo: "Refresh, and run the query again.",
        }
      : { title: "The query did not work", code: undefined, kind, message, what: "", todo: "Look at the statement." };
  }
  if (error instanceof UnreachableError) {
    const { name: kind, message } = error;
    const what = "No answer came from it. The tokens are still good: nobody has to sign in again because of it.";
    return { title: "The warehouse cannot be reached", code: undefined, kind, message, what, todo: NEXT_STEPS.retry };
  }
  const what = "Something went wrong that the library has no name for.";
  return {
    title: "That did not work",
    code: undefined,
    kind: "Error",
    message: "unexpected",
    what,
    todo: NEXT_STEPS.retry,
  };
}
