import { abortable } from "../lib/abortable.ts";
import type { Clock } from "../lib/clock.ts";
import { setDeadline } from "../lib/deadline.ts";
import {
  allowInsecureRequests,
  authorizationCodeGrantRequest,
  customFetch,
  genericTokenEndpointRequest,
} from "oauth4webapi";
import type { ClientAuth } from "oauth4webapi";
import { internalsOf } from "./client.ts";
import type { OAuthClient } from "./client.ts";
import { ConfigurationError, TransportError } from "./errors.ts";
import { createTokenFailure } from "./token-failure.ts";
import { asJsonObject, isErrorInDisguise, parseJson, readTokenResponse } from "./token-response.ts";
import type { TokenResponse } from "./token-response.ts";
import { TOKEN_ANSWER_LIMIT, sendRequest } from "./transport.ts";
import type { Answer, OutgoingRequest } from "./transport.ts";
import type { Grant } from "./warehouse.ts";

/** `grant_type` as it stands on the wire. */
const GRANT_TYPES: Readonly<Record<Grant, string>> = {
  authorization_code: "authorization_code",
  refresh_token: "refresh_token",
  client_credentials: "client_credentials",
  jwt_bearer: "urn:ietf:params:oauth:grant-type:jwt-bearer",
  token_exchange: "urn:ietf:params:oauth:grant-type:token-exchange",
};

type FormParameters = Readonly<Record<string, string>>;

/** What is sent, beside credentials. */
export interface TokenRequest {
  readonly grant: Grant;
  /** Or a function that gets them, under the deadline of the attempt. */
  readonly parameters: FormParameters | (() => Promise<FormParameters>);
  readonly signal?: AbortSignal | undefined;
  /** Takes an answer whose lifetime is none as one without a lifetime: its refresh token must not get lost. */
  readonly tolerateLifetime?: boolean;
  /** Called right before the request leaves: what fails earlier was not sent. */
  readonly onSend?: (() => void) | undefined;
  /** Only for codes: what oauth4webapi branded, and the proof that goes with it. */
  readonly code?: {
    readonly callback: URLSearchParams;
    readonly redirectUri: string;
    readonly codeVerifier: string;
  };
}

/** What came back, and when the request was begun. */
export interface TokenAnswer {
  readonly response: TokenResponse;
  readonly obtainedAt: number;
}

/**
 * The one road to a token endpoint: authenticates, sends once, reads within bounds, translates every failure.
 *
 * @throws {@link ConfigurationError} `grant_unsupported`, or what authentication finds; {@link TokenEndpointError};
 * {@link ReauthorizationRequiredError}; {@link RateLimitError}; {@link TransportError}; the abort reason.
 */
export async function requestTokens(client: OAuthClient, request: TokenRequest): Promise<TokenAnswer> {
  const { warehouse } = client;
  const known = internalsOf(client);
  assertGrant(client, request.grant);
  request.signal?.throwIfAborted();
  const obtainedAt = known.clock.now();
  const answer = await sendTokenRequest(client, request);
  const json = parseJson(answer.text);
  const body = asJsonObject(json);
  if (answer.status < 200 || answer.status > 299 || isErrorInDisguise(body)) {
    throw createTokenFailure(
      { grant: request.grant, warehouse, isPublic: known.isPublic },
      answer,
      body,
      known.clock.now(),
    );
  }
  return { response: readTokenResponse(warehouse, request, answer, json), obtainedAt };
}

function assertGrant({ warehouse }: OAuthClient, grant: Grant): void {
  if (!warehouse.grants.includes(grant)) {
    throw new ConfigurationError(
      "grant_unsupported",
      `"${warehouse.id}" does not speak ${grant}; it speaks ${warehouse.grants.join(", ")}`,
      "grants",
    );
  }
}

function sendTokenRequest(client: OAuthClient, request: TokenRequest): Promise<Answer> {
  const { grant, parameters, code } = request;
  const { server, oauthClient } = internalsOf(client);
  const authenticate = authenticationFor(client, client.warehouse.tokenEndpoint, grant);
  return sendBuilt(client, request, async (options) => {
    const own = typeof parameters === "function" ? await parameters() : parameters;
    const form = { ...client.warehouse.tokenParameters?.(grant), ...own };
    if (code === undefined) {
      return genericTokenEndpointRequest(server, oauthClient, authenticate, GRANT_TYPES[grant], form, options);
    }
    const { callback, redirectUri, codeVerifier } = code;
    return authorizationCodeGrantRequest(server, oauthClient, authenticate, callback, redirectUri, codeVerifier, {
      ...options,
      additionalParameters: form,
    });
  });
}

