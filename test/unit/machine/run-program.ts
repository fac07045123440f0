/** Runs a payload as the kernel of a whole machine on this host's KVM. */

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Kvm } from "../../../src/kvm/kvm.ts";
import type { MachineEnd } from "../../../src/machine/life.ts";
import { Machine, type MachineOptions } from "../../../src/machine/machine.ts";
import { MIB } from "../../../src/machine/memory-map.ts";
import { Ledger } from "../../../src/sim/ledger.ts";
import { nativeSyscalls } from "../../../src/sys/native.ts";
import { tinyBzImage } from "./tiny-bzimage.ts";

const LIMIT_MS = 20_000;

/** Why machines cannot run here; false when they can. */
export const skipWithoutKvm = ((): string | false => {
  try {
    Kvm.open(nativeSyscalls())[Symbol.dispose]();
    return false;
  } catch (error) {
    return (error as Error).message;
  }
})();

export interface ProgramRun {
  readonly end: MachineEnd;
  readonly output: string;
  /** What was still held after the machine was closed. */
  readonly live: string[];
  readonly states: string[];
  readonly exits: number;
}

export type ProgramOptions = Partial<Omit<MachineOptions, "kernel">> & {
  /** Called with each output that makes the whole contain `when`. */
  readonly interact?: { when: string; act: (machine: Machine) => void };
};

export async function runProgram(
  program: readonly number[],
  overrides: ProgramOptions = {},
): Promise<ProgramRun> {
  const folder = mkdtempSync(join(tmpdir(), "viaduct-machine-"));
  const ledger = new Ledger(nativeSyscalls());
  let output = "";
  const states: string[] = [];
  const { interact, ...options } = overrides;
  try {
    const kernel = join(folder, "vmlinuz");
    writeFileSync(kernel, tinyBzImage(Uint8Array.from(program)));
    const machine = await Machine.create(ledger, {
      kernel,
      initrd: undefined,
      commandLine: "",
      ramSize: 64 * MIB,
      cpus: 1,
      irqchip: "full",
      devices: [],
      serial: {
        write: (bytes) => {
          output += Buffer.from(bytes).toString();
          if (interact !== undefined && output.includes(interact.when)) interact.act(machine);
          return true;
        },
      },
      noReboot: false,
      onEvent: (event) => void (event.type === "state" && states.push(event.state)),
      ...options,
    });
    await machine.start();
    const timer = setTimeout(() => machine.quit("host-signal"), LIMIT_MS);
    const end = await machine.ended;
    clearTimeout(timer);
    const exits = machine.exitCounters.total;
    await machine.close();
    return { end, output, live: ledger.live(), states, exits };
  } finally {
    rmSync(folder, { recursive: true });
  }
}
