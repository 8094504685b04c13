import { describeScopes, type Warehouse } from "../core/index.ts";
import { Refused, type Refusal } from "./refusal.ts";
import { signInPage } from "./sign-in-page.ts";
import { randomSecret, type TokenLedger } from "./token-ledger.ts";
import type { ClientRegistry, RegisteredClient } from "./client-registry.ts";
import type { WarehouseProfile } from "./warehouse-profile.ts";

/** RFC 6749 §4.1.2 wants at most ten minutes; a minute is stricter, and long for a machine. */
const CODE_LIFETIME_MS = 60_000;

/** How long a person may look at the sign-in page. */
const TICKET_LIFETIME_MS = 600_000;

/** base64url of a SHA-256 digest (RFC 7636 §4.2). */
const CODE_CHALLENGE = /^[A-Za-z0-9_-]{43}$/;

/** Whom the page offers, and who signs in where a test names nobody. */
export const DEFAULT_USER = "ada";

/** An authorization request that was accepted and waits for a person. */
interface Ticket {
  readonly client: RegisteredClient;
  readonly parameters: URLSearchParams;
  readonly scopes: readonly string[];
  readonly warehouse: Warehouse;
  readonly expiresAt: number;
}

/** What the endpoint works with. */
interface Dependencies {
  readonly profile: WarehouseProfile;
  readonly clients: ClientRegistry;
  readonly ledger: TokenLedger;
}

/** A request, seen from one of the fake's addresses. */
interface Visit {
  readonly warehouse: Warehouse;
  readonly now: number;
}

/**
 * The authorization endpoint (RFC 6749 §3.1): takes requests, shows the page, takes the person's answer.
 *
 * @internal
 */
export class AuthorizationEndpoint {
  readonly #profile: WarehouseProfile;
  readonly #clients: ClientRegistry;
  readonly #ledger: TokenLedger;
  readonly #tickets = new Map<string, Ticket>();
  /** What each person agreed to, where the warehouse remembers. */
  readonly #consents = new Map<string, Set<string>>();

  constructor({ profile, clients, ledger }: Dependencies) {
    this.#profile = profile;
    this.#clients = clients;
    this.#ledger = ledger;
  }

  /** Answers the client's request: the sign-in page, or a refusal. */
  request(parameters: URLSearchParams, visit: Visit, failure?: Refusal): Response {
    const refusal = this.#checkClient(parameters);
    if (refusal !== undefined) return this.#page(refusal, parameters);
    const client = this.#clients.find(parameters.get("client_id") ?? "");
    if (client === undefined) throw new TypeError("a client that passed the check is gone");

    const scopes = (parameters.get("scope") ?? "").split(" ").filter((scope) => scope !== "");
    const problem = failure ?? this.#checkParameters(parameters, scopes);
    if (problem !== undefined) return this.#refuse(problem, client, parameters, visit);

    const ticket: Ticket = {
      client,
      parameters,
      scopes,
      warehouse: visit.warehouse,
      expiresAt: visit.now + TICKET_LIFETIME_MS,
    };
    const hint = parameters.get("login_hint") ?? undefined;
    if (parameters.get("prompt") === "none") {
      if (hint === undefined || !this.#hasConsented(hint, scopes)) {
        const error = {
          reason: "interaction_required",
          error: "interaction_required",
          text: "nobody is signed in",
        } as const;
        return redirectBack(ticket, { error: error.error, error_description: error.text }, this.#profile);
      }
      return this.#agree(ticket, hint, scopes, visit.now);
    }
    const id = randomSecret();
    this.#tickets.set(id, ticket);
    return signInPage({
      displayName: this.#profile.displayName,
      clientId: client.clientId,
      ticket: id,
      user: hint ?? DEFAULT_USER,
      scopes: describeScopes(visit.warehouse, scopes),
    });
  }

  /** Takes what the person sent from the sign-in page. */
  decide(form: URLSearchParams, visit: Visit): Response {
    const id = form.get("ticket") ?? "";
    const ticket = this.#tickets.get(id);
    this.#tickets.delete(id);
    if (ticket === undefined || ticket.expiresAt <= visit.now) {
      const gone: Refusal = {
        reason: "malformed",
        error: "invalid_request",
        text: "this sign-in page was used or is too old",
      };
      return this.#page(gone, new URLSearchParams());
    }
    const granted = form.getAll("scope").filter((scope) => ticket.scopes.includes(scope));
    if (form.get("decision") !== "agree" || (granted.length === 0 && ticket.scopes.length > 0)) {
      return redirectBack(ticket, { error: "access_denied", error_description: "The person declined." }, this.#profile);
    }
    const refusal = this.#profile.checkGranted(granted);
    if (refusal !== undefined) return this.#page(refusal, ticket.parameters);
    return this.#agree(ticket, form.get("user")?.trim() ?? "", granted, visit.now);
  }

  /** Forgets what people agreed to: all, or one. */
  forgetConsents(user?: string): void {
    if (user === undefined) this.#consents.clear();
    else this.#consents.delete(user);
  }

  #agree(ticket: Ticket, user: string, granted: readonly string[], now: number): Response {
    if (user === "") {
      return this.#page(
        { reason: "malformed", error: "invalid_request", text: "a user name is needed" },
        ticket.parameters,
      );
    }
    const { parameters } = ticket;
    const prompt = parameters.get("prompt");
    const consentShown = prompt !== "none" && (prompt === "consent" || !this.#hasConsented(user, granted));
    const earlier = this.#consents.get(user) ?? new Set<string>();
    const scopes =
      parameters.get("include_granted_scopes") === "true" ? [...new Set([...granted, ...earlier])] : granted;
    this.#consents.set(user, new Set([...earlier, ...granted]));
    const code = this.#ledger.issueCode({
      clientId: ticket.client.clientId,
      redirectUri: ticket.client.redirectUri,
      codeChallenge: parameters.get("code_challenge") ?? "",
      nonce: parameters.get("nonce") ?? undefined,
      user,
      scopes,
      offline: this.#profile.isOffline({ scopes: granted, parameters, consentShown }),
      expiresAt: now + CODE_LIFETIME_MS,
    });
    const scope = this.#profile.scopeInCallback ? { scope: scopes.join(" ") } : {};
    return redirectBack(ticket, { code, ...scope }, this.#profile);
  }

