/**
 * What `guest-watch.c` printed of one guest, read: times, samples of what the kernel counted, and
 * memory.
 */

import { ViaductError } from "../src/sys/sys-error.ts";

export interface Sample {
  readonly name: string;
  /** KVM's own statistics of the machine (debugfs), by file name. */
  readonly statistics: ReadonlyMap<string, number>;
  /** Returns of KVM_RUN to user space by reason (`kvm_userspace_exit`); empty without tracing. */
  readonly userspaceExits: ReadonlyMap<string, number>;
}

export interface MemoryFigures {
  /** What was taken for guest RAM, and is in none of the figures below. */
  readonly guestRamKib: number;
  readonly residentKib: number;
  /** In no other process: Private_Clean + Private_Dirty. */
  readonly privateKib: number;
  readonly anonymousKib: number;
}

export interface GuestFigures {
  /** CLOCK_MONOTONIC of L1 in milliseconds, just before the monitor is executed. */
  readonly execMs: number;
  /** Since then. */
  readonly firstOutputMs: number;
  readonly upMs: number;
  readonly endMs: number;
  /** What the guest said, mark removed. */
  readonly lines: readonly string[];
  readonly boot: Sample;
  /** Before and after what ran in silence. */
  readonly before: Sample;
  readonly after: Sample;
  readonly memory: MemoryFigures;
}

/** Exit reasons as the tracepoint numbers them (include/uapi/linux/kvm.h). */
const REASONS: Readonly<Record<string, string>> = {
  2: "io",
  5: "hlt",
  6: "mmio",
  7: "irq-window",
  8: "shutdown",
  10: "intr",
  12: "tpr-access",
  24: "system-event",
  26: "ioapic-eoi",
};

/** KVM_RUN that a signal ended: errno EINTR; the reason is then of no meaning. */
const EINTR = 4;

function reasonName(reason: string, errno: number): string {
  if (Math.abs(errno) === EINTR) return "signal";
  if (errno !== 0) return `errno-${Math.abs(errno)}`;
  return REASONS[reason] ?? `reason-${reason}`;
}

const GUEST = "guest: ";

/** @throws {ViaductError} LAB_FAILED when the guest did not come as far as its last mark */
export function readFigures(text: string, ramMib: number): GuestFigures {
  const rows = text.split("\n").map((line) => line.split(" "));
  const time = (row: readonly string[]) => Number(row[1]) / 1000;
  const row = (name: string, also = (_: readonly string[]) => true) => {
    const found = rows.find((words) => words[0] === name && also(words));
    if (found !== undefined) return found;
    throw new ViaductError("LAB_FAILED", `no "${name}" in: ${text.slice(-2000)}`);
  };
  const execMs = time(row("exec"));
  const up = row("line", ([, , guest, word]) => guest === "guest:" && word === "up");
  const end = row("end");
  const said = rows.filter(([name]) => name === "line").map((words) => words.slice(2).join(" "));
  const samples = readSamples(rows);
  const named = (name: string, at: number) => {
    const found = samples.filter((sample) => sample.name === name).at(at);
    if (found !== undefined) return found;
    throw new ViaductError("LAB_FAILED", `no sample "${name}" in: ${text.slice(-2000)}`);
  };
  return {
    execMs,
    firstOutputMs: time(row("first")) - execMs,
    upMs: time(up) - execMs,
    endMs: time(end) - execMs,
    lines: said.filter((line) => line.startsWith(GUEST)).map((line) => line.slice(GUEST.length)),
    boot: named("boot", 0),
    before: named("count", 0),
    after: named("count", -1),
    memory: readMemory(rows, ramMib),
  };
}

function readSamples(rows: readonly (readonly string[])[]): Sample[] {
  const samples: Sample[] = [];
  let statistics = new Map<string, number>();
  let exits = new Map<string, number>();
  for (const [kind, first = "", second, third] of rows) {
    if (kind === "sample") {
      statistics = new Map();
      exits = new Map();
      samples.push({ name: second ?? "", statistics, userspaceExits: exits });
    } else if (kind === "stat") {
      statistics.set(first, Number(second));
    } else if (kind === "exit") {
      const reason = reasonName(first, Number(second));
      exits.set(reason, (exits.get(reason) ?? 0) + Number(third));
    }
  }
  return samples;
}

/**
 * Guest RAM is the mapping of a memfd, or an anonymous one of exactly the guest's size. An assigned
 * device pins all of it, so it is all resident.
 */
function readMemory(rows: readonly (readonly string[])[], ramMib: number): MemoryFigures {
  const sum = { guestRamKib: 0, residentKib: 0, privateKib: 0, anonymousKib: 0 };
  for (const [kind, range = "", , rss, own, anonymous, name = ""] of rows) {
    if (kind !== "map") continue;
    const [begin = 0n, end = 0n] = range.split("-").map((part) => BigInt(`0x${part}`));
    const exact = Number(end - begin) === ramMib * 2 ** 20;
    if (name.startsWith("/memfd:") || (name === "" && exact)) {
      sum.guestRamKib += Number(rss);
      continue;
    }
    sum.residentKib += Number(rss);
    sum.privateKib += Number(own);
    sum.anonymousKib += Number(anonymous);
  }
  return sum;
}

/** What was counted from one sample to a later one; what did not change is left out. */
export function difference(
  before: ReadonlyMap<string, number>,
  after: ReadonlyMap<string, number>,
): Record<string, number> {
  const changed: Record<string, number> = {};
  for (const [name, value] of after) {
    const more = value - (before.get(name) ?? 0);
    if (more !== 0) changed[name] = more;
  }
  return changed;
}
