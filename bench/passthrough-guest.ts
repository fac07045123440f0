/**
 * One guest of `passthrough.ts`: the same kernel, initrd and device under Viaduct or under QEMU in
 * L1, watched by `guest-watch.c`.
 */

import { GUEST_PARAMETERS, guestInitrd } from "../lab/guest.ts";
import { type GuestRunOptions, qemuCommandInside, viaductCommand } from "../lab/guest-run.ts";
import type { Kernel } from "../lab/kernel.ts";
import type { L1 } from "../lab/l1.ts";
import { ViaductError } from "../src/sys/sys-error.ts";
import { compiled } from "./compiled.ts";
import { type GuestFigures, readFigures } from "./guest-figures.ts";
import { type Monitor, processorMs } from "./guest-turns.ts";

export const RAM_MIB = 512;
const LIMIT_MS = 600_000;
const SIGUSR2 = 12;
/** In L1. */
const EVENTS = "/tmp/events.ndjson";

/** How many reads are counted. */
export const READS_COUNTED = 2000;

/** The counted part prints nothing, so that no exit of the serial port is among what is counted. */
const JOB = `
wait_for /dev/nvme0n1
disk=/dev/nvme0n1
nvme-io $disk random 4096 200 >/dev/null
sleep 0.3
say "mark memory"
sleep 1
say "mark count"
sleep 1
nvme-io $disk random 4096 ${READS_COUNTED} 14 >/dev/null
sleep 0.7
say "done"
`;

/** A monitor's own account of itself: the events of `viaduct run --json`. */
export interface MonitorEvent {
  readonly event: string;
  readonly ms: number;
  readonly [name: string]: unknown;
}

export interface WatchedGuest {
  readonly monitor: Monitor;
  readonly figures: GuestFigures;
  /** Viaduct's alone. */
  readonly events: readonly MonitorEvent[];
  /** Each line of the guest with the processor time that L1 had taken by then. */
  readonly work: readonly Work[];
}

/**
 * L1's processor time on the machine that emulates it: what the same took, whoever else computed
 * there meanwhile.
 */
export interface Work {
  readonly line: string;
  readonly ms: number;
}

/** What every guest of one benchmark shares. */
export class GuestBench {
  readonly #l1: L1;
  readonly #options: GuestRunOptions;
  readonly #watch: string;

  private constructor(l1: L1, options: GuestRunOptions, watch: string) {
    this.#l1 = l1;
    this.#options = options;
    this.#watch = watch;
  }

  /** @param bdf in L1, bound to vfio-pci */
  static async create(l1: L1, kernel: Kernel, bdf: string): Promise<GuestBench> {
    const job = { drivers: ["nvme"], programs: [await compiled("nvme-io")], script: JOB };
    const options = {
      bzImage: kernel.bzImage,
      initrd: await guestInitrd(kernel, job),
      append: GUEST_PARAMETERS,
      memory: `${RAM_MIB}M`,
      devices: ["pcie-root-port,id=rp0,chassis=1", `vfio-pci,host=${bdf},bus=rp0`],
    };
    // KVM's statistics, and its tracepoints where the kernel has them.
    await l1.sh(`
      [ -d /sys/kernel/debug/kvm ] || mount -t debugfs debugfs /sys/kernel/debug
      mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null || true`);
    return new GuestBench(l1, options, await compiled("guest-watch"));
  }

  async run(monitor: Monitor): Promise<WatchedGuest> {
    const command =
      monitor === "qemu"
        ? await qemuCommandInside(this.#options)
        : viaductCommand({ ...this.#options, extra: [`--json=${EVENTS}`] });
    const ask = monitor === "viaduct" ? ["-s", String(SIGUSR2)] : [];
    const work: Work[] = [];
    const start = processorMs(this.#l1.pid);
    const result = await this.#l1.run([this.#watch, ...ask, ...command], {
      timeoutMs: LIMIT_MS,
      onOutput: (_, text) => {
        const ms = processorMs(this.#l1.pid) - start;
        for (const [, line = ""] of text.matchAll(/^line \d+ guest: (.*)$/gm))
          work.push({ line, ms });
      },
    });
    if (result.status !== 0) {
      const seen = `${result.stdout}\n${result.stderr}`.slice(-3000);
      throw new ViaductError("LAB_FAILED", `${monitor}: status ${result.status}:\n${seen}`);
    }
    const text = monitor === "viaduct" ? await this.#l1.sh(`cat ${EVENTS}`) : "";
    const lines = text.split("\n").filter(Boolean);
    return {
      monitor,
      figures: readFigures(result.stdout, RAM_MIB),
      work,
      events: lines.map((line) => JSON.parse(line) as MonitorEvent),
    };
  }
}
