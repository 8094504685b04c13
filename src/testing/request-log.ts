import { base64url } from "jose";
import type { Grant } from "../core/index.ts";
import type { FakeEndpoint } from "./fault.ts";

/** A request the fake saw, secrets cut to a short fingerprint that is equal for equal secrets. */
export interface FakeRequest {
  /** Which endpoint it reached. What no endpoint knows counts as `api`. */
  readonly at: FakeEndpoint;
  /** What was asked for at `token`. */
  readonly grant: Grant | undefined;
  /** When it arrived, by the fake's clock. */
  readonly time: number;
  /** What was answered, or that the connection broke first. */
  readonly status: number | "dropped";
  /** Query and form; at `api` method, path and the fingerprint of the token. */
  readonly parameters: Readonly<Record<string, string>>;
}

/** Parameters that hold no secret. Every other one is shown as a fingerprint: a list of secrets would have gaps. */
const PLAIN: ReadonlySet<string> = new Set([
  "access_type",
  "actor_token_type",
  "audience",
  "client_assertion_type",
  "client_id",
  "code_challenge",
  "code_challenge_method",
  "enable_single_use_refresh_tokens",
  "grant_type",
  "hd",
  "include_granted_scopes",
  "login_hint",
  "prompt",
  "redirect_uri",
  "requested_token_type",
  "resource",
  "response_mode",
  "response_type",
  "scope",
  "subject_token_type",
  "token_type_hint",
]);

/** 9 bytes are 12 characters: enough to tell secrets apart in a test, useless to somebody who wants to guess one. */
const FINGERPRINT_BYTES = 9;

/** Cuts a secret to a short SHA-256 fingerprint. */
async function fingerprint(secret: string): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(secret));
  return `sha256:${base64url.encode(new Uint8Array(digest, 0, FINGERPRINT_BYTES))}`;
}

/**
 * Makes request parameters fit to be shown.
 *
 * @internal
 */
export async function describeParameters(
  parameters: URLSearchParams,
  authorization: string | null,
): Promise<Readonly<Record<string, string>>> {
  const shown: [string, string][] = [];
  for (const [name, value] of parameters) {
    shown.push([name, PLAIN.has(name) ? value : await fingerprint(value)]);
  }
  if (authorization !== null) {
    const [scheme, credentials = ""] = splitOnce(authorization, " ");
    // Without a known scheme in front, all of it may be the secret.
    const known = /^(?:basic|bearer)$/i.test(scheme);
    shown.push([
      "authorization",
      known ? `${scheme} ${await fingerprint(credentials)}` : await fingerprint(authorization),
    ]);
  }
  return Object.freeze(Object.fromEntries(shown));
}

/** One line of the log, filled in when the outcome is known. */
interface Entry {
  readonly at: FakeEndpoint;
  readonly time: number;
  request: FakeRequest | undefined;
}

/**
 * Remembers requests in the order of arrival.
 *
 * @internal
 */
export class RequestLog {
  readonly #entries: Entry[] = [];

  /** Opens a line, and gives the way to complete it. */
  open(at: FakeEndpoint, time: number): (outcome: Pick<FakeRequest, "grant" | "status" | "parameters">) => void {
    const entry: Entry = { at, time, request: undefined };
    this.#entries.push(entry);
    return ({ grant, status, parameters }) => {
      entry.request = Object.freeze({ at, grant, time, status, parameters });
    };
  }

  /** The requests whose outcome is decided. */
  get requests(): readonly FakeRequest[] {
    return Object.freeze(this.#entries.flatMap(({ request }) => (request === undefined ? [] : [request])));
  }
}

/** Splits text at the first separator. */
export function splitOnce(text: string, separator: string): readonly [string, string | undefined] {
  const at = text.indexOf(separator);
  return at === -1 ? [text, undefined] : [text.slice(0, at), text.slice(at + separator.length)];
}
