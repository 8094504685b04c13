import type { FakeWarehouse } from "warehouse-oauth/testing";

const QUERIES: Readonly<Record<string, { readonly path: string; readonly body: object }>> = {
  snowflake: { path: "/api/v2/statements", body: { statement: "select 1" } },
  databricks: { path: "/api/2.0/sql/statements", body: { statement: "select 1", warehouse_id: "w" } },
  bigquery: { path: "/bigquery/v2/projects/fake-project/queries", body: { query: "select 1" } },
};

/** The smallest query at each warehouse. */
export function queryRequest(fake: FakeWarehouse<never>, token: string | undefined, body?: object): Request {
  const query = QUERIES[fake.warehouse.id];
  return new Request(`${fake.origin}${query?.path ?? ""}`, {
    method: "POST",
    headers: {
      "content-type": "application/json",
      ...(token !== undefined && { authorization: `Bearer ${token}` }),
    },
    body: JSON.stringify(body ?? query?.body),
  });
}

export function query(fake: FakeWarehouse<never>, token: string | undefined, body?: object): Promise<Response> {
  return fake.handle(queryRequest(fake, token, body));
}
