import { ResultCache, type StatementResult } from "../statement-result.ts";
import { jsonResponse, parseJsonObject, type ApiCall, type WarehouseProfile } from "../warehouse-profile.ts";

const PREFIX = "https://www.googleapis.com/auth/";

/** Scopes with which `jobs.query`, `jobs.get` and `jobs.getQueryResults` work (BigQuery API discovery document v2, checked 2026-11-21). */
const QUERY_SCOPES: readonly string[] = [
  "bigquery",
  "cloud-platform",
  "cloud-platform.read-only",
  "bigquery.readonly",
].map((name) => PREFIX + name);

/** Scopes with which `jobs.insert` runs a query; those of Cloud Storage are for load jobs (the same document). */
const INSERT_SCOPES: readonly string[] = QUERY_SCOPES.slice(0, 2);

const METHODS = /^\/bigquery\/v2\/projects\/([^/]+)\/(queries|jobs)(?:\/([^/]+))?$/;

/** A query that ran. The fake runs it at once; who will not wait for it is told that it is not complete. */
interface Job {
  readonly jobId: string;
  readonly location: string;
  readonly query: string;
  readonly user: string;
  readonly result: StatementResult;
}

/** What a method works on. */
interface Context {
  readonly call: ApiCall;
  readonly projectId: string;
  readonly user: string;
  readonly jobs: ResultCache<Job>;
  readonly results: (user: string) => StatementResult;
}

/**
 * Makes what queries need of the BigQuery API v2: `jobs.query`, `jobs.insert` and `jobs.get` of a query, and
 * `jobs.getQueryResults`, with pages.
 *
 * @internal
 */
export function createBigQueryApi(
  projectId: string,
  results: (user: string) => StatementResult,
): WarehouseProfile["answer"] {
  const jobs = new ResultCache<Job>();
  return (call) => {
    const { token, method, url } = call;
    if (token.state === "missing") return credentialsMissing();
    if (token.state !== "good") return invalidCredentials(token.state === "expired");
    const { scopes, grant } = token.token;
    const [, project, collection, jobId] = METHODS.exec(url.pathname) ?? [];
    if (collection === undefined) return notFound("Not found.");
    const inserts = collection === "jobs" && jobId === undefined;
    const wanted = inserts ? INSERT_SCOPES : QUERY_SCOPES;
    if (!wanted.some((scope) => scopes.includes(scope))) return insufficientScope(wanted);
    if (project !== projectId) {
      const message = `Access Denied: Project ${String(project).slice(0, 64)}: User does not have bigquery.jobs.create permission.`;
      return apiError({ status: 403, reason: "accessDenied", state: "PERMISSION_DENIED", message });
    }
    const context: Context = { call, projectId, user: grant.user, jobs, results };
    if (jobId !== undefined) {
      const job = method === "GET" ? jobs.find(jobId) : undefined;
      if (job === undefined) return notFound("Not found: Job");
      return collection === "jobs" ? jsonResponse(describeJob(projectId, job)) : getQueryResults(context, job);
    }
    if (method !== "POST") {
      return apiError({ status: 405, reason: "httpMethodNotAllowed", state: "UNIMPLEMENTED", message: "Use POST." });
    }
    return inserts ? insertJob(context) : runQuery(context);
  };
}

function runQuery(context: Context): Response {
  const body = parseJsonObject(context.call.body) ?? {};
  const job = startJob(context, body["query"], `job_${crypto.randomUUID()}`, body["location"]);
  if (job === undefined) return required("query");
  const kind = "bigquery#queryResponse";
  // "timeoutMs" is how long to wait for the query, and zero is too little for any.
  if (body["timeoutMs"] === 0)
    return jsonResponse({ kind, jobReference: referenceOf(context, job), jobComplete: false });
  return pageOf(context, job, { kind, first: 0, size: body["maxResults"] });
}

function insertJob(context: Context): Response {
  const body = parseJsonObject(context.call.body);
  const { jobId = `job_${crypto.randomUUID()}`, location } = objectIn(body, "jobReference");
  const { query } = objectIn(objectIn(body, "configuration"), "query");
  if (typeof jobId !== "string" || !/^[\w-]{1,1024}$/.test(jobId)) {
    return apiError({ status: 400, reason: "invalid", state: "INVALID_ARGUMENT", message: "Invalid job ID" });
  }
  if (context.jobs.find(jobId) !== undefined) {
    const message = `Already Exists: Job ${context.projectId}:US.${jobId}`;
    return apiError({ status: 409, reason: "duplicate", state: "ALREADY_EXISTS", message });
  }
  const job = startJob(context, query, jobId, location);
  return job === undefined ? required("configuration.query.query") : jsonResponse(describeJob(context.projectId, job));
}

function startJob({ jobs, results, user }: Context, query: unknown, jobId: string, location: unknown): Job | undefined {
  if (typeof query !== "string" || query.trim() === "") return undefined;
  const place = typeof location === "string" ? location : "US";
  const job = { jobId, location: place, query, user, result: results(user) };
  jobs.keep(jobId, job);
  return job;
}

