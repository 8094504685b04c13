/**
 * A fake warehouse as handlers of msw.
 *
 * @module
 */

/** What is used of `msw`: its `http` namespace. Versions 2 and later fit. */
export interface MswHttp<Handler> {
  /** Makes a handler for every method at the addresses that fit. */
  all(predicate: string, resolver: (info: { request: Request }) => Promise<Response>): Handler;
}

/** What is used of a fake. */
export interface MswFake {
  /** Everywhere it answers. */
  readonly origins: readonly string[];
  /** Answers a request. */
  handle(request: Request): Promise<Response>;
}

/**
 * Makes `msw` handlers that put fakes in the place of the real warehouses: whatever the application under test sends
 * there with the global `fetch` is answered by the fake. Takes `msw` as a parameter, so this package does not need it.
 *
 * @example
 *
 * ```ts
 * import { http } from "msw";
 * import { setupServer } from "msw/node";
 * import { fakeBigQuery, fakeSnowflake } from "warehouse-oauth/testing";
 * import { mswHandlers } from "warehouse-oauth/testing/msw";
 *
 * const snowflake = fakeSnowflake({ account: "acme-prod" });
 * const server = setupServer(...mswHandlers({ http }, snowflake, fakeBigQuery()));
 * server.listen({ onUnhandledRequest: "error" });
 * ```
 */
export function mswHandlers<Handler>(
  msw: { readonly http: MswHttp<Handler> },
  ...fakes: readonly MswFake[]
): Handler[] {
  return fakes.flatMap((fake) =>
    fake.origins.map((origin) => msw.http.all(`${origin}/*`, ({ request }) => fake.handle(request))),
  );
}
