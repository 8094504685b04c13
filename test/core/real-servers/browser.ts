// What a person's browser does between the authorization request and the callback.

/** Follows redirects, cookies and all, up to the one that starts with `stopAt`. */
export async function walk(from: URL, stopAt: string): Promise<URL> {
  const cookies = new Map<string, string>();
  let url = from;
  for (let step = 0; step < 12; step++) {
    const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join("; ");
    const response = await fetch(url, { redirect: "manual", headers: { cookie } });
    for (const line of response.headers.getSetCookie()) {
      const [, name = "", value = ""] = /^([^=]+)=([^;]*)/.exec(line) ?? [];
      if (value === "") cookies.delete(name);
      else cookies.set(name, value);
    }
    const body = await response.text();
    const next = response.headers.get("location");
    if (next === null) throw new Error(`no redirect: ${String(response.status)} ${body.slice(0, 500)}`);
    url = new URL(next, url);
    if (url.href.startsWith(stopAt)) return url;
  }
  throw new Error("too many redirects");
}
