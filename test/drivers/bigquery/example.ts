// A report with the real driver. In your program the first line is: import { BigQuery } from "@google-cloud/bigquery";
import { BigQuery } from "bigquery-8";
import { ReauthorizationRequiredError, type TokenSession } from "warehouse-oauth";
import { bigQueryAuthClient, withBigQueryRetry } from "warehouse-oauth/bigquery/driver";

/** Where the report comes from. */
export interface ReportSettings {
  readonly projectId: string;
  /** A private or regional endpoint. Default is Google's. */
  readonly apiEndpoint?: string;
}

/** Connects once per person; each call asks the session for a token that is good then. */
export function connect(session: TokenSession, settings: ReportSettings): BigQuery {
  return withBigQueryRetry(session, new BigQuery({ ...settings, authClient: bigQueryAuthClient(session) }));
}

/** Counts the rows of a report, or says that the person has to sign in again. */
export async function report(bq: BigQuery, sql: string): Promise<number | "sign in again"> {
  try {
    const [rows] = await bq.query(sql);
    return rows.length;
  } catch (error) {
    // Our errors come through the driver as they are.
    if (error instanceof ReauthorizationRequiredError) return "sign in again";
    throw error;
  }
}
