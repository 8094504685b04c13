import { ConfigurationError, invalidArgument, parseConnectionId } from "../core/index.ts";

/** Whose tokens: with the client's `connectionId` this is the session's whole identity. */
export interface SessionIdentity {
  /** The application's user id, or a job's name. */
  readonly subject: string;
  /** The customer of the application. */
  readonly tenant?: string;
  /** Tells apart several grants of one subject at one client: two Snowflake roles, for example. */
  readonly label?: string;
}

/** What a store's key stands for. Given to `TokenManagerOptions.resolveClient`. */
export interface SessionDescription extends SessionIdentity {
  /** What the store calls the session. */
  readonly key: string;
  /** `Warehouse.id`. */
  readonly warehouse: string;
  /** Who issued the tokens. */
  readonly issuer: string;
  /** Whose registration got them. */
  readonly clientId: string;
  /** Where the tokens may be sent. */
  readonly connectionId: string;
}

/** Longest part of an identity: keys go into indexes and cookies. */
const MAX_PART_LENGTH = 512;

/** Half a character: no encoding of it exists, and keys are encoded. */
const LONE_SURROGATE = /\p{Surrogate}/u;

const MEMBERS: ReadonlySet<string> = new Set<keyof SessionIdentity>(["subject", "tenant", "label"]);

/**
 * Checks who the tokens are for, and gives a frozen copy.
 *
 * @throws {@link ConfigurationError} `config_invalid`.
 */
export function checkIdentity(identity: SessionIdentity): SessionIdentity {
  if (typeof identity !== "object" || (identity as unknown) === null)
    throw invalidArgument('"identity" must be an object');
  for (const [name, value] of Object.entries(identity) as [string, unknown][]) {
    if (!MEMBERS.has(name)) {
      throw new ConfigurationError("config_invalid", `"${name}" is no part of a session's identity`, name);
    }
    if (value !== undefined) assertPart(value, name);
  }
  assertPart(identity.subject, "subject");
  const { subject, tenant, label } = identity;
  return Object.freeze({ subject, ...(tenant !== undefined && { tenant }), ...(label !== undefined && { label }) });
}

function assertPart(value: unknown, name: string): void {
  if (typeof value !== "string") throw invalidArgument(`"${name}" must be a string`);
  if (value === "" || value.length > MAX_PART_LENGTH || LONE_SURROGATE.test(value)) {
    throw new ConfigurationError(
      "config_invalid",
      `"${name}" must have 1 to ${String(MAX_PART_LENGTH)} characters of well-formed Unicode`,
      name,
    );
  }
}

/** The part of a key that tells sessions of one connection apart. Tenant and subject come first, so they are a prefix. */
export function formatLocalKey({ tenant, subject, label }: SessionIdentity): string {
  return [tenant, subject, label].map((part) => encodeURIComponent(part ?? "")).join("/");
}

/** Reads back what {@link formatLocalKey} wrote. */
export function parseLocalKey(localKey: string): SessionIdentity {
  const [tenant = "", subject = "", label = ""] = localKey.split("/").map(decodeURIComponent);
  return Object.freeze({ subject, ...(tenant !== "" && { tenant }), ...(label !== "" && { label }) });
}

/** What a store calls a session: readable, without a secret, every part encoded so that none can pretend to be two. */
export function formatSessionKey(localKey: string, connectionId: string): string {
  return `${localKey}/${connectionId}`;
}

/** Reads a key back; `undefined` for what is none. */
export function parseSessionKey(key: string): SessionDescription | undefined {
  const [tenant, subject, label, connectionId, ...rest] = key.split("/");
  if (connectionId === undefined || rest.length > 0) return undefined;
  const connection = parseConnectionId(connectionId);
  if (connection === undefined) return undefined;
  try {
    const parts = [tenant, subject, label].map((part) => decodeURIComponent(part ?? ""));
    const [tenantText = "", subjectText = "", labelText = ""] = parts;
    if (subjectText === "") return undefined;
    return {
      key,
      subject: subjectText,
      ...(tenantText !== "" && { tenant: tenantText }),
      ...(labelText !== "" && { label: labelText }),
      warehouse: connection.warehouse,
      issuer: connection.issuer,
      clientId: connection.clientId,
      connectionId,
    };
  } catch {
    return undefined; // not percent-encoded
  }
}
