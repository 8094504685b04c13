/**
 * BigQuery without a driver: `jobs.query` on top of a session's `fetch`, which attaches the token, replaces one that is
 * refused, and sends it nowhere else. Waits for queries that take their time, and reads all pages.
 *
 * For more than text and numbers, uploads or streams take `@google-cloud/bigquery`: see docs/warehouses/bigquery-driver.md.
 */
import type { TokenSession } from "warehouse-oauth";

/** One row; cells are text, as the API sends them, or `undefined` for null. */
export type Row = Readonly<Record<string, string | undefined>>;

/** BigQuery refused the query or a part of it. Holds the API's own reason, such as `invalidQuery`, and no text. */
export class BigQueryError extends Error {
  readonly status: number;
  readonly reason: string | undefined;

  constructor(status: number, reason: string | undefined) {
    super(`BigQuery answered status ${String(status)}${reason === undefined ? "" : `, ${reason}`}`);
    this.name = "BigQueryError";
    this.status = status;
    this.reason = reason;
  }
}

/** How a query runs. */
export interface QueryOptions {
  readonly projectId: string;
  /** Rows of one answer. Default is what fits into 10 MB. */
  readonly pageSize?: number;
  /** How long one request waits for the query before the next one asks again. Default is 10 000, the API's own. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/** Runs a query and gives its rows as they come, page after page. */
export async function* query(session: TokenSession, sql: string, options: QueryOptions): AsyncGenerator<Row> {
  const { projectId, pageSize, timeoutMs = 10_000, signal } = options;
  const path = `/bigquery/v2/projects/${encodeURIComponent(projectId)}/queries`;
  const waiting = signal === undefined ? {} : { signal };
  let answer = await read(
    session.fetch(path, {
      method: "POST",
      headers: { "content-type": "application/json" },
      // With the same id Google runs a repeated request once, whatever became of the first one's answer.
      body: JSON.stringify({
        query: sql,
        useLegacySql: false,
        requestId: crypto.randomUUID(),
        maxResults: pageSize,
        timeoutMs,
      }),
      ...waiting,
    }),
  );
  const { jobId, location } = answer.jobReference;
  for (;;) {
    const names = answer.schema?.fields.map(({ name }) => name) ?? [];
    for (const { f: cells } of answer.rows ?? []) {
      yield Object.fromEntries(cells.map(({ v }, at) => [names[at] ?? String(at), v ?? undefined]));
    }
    if (answer.jobComplete && answer.pageToken === undefined) return;
    // The same request asks for the next page, and once more for a query that is still running.
    const next = new URLSearchParams({ timeoutMs: String(timeoutMs) });
    if (location !== undefined) next.set("location", location);
    if (pageSize !== undefined) next.set("maxResults", String(pageSize));
    if (answer.pageToken !== undefined) next.set("pageToken", answer.pageToken);
    answer = await read(session.fetch(`${path}/${encodeURIComponent(jobId)}?${next.toString()}`, waiting));
  }
}

/** What `jobs.query` and `jobs.getQueryResults` answer (BigQuery API v2), where it concerns us. */
interface Answer {
  readonly jobReference: { readonly jobId: string; readonly location?: string };
  readonly jobComplete: boolean;
  readonly schema?: { readonly fields: readonly { readonly name: string }[] };
  readonly rows?: readonly { readonly f: readonly { readonly v: string | null }[] }[];
  readonly pageToken?: string;
}

async function read(sent: Promise<Response>): Promise<Answer> {
  const response = await sent;
  if (response.ok) return (await response.json()) as Answer;
  const { error } = (await response.json().catch(() => ({}))) as { error?: { errors?: { reason?: string }[] } };
  throw new BigQueryError(response.status, error?.errors?.[0]?.reason);
}
