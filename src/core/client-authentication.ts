import { createAssertion } from "./assertion.ts";
import type { AssertionAlgorithm, SigningKey } from "./assertion.ts";
import { ConfigurationError } from "./errors.ts";
import { invalidArgument } from "../lib/invalid-argument.ts";
import { percentEncode } from "../lib/percent-encode.ts";

/** A secret, or a function that gets it when it is needed (never cached by us). */
export type Secret = string | (() => string | Promise<string>);

/** A request to a token or revocation endpoint that is about to leave. Change `headers` or `body` to authenticate it. */
export interface UnauthenticatedRequest {
  /** The client's id at the warehouse. */
  readonly clientId: string;
  /** The warehouse's issuer identifier. */
  readonly issuer: string;
  /** Where the request goes. */
  readonly endpoint: string;
  /** What an assertion names as `aud`: the warehouse's own choice, else the issuer. */
  readonly audience: string;
  /** Header fields, without `Authorization`. */
  readonly headers: Headers;
  /** The form, without credentials. */
  readonly body: URLSearchParams;
  /** Wall clock of the client, epoch milliseconds. */
  readonly now: number;
}

/** How a client proves who it is (RFC 6749 §2.3). Called once for each attempt. */
export type ClientAuthentication = (request: UnauthenticatedRequest) => void | Promise<void>;

/** Checks a secret given by a caller, as far as that can be done without asking for it. */
function assertSecret(secret: unknown, option: string): asserts secret is Secret {
  if (typeof secret === "function") return;
  if (typeof secret !== "string") throw invalidArgument(`"${option}" must be a string or a function that gives one`);
  if (secret === "") throw emptySecret(option);
}

function emptySecret(option: string): ConfigurationError {
  const hint = option === "clientSecret" ? "; for a public client leave it out" : "";
  return new ConfigurationError("config_invalid", `"${option}" is empty${hint}`, option);
}

/**
 * Gets a secret when it is needed.
 *
 * @throws {@link ConfigurationError} `config_invalid` if the function gives nothing; whatever the function throws.
 */
export async function resolveSecret(secret: Secret, option: string): Promise<string> {
  assertSecret(secret, option);
  if (typeof secret === "string") return secret;
  const value: unknown = await secret();
  if (typeof value !== "string") throw invalidArgument(`the function "${option}" must give a string`);
  if (value === "") throw emptySecret(option);
  return value;
}

/**
 * Sends the secret in the body (RFC 6749 §2.3.1, `client_secret_post`).
 *
 * @throws {@link ConfigurationError} `config_invalid` for an empty secret.
 *
 * @example
 *
 * ```ts
 * import { clientSecretPost, createClient } from "warehouse-oauth";
 * import { databricks } from "warehouse-oauth/databricks";
 *
 * declare const secretFromVault: () => Promise<string>;
 *
 * const client = createClient({
 *   warehouse: databricks({ host: "acme.cloud.databricks.com" }),
 *   clientId: "client-id",
 *   clientAuthentication: clientSecretPost(secretFromVault),
 * });
 * ```
 */
export function clientSecretPost(secret: Secret): ClientAuthentication {
  assertSecret(secret, "clientSecret");
  return async ({ clientId, body }) => {
    body.set("client_id", clientId);
    body.set("client_secret", await resolveSecret(secret, "clientSecret"));
  };
}

/**
 * Sends the secret in the `Authorization` header (RFC 6749 §2.3.1, `client_secret_basic`). Unreserved characters
 * stay literal and the rest is percent-encoded, which servers that decode and servers that do not both understand for
 * nearly every secret; `encoding: "raw"` encodes nothing.
 *
 * @throws {@link ConfigurationError} `config_invalid` for an empty secret, or a client id with `:` under `"raw"`.
 *
 * @example
 *
 * ```ts
 * import { clientSecretBasic, createClient, type Warehouse } from "warehouse-oauth";
 *
 * declare const warehouse: Warehouse;
 *
 * const client = createClient({
 *   warehouse,
 *   clientId: "client-id",
 *   clientAuthentication: clientSecretBasic("secret", { encoding: "raw" }),
 * });
 * ```
 */
