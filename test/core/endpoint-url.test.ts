import { describe, expect, it } from "vitest";
import { createClient, discover } from "warehouse-oauth";
import type { ErrorCode } from "warehouse-oauth";
import { assertSecure, isLoopbackHttp, isPlainUrl, parseEndpoint } from "../../src/core/endpoint-url.ts";
import { acmeWarehouse, documentFetch, expectCode, standingClock } from "./acme.ts";

/** `http` that is not literally this machine. */
const INSECURE = [
  "http://login.acme.example",
  "http://127.0.0.1.evil.example",
  "http://0x7f.1",
  "http://0x7f.0.0.1",
  "http://127.1",
  "http://127.0.0.2",
  "http://127.0.0.10",
  "http://2130706433",
  "http://017700000001",
  "http://[::ffff:127.0.0.1]",
  "http://[::2]",
  "http://[0:0:0:0:0:0:0:1]",
  "http://localhost.",
  "http://localhost.evil.example",
  "http://notlocalhost",
  "http://LOCALHOST",
  "http://0.0.0.0",
  "http://10.0.0.1",
  "http://169.254.169.254",
  "http:127.0.0.1",
  "http:/localhost/",
  "HTTP://localhost",
];

const MALFORMED = [
  "",
  "login.acme.example",
  "/token",
  "//login.acme.example/token",
  "https://",
  "https://[::1",
  "https://a.example:99999",
  "https://a b.example",
  " https://a.example",
  "https://a.example\n",
  "ht\ntps://a.example",
  "https://a.example/\ud800",
  "https://bücher.example",
  "https://a.example\\@evil.example",
  "https://user@a.example",
  "https://user:pw@a.example",
  "https://:pw@a.example",
  "https://a.example/#",
  "https://a.example/token#x",
  "https://login.acme.example@evil.example/",
];

const LOOPBACK = [
  "http://127.0.0.1",
  "http://127.0.0.1/",
  "http://127.0.0.1:8080/token?x=1",
  "http://[::1]",
  "http://[::1]:8080/token",
  "http://localhost",
  "http://localhost?x",
  "http://localhost:8080/token",
];

describe("isLoopbackHttp", () => {
  it.each(LOOPBACK)("takes %s", (text) => {
    expect(isLoopbackHttp(text)).toBe(true);
  });

  it.each([...INSECURE, "https://127.0.0.1", "http://localhost:80@evil.example/", "http://127.0.0.1:x@evil.example"])(
    "S-025 does not take %s",
    (text) => {
      expect(isLoopbackHttp(text)).toBe(false);
    },
  );
});

describe("isPlainUrl", () => {
  it("takes visible ASCII from the first to the last, and no backslash", () => {
    for (let code = 0; code < 0x100; code++) {
      const allowed = code >= 0x21 && code <= 0x7e && code !== 0x5c;
      expect([code, isPlainUrl(`https://a.example/${String.fromCharCode(code)}x`)]).toEqual([code, allowed]);
    }
    expect(isPlainUrl(new URL("https://a.example"))).toBe(false);
  });
});

describe("parseEndpoint", () => {
  it("gives the address parsed", () => {
    expect(parseEndpoint("https://A.example:8443/token?x=1", "tokenEndpoint").host).toBe("a.example:8443");
    expect(parseEndpoint("HTTPS://a.example", "tokenEndpoint").protocol).toBe("https:");
  });

  it.each(LOOPBACK)("leaves %s to the client", (text) => {
    expect(parseEndpoint(text, "tokenEndpoint").protocol).toBe("http:");
  });

  it.each(INSECURE)("S-025 refuses %s", async (text) => {
    expect(await expectCode(() => parseEndpoint(text, "tokenEndpoint"), "insecure_url")).toMatchObject({
      option: "tokenEndpoint",
    });
  });

  it.each(["javascript:alert(1)", "file:///etc/passwd", "ftp://a.example", "ws://a.example", "data:,x"])(
    "S-025 refuses the scheme of %s",
    async (text) => {
      await expectCode(() => parseEndpoint(text, "tokenEndpoint"), "insecure_url");
    },
  );

  it.each(MALFORMED)("S-005 refuses %j", async (text) => {
    expect(await expectCode(() => parseEndpoint(text, "issuer"), "config_invalid")).toMatchObject({ option: "issuer" });
  });

  it("refuses what is no text", async () => {
    await expectCode(() => parseEndpoint(undefined, "issuer"), "config_invalid");
  });
});

