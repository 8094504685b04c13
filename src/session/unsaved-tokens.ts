import type { LeaseKeeper } from "./lease-keeper.ts";
import type { SessionRecord } from "./record.ts";

/** Tokens that a refresh brought and no store has yet. The old refresh token is spent: these are all there is. */
export interface UnsavedTokens {
  /** As it is to be written: a conflict may have taught us more than we knew when it came. */
  record: SessionRecord;
  /** The version to write over. */
  ifVersion: string | undefined;
  /** What was sent for them: only a record that still holds it may be written over. */
  readonly sentRefreshToken: string | undefined;
  /** Held until they are saved. */
  readonly lease: LeaseKeeper;
  /** Failed tries to save. */
  attempts: number;
  /** Ends the wait before the next try. */
  cancelRetry?: () => void;
  /** Called when they are saved, or of no use any more. */
  onSettled?: () => void;
}
