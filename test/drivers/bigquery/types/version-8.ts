// As a user of version 8 writes it: no cast.
import { BigQuery, type BigQueryOptions } from "bigquery-8";
import type { TokenSession, TokenSource } from "warehouse-oauth";
import { bigQueryAuthClient, withBigQueryRetry, type BigQueryAuth } from "warehouse-oauth/bigquery/driver";

export async function query(session: TokenSession): Promise<number> {
  const bq = withBigQueryRetry(session, new BigQuery({ projectId: "acme", authClient: bigQueryAuthClient(session) }));
  const same: BigQuery = bq;
  const [rows] = await same.query({ query: "select @n as n", params: { n: 1 } });
  const [job] = await bq.createQueryJob("select 1");
  const [more] = await job.getQueryResults({ maxResults: 10 });
  const stream: NodeJS.ReadableStream = bq.createQueryStream("select 1");
  return rows.length + more.length + stream.listenerCount("data");
}

export function optionsApart(session: TokenSource): BigQueryOptions {
  const options: BigQueryOptions = { projectId: "acme", authClient: bigQueryAuthClient(session) };
  return options;
}

export function byShape(session: TokenSource): BigQueryAuth {
  return bigQueryAuthClient(session);
}

export function refused(session: TokenSource, bq: BigQuery): void {
  // @ts-expect-error not a place for an auth client
  const wrong: number = bigQueryAuthClient(session);
  // @ts-expect-error the session comes first
  withBigQueryRetry(bq, session);
  // @ts-expect-error nothing that sends requests
  withBigQueryRetry(session, { query: () => wrong });
}
