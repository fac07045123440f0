/** C programs of the benchmarks, built once by the lab's compiler and kept in the cache. */

import { mkdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { compileC } from "../lab/build-root.ts";
import { cached, keyOf } from "../lab/cache.ts";

const folder = resolve(import.meta.dirname, "../../bench");

/** The path of `bench/NAME.c` as a static program; L1 sees it under the same path. */
export async function compiled(name: string): Promise<string> {
  const source = join(folder, `${name}.c`);
  const key = keyOf(name, readFileSync(source, "utf8"));
  const built = await cached(`programs/${key}`, async (scratch) => {
    mkdirSync(scratch, { recursive: true });
    await compileC(source, join(scratch, name));
  });
  return join(built, name);
}
