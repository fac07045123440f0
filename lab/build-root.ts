/**
 * The build root: a compiler and what a kernel build needs, in a prefix of their own, entered by
 * chroot. So the lab builds the same on every machine, and needs no package installed on it.
 */

import { spawn } from "node:child_process";
import { copyFileSync, cpSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { ViaductError } from "../src/sys/sys-error.ts";
import { prefix } from "./prefix.ts";
import { progress } from "./progress.ts";

const PACKAGES = [
  ..."gcc make flex bison bc libelf-dev libc6-dev m4 perl linux-libc-dev".split(" "),
  ..."bash dash coreutils sed grep mawk findutils diffutils gzip xz-utils".split(" "),
];

export function buildRoot(): Promise<string> {
  return prefix({ name: "build-root", suites: ["trixie"], packages: PACKAGES });
}

/**
 * Enters the root in a mount namespace of its own, so that /dev and /proc leave with it (objtool of
 * a kernel build reads its limits there). The name awk is made by a maintainer script on a Debian
 * system.
 */
const ENTER = `
set -e
[ -e "$1/usr/bin/awk" ] || ln -s mawk "$1/usr/bin/awk"
mkdir -p "$1/dev" "$1/proc" "$1/tmp" "$1/work"
mount --rbind /dev "$1/dev"
mount --rbind /proc "$1/proc"
mount --bind "$2" "$1/work"
exec chroot "$1" /usr/bin/env -i PATH=/usr/bin:/usr/sbin HOME=/ TMPDIR=/work LC_ALL=C \
  /usr/bin/bash -c "cd /work && $3"
`;

/**
 * Runs a shell command in the build root.
 * @param folder a host folder that is /work inside
 * @returns its standard output; the last lines of what it printed go into the error
 */
export async function runInBuildRoot(folder: string, command: string): Promise<string> {
  const root = await buildRoot();
  const flags = process.getuid?.() === 0 ? ["--mount"] : ["--mount", "--map-root-user"];
  const args = [...flags, "sh", "-c", ENTER, "build-root", root, folder, command];
  const child = spawn("unshare", args, { stdio: ["ignore", "pipe", "pipe"] });
  let stdout = "";
  let tail = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    stdout += text;
    tail = (tail + text).slice(-4000);
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    tail = (tail + text).slice(-4000);
  });
  const status = await new Promise<number | null>((done) => child.once("close", done));
  if (status === 0) return stdout;
  throw new ViaductError("LAB_FAILED", `build root: "${command}" ended with ${status}\n${tail}`, {
    nextStep: "the lines above are the last it printed",
  });
}

/**
 * Compiles one C file to a static program that runs on any x86-64 Linux.
 * @param headers a folder of kernel headers to prefer over the build root's own
 */
export async function compileC(
  source: string,
  output: string,
  flags: readonly string[] = ["-O2", "-static"],
  headers?: string,
): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "viaduct-cc-"));
  try {
    const name = basename(source);
    copyFileSync(source, join(folder, name));
    if (headers !== undefined) {
      mkdirSync(join(folder, "include"));
      cpSync(headers, join(folder, "include"), { recursive: true });
    }
    const include = headers === undefined ? "" : "-isystem include ";
    progress(`compiling ${name}`);
    await runInBuildRoot(folder, `gcc ${flags.join(" ")} ${include}-o out ${name}`);
    copyFileSync(join(folder, "out"), output);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
