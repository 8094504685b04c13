import {
  ConfigurationError,
  createAuthorizationRequest,
  createClient,
  isScope,
  type ApiAnswer,
  type Grant,
  type TokenFailure,
  type Warehouse,
} from "../core/index.ts";

/** One case of a contract; hand it to any test runner. Throws if the contract is broken. */
export interface ContractCase {
  /** What is promised. */
  readonly name: string;
  /** Checks it. */
  readonly run: () => Promise<void>;
}

/** Bodies that proxies, gateways and servers in trouble have sent as errors: no hook may fall over them. */
const STRANGE_BODIES: readonly (Readonly<Record<string, unknown>> | undefined)[] = [
  undefined,
  {},
  { error: null },
  { error: { code: 500 } },
  { error: ["invalid_grant"] },
  { error_description: 7, message: null, code: 390318 },
  { error: "x".repeat(70_000) },
];

const STATUSES: readonly number[] = [400, 401, 403, 404, 429, 500, 502, 503];

const FAILURE_CLASSES: ReadonlySet<unknown> = new Set([
  undefined,
  "transient",
  "throttled",
  "dead_grant",
  "interaction_required",
  "client_rejected",
  "fatal",
]);

/** A redirect URI that every definition must be able to work with. */
const REDIRECT_URI = "https://app.example.com/callback";

/** Members that hold addresses. */
const ENDPOINTS = ["issuer", "authorizationEndpoint", "tokenEndpoint", "revocationEndpoint", "jwksUri"] as const;

/**
 * Lists what every warehouse definition must do: hooks are pure and total, addresses are secure, the numbers fit
 * together, and a login can be started with no options at all.
 *
 * @example
 *
 * ```ts
 * import { test } from "node:test";
 * import { defineWarehouse } from "warehouse-oauth";
 * import { warehouseContract } from "warehouse-oauth/testing";
 *
 * const acme = defineWarehouse({
 *   id: "acme",
 *   issuer: "https://login.acme.example",
 *   authorizationEndpoint: "https://login.acme.example/authorize",
 *   tokenEndpoint: "https://login.acme.example/token",
 * });
 *
 * for (const { name, run } of warehouseContract(acme)) test(name, run);
 * ```
 */
