/**
 * Makes the error for an argument of the wrong JavaScript type or no finite number: a `TypeError` with the code
 * `invalid_argument`. Lives here because this room imports nothing of the others.
 */
export function invalidArgument(message: string): TypeError & { readonly code: "invalid_argument" } {
  return Object.assign(new TypeError(message), { code: "invalid_argument" as const });
}
