import { TransportError } from "../core/index.ts";
import type { Clock } from "../lib/clock.ts";
import type { Flight } from "./flight.ts";

/** Waits; a caller that begins to wait cuts it short, and so does the end of the manager. */
export function sleep(clock: Clock, delayMs: number, flight?: Flight): Promise<void> {
  return new Promise((resolve, reject) => {
    const signal = flight?.cancel.signal;
    const done = (end: () => void): void => {
      cancel();
      flight?.onPromoted(undefined);
      signal?.removeEventListener("abort", onAbort);
      end();
    };
    const onAbort = (): void => {
      done(() => {
        reject(signal?.reason as Error);
      });
    };
    const cancel = clock.setTimer(
      () => {
        done(resolve);
      },
      delayMs,
      { keepAlive: flight?.foreground === true },
    );
    flight?.onPromoted(() => {
      done(resolve);
    });
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
    cancel = clock.setTimer(
      () => {
        reject(new TransportError("timeout", message));
        onLate?.();
      },
      limitMs,
      { keepAlive: true },
    );
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    cancel();
  }
}
