/**
 * ExitCounters: how often each vCPU left the guest for user space, by kind, and whether its own
 * thread answered or the main thread had to. The figure that this design is judged by; shared
 * memory, so that counting costs an increment.
 */

/** Kinds of exit, by index. `signal` is a kick or another interruption: no work of the guest. */
export const EXIT_KINDS = [
  "pio-read",
  "pio-write",
  "mmio-read",
  "mmio-write",
  "ioapic-eoi",
  "hlt",
  "shutdown",
  "system-event",
  "error",
  "signal",
  "other",
] as const;

export type ExitKind = (typeof EXIT_KINDS)[number];

export interface ExitCount {
  readonly inThread: number;
  readonly forwarded: number;
}

/** Two counters a kind; doubles count exactly to 2^53 and one store writes one. */
const COUNTERS_PER_VCPU = EXIT_KINDS.length * 2;

/** One vCPU's counters, as its thread sees them. */
export class VcpuExitCounters {
  readonly #counts: Float64Array;

  constructor(buffer: SharedArrayBuffer, vcpuIndex: number) {
    const offset = vcpuIndex * COUNTERS_PER_VCPU * Float64Array.BYTES_PER_ELEMENT;
    this.#counts = new Float64Array(buffer, offset, COUNTERS_PER_VCPU);
  }

  /** Only the vCPU's own thread counts, so no atomic addition is needed. */
  count(kind: number, forwarded: boolean): void {
    const at = kind * 2 + (forwarded ? 1 : 0);
    this.#counts[at] = this.#counts[at]! + 1;
  }

  get(kind: number): ExitCount {
    return { inThread: this.#counts[kind * 2]!, forwarded: this.#counts[kind * 2 + 1]! };
  }
}

export class ExitCounters {
  readonly buffer: SharedArrayBuffer;
  readonly #vcpus: readonly VcpuExitCounters[];

  constructor(vcpuCount: number) {
    const bytes = vcpuCount * COUNTERS_PER_VCPU * Float64Array.BYTES_PER_ELEMENT;
    this.buffer = new SharedArrayBuffer(bytes);
    this.#vcpus = Array.from({ length: vcpuCount }, (_, i) => new VcpuExitCounters(this.buffer, i));
  }

  /** Of all vCPUs together, or of one; kinds that never happened are left out. */
  snapshot(vcpuIndex?: number): Partial<Record<ExitKind, ExitCount>> {
    const vcpus = vcpuIndex === undefined ? this.#vcpus : [this.#vcpus[vcpuIndex]!];
    const counts: Partial<Record<ExitKind, ExitCount>> = {};
    EXIT_KINDS.forEach((name, kind) => {
      let inThread = 0;
      let forwarded = 0;
      for (const vcpu of vcpus) {
        const count = vcpu.get(kind);
        inThread += count.inThread;
        forwarded += count.forwarded;
      }
      if (inThread + forwarded > 0) counts[name] = { inThread, forwarded };
    });
    return counts;
  }

  /** Exits that were the guest's doing: all but `signal`. */
  get total(): number {
    let total = 0;
    for (const [kind, count] of Object.entries(this.snapshot())) {
      if (kind !== "signal") total += count.inThread + count.forwarded;
    }
    return total;
  }
}