describe("assertSecure", () => {
  it("S-025 lets http pass only where it is switched on", async () => {
    expect(
      await expectCode(() => {
        assertSecure("http://127.0.0.1", "tokenEndpoint", false);
      }, "insecure_url"),
    ).toMatchObject({ option: "tokenEndpoint" });
    expect(() => {
      assertSecure("http://127.0.0.1", "tokenEndpoint", true);
    }).not.toThrow();
    expect(() => {
      assertSecure("https://a.example", "tokenEndpoint", false);
    }).not.toThrow();
    expect(() => {
      assertSecure("HTTPS://a.example", "tokenEndpoint", false);
    }).not.toThrow();
  });
});

const ENDPOINTS = ["authorizationEndpoint", "tokenEndpoint", "revocationEndpoint", "jwksUri"] as const;

describe("S-025 every address that is given", () => {
  describe.each([...ENDPOINTS, "issuer"] as const)("%s of defineWarehouse", (option) => {
    it.each(INSECURE)("refuses %s", async (text) => {
      expect(await expectCode(() => acmeWarehouse({ [option]: text }), "insecure_url")).toMatchObject({ option });
    });

    it.each(MALFORMED)("refuses %j", async (text) => {
      expect(await expectCode(() => acmeWarehouse({ [option]: text }), "config_invalid")).toMatchObject({ option });
    });
  });

  it.each(INSECURE)("apiOrigins of defineWarehouse refuse %s", async (text) => {
    expect(
      await expectCode(() => acmeWarehouse({ apiOrigins: ["https://a.example", text] }), "insecure_url"),
    ).toMatchObject({ option: "apiOrigins" });
  });

  it.each(ENDPOINTS)("%s at this machine needs allowLoopbackHttp", async (option) => {
    const warehouse = acmeWarehouse({ [option]: "http://127.0.0.1:8080/x" });
    const error = await expectCode(() => createClient({ warehouse, clientId: "a" }), "insecure_url");
    expect(error).toMatchObject({ option });
    expect(createClient({ warehouse, clientId: "a", allowLoopbackHttp: true }).warehouse).toBe(warehouse);
  });

  it("apiOrigins at this machine need allowLoopbackHttp", async () => {
    const warehouse = acmeWarehouse({ apiOrigins: ["http://localhost:8080"] });
    expect(await expectCode(() => createClient({ warehouse, clientId: "a" }), "insecure_url")).toMatchObject({
      option: "apiOrigins",
    });
    expect(createClient({ warehouse, clientId: "a", allowLoopbackHttp: true }).clientId).toBe("a");
  });

  it.each([
    ...INSECURE.map((text): [string, ErrorCode] => [text, "insecure_url"]),
    ...MALFORMED.map((text): [string, ErrorCode] => [text, "config_invalid"]),
  ])("discover refuses the issuer %j", async (issuer, code) => {
    const fetch = documentFetch({});
    for (const allowLoopbackHttp of [false, true]) {
      await expectCode(() => discover(issuer, { fetch, clock: standingClock(), allowLoopbackHttp }), code);
    }
    expect(fetch.asked).toEqual([]);
  });

  it("discover needs allowLoopbackHttp for an issuer at this machine", async () => {
    const fetch = documentFetch({});
    expect(await expectCode(() => discover("http://127.0.0.1:8080", { fetch }), "insecure_url")).toMatchObject({
      option: "issuer",
    });
    expect(fetch.asked).toEqual([]);
  });
});
