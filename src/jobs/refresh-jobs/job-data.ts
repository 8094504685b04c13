import { hexOf } from "../../lib/hex.ts";

/** What a job carries. Holds no secret; the key has the application's subject and tenant in it. */
export interface RefreshJobData {
  /** `TokenSession.key`. */
  readonly key: string;
  /** Refreshes that failed in a row; absent for none. */
  readonly failures?: number;
}

/** Reads what came back from a queue, field by field; `undefined` if it is no job of ours. */
export function readJobData(data: unknown): RefreshJobData | undefined {
  if (typeof data !== "object" || data === null) return undefined;
  const key = Object.hasOwn(data, "key") ? (data as { readonly key?: unknown }).key : undefined;
  if (typeof key !== "string" || key === "") return undefined;
  const failures = Object.hasOwn(data, "failures") ? (data as { readonly failures?: unknown }).failures : undefined;
  const isCount = typeof failures === "number" && Number.isSafeInteger(failures) && failures > 0;
  return isCount ? { key, failures } : { key };
}

/**
 * Names the one waiting job of a session: SHA-256 of its key in hex, the same in every process. Queues write such names
 * into ids, events and logs, and BullMQ takes no colon in an id.
 */
export async function jobIdOf(key: string): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(key)));
  return hexOf(digest);
}
