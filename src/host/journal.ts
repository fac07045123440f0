/**
 * The journal of changes: what a device's driver and override were before we touched it, written
 * before the change, so that `restore --all` puts everything back even after a crash half way.
 */

import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  writeSync,
} from "node:fs";
import { dirname } from "node:path";
import { ViaductError } from "../sys/sys-error.ts";

export interface JournalEntry {
  readonly address: string;
  /** The boot in which it was done; after another, sysfs is as new. */
  readonly boot: string;
  readonly driver: string | null;
  readonly override: string | null;
  /** The number of VFs before; only of `sriov`. */
  readonly vfs?: number;
  /** The udev rule that `--persist` wrote. */
  readonly rule?: string;
}

export const JOURNAL_PATH = "/var/lib/viaduct/journal.ndjson";

export class Journal {
  private readonly path: string;

  constructor(path: string) {
    this.path = path;
  }

  /** The first entry of each device: how it was before anything of ours. Cut lines are left out. */
  entries(): Map<string, JournalEntry> {
    const found = new Map<string, JournalEntry>();
    for (const line of this.text().split("\n")) {
      const entry = parseEntry(line);
      if (entry === undefined) continue;
      const before = found.get(entry.address);
      if (before === undefined || before.boot !== entry.boot) found.set(entry.address, entry);
      else found.set(entry.address, { ...entry, ...before });
    }
    return found;
  }

  /** On disk when this returns. */
  record(entry: JournalEntry): void {
    this.put("a", `${JSON.stringify(entry)}\n`);
  }

  /** Takes devices out: they were put back. */
  forget(addresses: ReadonlySet<string>): void {
    const kept = [...this.entries().values()].filter(({ address }) => !addresses.has(address));
    const next = `${this.path}.new`;
    const text = kept.map((entry) => `${JSON.stringify(entry)}\n`).join("");
    this.put("w", text, next);
    renameSync(next, this.path);
  }

  private text(): string {
    try {
      return readFileSync(this.path, "utf8");
    } catch {
      // No journal: nothing was changed.
      return "";
    }
  }

  private put(flags: "a" | "w", text: string, path = this.path): void {
    try {
      mkdirSync(dirname(path), { recursive: true });
      const fd = openSync(path, flags, 0o600);
      try {
        writeSync(fd, text);
        fsyncSync(fd);
      } finally {
        closeSync(fd);
      }
    } catch (cause) {
      const code = (cause as NodeJS.ErrnoException).code;
      throw new ViaductError("NO_PERMISSION", `${path}: the journal cannot be written: ${code}`, {
        cause,
        nextStep: "Run it as root.",
      });
    }
  }
}

function parseEntry(line: string): JournalEntry | undefined {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    // The last line of a crash may be cut.
    return undefined;
  }
  if (typeof value !== "object" || value === null) return undefined;
  const { address, boot } = value as Partial<JournalEntry>;
  if (typeof address !== "string" || typeof boot !== "string") return undefined;
  return value as JournalEntry;
}
