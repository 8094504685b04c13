import { BaseSequencer } from "vitest/node";
import type { TestSpecification } from "vitest/node";

/** What takes the longest, and says little of it by its size: begun last, it would be waited for alone. */
const LONGEST = [
  "fleet/outage",
  "package/tarball",
  "session/model",
  "examples/demo",
  "fleet/killed",
  "stores/postgres",
  "fleet/soak",
  "package/docs-code",
  "fleet/paused",
  "fleet/crash-points",
  "session/token-manager",
].map((name) => `/test/${name}.test.ts`);

/** Order of test files on a machine that has not seen them before; later Vitest remembers how long each took. */
export class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files);
    const place = ({ moduleId }: TestSpecification): number => {
      const index = LONGEST.findIndex((name) => moduleId.endsWith(name));
      return index === -1 ? LONGEST.length : index;
    };
    return sorted.sort((a, b) => place(a) - place(b));
  }
}
