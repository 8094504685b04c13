/** Why one parameter is in an authorization request, and where it is written down. */
export interface ParameterReason {
  readonly why: string;
  readonly source: string;
}

const REASONS: ReadonlyMap<string, ParameterReason> = new Map([
  [
    "response_type",
    {
      why: "Asks for a code, which is worth nothing alone. Tokens never travel through the address bar.",
      source: "RFC 6749 §4.1.1",
    },
  ],
  ["client_id", { why: "Says which registered application is asking.", source: "RFC 6749 §2.2" }],
  [
    "redirect_uri",
    {
      why: "Where the answer may go. The server compares it with the registration, so nobody can have it sent elsewhere.",
      source: "RFC 9700 §4.1.3",
    },
  ],
  ["scope", { why: "What the application asks to be allowed to do, in words on this page.", source: "RFC 6749 §3.3" }],
  [
    "state",
    {
      why: "43 random characters. A callback that does not bring them back to this browser is not the answer to this request.",
      source: "RFC 6749 §10.12",
    },
  ],
  [
    "code_challenge",
    {
      why: "The SHA-256 of a secret that stays on this server. Whoever steals the code cannot spend it without the secret.",
      source: "RFC 7636 §4.2",
    },
  ],
  [
    "code_challenge_method",
    {
      why: "Says that it is a hash. Left out, the server would take the value for the secret itself.",
      source: "RFC 7636 §4.3",
    },
  ],
  [
    "nonce",
    {
      why: "Comes back inside the signed ID token, which ties it to this login and to no other.",
      source: "OpenID Connect Core §3.1.2.1",
    },
  ],
  [
    "access_type",
    { why: "Google's way to ask for a refresh token: access while you are away.", source: "Google, web server apps" },
  ],
  [
    "prompt",
    {
      why: "Shows the consent page again. Google gives a refresh token only with a consent that was shown.",
      source: "OpenID Connect Core §3.1.2.1",
    },
  ],
  ["login_hint", { why: "Whom the sign-in page should offer.", source: "OpenID Connect Core §3.1.2.1" }],
  ["hd", { why: "The organisation the sign-in page should offer.", source: "Google, OpenID Connect" }],
]);

/** Order in which a reader meets them. */
const ORDER = [...REASONS.keys()];

/** Values that a page must not show whole. */
const SECRET: ReadonlySet<string> = new Set(["state", "nonce", "code_challenge"]);

/** A parameter of an authorization request, with its reason. */
export interface ExplainedParameter extends ParameterReason {
  readonly name: string;
  readonly value: string;
  readonly secret: boolean;
}

/** Takes an authorization request apart. */
export function explainParameters(url: URL): readonly ExplainedParameter[] {
  const rank = (name: string): number => (ORDER.includes(name) ? ORDER.indexOf(name) : ORDER.length);
  return [...url.searchParams]
    .sort(([a], [b]) => rank(a) - rank(b))
    .map(([name, value]) => ({
      name,
      value,
      secret: SECRET.has(name),
      ...(REASONS.get(name) ?? { why: "The warehouse's own.", source: "its documentation" }),
    }));
}
