import { BigQuery } from "bigquery-8";
import { describeDriver } from "./scenarios.ts";

describeDriver("@google-cloud/bigquery 8", () => Promise.resolve({ name: "bigquery-8", BigQuery }));