export function warehouseContract(warehouse: Warehouse): readonly ContractCase[] {
  return Object.freeze([
    contractCase("addresses are https, or http on this machine", () => {
      for (const member of ENDPOINTS) assertSecureAddress(warehouse[member], member);
      for (const origin of warehouse.apiOrigins) assertSecureAddress(origin, "apiOrigins");
    }),
    contractCase("the definition is frozen", () => {
      expect(Object.isFrozen(warehouse), "the definition can be changed; make it with defineWarehouse");
    }),
    contractCase("scopes are single scopes, each once", () => {
      for (const member of ["defaultScopes", "machineScopes"] as const) {
        const scopes = warehouse[member];
        expect(scopes.every(isScope), `"${member}" holds something that is no scope`);
        expect(new Set(scopes).size === scopes.length, `"${member}" names a scope twice`);
      }
    }),
    contractCase("a scope catalogue has a sentence for every default scope", () => {
      if (warehouse.scopeCatalogue.size === 0) return;
      for (const scope of [...warehouse.defaultScopes, ...warehouse.machineScopes]) {
        const sentence = warehouse.scopeCatalogue.get(scope)?.description ?? "";
        expect(sentence.trim() !== "", `"scopeCatalogue" does not say what ${scope} allows`);
      }
    }),
    contractCase("margins fit together", () => {
      const { hardMarginMs, refusedBelowMs, accessTokenLifetimeMs = Infinity } = warehouse;
      expect(refusedBelowMs <= hardMarginMs, '"refusedBelowMs" is above "hardMarginMs"');
      expect(hardMarginMs < accessTokenLifetimeMs, '"hardMarginMs" is as long as a token lives');
    }),
    contractCase("grants and endpoints fit together", () => {
      const { grants, authorizationEndpoint, refreshRotation, rotationVoidsAccessTokens } = warehouse;
      expect(grants.length > 0, '"grants" is empty');
      expect(new Set(grants).size === grants.length, '"grants" names a grant twice');
      const people = grants.includes("authorization_code");
      expect(!people || authorizationEndpoint !== undefined, "people sign in, but there is no authorizationEndpoint");
      expect(
        !(rotationVoidsAccessTokens && refreshRotation === "none"),
        '"rotationVoidsAccessTokens" without a rotation',
      );
    }),
    contractCase("a login without options can be started, the same way twice", async () => {
      if (!warehouse.grants.includes("authorization_code")) return;
      const client = createClient({
        warehouse,
        clientId: "contract",
        redirectUri: REDIRECT_URI,
        allowLoopbackHttp: true,
      });
      const urls = [(await createAuthorizationRequest(client)).url, (await createAuthorizationRequest(client)).url];
      for (const url of urls) {
        expect(url.searchParams.get("code_challenge_method") === "S256", "the request has no S256 challenge");
        expect(url.searchParams.get("redirect_uri") === REDIRECT_URI, "the request has another redirect URI");
        expect(new Set(url.searchParams.keys()).size === [...url.searchParams].length, "a parameter is there twice");
      }
      const [first = "", second = ""] = urls.map(withoutRandomness);
      expect(first === second, '"authorizationParameters" gave different parameters for the same login');
    }),
    contractCase("token parameters are text and always the same", () => {
      for (const grant of warehouse.grants) {
        const parameters = warehouse.tokenParameters?.(grant) ?? {};
        expect(
          Object.values(parameters).every((value: unknown) => typeof value === "string"),
          `"tokenParameters" gives something that is no text for ${grant}`,
        );
        expect(!("grant_type" in parameters), '"tokenParameters" must not set grant_type');
        const again = warehouse.tokenParameters?.(grant) ?? {};
        expect(JSON.stringify(parameters) === JSON.stringify(again), `"tokenParameters" is not pure for ${grant}`);
      }
    }),
    contractCase("a standard token answer comes through unharmed", () => {
      const { normalizeTokenResponse } = warehouse;
      if (normalizeTokenResponse === undefined) return;
      const body = Object.freeze({
        access_token: "access",
        refresh_token: "refresh",
        token_type: "Bearer",
        expires_in: 3600,
        scope: warehouse.defaultScopes.join(" "),
      });
      const normalized = normalizeTokenResponse(body, { grant: "refresh_token" });
      for (const member of ["access_token", "refresh_token", "token_type", "expires_in"] as const) {
        expect(normalized[member] === body[member], `"normalizeTokenResponse" changed ${member} of a standard answer`);
      }
      for (const strange of [{}, { scope: null }, { scope: 7 }, { error: "server_error" }]) {
        normalizeTokenResponse(Object.freeze(strange), { grant: "refresh_token" });
      }
    }),
    contractCase("token errors of any shape are classified", () => {
      for (const failure of strangeFailures(warehouse.grants)) {
        const result: unknown = warehouse.classifyTokenError?.(failure);
        expect(FAILURE_CLASSES.has(result), '"classifyTokenError" gave a class that does not exist');
      }
    }),
    contractCase("a server in trouble ends no session", () => {
      for (const status of [500, 502, 503, 504]) {
        const failure = { grant: "refresh_token", status, oauthError: undefined, body: undefined } as const;
        const result = warehouse.classifyTokenError?.(failure);
        expect(
          result === undefined || result === "transient" || result === "throttled",
          `"classifyTokenError" says ${String(result)} to status ${String(status)} without a body`,
        );
      }
    }),
    contractCase("API answers of any shape are judged, and only a refused token is one", () => {
      const { isTokenRejected } = warehouse;
      if (isTokenRejected === undefined) return;
      for (const status of STATUSES) {
        for (const bodyStart of ["", "{", "null", "<html>", '{"error":', "\u0000", "x".repeat(16_384)]) {
          const answer: ApiAnswer = { status, headers: new Headers(), bodyStart };
          const rejected: unknown = isTokenRejected(answer);
          expect(typeof rejected === "boolean", '"isTokenRejected" must say true or false');
          expect(
            rejected !== true || status < 429,
            `"isTokenRejected" takes status ${String(status)} for a refused token`,
          );
        }
      }
      expect(
        isTokenRejected({ status: 401, headers: new Headers(), bodyStart: "" }),
        'status 401 is not "a refused token"',
      );
    }),
  ]);
}

function contractCase(name: string, check: () => void | Promise<void>): ContractCase {
  return Object.freeze({
    name,
    async run() {
      await check();
    },
  });
}

function expect(condition: boolean, message: string): void {
  if (!condition) throw new ConfigurationError("config_invalid", `the warehouse contract is broken: ${message}`);
}

function assertSecureAddress(address: string | undefined, member: string): void {
  if (address === undefined) return;
  const { protocol, hostname } = new URL(address);
  const isLoopback = ["127.0.0.1", "[::1]", "localhost"].includes(hostname);
  expect(
    protocol === "https:" || (protocol === "http:" && isLoopback),
    `"${member}" is neither https nor on this machine`,
  );
}

/** A request without what differs from login to login by design. */
function withoutRandomness(url: URL): string {
  const copy = new URL(url);
  for (const name of ["state", "nonce", "code_challenge"]) copy.searchParams.delete(name);
  return copy.href;
}

function strangeFailures(grants: readonly Grant[]): readonly TokenFailure[] {
  return grants.flatMap((grant) =>
    STATUSES.flatMap((status) =>
      STRANGE_BODIES.map((body) => {
        const error = body?.["error"];
        return { grant, status, oauthError: typeof error === "string" ? error : undefined, body };
      }),
    ),
  );
}
