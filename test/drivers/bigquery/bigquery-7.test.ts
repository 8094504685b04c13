import { BigQuery } from "bigquery-7";
import { describeDriver } from "./scenarios.ts";

describeDriver("@google-cloud/bigquery 7", () => Promise.resolve({ name: "bigquery-7", BigQuery }));
