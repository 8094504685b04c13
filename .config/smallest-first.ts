import { statSync } from "node:fs";
import { BaseSequencer } from "vitest/node";
import type { TestSpecification } from "vitest/node";

/** For runs that end with the first test that fails: small files say so sooner. */
export class SmallestFirst extends BaseSequencer {
  override sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sizes = new Map(files.map((file) => [file, statSync(file.moduleId).size]));
    return Promise.resolve(files.toSorted((a, b) => (sizes.get(a) ?? 0) - (sizes.get(b) ?? 0)));
  }
}
