/**
 * The kernel's log: `/dev/kmsg` of the running host, or what journald kept of it, `dmesg` in a
 * captured tree, or a file that the user names.
 */

import { spawnSync } from "node:child_process";
import { closeSync, constants, openSync, readSync } from "node:fs";
import type { HostTree } from "./tree.ts";

export interface KernelLog {
  /** Undefined: could not be read, and `missing` says why. */
  readonly lines: readonly string[] | undefined;
  readonly missing: string;
}

/** Where a captured tree has it. */
const CAPTURED = ["/dmesg", "/dmesg.txt", "/var/log/dmesg", "/var/log/kern.log"];
const RECORD_MAX = 8192;
const RECORDS_MAX = 100_000;

export function readKernelLog(tree: HostTree): KernelLog {
  if (tree.isLive) return readKmsg();
  for (const path of CAPTURED) {
    const text = tree.text(path);
    if (text !== undefined) return logOf(text);
  }
  return { lines: undefined, missing: "the tree has no kernel log (dmesg); give one with --log" };
}

/** Both: the lines of `more` after those that are there. */
export function logWith(log: KernelLog, more: KernelLog): KernelLog {
  return { lines: [...(log.lines ?? []), ...(more.lines ?? [])], missing: "" };
}

/** A log from text: `dmesg`, `journalctl -k`, or QEMU's own. */
export function logOf(text: string): KernelLog {
  return { lines: text.split(/\r?\n/).filter((line) => line !== ""), missing: "" };
}

function readKmsg(): KernelLog {
  let fd: number;
  try {
    fd = openSync("/dev/kmsg", constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    const fromJournal = readJournald();
    if (fromJournal !== undefined) return logOf(fromJournal);
    const why = (error as NodeJS.ErrnoException).code === "EPERM" ? "kernel.dmesg_restrict" : "";
    const missing = `/dev/kmsg may not be read${why === "" ? "" : ` (${why})`}; run as root`;
    return { lines: undefined, missing };
  }
  const lines: string[] = [];
  const buffer = Buffer.alloc(RECORD_MAX);
  try {
    for (let i = 0; i < RECORDS_MAX; i++) {
      const record = readRecord(fd, buffer);
      if (record === undefined) break;
      if (record !== "") lines.push(record);
    }
  } finally {
    closeSync(fd);
  }
  return { lines, missing: "" };
}

const JOURNALCTL = ["--dmesg", "--boot", "--no-pager", "--quiet", "--output=cat"];
const JOURNALCTL_MS_MAX = 5000;

/** What journald kept of this boot's kernel log; its readers need not be root. */
function readJournald(): string | undefined {
  const { status, stdout } = spawnSync("journalctl", JOURNALCTL, {
    encoding: "utf8",
    timeout: JOURNALCTL_MS_MAX,
    maxBuffer: RECORD_MAX * RECORDS_MAX,
    stdio: ["ignore", "pipe", "ignore"],
  });
  return status === 0 && stdout !== "" ? stdout : undefined;
}

/** The text of the next record; undefined at the end, "" for one that was overwritten. */
function readRecord(fd: number, buffer: Buffer): string | undefined {
  try {
    const length = readSync(fd, buffer);
    if (length === 0) return undefined;
    const record = buffer.toString("utf8", 0, length);
    const at = record.indexOf(";");
    return record.slice(at + 1).split("\n", 1)[0] ?? "";
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPIPE" ? "" : undefined;
  }
}