function describeJob(projectId: string, { jobId, location, query, user }: Job): Readonly<Record<string, unknown>> {
  return {
    kind: "bigquery#job",
    id: `${projectId}:${location}.${jobId}`,
    jobReference: { projectId, jobId, location },
    configuration: { jobType: "QUERY", query: { query, useLegacySql: false } },
    status: { state: "DONE" },
    statistics: { totalBytesProcessed: "0", query: { cacheHit: false, statementType: "SELECT" } },
    user_email: user,
  };
}

function getQueryResults(context: Context, job: Job): Response {
  const { searchParams } = context.call.url;
  const first = Number(searchParams.get("pageToken") ?? searchParams.get("startIndex") ?? 0);
  if (!Number.isInteger(first) || first < 0) {
    return apiError({ status: 400, reason: "invalid", state: "INVALID_ARGUMENT", message: "Invalid page token" });
  }
  const size = searchParams.get("maxResults");
  const kind = "bigquery#getQueryResultsResponse";
  return pageOf(context, job, { kind, first, size: size === null ? undefined : Number(size) });
}

const TYPES = { text: "STRING", number: "FLOAT", boolean: "BOOLEAN" } as const;

/** One page of a result. Page tokens are opaque to a client; here they are the number of the next row. */
function pageOf(
  context: Context,
  job: Job,
  { kind, first, size }: { readonly kind: string; readonly first: number; readonly size: unknown },
): Response {
  const { columns, rows } = job.result;
  const end = typeof size === "number" && size > 0 ? Math.min(first + size, rows.length) : rows.length;
  return jsonResponse({
    kind,
    schema: { fields: columns.map(({ name, type }) => ({ name, type: TYPES[type], mode: "NULLABLE" })) },
    jobReference: referenceOf(context, job),
    totalRows: String(rows.length),
    rows: rows.slice(first, end).map((row) => ({ f: row.map((cell) => ({ v: cell ?? null })) })),
    ...(end < rows.length && { pageToken: String(end) }),
    totalBytesProcessed: "0",
    jobComplete: true,
    cacheHit: false,
  });
}

function referenceOf({ projectId }: Context, { jobId, location }: Job): Readonly<Record<string, string>> {
  return { projectId, jobId, location };
}

function objectIn(
  value: Readonly<Record<string, unknown>> | undefined,
  name: string,
): Readonly<Record<string, unknown>> {
  const found = value !== undefined && Object.hasOwn(value, name) ? value[name] : undefined;
  return typeof found === "object" && found !== null ? (found as Readonly<Record<string, unknown>>) : {};
}

function notFound(message: string): Response {
  return apiError({ status: 404, reason: "notFound", state: "NOT_FOUND", message });
}

function required(parameter: string): Response {
  const message = `Required parameter is missing: ${parameter}`;
  return apiError({ status: 400, reason: "required", state: "INVALID_ARGUMENT", message });
}

interface ApiErrorOptions {
  readonly status: number;
  readonly reason: string;
  readonly state: string;
  readonly message: string;
  /** `reason` of the ErrorInfo in `details`. */
  readonly detail?: string;
  readonly challenge?: string;
}

function apiError({ status, reason, state, message, detail, challenge }: ApiErrorOptions): Response {
  const details =
    detail === undefined
      ? undefined
      : [{ "@type": "type.googleapis.com/google.rpc.ErrorInfo", reason: detail, domain: "googleapis.com" }];
  return jsonResponse(
    {
      error: {
        code: status,
        message,
        errors: [{ message, domain: "global", reason }],
        status: state,
        ...(details !== undefined && { details }),
      },
    },
    status,
    challenge === undefined ? {} : { "www-authenticate": challenge },
  );
}

const REALM = 'Bearer realm="https://accounts.google.com/"';

function invalidCredentials(expired: boolean): Response {
  return apiError({
    status: 401,
    reason: "authError",
    state: "UNAUTHENTICATED",
    message:
      "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid authentication credential.",
    detail: expired ? "ACCESS_TOKEN_EXPIRED" : "ACCESS_TOKEN_TYPE_UNSUPPORTED",
    challenge: `${REALM}, error="invalid_token"`,
  });
}

function credentialsMissing(): Response {
  return apiError({
    status: 401,
    reason: "required",
    state: "UNAUTHENTICATED",
    message:
      "Request is missing required authentication credential. Expected OAuth 2 access token, login cookie or other valid authentication credential.",
    detail: "CREDENTIALS_MISSING",
    challenge: REALM,
  });
}

function insufficientScope(wanted: readonly string[]): Response {
  return apiError({
    status: 403,
    reason: "insufficientPermissions",
    state: "PERMISSION_DENIED",
    message: "Request had insufficient authentication scopes.",
    detail: "ACCESS_TOKEN_SCOPE_INSUFFICIENT",
    challenge: `${REALM}, error="insufficient_scope", scope="${wanted.join(" ")}"`,
  });
}
