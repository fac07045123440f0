/** C programs of the benchmarks. */

import { join, resolve } from "node:path";
import { compiledProgram } from "../lab/programs.ts";

const folder = resolve(import.meta.dirname, "../../bench");

/** The path of `bench/NAME.c` as a static program. */
export function compiled(name: string): Promise<string> {
  return compiledProgram(join(folder, `${name}.c`));
}
