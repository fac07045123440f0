/**
 * The lab's cache: downloads, unpacked prefixes, kernels and snapshots, kept in a directory of the
 * user's and shared by every checkout. An entry appears by one rename when it is complete, so a
 * killed process leaves no half of one; a lock keeps two processes from building the same thing.
 */

import { createHash } from "node:crypto";
import {
  closeSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { rename } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { ViaductError } from "../src/sys/sys-error.ts";
import { progress } from "./progress.ts";

/** `$VIADUCT_CACHE`, else the user's cache directory as the XDG specification has it. */
export function cacheDirectory(): string {
  const base = process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache");
  return process.env["VIADUCT_CACHE"] ?? join(base, "viaduct");
}

export function cachePath(...parts: string[]): string {
  return join(cacheDirectory(), ...parts);
}

/** A short key for what an entry was made from. */
export function keyOf(...parts: string[]): string {
  return createHash("sha256").update(parts.join("\0")).digest("hex").slice(0, 16);
}

function exists(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false }) !== undefined;
}

/** A build takes minutes; a holder that is gone is noticed at once. */
const LOCK_WAIT_MS = 30 * 60_000;

async function lock(path: string): Promise<() => void> {
  const deadline = Date.now() + LOCK_WAIT_MS;
  let told = false;
  for (;;) {
    try {
      const fd = openSync(path, "wx");
      writeFileSync(fd, String(process.pid));
      closeSync(fd);
      return () => rmSync(path, { force: true });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    }
    const holder = Number(exists(path) ? readFileSync(path, "utf8") : 0);
    if (holder > 0 && !exists(`/proc/${holder}`)) {
      rmSync(path, { force: true });
      continue;
    }
    if (Date.now() > deadline) {
      throw new ViaductError("LAB_FAILED", `${path}: held by process ${holder} for 30 minutes`, {
        nextStep: `end process ${holder}, or remove the file`,
      });
    }
    if (!told) progress(`waiting for process ${holder}, which is making the same thing`);
    told = true;
    await delay(250);
  }
}

/**
 * The path of a cache entry, made by `make` when it is not there.
 * @param name relative to the cache directory
 * @param make fills the scratch path it is given (a file or a directory of its own making)
 */
export async function cached(
  name: string,
  make: (scratch: string) => Promise<void> | void,
): Promise<string> {
  const path = cachePath(name);
  if (exists(path)) return path;
  mkdirSync(join(path, ".."), { recursive: true });
  const unlock = await lock(`${path}.lock`);
  const scratch = `${path}.${process.pid}.part`;
  try {
    if (exists(path)) return path;
    await make(scratch);
    await rename(scratch, path);
    return path;
  } finally {
    rmSync(scratch, { recursive: true, force: true });
    unlock();
  }
}
