import { createAssertion } from "./assertion.ts";
import type { SigningKey } from "./assertion.ts";
import { resolveSecret } from "./client-authentication.ts";
import type { Secret } from "./client-authentication.ts";
import { internalsOf } from "./client.ts";
import type { OAuthClient } from "./client.ts";
import { ConfigurationError } from "./errors.ts";
import { invalidArgument } from "../lib/invalid-argument.ts";
import { createTokenSet } from "./granted-tokens.ts";
import { assertScopes, formatScopes } from "./scopes.ts";
import { requestTokens } from "./token-request.ts";
import type { TokenSet } from "./token-set.ts";
import type { SignalOptions } from "./transport.ts";

/** Options of {@link clientCredentials}. */
export interface ClientCredentialsOptions extends SignalOptions {
  /** Default is `Warehouse.machineScopes`. */
  readonly scopes?: readonly string[];
  /** RFC 8707. */
  readonly resource?: string;
}

/**
 * Gets tokens for the client itself (RFC 6749 §4.4). Fits the `obtain` option of a session as it is.
 *
 * @throws {@link ConfigurationError} `grant_unsupported` where the warehouse has no such grant;
 * `TokenEndpointError`; `RateLimitError`; `TransportError`.
 *
 * @example
 *
 * ```ts
 * import { clientCredentials, createClient } from "warehouse-oauth";
 * import { databricks } from "warehouse-oauth/databricks";
 *
 * declare const secret: string;
 *
 * const client = createClient({
 *   warehouse: databricks({ host: "acme.cloud.databricks.com" }),
 *   clientId: "service-principal-id",
 *   clientSecret: secret,
 * });
 * const tokens = await clientCredentials(client);
 * ```
 */
export async function clientCredentials(client: OAuthClient, options?: ClientCredentialsOptions): Promise<TokenSet> {
  const scopes = machineScopes(client, options?.scopes);
  const answer = await requestTokens(client, {
    grant: "client_credentials",
    parameters: { ...scopeParameter(scopes), ...(options?.resource !== undefined && { resource: options.resource }) },
    signal: options?.signal,
  });
  return createTokenSet(client, answer, scopes);
}

/** Options of {@link exchangeToken}: whose token, and for what (RFC 8693 §2.1). */
export interface ExchangeTokenOptions extends SignalOptions {
  /** The token that stands for the subject. */
  readonly subjectToken: Secret;
  /** A URN: `urn:ietf:params:oauth:token-type:jwt` and others (RFC 8693 §3). */
  readonly subjectTokenType: string;
  /** Who acts for the subject. */
  readonly actor?: { readonly token: Secret; readonly tokenType: string };
  /** Default is the server's choice. */
  readonly requestedTokenType?: string;
  /** Who the token is for, by name. */
  readonly audience?: string;
  /** Who the token is for, by address (RFC 8707). */
  readonly resource?: string;
  /** Default is `Warehouse.machineScopes`. */
  readonly scopes?: readonly string[];
}

/**
 * Exchanges one token for another (RFC 8693): token federation, on-behalf-of. Errors as {@link clientCredentials}.
 *
 * @throws {@link ConfigurationError}, `TokenEndpointError`, `RateLimitError`, `TransportError`.
 *
 * @example
 *
 * ```ts
 * import { exchangeToken, type OAuthClient } from "warehouse-oauth";
 *
 * declare const client: OAuthClient;
 * declare function ciToken(): Promise<string>;
 *
 * const tokens = await exchangeToken(client, {
 *   subjectToken: ciToken,
 *   subjectTokenType: "urn:ietf:params:oauth:token-type:jwt",
 *   scopes: ["sql"],
 * });
 * ```
 */