export function clientSecretBasic(
  secret: Secret,
  options?: { readonly encoding?: "form" | "raw" },
): ClientAuthentication {
  assertSecret(secret, "clientSecret");
  const encoding = options?.encoding ?? "form";
  if (!["form", "raw"].includes(encoding)) {
    throw new ConfigurationError("config_invalid", '"encoding" must be "form" or "raw"', "encoding");
  }
  return async ({ clientId, headers }) => {
    if (encoding === "raw" && clientId.includes(":")) {
      throw new ConfigurationError(
        "config_invalid",
        'a client id with ":" cannot be sent with "encoding: raw": nobody could tell where the secret begins',
        "clientId",
      );
    }
    const encode = encoding === "raw" ? (text: string): string => text : percentEncode;
    const secretText = await resolveSecret(secret, "clientSecret");
    headers.set("authorization", `Basic ${base64Utf8(`${encode(clientId)}:${encode(secretText)}`)}`);
  };
}

function base64Utf8(text: string): string {
  return btoa(Array.from(new TextEncoder().encode(text), (byte) => String.fromCharCode(byte)).join(""));
}

/** How long an assertion lives: long enough for one attempt and two clocks (requirements S-037, S-051). */
const DEFAULT_ASSERTION_LIFETIME_MS = 60_000;

/** Longest life of an assertion (requirements S-051). */
const MAX_ASSERTION_LIFETIME_MS = 300_000;

/**
 * Sends a signed assertion with a fresh `jti` for each attempt (RFC 7523 §2.2, `private_key_jwt`).
 * Default `audience` is the warehouse's own choice or its issuer; default `lifetimeMs` is 60 000, at most 300 000.
 *
 * @throws {@link ConfigurationError} `config_invalid` for a key or lifetime that cannot be used.
 *
 * @example
 *
 * ```ts
 * import { createClient, privateKeyJwt } from "warehouse-oauth";
 * import { snowflake } from "warehouse-oauth/snowflake";
 *
 * declare const privateKeyPem: string;
 *
 * const client = createClient({
 *   warehouse: snowflake({ account: "acme-prod" }),
 *   clientId: "client-id",
 *   clientAuthentication: privateKeyJwt(privateKeyPem, { keyId: "2026-11" }),
 * });
 * ```
 */
export function privateKeyJwt(
  key: SigningKey,
  options: {
    readonly keyId?: string;
    readonly algorithm?: AssertionAlgorithm;
    readonly audience?: string;
    readonly lifetimeMs?: number;
  } = {},
): ClientAuthentication {
  const { keyId, algorithm, audience, lifetimeMs = DEFAULT_ASSERTION_LIFETIME_MS } = options;
  if (typeof lifetimeMs !== "number") throw invalidArgument('"lifetimeMs" must be a number');
  if (!(lifetimeMs >= 1_000 && lifetimeMs <= MAX_ASSERTION_LIFETIME_MS)) {
    throw new ConfigurationError("config_invalid", '"lifetimeMs" must be 1 000 to 300 000', "lifetimeMs");
  }
  const sign = createAssertion({ key, keyId, algorithm });
  return async (request) => {
    request.body.set("client_id", request.clientId);
    request.body.set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
    const claims = { iss: request.clientId, sub: request.clientId, aud: audience ?? request.audience };
    request.body.set("client_assertion", await sign(claims, { now: request.now, lifetimeMs }));
  };
}

/**
 * Sends only the client id: a public client (RFC 6749 §2.1).
 *
 * @example
 *
 * ```ts
 * import { createClient, none } from "warehouse-oauth";
 * import { snowflake } from "warehouse-oauth/snowflake";
 *
 * const client = createClient({
 *   warehouse: snowflake({ account: "acme-prod" }),
 *   clientId: "LOCAL_APPLICATION",
 *   clientAuthentication: none(),
 * });
 * ```
 */
export function none(): ClientAuthentication {
  return ({ clientId, body }) => {
    body.set("client_id", clientId);
  };
}
