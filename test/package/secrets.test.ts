import { describe, expect, test } from "vitest";
import { listFiles, readText } from "./repository.ts";

/** What real secrets look like, by who issues them, each with the parts of a sample: whole, it would be found here. */
const SHAPES: readonly (readonly [name: string, shape: RegExp, sample: readonly string[]])[] = [
  ["AWS access key", /\b(?:AKIA|ASIA)[0-9A-Z]{16}\b/, ["AK", "IA", "7".repeat(16)]],
  ["GitHub token", /\bgh[opsur]_\w{36,}|\bgithub_pat_\w{40,}/, ["gh", "p_", "a".repeat(36)]],
  ["npm token", /\bnpm_[A-Za-z0-9]{36}\b/, ["np", "m_", "a".repeat(36)]],
  ["npm login", /_authToken\s*=\s*(?!\$\{)\S+/, ["_auth", "Token=", "x"]],
  ["Slack token", /\bxox[abeoprs]-[\w-]{10,}/, ["xo", "xb-", "1".repeat(12)]],
  ["Google API key", /\bAIza[\w-]{35}\b/, ["AI", "za", "a".repeat(35)]],
  ["Google client secret", /\bGOCSPX-[\w-]{28}/, ["GOC", "SPX-", "a".repeat(28)]],
  ["Google access token", /\bya29\.[\w-]{30,}/, ["ya", "29.", "a".repeat(40)]],
  ["Google refresh token", /\b1\/\/0[\w-]{40,}/, ["1/", "/0", "a".repeat(50)]],
  ["Databricks token", /\bdapi[0-9a-f]{32}\b/, ["da", "pi", "0".repeat(32)]],
  ["Databricks secret", /\bdose[0-9a-f]{32}\b/, ["do", "se", "0".repeat(32)]],
  ["Entra client secret", /\b\w{3}8Q~[\w.~-]{31,}/, ["abc8", "Q~", "a".repeat(34)]],
  [
    "private key",
    /-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----(?:\\n|\s)+[A-Za-z0-9+/]{40}/,
    ["-----BEGIN ", "PRIVATE KEY-----\n", "M".repeat(40)],
  ],
  ["private JWK", /"d"\s*:\s*"[\w-]{40,}"/, ['"d', '": "', "a".repeat(43), '"']],
  [
    "signed token",
    /\beyJ[\w-]{15,}\.eyJ[\w-]{20,}\.[\w-]{40,}/,
    ["ey", "J", "a".repeat(20), ".ey", "J", "a".repeat(20), ".", "a".repeat(43)],
  ],
];

describe("no file holds a secret", () => {
  test.each(SHAPES)("%s", (_, shape) => {
    expect(listFiles().filter((path) => shape.test(readText(path)))).toEqual([]);
  });

  test.each(SHAPES)("the shape of a %s is found", (_, shape, sample) => {
    expect(shape.test(`const x = ${sample.join("")};`)).toBe(true);
  });

  test("no file of settings lies in the repository", () => {
    const isSettings = (path: string): boolean => /(?:^|\/)\.env(?:\.|$)|\.(?:pem|p8|p12|pfx|key|tgz)$/.test(path);
    expect(listFiles("", isSettings)).toEqual([]);
  });
});
