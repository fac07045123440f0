/** What is made of the guests of `passthrough.ts`: medians, ratios, targets, and tables to read. */

import { difference, type MemoryFigures } from "./guest-figures.ts";
import type { Monitor } from "./guest-turns.ts";
import type { MapFigures } from "./map-dma.ts";
import { median, spread } from "./median.ts";
import { READS_COUNTED, type WatchedGuest } from "./passthrough-guest.ts";
import { bootPhases, type Phase } from "./passthrough-phases.ts";
import type { ReadFigures } from "./passthrough-reads.ts";

export type Pair = Readonly<Record<Monitor, WatchedGuest>>;

export interface Measured {
  readonly where: Readonly<Record<string, unknown>>;
  /** The first start of each in a fresh L1. */
  readonly cold: Pair;
  readonly rounds: readonly Pair[];
  readonly reads: readonly ReadFigures[];
  readonly mapping: readonly MapFigures[] | undefined;
}

export interface Compared {
  readonly what: string;
  readonly unit: string;
  readonly viaduct: number;
  readonly qemu: number;
  /** The median of the rounds' ratios of Viaduct to QEMU. */
  readonly ratio: number;
  /** Quartiles of the ratios, and how many there are. */
  readonly low: number;
  readonly high: number;
  readonly pairs: number;
}

export interface Target {
  readonly what: string;
  readonly measured: number;
  readonly holds: boolean;
}

export type Counts = Readonly<Record<string, number>>;

export interface ExitFigures {
  /** KVM_RUN returns by reason (`kvm_userspace_exit`); empty where L1's kernel has no tracing. */
  readonly userspace: Readonly<Record<Monitor, Counts>>;
  /** KVM's statistics (debugfs), the ones about exits. */
  readonly statistics: Readonly<Record<Monitor, Counts>>;
  /** Viaduct's own counters: answered in the vCPU's Worker + forwarded. */
  readonly own: Counts;
}

export interface Summary {
  readonly where: Measured["where"];
  readonly rounds: number;
  readonly boot: Compared;
  readonly bootWork: Compared;
  readonly coldBoot: Compared;
  readonly phases: readonly Phase[];
  readonly io: readonly Compared[];
  readonly bootExits: ExitFigures;
  /** Per 1,000 random reads. */
  readonly steadyExits: ExitFigures;
  readonly memory: readonly Compared[];
  readonly mapping: readonly MapFigures[] | undefined;
  readonly targets: readonly Target[];
}

const STATISTICS = ["exits", "io_exits", "mmio_exits", "irq_injections", "signal_exits"];

function compare(
  what: string,
  unit: string,
  pairs: readonly Pair[],
  value: (guest: WatchedGuest) => number,
): Compared {
  const of = (monitor: Monitor) => pairs.map((pair) => value(pair[monitor]));
  const [viaduct, qemu] = [of("viaduct"), of("qemu")];
  const ratios = viaduct.map((each, round) => each / qemu[round]!);
  const medians = { viaduct: median(viaduct), qemu: median(qemu) };
  return { what, unit, ...medians, ...spread(ratios), pairs: pairs.length };
}

function readsByClock(reads: readonly ReadFigures[]): Compared[] {
  return reads.map(({ what, rounds, clock }) => ({ what, unit: "1/s", ...clock, pairs: rounds }));
}

/** The whole command, its console and the start of its process with it. */
function commandsByWork(reads: readonly ReadFigures[]): Compared[] {
  return reads.map(({ what, rounds, work }) => {
    const command = `${what}, the command by L1's work`;
    return { what: command, unit: "1/s", ...work, pairs: rounds };
  });
}

function bootWorkMs({ work }: WatchedGuest): number {
  return work.find(({ line }) => line.startsWith("up "))?.ms ?? Number.NaN;
}

/** Viaduct's own counters, as an `exits` event carries them. */
function ownCounts(event: unknown): Map<string, number> {
  const { exits = {} } = (event ?? {}) as {
    exits?: Record<string, { inThread: number; forwarded: number }>;
  };
  return new Map(
    Object.entries(exits).map(([kind, count]) => [kind, count.inThread + count.forwarded]),
  );
}

