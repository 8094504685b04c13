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
    sync: (folder) => run((files) => files.sync(folder)),
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
