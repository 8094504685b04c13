// As a user of the storage clients (gRPC) writes it: no cast.
import { BigQueryReadClient, v1 } from "@google-cloud/bigquery-storage";
import type { TokenSource } from "warehouse-oauth";
import { bigQueryAuthClient } from "warehouse-oauth/bigquery/driver";

export function readClient(session: TokenSource): BigQueryReadClient {
  return new BigQueryReadClient({ projectId: "acme", authClient: bigQueryAuthClient(session) });
}

export function writeClient(session: TokenSource): v1.BigQueryWriteClient {
  return new v1.BigQueryWriteClient({ projectId: "acme", authClient: bigQueryAuthClient(session) });
}
