import { createServer as createHttpServer } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { type AddressInfo, type Server, createServer } from "node:net";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { classifyTransportFailure } from "../../src/core/transport-failure.ts";
import { selfSigned } from "../node/self-signed.ts";

const failed = (...codes: readonly string[]): Error =>
  codes.reduceRight<Error | undefined>(
    (cause, code) => Object.assign(new Error("x", { cause }), { code }),
    undefined,
  ) ?? new Error("no code");

describe("R-20 which failures were not sent", () => {
  it.each([
    "ENOTFOUND",
    "EAI_AGAIN",
    "ECONNREFUSED",
    "EHOSTUNREACH",
    "ENETUNREACH",
    "UND_ERR_CONNECT_TIMEOUT",
    "ERR_TLS_HANDSHAKE_TIMEOUT",
  ])("%s: nothing left this machine, and it may work later", (code) => {
    const error = new TypeError("fetch failed", { cause: failed(code) });
    expect(classifyTransportFailure(error)).toEqual({ code, ambiguous: false, retryable: true });
  });

  it.each([
    "CERT_HAS_EXPIRED",
    "CERT_NOT_YET_VALID",
    "DEPTH_ZERO_SELF_SIGNED_CERT",
    "SELF_SIGNED_CERT_IN_CHAIN",
    "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
    "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
    "ERR_TLS_CERT_ALTNAME_INVALID",
    "ERR_SSL_WRONG_VERSION_NUMBER",
    "ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE",
    "HOSTNAME_MISMATCH",
  ])("%s: no request was written, and a repetition gives the same", (code) => {
    const error = new TypeError("fetch failed", { cause: failed(code) });
    expect(classifyTransportFailure(error)).toEqual({ code, ambiguous: false, retryable: false });
  });

  it.each([
    "ECONNRESET",
    "EPIPE",
    "ETIMEDOUT",
    "UND_ERR_SOCKET",
    "UND_ERR_HEADERS_TIMEOUT",
    "UND_ERR_BODY_TIMEOUT",
    "UND_ERR_HEADERS_OVERFLOW",
    "HPE_INVALID_CONSTANT",
    "Z_DATA_ERROR",
    "ERR_SSL_SSLV3_ALERT_BAD_RECORD_MAC",
    "ERR_SSL_DECRYPTION_FAILED_OR_BAD_RECORD_MAC",
    "ERR_SSL_UNEXPECTED_EOF_WHILE_READING",
    "ERR_SSL_TLSV1_ALERT_INTERNAL_ERROR",
    "XCERT_",
    "HOSTNAME_MISMATCH_NOT",
    "NOBODY_KNOWS_THIS",
  ])("%s: may have been processed", (code) => {
    const error = new TypeError("fetch failed", { cause: failed(code) });
    expect(classifyTransportFailure(error)).toEqual({ code, ambiguous: true, retryable: true });
  });

  it.each([
    undefined,
    null,
    "ECONNREFUSED",
    7,
    {},
    new Error("ECONNREFUSED"),
    new TypeError("terminated"),
    new DOMException("x", "AbortError"),
  ])("what names no code is ambiguous: %s", (error) => {
    expect(classifyTransportFailure(error)).toEqual({ code: undefined, ambiguous: true, retryable: true });
  });

  it("reads every member of an aggregate: one doubtful address makes all of it doubtful", () => {
    const all = (...codes: readonly string[]): unknown =>
      new TypeError("fetch failed", { cause: new AggregateError(codes.map((code) => failed(code))) });
    expect(classifyTransportFailure(all("ECONNREFUSED", "ENETUNREACH"))).toEqual({
      code: "ECONNREFUSED",
      ambiguous: false,
      retryable: true,
    });
    expect(classifyTransportFailure(all("ECONNREFUSED", "ECONNRESET"))).toMatchObject({ ambiguous: true });
    expect(classifyTransportFailure(all("ECONNRESET", "CERT_HAS_EXPIRED"))).toEqual({
      code: "CERT_HAS_EXPIRED",
      ambiguous: false,
      retryable: false,
    });
  });

  it("R-20 no connection in time is not sent, on every way on which Node tells it", () => {
    const of = (code: string, syscall?: string): Error =>
      Object.assign(new Error("x"), { code, ...(syscall !== undefined && { syscall }) });
    const all = (...errors: readonly Error[]): Error =>
      Object.assign(new AggregateError(errors), { code: (errors[0] as NodeJS.ErrnoException).code }); // as node:net does it
    const [slow, refused] = [of("ETIMEDOUT", "connect"), of("ECONNREFUSED", "connect")];
    for (const error of [slow, all(slow, refused), all(refused, slow)]) {
      expect(classifyTransportFailure(new TypeError("fetch failed", { cause: error }))).toMatchObject({
        ambiguous: false,
        retryable: true,
      });
    }
    const lost = of("ETIMEDOUT", "read");
    for (const error of [of("ETIMEDOUT"), lost, all(lost, refused), all(refused, lost), all(slow, of("ECONNRESET"))]) {
      expect(classifyTransportFailure(error)).toMatchObject({ ambiguous: true });
    }
    const early = Object.assign(new AggregateError([refused]), { code: "ECONNRESET" });
    expect(classifyTransportFailure(early)).toMatchObject({ ambiguous: true });
  });

  it.each(["read", "write"])("R-20 a network that went away under a connection (%s) may have carried it", (syscall) => {
    const error = Object.assign(new Error("x"), { code: "EHOSTUNREACH", syscall });
    expect(classifyTransportFailure(error)).toEqual({ code: "EHOSTUNREACH", ambiguous: true, retryable: true });
  });

  it("takes the innermost code, and doubts if codes along the way differ", () => {
    expect(classifyTransportFailure(failed("UND_ERR_SOCKET", "ECONNREFUSED"))).toEqual({
      code: "ECONNREFUSED",
      ambiguous: true,
      retryable: true,
    });
  });

  it("looks five errors deep and no further", () => {
    expect(
      classifyTransportFailure(failed("ENOTFOUND", "ENOTFOUND", "ENOTFOUND", "ENOTFOUND", "ECONNREFUSED")),
    ).toMatchObject({
      code: "ECONNREFUSED",
    });
    const deep = failed("ENOTFOUND", "ENOTFOUND", "ENOTFOUND", "ENOTFOUND", "ENOTFOUND", "ECONNRESET");
    expect(classifyTransportFailure(deep)).toEqual({ code: "ENOTFOUND", ambiguous: false, retryable: true });
  });

  it("survives errors that are loops, throw, or hold data for codes", () => {
    const loop = failed("ECONNREFUSED");
    loop.cause = loop;
    expect(classifyTransportFailure(loop)).toMatchObject({ code: "ECONNREFUSED", ambiguous: false });
    const hostile = {
      get code(): string {
        throw new Error("no");
      },
    };
    expect(classifyTransportFailure(hostile)).toEqual({ code: undefined, ambiguous: true, retryable: true });
    expect(classifyTransportFailure({ code: "a secret: hunter2", errors: "no list" })).toMatchObject({
      code: undefined,
    });
    expect(classifyTransportFailure({ code: 20 })).toMatchObject({ code: undefined });
    expect(classifyTransportFailure({ code: `E${"X".repeat(64)}` })).toMatchObject({ code: undefined });
    expect(classifyTransportFailure({ code: `E${"X".repeat(63)}` }).code).toHaveLength(64);
  });

  it("never throws, and is certain of nothing it does not know", () => {
    fc.assert(
      fc.property(fc.anything({ maxDepth: 4, withNullPrototype: true }), (error) => {
        const { code, ambiguous, retryable } = classifyTransportFailure(error);
        expect([typeof ambiguous, typeof retryable]).toEqual(["boolean", "boolean"]);
        if (code === undefined) expect({ ambiguous, retryable }).toEqual({ ambiguous: true, retryable: true });
      }),
      { numRuns: 1000 },
    );
  });
});

