import { ConfigurationError } from "../../core/index.ts";
import type { ScopeFact } from "../../core/index.ts";

/** The usual ones for completion. */
export type BigQueryScope =
  | "https://www.googleapis.com/auth/bigquery"
  | "https://www.googleapis.com/auth/bigquery.insertdata"
  | "https://www.googleapis.com/auth/cloud-platform"
  | "https://www.googleapis.com/auth/cloud-platform.read-only"
  | "https://www.googleapis.com/auth/devstorage.full_control"
  | "https://www.googleapis.com/auth/devstorage.read_only"
  | "https://www.googleapis.com/auth/devstorage.read_write"
  | "https://www.googleapis.com/auth/drive.readonly"
  | "openid"
  | "email"
  | "profile"
  | (string & {});

/** What the scopes let an application do (BigQuery API discovery document v2, "OAuth 2.0 Scopes for Google APIs", checked 2026-11-21). */
export const SCOPE_CATALOGUE: ReadonlyMap<string, ScopeFact> = new Map<BigQueryScope, ScopeFact>([
  [
    "https://www.googleapis.com/auth/bigquery",
    { description: "Run queries, and see, change and share your data in BigQuery.", level: "admin" },
  ],
  [
    "https://www.googleapis.com/auth/bigquery.insertdata",
    { description: "Add rows to your tables in BigQuery.", level: "write" },
  ],
  [
    // Gone from Google's lists; registrations that have it still work. Taken, never suggested.
    "https://www.googleapis.com/auth/bigquery.readonly",
    { description: "Run queries and see your data in BigQuery.", level: "read" },
  ],
  [
    "https://www.googleapis.com/auth/cloud-platform",
    { description: "See, change, share and delete everything you have in Google Cloud.", level: "admin" },
  ],
  [
    "https://www.googleapis.com/auth/cloud-platform.read-only",
    { description: "See your data in Google Cloud and run queries on it.", level: "read" },
  ],
  [
    "https://www.googleapis.com/auth/devstorage.full_control",
    { description: "See, change and share your files in Cloud Storage.", level: "admin" },
  ],
  [
    "https://www.googleapis.com/auth/devstorage.read_only",
    { description: "See your files in Cloud Storage.", level: "read" },
  ],
  [
    "https://www.googleapis.com/auth/devstorage.read_write",
    { description: "See and change your files in Cloud Storage.", level: "write" },
  ],
  [
    "https://www.googleapis.com/auth/drive.readonly",
    { description: "See your files in Google Drive, for tables that are made of them.", level: "read" },
  ],
  ["openid", { description: "Know which Google account you are.", level: "read" }],
  ["email", { description: "See your email address.", level: "read" }],
  ["profile", { description: "See your name and picture.", level: "read" }],
]);

/** Google answers the short names with the long ones (developers.google.com, "OpenID Connect", checked 2026-11-21). */
export const SCOPE_ALIASES: ReadonlyMap<string, string> = new Map([
  ["https://www.googleapis.com/auth/userinfo.email", "email"],
  ["https://www.googleapis.com/auth/userinfo.profile", "profile"],
]);

/**
 * Refuses the scope for which Google shows an error page of its own, from which nobody comes back.
 *
 * @throws {@link ConfigurationError} `config_invalid`, with the right way.
 */
export function assertKnownScopes(scopes: readonly string[]): void {
  if (scopes.includes("offline_access")) {
    throw new ConfigurationError(
      "config_invalid",
      'Google has no scope "offline_access": leave it out, offline access is asked for in each login; "prompt: consent" brings a new refresh token',
      "scopes",
    );
  }
}
