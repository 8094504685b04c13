import { decodeJwt, errors, jwtVerify } from "jose";
import { equalsConstantTime } from "../lib/constant-time.ts";
import { Refused } from "./refusal.ts";
import { splitOnce } from "./request-log.ts";
import type { WarehouseProfile } from "./warehouse-profile.ts";

/**
 * A client as the server knows it.
 *
 * @internal
 */
export interface RegisteredClient {
  readonly clientId: string;
  readonly redirectUri: string;
  /** Absent: public, or authenticated by a key. */
  readonly clientSecret: string | undefined;
  /** Checks `private_key_jwt` assertions. */
  readonly publicKey: CryptoKey | undefined;
}

/** RFC 7523 §2.2. */
const ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/** Longest life of a client assertion that is accepted (Snowflake, "Configure Snowflake OAuth for custom clients", checked 2026-11-21). */
const MAX_ASSERTION_LIFETIME_SECONDS = 3_600;

/** Oldest `iat` of a client assertion that is accepted (same page, checked 2026-11-21). */
const MAX_ASSERTION_AGE_SECONDS = 600;

/** `%XX`, `+` and what needs no escape: what `application/x-www-form-urlencoded` may hold (RFC 6749 §2.3.1, appendix B). */
const FORM_ENCODED = /^(?:[A-Za-z0-9*._~!'()+-]|%[0-9A-Fa-f]{2})*$/;

/** Credentials found in a request. */
interface Presented {
  readonly clientId: string;
  readonly method: "basic" | "post" | "private_key_jwt" | "none";
  readonly secret: string | undefined;
}

/**
 * Knows the registered clients and checks who calls.
 *
 * @internal
 */
export class ClientRegistry {
  readonly #clients = new Map<string, RegisteredClient>();
  readonly #seenAssertions = new Set<string>();

  add(client: RegisteredClient): void {
    this.#clients.set(client.clientId, client);
  }

  find(clientId: string): RegisteredClient | undefined {
    return this.#clients.get(clientId);
  }

  /**
   * Authenticates the caller of the token endpoint (RFC 6749 §2.3). One method, never two.
   *
   * @throws Refused
   */
  async authenticate(
    form: URLSearchParams,
    authorization: string | null,
    context: { readonly profile: WarehouseProfile; readonly tokenEndpoint: string; readonly now: number },
  ): Promise<RegisteredClient> {
    const presented = readCredentials(form, authorization);
    const client = this.#clients.get(presented.clientId);
    if (client === undefined)
      throw new Refused("unknown_client", "invalid_client", "no client is registered under this id");
    if (presented.method === "none") {
      if (client.clientSecret !== undefined || client.publicKey !== undefined) {
        throw new Refused(
          "credentials_missing",
          "invalid_client",
          "this client is confidential and sent no credentials",
        );
      }
      return client;
    }
    if (!context.profile.clientAuthentication.has(presented.method)) {
      throw new Refused("wrong_credentials", "invalid_client", `${presented.method} is not supported here`);
    }
    if (presented.method === "private_key_jwt") {
      await this.#verifyAssertion(presented.secret ?? "", client, context);
      return client;
    }
    if (client.clientSecret === undefined || !equalsConstantTime(client.clientSecret, presented.secret ?? "")) {
      throw new Refused("wrong_credentials", "invalid_client", "the client secret is wrong, or this client has none");
    }
    return client;
  }

  async #verifyAssertion(
    assertion: string,
    client: RegisteredClient,
    { tokenEndpoint, now }: { readonly tokenEndpoint: string; readonly now: number },
  ): Promise<void> {
    if (client.publicKey === undefined) {
      throw new Refused("wrong_credentials", "invalid_client", "this client has no registered key");
    }
    try {
      const { payload } = await jwtVerify(assertion, client.publicKey, {
        algorithms: ["RS256"],
        audience: tokenEndpoint,
        issuer: client.clientId,
        subject: client.clientId,
        requiredClaims: ["exp", "jti"],
        currentDate: new Date(now),
      });
      const nowSeconds = now / 1000;
      if ((payload.exp ?? Infinity) > nowSeconds + MAX_ASSERTION_LIFETIME_SECONDS) throw new errors.JWTInvalid("exp");
      if (payload.iat !== undefined && payload.iat < nowSeconds - MAX_ASSERTION_AGE_SECONDS)
        throw new errors.JWTInvalid("iat");
      const seen = `${client.clientId} ${payload.jti ?? ""}`;
      if (this.#seenAssertions.has(seen)) throw new errors.JWTInvalid("jti");
      this.#seenAssertions.add(seen);
    } catch (error) {
      if (!(error instanceof errors.JOSEError) && !(error instanceof TypeError)) throw error;
      throw new Refused(
        "wrong_credentials",
        "invalid_client",
        'the client assertion was refused: RS256 by the registered key, "iss" and "sub" the client id, "aud" the token ' +
          'endpoint, "exp" at most an hour ahead, a fresh "jti" for each attempt',
      );
    }
  }
}

function readCredentials(form: URLSearchParams, authorization: string | null): Presented {
  const bodyId = form.get("client_id");
  const bodySecret = form.get("client_secret");
  const assertion = form.get("client_assertion");
  if ([authorization, bodySecret, assertion].filter((value) => value !== null).length > 1) {
    throw new Refused(
      "too_many_credentials",
      "invalid_request",
      "more than one client authentication method (RFC 6749 §2.3)",
    );
  }
  if (authorization !== null) return readBasic(authorization, bodyId);
  if (assertion !== null) return readAssertion(assertion, form.get("client_assertion_type"), bodyId);
  if (bodyId === null) throw new Refused("unknown_client", "invalid_client", "no client identified itself");
  if (bodySecret !== null) return { clientId: bodyId, method: "post", secret: bodySecret };
  return { clientId: bodyId, method: "none", secret: undefined };
}

function readBasic(authorization: string, bodyId: string | null): Presented {
  const [scheme, credentials = ""] = splitOnce(authorization, " ");
  if (scheme.toLowerCase() !== "basic") {
    throw new Refused("wrong_credentials", "invalid_client", 'the "Authorization" header is not of the Basic scheme');
  }
  const [id, secret] = splitOnce(decodeBase64(credentials), ":");
  if (secret === undefined) throw new Refused("wrong_credentials", "invalid_client", "Basic credentials have no colon");
  const clientId = decodeForm(id);
  if (bodyId !== null && bodyId !== clientId) {
    throw new Refused("wrong_credentials", "invalid_client", "header and body name different clients");
  }
  return { clientId, method: "basic", secret: decodeForm(secret) };
}

function readAssertion(assertion: string, type: string | null, bodyId: string | null): Presented {
  if (type !== ASSERTION_TYPE) {
    throw new Refused("malformed", "invalid_request", '"client_assertion_type" must be that of RFC 7523 §2.2');
  }
  let issuer: unknown;
  try {
    issuer = decodeJwt(assertion).iss;
  } catch {
    throw new Refused("wrong_credentials", "invalid_client", "the client assertion is no JWT");
  }
  if (typeof issuer !== "string" || (bodyId !== null && bodyId !== issuer)) {
    throw new Refused("wrong_credentials", "invalid_client", '"iss" of the client assertion is not the client id');
  }
  return { clientId: issuer, method: "private_key_jwt", secret: assertion };
}

function decodeBase64(text: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(Uint8Array.from(atob(text), (unit) => unit.charCodeAt(0)));
  } catch {
    throw new Refused("wrong_credentials", "invalid_client", "Basic credentials are not Base64 of UTF-8");
  }
}

/** Undoes the encoding of RFC 6749 §2.3.1; what was not encoded at all is refused, as a raw `+` would become a space. */
function decodeForm(text: string): string {
  if (!FORM_ENCODED.test(text)) {
    throw new Refused(
      "wrong_credentials",
      "invalid_client",
      "client id and secret must be form-encoded before they are joined for Basic (RFC 6749 §2.3.1)",
    );
  }
  try {
    return decodeURIComponent(text.replaceAll("+", "%20"));
  } catch {
    throw new Refused("wrong_credentials", "invalid_client", "Basic credentials hold a broken percent-encoding");
  }
}