/** Asks for bytes that do not grow when they are decoded; browsers keep this header to themselves. */
const REQUEST_HEADERS: Readonly<Record<string, string>> = Object.freeze({ "accept-encoding": "identity" });

/** What oauth4webapi wants of a `fetch`. Nobody reads it: what our transport read is the answer. */
const UNREAD = Object.freeze({}) as Response;

/** What oauth4webapi takes for one request: our transport, and its switch for `http`, which the client has decided. */
interface BuildOptions {
  readonly [customFetch]: (url: string, request: OutgoingRequest) => Promise<Response>;
  readonly [allowInsecureRequests]: boolean;
  readonly headers: Record<string, string>;
}

/**
 * Lets oauth4webapi build a request, and sends it through our transport. One deadline for both: what gets a secret or
 * signs may hang, and hears neither of the deadline nor of the caller's signal.
 */
export async function sendBuilt(
  client: OAuthClient,
  { signal, onSend }: Pick<TokenRequest, "signal" | "onSend">,
  build: (options: BuildOptions) => Promise<Response>,
): Promise<Answer> {
  const { fetch, clock, timeoutMs, allowLoopbackHttp } = internalsOf(client);
  const startedAt = clock.monotonic();
  const building = startDeadline(clock, timeoutMs);
  let answer: Answer | undefined;
  const send = async (url: string, outgoing: OutgoingRequest): Promise<Response> => {
    signal?.throwIfAborted();
    building.throwIfOver();
    building.cancel();
    onSend?.();
    const limits = { timeoutMs, startedAt, limitBytes: TOKEN_ANSWER_LIMIT };
    answer = await sendRequest(url, outgoing, { fetch, clock, signal, ...limits });
    return UNREAD;
  };
  const options = { [customFetch]: send, [allowInsecureRequests]: allowLoopbackHttp, headers: REQUEST_HEADERS };
  try {
    await Promise.race([abortable(build(options), signal), building.over]);
  } finally {
    building.cancel();
  }
  if (answer === undefined) throw new TypeError("unreachable: the request resolved without being sent");
  return answer;
}

interface Deadline {
  /** Is rejected when the time is over, and otherwise never settled. */
  readonly over: Promise<never>;
  throwIfOver(): void;
  cancel(): void;
}

/** Starts the time for building a request. What is built after it is not sent. */
function startDeadline(clock: Clock, timeoutMs: number): Deadline {
  const overAt = clock.monotonic() + timeoutMs;
  let error: TransportError | undefined;
  let end = (): void => undefined;
  const over = new Promise<never>((_resolve, reject) => {
    end = () => {
      const what = "the function that gives the secret, key, token or assertion did not answer";
      error = new TransportError("timeout", `nothing was sent: ${what} within ${String(timeoutMs)} ms`);
      reject(error);
    };
  });
  const cancel = setDeadline(clock, timeoutMs, end);
  const throwIfOver = (): void => {
    // In a process that stood still, what was built meanwhile comes before the timer.
    if (clock.monotonic() >= overAt) end();
    if (error !== undefined) throw error;
  };
  return { over, throwIfOver, cancel };
}

/** Puts our way to authenticate into the shape oauth4webapi calls. */
export function authenticationFor(client: OAuthClient, endpoint: string, grant: Grant | undefined): ClientAuth {
  const known = internalsOf(client);
  return async (_server, _client, body, headers) => {
    // The assertion itself says who asks; a client id beside it is one more thing to disagree (RFC 7521 §4.1).
    if (grant === "jwt_bearer" && known.isPublic) return;
    await known.authenticate({
      clientId: client.clientId,
      issuer: client.warehouse.issuer,
      audience: client.warehouse.assertionAudience ?? client.warehouse.issuer,
      endpoint,
      headers,
      body,
      now: known.clock.now(),
    });
    const methods = [headers.has("authorization"), body.has("client_secret"), body.has("client_assertion")];
    if (methods.filter(Boolean).length > 1) {
      throw new ConfigurationError(
        "config_invalid",
        '"clientAuthentication" must use one method: the header, a secret or an assertion (RFC 6749 §2.3)',
        "clientAuthentication",
      );
    }
  };
}
