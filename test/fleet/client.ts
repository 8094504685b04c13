import { createClient, defineWarehouse } from "warehouse-oauth";
import type { Clock, Fetch, OAuthClient } from "warehouse-oauth";

/** The client that harness and workers share: the same connection, so the same sessions. */
export function clientOf(
  { issuer, tokenEndpoint }: { readonly issuer: string; readonly tokenEndpoint: string },
  options: { readonly fetch?: Fetch; readonly clock?: Clock } = {},
): OAuthClient {
  const warehouse = defineWarehouse({
    id: "acme",
    issuer,
    tokenEndpoint,
    grants: ["refresh_token"],
    refreshRotation: "single-use",
  });
  return createClient({ warehouse, clientId: "fleet", allowLoopbackHttp: true, ...options });
}
