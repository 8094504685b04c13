/**
 * The room's inner door: tokens over time.
 *
 * @module
 */
export type { ConcurrencyOptions } from "./endpoint-gate.ts";
export type { ConnectionEvent, OneSessionEvent, RefreshReason, SessionEvent } from "./events.ts";
export { memoryStore } from "./memory-store.ts";
export type { RefreshOptions } from "./refresh-policy.ts";
export type { RetryOptions } from "./retry.ts";
export type { ResolveClient } from "./session-directory.ts";
export type { Background } from "./session-engine.ts";
export type { Obtain } from "./session-entry.ts";
export type { SessionDescription, SessionIdentity } from "./session-key.ts";
export type { SessionStatus } from "./session-status.ts";
export type { Lease, StoredRecord, TokenStore } from "./store.ts";
export { TokenManager, rotateWithoutLease } from "./token-manager.ts";
export type { SessionOptions, TokenManagerOptions } from "./token-manager.ts";
export { TokenSession } from "./token-session.ts";
export type { GetAccessTokenOptions, TokenSource } from "./token-session.ts";
