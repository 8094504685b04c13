/**
 * The room's inner door: the protocol, stateless, over web APIs only.
 *
 * @module
 */
export { createAuthorizationRequest } from "./authorization-request.ts";
export type { AuthorizationRequestOptions, PendingAuthorization } from "./authorization-request.ts";
export type { AssertionAlgorithm, SigningKey } from "./assertion.ts";
export { validateCallback } from "./callback.ts";
export type { ValidatedCallback } from "./callback.ts";
export { clientSecretBasic, clientSecretPost, none, privateKeyJwt } from "./client-authentication.ts";
export type { ClientAuthentication, Secret, UnauthenticatedRequest } from "./client-authentication.ts";
export { createClient, internalsOf, parseConnectionId } from "./client.ts";
export type { ClientBase, ClientInternals, ClientOptions, ConnectionParts, OAuthClient } from "./client.ts";
export { isLoopbackHttp } from "./endpoint-url.ts";
export { exchangeCode } from "./code-exchange.ts";
export { discover } from "./discovery.ts";
export type { DiscoverOptions } from "./discovery.ts";
export {
  CallbackError,
  CircuitOpenError,
  ConfigurationError,
  ERROR_ACTIONS,
  OAuthError,
  RateLimitError,
  ReauthorizationRequiredError,
  SessionClosedError,
  StoreError,
  TokenEndpointError,
  TransportError,
} from "./errors.ts";
export type {
  AnyOAuthError,
  CallbackErrorCode,
  ConfigurationErrorCode,
  ErrorAction,
  ErrorCode,
  RateLimitErrorCode,
  ReauthorizationCause,
  ReauthorizationErrorCode,
  SanitizedCause,
  StoreErrorCode,
  TokenEndpointErrorCode,
  TransportErrorCode,
} from "./errors.ts";
export type { Clock } from "../lib/clock.ts";
export { invalidArgument } from "../lib/invalid-argument.ts";
export { missingScopes, requireScopes } from "./granted-scopes.ts";
export { assertKnownOptions } from "./known-options.ts";
export { clientCredentials, exchangeToken, jwtBearer } from "./machine-grants.ts";
export type { ClientCredentialsOptions, ExchangeTokenOptions, JwtBearerOptions } from "./machine-grants.ts";
export { createPkce } from "./pkce.ts";
export type { Pkce } from "./pkce.ts";
export { attemptRefresh, refreshTokens } from "./refresh.ts";
export type { RefreshOutcome, RefreshTokensOptions } from "./refresh.ts";
export { revokeTokens } from "./revocation.ts";
export type { RevocationOutcome, RevocationResult } from "./revocation.ts";
export { describeScopes } from "./scope-descriptions.ts";
export type { ScopeDescription } from "./scope-descriptions.ts";
export { formatScopes, isScope, parseScopes } from "./scopes.ts";
export { rescuedRefreshToken } from "./token-response.ts";
export { TokenSet, exportTokens, importTokens } from "./token-set.ts";
export type { ExportedTokens, RedactedTokens, WarehouseUser } from "./token-set.ts";
export { READ_WITHIN } from "./transport.ts";
export type { AnswerHeaders, BoundedResponse, Fetch, SignalOptions } from "./transport.ts";
export { defineWarehouse } from "./warehouse.ts";
export type {
  ApiAnswer,
  Grant,
  LoginOptions,
  LoginRequest,
  RefreshRotation,
  ScopeFact,
  ScopeLevel,
  TokenFailure,
  TokenFailureClass,
  Warehouse,
  WarehouseDefinition,
} from "./warehouse.ts";
