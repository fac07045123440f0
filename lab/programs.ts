/** C programs for guests and L1, built once by the lab's compiler and kept in the cache. */

import { mkdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { compileC } from "./build-root.ts";
import { cached, keyOf } from "./cache.ts";

/** The path of a C file as a static program; L1 sees it under the same path. */
export async function compiledProgram(source: string): Promise<string> {
  const name = basename(source, ".c");
  const key = keyOf(name, readFileSync(source, "utf8"));
  const built = await cached(`programs/${key}`, async (scratch) => {
    mkdirSync(scratch, { recursive: true });
    await compileC(source, join(scratch, name));
  });
  return join(built, name);
}
