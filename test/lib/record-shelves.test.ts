import { expect, test } from "vitest";
import { FileRegister } from "../../src/lib/files/file-register.ts";
import type { RegisterFiles } from "../../src/lib/files/file-register.ts";
import { RecordShelves, forEachShelf } from "../../src/lib/files/record-shelves.ts";
import { formatKeyedRecord } from "../../src/lib/files/record-text.ts";
import { FolderModel, seededRandom } from "./files/folder-model.ts";

/** Takes every step at once: each call is an actor of its own, so that several may run. */
function running(model: FolderModel): RegisterFiles {
  const run = async <T>(call: (files: RegisterFiles) => Promise<T>): Promise<T> => {
    const actor = model.actor();
    const state = { over: false };
    const work = call(actor.files);
    const done = (): void => void (state.over = true);
    work.then(done, done);
    while (!state.over) {
      actor.step?.();
      await Promise.resolve();
    }
    return work;
  };
  return {
    list: (folder) => run((files) => files.list(folder)),
    read: (path) => run((files) => files.read(path)),
    create: (path, text, durable) => run((files) => files.create(path, text, durable)),
    link: (from, to) => run((files) => files.link(from, to)),
    makeFolder: (path, durable) => run((files) => files.makeFolder(path, durable)),
    moveFolder: (from, to) => run((files) => files.moveFolder(from, to)),
    remove: (path) => run((files) => files.remove(path)),
    removeFolder: (path) => run((files) => files.removeFolder(path)),
    isAbandoned: (path) => run((files) => files.isAbandoned(path)),
    syncFolder: (folder) => run((files) => files.syncFolder(folder)),
  };
}

const nameOf = (number: number): string => String(number).padStart(64, "0");
const place = (number: number): string => `room/aa/${nameOf(number)}`;

test("lists what stands, reads again only what changed, and drops what is over", async () => {
  const model = new FolderModel(seededRandom(1));
  const files = running(model);
  const reads: string[] = [];
  const counting: RegisterFiles = {
    ...files,
    read(path) {
      reads.push(path);
      return files.read(path);
    },
  };
  const register = new FileRegister(files, { durable: true });
  const shelves = new RecordShelves(counting, new FileRegister(counting, { durable: true }), () => 100);
  expect(await shelves.list("room", undefined)).toEqual([]);
  const put = (
    number: number,
    record: { dueAt?: number; deleteAfter?: number },
    version?: string,
  ): Promise<string | undefined> =>
    register.write(
      place(number),
      formatKeyedRecord({ key: `key ${String(number)}`, record: { value: "", ...record } }),
      version,
      () => undefined,
    );
  const first = await put(1, { dueAt: 5 });
  await put(2, { deleteAfter: 101 });
  await put(3, { deleteAfter: 100 });
  await register.write(place(4), "no record of ours", undefined, () => undefined);
  await files.makeFolder("room/aa/something else", false);
  await files.create("room/a file", "", false);

  const list = async (): Promise<string[]> => (await shelves.list("room", undefined)).map(({ key }) => key).sort();
  expect(await list()).toEqual(["key 1", "key 2"]);
  expect(await register.read(place(3))).toBeUndefined();
  expect((await register.read(place(4)))?.body).toBe("no record of ours");
  reads.length = 0;
  expect(await list()).toEqual(["key 1", "key 2"]);
  expect(reads.filter((path) => !path.startsWith(place(4)))).toEqual([]);
  await put(1, { dueAt: 6 }, first);
  expect((await shelves.list("room", undefined)).find(({ key }) => key === "key 1")?.dueAt).toBe(6);
  await register.remove(place(2), undefined, () => undefined);
  expect(await list()).toEqual(["key 1"]);
  await expect(shelves.list("room", AbortSignal.abort(new Error("too late")))).rejects.toThrow("too late");
  await shelves.tidy("room/none");
  await shelves.tidy("room/aa");
  await forEachShelf(files, "nothing", () => Promise.reject(new Error("there is no shelf")));
});

test("a record that begins looks after a few neighbours, not after all, and in time after each", async () => {
  const model = new FolderModel(seededRandom(1));
  const files = running(model);
  let looks = 0;
  const counting: RegisterFiles = {
    ...files,
    read(path) {
      looks += 1;
      return files.read(path);
    },
  };
  const register = new FileRegister(files, { durable: true });
  const shelves = new RecordShelves(files, new FileRegister(counting, { durable: true }), () => 100);
  for (let number = 1; number <= 60; number += 1) {
    const record = { value: "", deleteAfter: number % 2 === 0 ? 99 : 101 };
    await register.write(place(number), formatKeyedRecord({ key: "key", record }), undefined, () => undefined);
  }
  await shelves.tidy("room/aa");
  // Each is read once, and once more where it is removed.
  expect(looks).toBeGreaterThanOrEqual(8);
  expect(looks).toBeLessThanOrEqual(24);
  const left = (): number => [...(model.look("room/aa")?.keys() ?? [])].length;
  while (left() > 30) await shelves.tidy("room/aa");
  expect(left()).toBe(30);
});

test("S-097 what a dead process left in the folder of a record is removed by who lists, and the record stays", async () => {
  const model = new FolderModel(seededRandom(1), { abandoned: 1 });
  const files = running(model);
  const register = new FileRegister(files, { durable: true });
  const shelves = new RecordShelves(files, register, () => 100);
  const record = formatKeyedRecord({ key: "key", record: { value: "" } });
  for (const number of [1, 2, 3]) await register.write(place(number), record, undefined, () => undefined);
  await files.create(`${place(1)}/new-0123`, "stands aa\nsecret", true);
  // Died at a delete: after its end was written, and after that was all there was.
  const life = [...(model.look(place(2))?.keys() ?? [])].find((name) => name.startsWith("life-")) ?? "";
  await files.create(`${place(2)}/${life.slice("life-".length)}-2`, "ended bb\n", true);
  const other = [...(model.look(place(3))?.keys() ?? [])].find((name) => name.startsWith("life-")) ?? "";
  await files.remove(`${place(3)}/${other}`);
  expect((await shelves.list("room", undefined)).map(({ folder }) => folder)).toEqual([place(1)]);
  expect([...(model.look("room/aa")?.keys() ?? [])]).toEqual([nameOf(1)]);
  expect([...(model.look(place(1))?.keys() ?? [])].filter((name) => name.startsWith("new-"))).toEqual([]);
  expect((await register.read(place(1)))?.body).toBe(record);
});
