import type { FakeWarehouse } from "warehouse-oauth/testing";

/** A verifier and its challenge (RFC 7636 appendix B). */
export const VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
export const CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
export const REDIRECT_URI = "https://app.example.com/callback";
export const CLIENT_ID = "wire-client";
export const CLIENT_SECRET = "s3cret+/=%: ~é";

type Parameters = Readonly<Record<string, string | undefined>>;

/** Speaks to a fake in bare HTTP, the way a client without this library would. */
export class Wire {
  readonly fake: FakeWarehouse<never>;

  constructor(fake: FakeWarehouse<never>) {
    this.fake = fake;
    fake.register({ clientId: CLIENT_ID, clientSecret: CLIENT_SECRET, redirectUri: REDIRECT_URI });
  }

  authorizationUrl(parameters: Parameters = {}): URL {
    const url = new URL(this.fake.warehouse.authorizationEndpoint ?? "");
    const all: Parameters = {
      response_type: "code",
      client_id: CLIENT_ID,
      redirect_uri: REDIRECT_URI,
      scope: this.fake.warehouse.defaultScopes.join(" "),
      state: "a-state",
      code_challenge: CHALLENGE,
      code_challenge_method: "S256",
      ...parameters,
    };
    for (const [name, value] of Object.entries(all)) if (value !== undefined) url.searchParams.set(name, value);
    return url;
  }

  authorize(parameters: Parameters = {}): Promise<Response> {
    return this.fake.handle(new Request(this.authorizationUrl(parameters)));
  }

  async code(parameters: Parameters = {}, user = "ada"): Promise<string> {
    const callback = await this.fake.signIn(this.authorizationUrl(parameters), { user });
    return callback.searchParams.get("code") ?? "";
  }

  post(url: string, parameters: Parameters, headers: Readonly<Record<string, string>> = {}): Promise<Response> {
    const body = new URLSearchParams();
    for (const [name, value] of Object.entries(parameters)) if (value !== undefined) body.set(name, value);
    return this.fake.handle(new Request(url, { method: "POST", body, headers }));
  }

  /** A token request with the secret in the body. */
  token(parameters: Parameters, headers?: Readonly<Record<string, string>>): Promise<Response> {
    return this.post(
      this.fake.warehouse.tokenEndpoint,
      { client_id: CLIENT_ID, client_secret: CLIENT_SECRET, ...parameters },
      headers,
    );
  }

  exchange(code: string, parameters: Parameters = {}): Promise<Response> {
    return this.token({
      grant_type: "authorization_code",
      code,
      redirect_uri: REDIRECT_URI,
      code_verifier: VERIFIER,
      ...parameters,
    });
  }

  /** Tokens of a whole login. */
  async tokens(parameters: Parameters = {}, exchange: Parameters = {}): Promise<Readonly<Record<string, string>>> {
    const answer = await this.exchange(await this.code(parameters), exchange);
    return (await answer.json()) as Record<string, string>;
  }

  refresh(refreshToken: string | undefined, parameters: Parameters = {}): Promise<Response> {
    return this.token({ grant_type: "refresh_token", refresh_token: refreshToken ?? "", ...parameters });
  }
}

/** The body as an object, for assertions. */
export async function bodyOf(response: Response): Promise<Record<string, unknown>> {
  return (await response.json()) as Record<string, unknown>;
}

/** Text as Basic credentials, encoded as RFC 6749 §2.3.1 wants. */
export function basic(id: string, secret: string, encode: (text: string) => string = encodeURIComponent): string {
  const bytes = new TextEncoder().encode(`${encode(id)}:${encode(secret)}`);
  return `Basic ${btoa(String.fromCharCode(...bytes))}`;
}