function chosen(counts: Counts, names: readonly string[]): Counts {
  return Object.fromEntries(names.map((name) => [name, counts[name] ?? 0]));
}

const none: ReadonlyMap<string, number> = new Map();

/**
 * Viaduct is asked for its counters at each sample of guest-watch: the first answer is the boot's,
 * the second that before the counted reads; the last but one (the very last is that of its end) is
 * that after them.
 */
function exitFigures(pair: Pair, window: "boot" | "steady"): ExitFigures {
  const boot = window === "boot";
  const per = boot ? 1 : 1000 / READS_COUNTED;
  const scaled = (counts: Counts): Counts =>
    Object.fromEntries(Object.entries(counts).map(([name, count]) => [name, count * per]));
  const between = (monitor: Monitor, kind: "statistics" | "userspaceExits") => {
    const { figures } = pair[monitor];
    if (boot) return difference(none, figures.boot[kind]);
    return scaled(difference(figures.before[kind], figures.after[kind]));
  };
  const each = <T>(value: (monitor: Monitor) => T) => ({
    viaduct: value("viaduct"),
    qemu: value("qemu"),
  });
  const events = pair.viaduct.events.filter(({ event }) => event === "exits");
  const [first, second, last] = [events[0], events[1], events.at(-2)].map(ownCounts);
  const own = boot ? difference(none, first!) : scaled(difference(second!, last!));
  return {
    userspace: each((monitor) => between(monitor, "userspaceExits")),
    statistics: each((monitor) => chosen(between(monitor, "statistics"), STATISTICS)),
    own,
  };
}

const bootMs = ({ figures }: WatchedGuest): number => figures.upMs;

export function summary({ where, cold, rounds, reads, mapping }: Measured): Summary {
  const last = rounds.at(-1)!;
  const boot = compare("exec to first userspace line", "ms", rounds, bootMs);
  const bootWork = compare("the same, L1's work", "ms", rounds, bootWorkMs);
  const byClock = readsByClock(reads);
  const steadyExits = exitFigures(last, "steady");
  const mib =
    (value: (memory: MemoryFigures) => number) =>
    ({ figures }: WatchedGuest) =>
      value(figures.memory) / 1024;
  return {
    where,
    rounds: rounds.length,
    boot,
    bootWork,
    coldBoot: compare("the first start of all", "ms", [cold], bootMs),
    phases: bootPhases(rounds.map(({ viaduct }) => viaduct)),
    io: [...byClock, ...commandsByWork(reads)],
    bootExits: exitFigures(last, "boot"),
    steadyExits,
    memory: [
      compare(
        "resident",
        "MiB",
        rounds,
        mib(({ residentKib }) => residentKib),
      ),
      compare(
        "private",
        "MiB",
        rounds,
        mib(({ privateKib }) => privateKib),
      ),
      compare(
        "anonymous",
        "MiB",
        rounds,
        mib(({ anonymousKib }) => anonymousKib),
      ),
      compare(
        "guest RAM, in none above",
        "MiB",
        rounds,
        mib(({ guestRamKib }) => guestRamKib),
      ),
    ],
    mapping,
    targets: targets([boot, bootWork], byClock, steadyExits),
  };
}

function targets(
  boots: readonly Compared[],
  reads: readonly Compared[],
  steady: ExitFigures,
): Target[] {
  const counted = ["pio-read", "pio-write", "mmio-read", "mmio-write", "ioapic-eoi", "other"];
  const exits = counted.reduce((sum, kind) => sum + (steady.own[kind] ?? 0), 0);
  return [
    ...boots.map(({ what, ratio }) => ({
      what: `boot, ${what}: ratio <= 1.0`,
      measured: ratio,
      holds: ratio <= 1,
    })),
    ...reads.map(({ what, ratio }) => ({
      what: `reads, ${what}: ratio >= 0.95`,
      measured: ratio,
      holds: ratio >= 0.95,
    })),
    { what: "exits of 1,000 reads = 0", measured: exits, holds: exits === 0 },
  ];
}
