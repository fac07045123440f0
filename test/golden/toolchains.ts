/**
 * Where the golden test finds a C compiler and kernel headers: the machine's own, and the newest
 * headers package that the lab can download. Without a compiler on the machine, the lab's build
 * root has one. `VIADUCT_HEADERS` names a folder with `linux/` in it, in place of the package.
 */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { runInBuildRoot } from "../../lab/build-root.ts";
import { chosenPackages } from "../../lab/packages.ts";
import { unpackedPrefix } from "../../lab/prefix.ts";
import type { Toolchain } from "./c-compiler.ts";

/** The machine's own, when it has both. */
export function installedToolchain(): Toolchain | undefined {
  const headers = "/usr/include";
  if (!hasCompiler() || !existsSync(join(headers, "linux/vfio.h"))) return undefined;
  return { headers, run: runHere };
}

/** The lab's headers, with the machine's compiler or the lab's. */
export async function labToolchain(): Promise<Toolchain> {
  const headers = process.env["VIADUCT_HEADERS"] ?? (await downloadedHeaders());
  return { headers, run: hasCompiler() ? runHere : runInBuildRoot };
}

async function downloadedHeaders(): Promise<string> {
  const chosen = await chosenPackages("kernel-headers", ["trixie-backports"], (source) => {
    const newest = source.newest(/^linux-libc-dev$/);
    return newest ? [newest] : [];
  });
  assert.equal(chosen.length, 1, "the mirror has no linux-libc-dev in trixie-backports");
  return join(await unpackedPrefix("kernel-headers", chosen), "usr/include");
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
