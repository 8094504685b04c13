import type { StoredRecord } from "../session/store.ts";
import { NO_OPTIONS, RACERS, expect, put } from "./store-case.ts";
import type { StoreCase } from "./store-case.ts";

/** Keys as a manager may write them, and as file systems, SQL and URLs dislike them. */
const ODD_PARTS = ["a|b", "a/b", "../a", "a%2Fb", "a b", "a'b\"c", "a:b", "é", "日本", "A", "x".repeat(300)];

/** Records, versions, and what a write depends on. */
export const RECORD_CASES: readonly StoreCase[] = [
  [
    "a key that nobody wrote is absent, and deleting it is done",
    async ({ store, key }) => {
      expect((await store.read(key(), NO_OPTIONS)) === undefined, "read gave something for a key that nobody wrote");
      expect(await store.delete(key(), NO_OPTIONS), "delete of an absent key must say true: it is gone");
    },
  ],
  [
    "a record comes back as it was written, with its version",
    async ({ store, key }) => {
      const now = 1_767_225_600_000;
      const records: StoredRecord[] = [
        { value: "" },
        { value: "times to the half millisecond", dueAt: now + 0.5, deleteAfter: now * 2 + 0.5 },
        { value: "é 日本 🔑 \"'\\ \n\t\u0001", dueAt: now * 2 },
        { value: "v".repeat(65_536), dueAt: now * 2, deleteAfter: now * 3 },
        { value: "without the times of the record before" },
      ];
      let version: string | undefined;
      for (const record of records) {
        version = await put(store, key(), record, version);
        const read = await store.read(key(), NO_OPTIONS);
        expect(read?.version === version, "read gave another version than write");
        for (const member of ["value", "dueAt", "deleteAfter"] as const) {
          expect(read.record[member] === record[member], `"${member}" came back changed`);
        }
      }
    },
  ],
  [
    "odd keys are keys, each for itself",
    async ({ store, key }) => {
      for (const part of ODD_PARTS) await put(store, key(part), { value: part });
      await put(store, key("a"), { value: "lower case" });
      for (const part of ODD_PARTS) {
        const read = await store.read(key(part), NO_OPTIONS);
        expect(read?.record.value === part, `the record of the key part ${part.slice(0, 20)} is another's`);
      }
      expect(await store.delete(key("A"), NO_OPTIONS), "delete did not say true");
      expect((await store.read(key("a"), NO_OPTIONS)) !== undefined, "keys that differ in case are one key");
    },
  ],
  [
    "a version is never used twice for a key, not even after a delete",
    async ({ store, key }) => {
      const seen = new Set<string>();
      for (let round = 0; round < 3; round += 1) {
        let version: string | undefined;
        for (let write = 0; write < 3; write += 1) {
          version = await put(store, key(), { value: "the same" }, version);
          expect(!seen.has(version), "a version came back");
          seen.add(version);
        }
        await store.delete(key(), NO_OPTIONS);
      }
    },
  ],
  [
    "compare-and-set writes on the current version only, and a conflict changes nothing",
    async ({ store, key }) => {
      if (!store.capabilities.compareAndSet) return;
      expect(
        (await store.write(key(), { value: "0" }, { ifVersion: "none" })) === undefined,
        'a write with "ifVersion" passed where nothing is stored',
      );
      const first = await put(store, key(), { value: "1" });
      const second = await put(store, key(), { value: "2" }, first);
      for (const ifVersion of [undefined, first, "none"]) {
        const conflict = await store.write(key(), { value: "lost" }, { ifVersion });
        expect(conflict === undefined, "a write on another version passed");
      }
      const read = await store.read(key(), NO_OPTIONS);
      expect(read?.record.value === "2" && read.version === second, "a refused write changed the record");
    },
  ],
  [
    "of many writes on one version, one passes",
    async ({ store, key }) => {
      if (!store.capabilities.compareAndSet) return;
      for (const start of [undefined, await put(store, key("second"), { value: "start" })]) {
        const target = key(start === undefined ? "first" : "second");
        const versions = await Promise.all(
          Array.from({ length: RACERS }, (_, racer) =>
            store.write(target, { value: String(racer) }, { ifVersion: start }),
          ),
        );
        const winners = versions.flatMap((version, racer) => (version === undefined ? [] : [racer]));
        expect(winners.length === 1, `${String(winners.length)} of ${String(RACERS)} writes on one version passed`);
        const read = await store.read(target, NO_OPTIONS);
        expect(read?.record.value === String(winners[0]), "the record is not the winner's");
      }
    },
  ],
  [
    "delete keeps to the version it is given, and a record made anew is another one",
    async ({ store, key }) => {
      const first = await put(store, key(), { value: "1" });
      const second = await put(store, key(), { value: "2" }, first);
      if (store.capabilities.compareAndSet) {
        expect(!(await store.delete(key(), { ifVersion: first })), "delete of an older version said true");
        expect((await store.read(key(), NO_OPTIONS)) !== undefined, "delete of an older version deleted");
      }
      expect(await store.delete(key(), { ifVersion: second }), "delete of the current version said false");
      expect((await store.read(key(), NO_OPTIONS)) === undefined, "a deleted record is still there");
      if (!store.capabilities.compareAndSet) return;
      await put(store, key(), { value: "anew" });
      const stale = await store.write(key(), { value: "stale" }, { ifVersion: second });
      expect(stale === undefined, "a write on a version from before the delete passed");
    },
  ],
];
