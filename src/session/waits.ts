import { TransportError } from "../core/index.ts";
import type { Clock } from "../lib/clock.ts";
import { setDeadline } from "../lib/deadline.ts";

/** What a wait heeds. */
export interface WaitOptions {
  /** Somebody waits for the outcome: the process must not end before. Default is `false`. */
  readonly keepAlive?: boolean;
  readonly signal?: AbortSignal;
}

/** Waits. @throws The signal's reason as soon as it aborts. */
export function sleep(clock: Clock, delayMs: number, { keepAlive = false, signal }: WaitOptions = {}): Promise<void> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => {
      cancel();
      reject(signal?.reason as Error);
    };
    const cancel = clock.setTimer(
      () => {
        signal?.removeEventListener("abort", onAbort);
        resolve();
      },
      delayMs,
      { keepAlive },
    );
    if (signal?.aborted === true) onAbort();
    else signal?.addEventListener("abort", onAbort, { once: true });
  });
}

/**
 * Gives work a time limit, and says when that is over.
 *
 * @throws {@link TransportError} `timeout` with this message; what the work throws.
 */
export async function inTime<T>(
  clock: Clock,
  limitMs: number,
  message: string,
  work: Promise<T>,
  onLate?: () => void,
): Promise<T> {
  let cancel = (): void => undefined;
  const late = new Promise<never>((_resolve, reject) => {
    cancel = setDeadline(clock, limitMs, () => {
      reject(new TransportError("timeout", message));
      onLate?.();
    });
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    cancel();
  }
}
