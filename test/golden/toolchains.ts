/**
 * Where the golden test finds a C compiler and kernel headers. `VIADUCT_HEADERS` names a folder
 * with `linux/` in it, in place of the lab's.
 */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Toolchain } from "./c-compiler.ts";

/** The machine's own, when it has both. */
export function installedToolchain(): Toolchain | undefined {
  const headers = "/usr/include";
  if (!hasCompiler() || !existsSync(join(headers, "linux/vfio.h"))) return undefined;
  return { headers, run: runHere };
}

export async function labToolchain(): Promise<Toolchain | undefined> {
  const headers = process.env["VIADUCT_HEADERS"];
  if (headers === undefined || !hasCompiler()) return undefined;
  return { headers, run: runHere };
}

function hasCompiler(): boolean {
  return spawnSync("gcc", ["--version"]).status === 0;
}

async function runHere(folder: string, command: string): Promise<string> {
  const options = { cwd: folder, encoding: "utf8", timeout: 120_000 } as const;
  const { status, stdout, stderr } = spawnSync("sh", ["-c", command], options);
  assert.equal(status, 0, stderr);
  return stdout;
}
