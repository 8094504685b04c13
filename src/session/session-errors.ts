import { ConfigurationError, ReauthorizationRequiredError, StoreError } from "../core/index.ts";
import type { ReauthorizationCause } from "../core/index.ts";
import type { SessionRecord } from "./record.ts";

/** The error of a session that nobody signed in, or that was signed out. */
export function absentError(record: SessionRecord | undefined): ReauthorizationRequiredError {
  const why = record?.state === "revoked" ? "this session was signed out" : "there are no tokens for this session";
  return new ReauthorizationRequiredError("refresh_token_absent", `${why}; sign in`);
}

const CAUSES: Readonly<Record<ReauthorizationCause, string>> = {
  refresh_token_dead: "the refresh token is used, expired or revoked",
  refresh_token_absent: "there is no refresh token, and the access token has ended",
  rotation_lost:
    "a refresh token was replaced, and its replacement got lost on the way; it may also be a sign of theft",
  absolute_lifetime_over: "the longest life of a login at this warehouse is over",
  interaction_required: "the warehouse, or its administrator, wants the person to sign in",
  connection_changed: "the stored tokens belong to another client or warehouse",
  key_removed: "the key that the tokens were sealed with is gone",
};

/** The error of a session for which a person must sign in again. */
export function reauthorizationError(cause: ReauthorizationCause): ReauthorizationRequiredError {
  return new ReauthorizationRequiredError(cause, `${CAUSES[cause]}; sign in again`);
}

/** The error of a logout that could not read what it wrote over. */
export function notRevoked({ code, operation, action }: StoreError): StoreError {
  return new StoreError(
    code,
    "signed out here, but the record could not be opened: its refresh token lives on at the warehouse and is to be ended there",
    operation,
    { action },
  );
}

/** The error of a store that cannot keep two processes from spending the same refresh token. */
export function incapableStore(): ConfigurationError {
  return new ConfigurationError(
    "store_incapable",
    'this warehouse replaces refresh tokens when they are used, which needs a store with compare-and-set and "lease"; ' +
      "without them two processes lose the session. The stores for PostgreSQL, Redis and files have both",
    "store",
  );
}
