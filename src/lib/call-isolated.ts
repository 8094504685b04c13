/** Calls what somebody else wrote: if it throws, at once or later, it hurts nobody (requirements S-104). */
export function callIsolated<Values extends readonly unknown[]>(
  listener: (...values: Values) => unknown,
  ...values: Values
): void {
  try {
    const result = listener(...values);
    if (typeof result === "object" && result !== null) Promise.resolve(result).catch(() => undefined);
  } catch {
    // The listener's own affair.
  }
}
