/**
 * Where the golden test finds a C compiler and kernel headers. `VIADUCT_HEADERS` names a folder
 * with `linux/` in it, in place of the lab's.
 */

import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import type { Toolchain } from "./c-compiler.ts";

/** The machine's own, when it has both. */
export function installedToolchain(): Toolchain | undefined {
  const compiler = installedCompiler();
  return compiler === undefined ? undefined : withHeaders(compiler, "/usr/include");
}

export function labToolchain(): Toolchain | undefined {
  const headers = process.env["VIADUCT_HEADERS"];
  const compiler = installedCompiler();
  if (headers === undefined || compiler === undefined) return undefined;
  return withHeaders(compiler, headers);
}

function withHeaders(compiler: string, headers: string): Toolchain | undefined {
  return existsSync(join(headers, "linux/vfio.h")) ? { compiler, headers } : undefined;
}

function installedCompiler(): string | undefined {
  return ["gcc", "cc"].find((name) => spawnSync(name, ["--version"]).status === 0);
}
