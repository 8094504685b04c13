const COOKIE = "__Host-visitor";

/** Reads which browser this is from its cookie; a new one gets a new id. */
export function readVisitor(request: Request): string {
  const cookies = request.headers.get("cookie") ?? "";
  const id = /(?:^|; )__Host-visitor=([0-9a-f-]{36})(?:;|$)/.exec(cookies)?.[1];
  return id ?? crypto.randomUUID();
}

/** Redirects a browser and tells it its id. `Lax`, because the way back from the warehouse begins at another site. */
export function redirectVisitor(location: string | URL, visitor: string): Response {
  const cookie = `${COOKIE}=${visitor}; Path=/; Secure; HttpOnly; SameSite=Lax`;
  return new Response(null, { status: 303, headers: { location: String(location), "set-cookie": cookie } });
}
