/**
 * Follows a promise until the signal aborts: then the promise given out is rejected with the signal's reason, untouched,
 * and the one that was followed goes on. Leaves nothing behind on a signal that outlives it.
 */
export function abortable<Value>(promise: Promise<Value>, signal: AbortSignal | undefined): Promise<Value> {
  if (signal === undefined) return promise;
  return new Promise<Value>((resolve, reject) => {
    const onAbort = (): void => {
      reject(signal.reason as Error);
    };
    if (signal.aborted) onAbort();
    signal.addEventListener("abort", onAbort, { once: true });
    const onSettled = (): void => {
      signal.removeEventListener("abort", onAbort);
    };
    promise.then(resolve, reject);
    promise.then(onSettled, onSettled);
  });
}
