import { ConfigurationError } from "../core/index.ts";
import { invalidArgument } from "../lib/invalid-argument.ts";

/** What a column holds, as all three data APIs know it. */
export type ColumnType = "text" | "number" | "boolean";

/** A result: columns and rows of cells in their order. Cells are text, as on the wire. */
export interface StatementResult {
  readonly columns: readonly { readonly name: string; readonly type: ColumnType }[];
  readonly rows: readonly (readonly (string | undefined)[])[];
}

/** A row as {@link FakeOptions} takes it. */
export type GivenRow = Readonly<Record<string, string | number | boolean | null>>;

/**
 * Makes the source of results of a fake: the rows that were given, or three that name the current user.
 *
 * @internal
 */
export function createResults(rows: readonly GivenRow[] | undefined): (user: string) => StatementResult {
  if (rows === undefined) return (user) => toResult(defaultRows(user));
  if (!Array.isArray(rows)) throw invalidArgument('"rows" must be an array of objects');
  const result = toResult(rows);
  return () => result;
}

function defaultRows(user: string): readonly GivenRow[] {
  return [
    { CURRENT_USER: user, CITY: "Lisbon", REVENUE: 4200.5 },
    { CURRENT_USER: user, CITY: "Oslo", REVENUE: 3100 },
    { CURRENT_USER: user, CITY: "Turin", REVENUE: null },
  ];
}

function toResult(rows: readonly GivenRow[]): StatementResult {
  const names = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  if (rows.length > 0 && names.length === 0) {
    throw new ConfigurationError("config_invalid", '"rows" must have at least one column', "rows");
  }
  const columns = names.map((name) => ({ name, type: typeOf(rows.map((row) => row[name] ?? null)) }));
  return { columns, rows: rows.map((row) => names.map((name) => toCell(row[name] ?? null))) };
}

function typeOf(cells: readonly (string | number | boolean | null)[]): ColumnType {
  const present = cells.filter((cell) => cell !== null);
  if (present.length > 0 && present.every((cell) => typeof cell === "number")) return "number";
  if (present.length > 0 && present.every((cell) => typeof cell === "boolean")) return "boolean";
  return "text";
}

function toCell(value: string | number | boolean | null): string | undefined {
  return value === null ? undefined : String(value);
}

/**
 * Keeps results by handle, bounded: a soak test runs a million statements and fetches the last one.
 *
 * @internal
 */
export class ResultCache<Result> {
  readonly #results = new Map<string, Result>();

  keep(handle: string, result: Result): void {
    this.#results.set(handle, result);
    const oldest = this.#results.keys().next();
    if (this.#results.size > MAX_RESULTS && oldest.done !== true) this.#results.delete(oldest.value);
  }

  find(handle: string): Result | undefined {
    return this.#results.get(handle);
  }
}

const MAX_RESULTS = 1_000;
