import type { OAuthClient } from "../core/index.ts";
import type { EndpointGate } from "./endpoint-gate.ts";
import type { SessionEntry } from "./session-entry.ts";

/** What all sessions of one client share in a manager. */
export class Connection {
  /** The newest client given for this connection: a corrected secret takes effect at once. */
  client: OAuthClient;
  readonly connectionId: string;
  readonly entries: Map<string, SessionEntry> = new Map<string, SessionEntry>();
  /** By the credentials of the client, so that a corrected secret starts with a closed circuit. */
  readonly gates: Map<string, EndpointGate> = new Map<string, EndpointGate>();

  constructor(client: OAuthClient) {
    this.client = client;
    this.connectionId = client.connectionId;
  }
}