  #hasConsented(user: string, scopes: readonly string[]): boolean {
    if (!this.#profile.remembersConsent) return false;
    const consented = this.#consents.get(user);
    return consented !== undefined && scopes.every((scope) => consented.has(scope));
  }

  /** What makes a redirect impossible: without a known client and its exact address, nothing may be sent anywhere (RFC 6749 §4.1.2.1). */
  #checkClient(parameters: URLSearchParams): Refusal | undefined {
    for (const name of new Set(parameters.keys())) {
      if (parameters.getAll(name).length > 1) {
        return {
          reason: "malformed",
          error: "invalid_request",
          text: `parameter "${name}" is there twice (RFC 6749 §3.1)`,
        };
      }
    }
    const client = this.#clients.find(parameters.get("client_id") ?? "");
    if (client === undefined) {
      return { reason: "unknown_client", error: "invalid_client", text: "no client is registered under this id" };
    }
    if (parameters.get("redirect_uri") !== client.redirectUri) {
      return {
        reason: "redirect_mismatch",
        error: "invalid_request",
        text: `"redirect_uri" must be, byte for byte, ${client.redirectUri}`,
      };
    }
    return undefined;
  }

  #checkParameters(parameters: URLSearchParams, scopes: readonly string[]): Refusal | undefined {
    if (parameters.get("response_type") !== "code") {
      return { reason: "response_type", error: "unsupported_response_type", text: '"response_type" must be "code"' };
    }
    if (!["query", null].includes(parameters.get("response_mode"))) {
      return { reason: "malformed", error: "invalid_request", text: '"response_mode" must be "query" or absent' };
    }
    if (parameters.has("request") || parameters.has("request_uri")) {
      return { reason: "malformed", error: "request_not_supported", text: "request objects are not supported" };
    }
    const state = parameters.get("state") ?? "";
    if (state === "" || state.length > this.#profile.maxStateLength || !/^[\x20-\x7E]*$/.test(state)) {
      return {
        reason: "state",
        error: "invalid_request",
        text: `"state" must be 1 to ${String(this.#profile.maxStateLength)} printable ASCII characters`,
      };
    }
    // The default method is "plain" (RFC 7636 §4.3), so leaving it out is as bad as asking for it.
    if (
      parameters.get("code_challenge_method") !== "S256" ||
      !CODE_CHALLENGE.test(parameters.get("code_challenge") ?? "")
    ) {
      return { reason: "pkce", error: "invalid_request", text: "PKCE with S256 is required (RFC 7636 §4.3)" };
    }
    return this.#profile.checkScopes({ scopes, parameters });
  }

  #refuse(refusal: Refusal, client: RegisteredClient, parameters: URLSearchParams, visit: Visit): Response {
    // "declined" stands for what a person or a policy decides: that always goes back.
    if (!this.#profile.redirectsErrors && refusal.reason !== "declined") return this.#page(refusal, parameters);
    const ticket: Ticket = { client, parameters, scopes: [], warehouse: visit.warehouse, expiresAt: visit.now };
    return redirectBack(ticket, { error: refusal.error, error_description: refusal.text }, this.#profile);
  }

  #page(refusal: Refusal, parameters: URLSearchParams): Response {
    return this.#profile.authorizationPage(refusal, {
      clientId: parameters.get("client_id") ?? "",
      redirectUri: parameters.get("redirect_uri") ?? "",
    });
  }
}

/** Sends the browser back to the application (RFC 6749 §4.1.2, RFC 9207 §2). */
function redirectBack(ticket: Ticket, answer: Readonly<Record<string, string>>, profile: WarehouseProfile): Response {
  const location = new URL(ticket.client.redirectUri);
  for (const [name, value] of Object.entries(answer)) location.searchParams.set(name, value);
  const state = ticket.parameters.get("state");
  if (state !== null) location.searchParams.set("state", state);
  if (profile.issuerInCallback) location.searchParams.set("iss", ticket.warehouse.issuer);
  return new Response(null, {
    status: 303,
    headers: { location: location.href, "cache-control": "no-store", "referrer-policy": "no-referrer" },
  });
}

/**
 * Refuses what is there twice in a form (RFC 6749 §3.2).
 *
 * @internal
 */
export function assertSingleParameters(form: URLSearchParams): void {
  for (const name of new Set(form.keys())) {
    // RFC 8707 §2 and RFC 8693 §2.1 let these two repeat.
    if (name !== "resource" && name !== "audience" && form.getAll(name).length > 1) {
      throw new Refused("malformed", "invalid_request", `parameter "${name}" is there twice (RFC 6749 §3.2)`);
    }
  }
}
