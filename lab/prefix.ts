/**
 * A prefix: packages unpacked into a folder of the cache, without root and without touching the
 * system. Programs in it run with the prefix's own dynamic loader and libraries.
 */

import { execFile } from "node:child_process";
import { existsSync, mkdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { ViaductError } from "../src/sys/sys-error.ts";
import { cached, keyOf } from "./cache.ts";
import { chosenPackages, fetchPackage, type Package } from "./packages.ts";
import { progress } from "./progress.ts";

const execFileAsync = promisify(execFile);

// Device nodes and owners need root, and nothing in a prefix needs them.
const UNPACK = `dpkg-deb --fsys-tarfile "$1" |
  tar -x --no-same-owner --keep-directory-symlink -C "$2"`;

/** Unpacks one package's files into `folder`. A truncated stream makes tar fail. */
async function unpack(deb: string, folder: string): Promise<void> {
  try {
    await execFileAsync("sh", ["-c", UNPACK, "unpack", deb, folder]);
  } catch (error) {
    throw new ViaductError("LAB_FAILED", `${deb}: cannot unpack into ${folder}`, {
      cause: error,
      nextStep: "check free disk space; dpkg-deb and tar must be installed",
    });
  }
}

/** The merged-/usr links that Debian's base-files has; packages may ship files on either side. */
function linkMergedUsr(folder: string): void {
  for (const name of ["bin", "sbin", "lib", "lib64"]) {
    mkdirSync(join(folder, "usr", name), { recursive: true });
    if (!existsSync(join(folder, name))) symlinkSync(`usr/${name}`, join(folder, name));
  }
}

export interface PrefixRequest {
  /** What it is called in the cache and in progress lines. */
  readonly name: string;
  /** Suites, most wanted first. */
  readonly suites: readonly string[];
  readonly packages: readonly string[];
}

/** Unpacks exactly `packages` into a prefix of the cache. */
export async function unpackedPrefix(name: string, packages: readonly Package[]): Promise<string> {
  const versions = packages.map((one) => `${one.name}=${one.version}`).sort();
  return cached(`${name}-${keyOf(...versions)}`, async (scratch) => {
    const megabytes = packages.reduce((sum, one) => sum + one.size, 0) / 1e6;
    progress(`unpacking ${name}: ${packages.length} packages, ${megabytes.toFixed(0)} MB`);
    mkdirSync(scratch, { recursive: true });
    linkMergedUsr(scratch);
    const debs = await Promise.all(packages.map(fetchPackage));
    for (const deb of debs) await unpack(deb, scratch);
  });
}

/**
 * A prefix with the packages and all they depend on, from the cache or the mirror.
 * The versions chosen are part of its key.
 */
export async function prefix(request: PrefixRequest): Promise<string> {
  const { name, suites, packages } = request;
  const memory = `${name}-${keyOf(...packages)}`;
  const chosen = await chosenPackages(memory, suites, (source) => source.resolve(packages));
  return unpackedPrefix(name, chosen);
}

export interface Command {
  readonly program: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

/** How to start a program of a prefix: with the prefix's own loader and libraries. */
export function prefixCommand(prefix: string, program: string, args: readonly string[]): Command {
  const usr = join(prefix, "usr");
  const libraries = join(usr, "lib/x86_64-linux-gnu");
  return {
    program: join(usr, "lib64/ld-linux-x86-64.so.2"),
    args: ["--library-path", libraries, join(usr, "bin", program), ...args],
    env: {},
  };
}
