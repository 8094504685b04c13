// A session's whole identity in one text: requirement S-079, DESIGN 5 "Keys".
import { describe, expect, test } from "vitest";
import { ConfigurationError } from "warehouse-oauth";
import { manualClock } from "warehouse-oauth/testing";
import { checkIdentity, formatLocalKey, formatSessionKey, parseSessionKey } from "../../src/session/session-key.ts";
import type { SessionIdentity } from "../../src/session/session-key.ts";
import { acmeServer } from "./acme-room.ts";

const { client } = acmeServer(manualClock());

const keyOf = (identity: SessionIdentity): string => formatSessionKey(formatLocalKey(identity), client.connectionId);

describe("checkIdentity", () => {
  test("gives a frozen copy without what is absent", () => {
    const given = { subject: "ada", tenant: "acme", label: "ANALYST" };
    const checked = checkIdentity(given);
    expect(checked).toEqual(given);
    expect(checked).not.toBe(given);
    expect(Object.isFrozen(checked)).toBe(true);
    expect(Object.keys(checkIdentity({ subject: "ada" }))).toEqual(["subject"]);
    expect(Object.keys(checkIdentity({ subject: "ada", tenant: undefined } as never))).toEqual(["subject"]);
  });

  test.each([undefined, null, 7, "ada"])("%s is no identity", (identity) => {
    expect(() => checkIdentity(identity as never)).toThrow(
      expect.objectContaining({ name: "TypeError", code: "invalid_argument" }),
    );
  });

  test.each([{}, { subject: 7 }, { subject: "ada", tenant: 7 }, { subject: "ada", label: {} }])(
    "a part must be text: %j",
    (identity) => {
      expect(() => checkIdentity(identity as never)).toThrow(expect.objectContaining({ code: "invalid_argument" }));
    },
  );

  test.each([
    [{ subject: "" }, "subject"],
    [{ subject: "ada", tenant: "" }, "tenant"],
    [{ subject: "ada", label: "" }, "label"],
    [{ subject: "x".repeat(513) }, "subject"],
    [{ subject: "ada", user: "ada" }, "user"],
    [{ subject: "\ud800" }, "subject"],
    [{ subject: "ada", label: "a\udc00b" }, "label"],
  ])("refuses %j", (identity, option) => {
    const refused = (): unknown => checkIdentity(identity);
    expect(refused).toThrow(ConfigurationError);
    expect(refused).toThrow(expect.objectContaining({ code: "config_invalid", option }));
    expect(refused).toThrow(`"${option}"`);
  });

  test("512 characters are fine, and so is every character there is", () => {
    expect(checkIdentity({ subject: "x".repeat(512) }).subject).toHaveLength(512);
    expect(checkIdentity({ subject: "😀" }).subject).toBe("😀");
  });
});

describe("S-079 keys", () => {
  test("S-079 no two identities share one", () => {
    const parts = ["a", "b", "a/b", "a%2Fb", "..", "/", "é", "a|b", " ", "undefined", "😀"];
    const keys = new Set<string>();
    for (const subject of parts)
      for (const tenant of [undefined, ...parts])
        for (const label of [undefined, ...parts]) {
          keys.add(keyOf({ subject, ...(tenant !== undefined && { tenant }), ...(label !== undefined && { label }) }));
        }
    expect(keys.size).toBe(parts.length * (parts.length + 1) ** 2);
  });

  test("S-079 another client has another key", () => {
    const other = acmeServer(manualClock()).register("other");
    expect(formatSessionKey("/ada/", other.connectionId)).not.toBe(keyOf({ subject: "ada" }));
  });

  test("those of a tenant and subject share a prefix", () => {
    expect(formatLocalKey({ tenant: "acme", subject: "ada", label: "X" })).toBe("acme/ada/X");
    expect(formatLocalKey({ subject: "ada" })).toBe("/ada/");
  });

  test.each([
    { subject: "ada" },
    { subject: "a/b c", tenant: "ä|b", label: "%2F" },
    { subject: "😀", label: ".." },
    { subject: "ada", tenant: "t" },
  ])("reads back %j", (identity) => {
    const key = keyOf(identity);
    expect(parseSessionKey(key)).toEqual({
      ...identity,
      key,
      warehouse: "acme",
      issuer: "https://login.acme.example",
      clientId: "acme-client",
      connectionId: client.connectionId,
    });
  });

  test.each([
    "",
    "ada",
    "a/b/c",
    "/ada//not-a-connection",
    `//x/${client.connectionId}`,
    `/ada//${client.connectionId}/more`,
    `/%E0%A4%A/x/${client.connectionId}`,
    `/ada//%E0%A4%A|a|b|c`,
  ])("gives nothing for what is none: %s", (text) => {
    expect(parseSessionKey(text)).toBeUndefined();
  });
});