describe("R-20 the same with what Node really throws", () => {
  const servers: Server[] = [];
  afterAll(() => {
    for (const server of servers) server.close();
  });
  const listen = async (server: Server): Promise<number> => {
    servers.push(server);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return (server.address() as AddressInfo).port;
  };
  const failureOf = async (url: string): Promise<unknown> => {
    try {
      const response = await fetch(url, { method: "POST", body: "token=1" });
      await response.text();
    } catch (error) {
      return error;
    }
    throw new Error("it worked");
  };
  const classified = async (url: string): Promise<unknown> => classifyTransportFailure(await failureOf(url));

  it("nobody listens", async () => {
    const server = createServer();
    const port = await listen(server);
    await new Promise((resolve) => server.close(resolve));
    expect(await classified(`http://127.0.0.1:${String(port)}/`)).toEqual({
      code: "ECONNREFUSED",
      ambiguous: false,
      retryable: true,
    });
    // Two addresses, so an aggregate.
    expect(await classified(`http://localhost:${String(port)}/`)).toMatchObject({
      code: "ECONNREFUSED",
      ambiguous: false,
    });
  });

  it("a connection reset before and after the request was read", async () => {
    const atOnce = createServer((socket) => socket.resetAndDestroy());
    const afterReading = createServer((socket) => {
      socket.once("data", () => socket.resetAndDestroy());
    });
    for (const server of [atOnce, afterReading]) {
      expect(await classified(`http://127.0.0.1:${String(await listen(server))}/`)).toMatchObject({
        ambiguous: true,
        retryable: true,
      });
    }
  });

  it("a body that is cut off", async () => {
    const server = createHttpServer((_request, response) => {
      response.writeHead(200, { "content-type": "application/json", "content-length": "1000" });
      response.write('{"access_token":');
      setTimeout(() => response.destroy(), 10);
    });
    expect(await classified(`http://127.0.0.1:${String(await listen(server))}/`)).toMatchObject({ ambiguous: true });
  });

  it("something that is no HTTP", async () => {
    const server = createServer((socket) => socket.once("data", () => socket.end("SSH-2.0-OpenSSH\r\n")));
    expect(await classified(`http://127.0.0.1:${String(await listen(server))}/`)).toMatchObject({ ambiguous: true });
  });

  it("https to a server that speaks http", async () => {
    const server = createHttpServer((_request, response) => response.end());
    expect(await classified(`https://127.0.0.1:${String(await listen(server))}/`)).toMatchObject({
      ambiguous: false,
      retryable: false,
    });
  });

  it("a certificate that nobody vouches for", async () => {
    const server = createTlsServer(selfSigned(), () => {
      throw new Error("a request got through");
    });
    expect(await classified(`https://localhost:${String(await listen(server))}/`)).toEqual({
      code: "DEPTH_ZERO_SELF_SIGNED_CERT",
      ambiguous: false,
      retryable: false,
    });
  });
});
