/** What the lab keeps in its cache directory, for a person who wonders where the space went. */

import { lstatSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { cacheDirectory } from "./cache.ts";

/** Names of the lab's own entries; nothing else in the directory is touched. */
const OWN: ReadonlyArray<{ readonly pattern: RegExp; readonly what: string }> = [
  { pattern: /^debs$/, what: "downloaded packages" },
  { pattern: /^(index|chosen)$/, what: "package indexes and what was chosen from them" },
  { pattern: /^qemu-/, what: "QEMU" },
  { pattern: /^lab-kernel-/, what: "the lab kernel" },
  { pattern: /^debian-kernel-/, what: "the Debian kernel" },
  { pattern: /^linux-source-/, what: "the lab kernel's source" },
  { pattern: /^build-root-/, what: "compiler and build tools" },
  { pattern: /^(busybox|kernel-headers|pciutils)-/, what: "small prefixes" },
  { pattern: /^(l1-|guests$|programs$)/, what: "initial RAM disks and programs" },
  { pattern: /^snapshots$/, what: "snapshots of L1" },
];

/** What is made again in seconds, and old versions are remembered in. */
const CHEAP = /^(index|chosen|guests|snapshots|l1-.*)$/;

function names(): string[] {
  try {
    return readdirSync(cacheDirectory()).sort();
  } catch {
    return []; // not made yet
  }
}

/** Bytes that a file or folder takes; holes of sparse files do not count. */
function size(path: string): number {
  const entry = lstatSync(path, { throwIfNoEntry: false });
  if (!entry) return 0;
  if (!entry.isDirectory()) return entry.blocks * 512;
  return readdirSync(path).reduce((sum, name) => sum + size(join(path, name)), 0);
}

const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(0)} MB`;

export function describeCache(): string {
  const rows = OWN.map(({ pattern, what }) => {
    const own = names().filter((name) => pattern.test(name));
    const bytes = own.reduce((sum, name) => sum + size(join(cacheDirectory(), name)), 0);
    return `${(bytes === 0 ? "-" : megabytes(bytes)).padStart(9)}  ${what}`;
  });
  return `${cacheDirectory()}\n${rows.join("\n")}\n`;
}

/** @param all also what takes a download or a build to make again */
export function cleanCache(all: boolean): string {
  const own = names().filter((name) =>
    all ? OWN.some(({ pattern }) => pattern.test(name)) : CHEAP.test(name),
  );
  const bytes = own.reduce((sum, name) => sum + size(join(cacheDirectory(), name)), 0);
  for (const name of own) rmSync(join(cacheDirectory(), name), { recursive: true, force: true });
  return `removed ${own.length} entries, ${megabytes(bytes)}, of ${cacheDirectory()}\n`;
}
