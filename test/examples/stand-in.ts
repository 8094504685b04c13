import { onTestFinished, vi } from "vitest";
import type { FakeWarehouse } from "warehouse-oauth/testing";

/** A request as it would have left this machine. */
export interface SentRequest {
  readonly url: string;
  readonly authorization: string | null;
  readonly body: string;
}

/**
 * Puts a fake in the place of a real warehouse until the test ends, and gives what is sent there. This machine is
 * reached as ever; a request to anywhere else is an error. For programs that take no `fetch`.
 */
export function standInFor(fake: FakeWarehouse<object>): readonly SentRequest[] {
  const sent: SentRequest[] = [];
  const network = globalThis.fetch;
  vi.stubGlobal("fetch", async (input: string | URL | Request, init?: RequestInit): Promise<Response> => {
    const { hostname, origin } = new URL(input instanceof Request ? input.url : input);
    if (hostname === "127.0.0.1") return network(input, init);
    if (!fake.origins.includes(origin)) throw new TypeError(`nobody has business at ${origin}`);
    const request = new Request(input, init);
    const { url, headers } = request;
    sent.push({ url, authorization: headers.get("authorization"), body: await request.clone().text() });
    return fake.handle(request);
  });
  onTestFinished(() => {
    vi.unstubAllGlobals();
  });
  return sent;
}