export async function exchangeToken(client: OAuthClient, options: ExchangeTokenOptions): Promise<TokenSet> {
  const { actor, audience, resource, requestedTokenType, subjectTokenType } = options;
  const scopes = machineScopes(client, options.scopes);
  assertText(subjectTokenType, "subjectTokenType");
  const answer = await requestTokens(client, {
    grant: "token_exchange",
    parameters: async () => ({
      subject_token: await resolveSecret(options.subjectToken, "subjectToken"),
      subject_token_type: subjectTokenType,
      ...(actor !== undefined && {
        actor_token: await resolveSecret(actor.token, "actor.token"),
        actor_token_type: assertText(actor.tokenType, "actor.tokenType"),
      }),
      ...(requestedTokenType !== undefined && { requested_token_type: requestedTokenType }),
      ...(audience !== undefined && { audience }),
      ...(resource !== undefined && { resource }),
      ...scopeParameter(scopes),
    }),
    signal: options.signal,
  });
  return createTokenSet(client, answer, scopes);
}

/** A ready assertion, or a key with which we sign one for each attempt. */
export type JwtBearerOptions = SignalOptions & {
  /** Default is `Warehouse.machineScopes`. */
  readonly scopes?: readonly string[];
} & (
    | {
        /** A signed assertion of one's own. */
        readonly assertion: Secret;
        readonly key?: never;
      }
    | {
        /** Signs an assertion for each attempt. */
        readonly key: SigningKey;
        /** Header `kid`. Default is absent. */
        readonly keyId?: string;
        /** Claim `iss`: a service account's address, for example. */
        readonly issuer: string;
        /** Claim `sub`. Default is absent. */
        readonly subject?: string;
        /** Claim `aud`. Default is the token endpoint. */
        readonly audience?: string;
        readonly assertion?: never;
      }
  );

/** Life of an assertion that stands for a service account: a few minutes, for clocks that differ (requirements S-037). */
const GRANT_ASSERTION_LIFETIME_MS = 300_000;

/**
 * Gets tokens for a signed assertion (RFC 7523 §2.1): service accounts. Errors as {@link clientCredentials}.
 *
 * @throws {@link ConfigurationError}, `TokenEndpointError`, `RateLimitError`, `TransportError`.
 *
 * @example
 *
 * ```ts
 * import { createClient, jwtBearer } from "warehouse-oauth";
 * import { bigquery } from "warehouse-oauth/bigquery";
 *
 * declare const serviceAccountKey: string;
 *
 * const account = "loader@acme.iam.gserviceaccount.com";
 * const client = createClient({ warehouse: bigquery(), clientId: account });
 * const tokens = await jwtBearer(client, { issuer: account, key: serviceAccountKey });
 * ```
 */
export async function jwtBearer(client: OAuthClient, options: JwtBearerOptions): Promise<TokenSet> {
  const scopes = machineScopes(client, options.scopes);
  const answer = await requestTokens(client, {
    grant: "jwt_bearer",
    parameters: async () => ({ assertion: await assertionFor(client, options, scopes), ...scopeParameter(scopes) }),
    signal: options.signal,
  });
  return createTokenSet(client, answer, scopes);
}

async function assertionFor(
  client: OAuthClient,
  options: JwtBearerOptions,
  scopes: readonly string[],
): Promise<string> {
  if (options.assertion !== undefined) return resolveSecret(options.assertion, "assertion");
  const sign = createAssertion({ key: options.key, keyId: options.keyId });
  const claims = {
    iss: assertText(options.issuer, "issuer"),
    aud: options.audience ?? client.warehouse.tokenEndpoint,
    ...(options.subject !== undefined && { sub: options.subject }),
    // Google reads the scopes from the assertion, others from the form.
    ...(scopes.length > 0 && { scope: formatScopes(scopes) }),
  };
  return sign(claims, { now: internalsOf(client).clock.now(), lifetimeMs: GRANT_ASSERTION_LIFETIME_MS });
}

function machineScopes(client: OAuthClient, scopes: readonly string[] | undefined): readonly string[] {
  internalsOf(client);
  if (scopes !== undefined) assertScopes(scopes, "scopes");
  return scopes ?? client.warehouse.machineScopes;
}

function scopeParameter(scopes: readonly string[]): { readonly scope?: string } {
  return scopes.length === 0 ? {} : { scope: formatScopes(scopes) };
}

function assertText(value: unknown, option: string): string {
  if (typeof value !== "string") throw invalidArgument(`"${option}" must be a string`);
  if (value === "") throw new ConfigurationError("config_invalid", `"${option}" must not be empty`, option);
  return value;
}
