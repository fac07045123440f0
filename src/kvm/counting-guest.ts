/** For tests of interrupts: a guest that counts those of `VECTOR` and sleeps in between. */

import assert from "node:assert/strict";
import type { IrqchipMode } from "./irqchip.ts";
import { asm, TinyMachine } from "./tiny-machine.ts";

/** Where it counts. */
export const COUNT = 0x2000;
export const VECTOR = 0x41;

const HANDLER = 0x1800;
const LAPIC_SVR = 0xf0;
const LAPIC_EOI = 0xfee0_00b0;

/** Runs already. */
export function countingGuest(irqchip: IrqchipMode): TinyMachine {
  const machine = new TinyMachine({ irqchip });
  const vcpu = machine.vcpus[0]!;
  const lapic = vcpu.getLapic();
  lapic.set([0xff, 0x01], LAPIC_SVR);
  vcpu.setLapic(lapic);
  machine.setGate(VECTOR, HANDLER);
  const acknowledge = [...asm.movEax(0), ...asm.storeEax(LAPIC_EOI), ...asm.interruptReturn];
  machine.place(HANDLER, [...asm.incDword(COUNT), ...acknowledge]);
  machine.load([asm.sti, [0xf4, 0xeb, 0xfd]]);
  machine.threads.resume();
  return machine;
}

/** Waits for what the guest or the kernel does in its own time. */
export async function until(condition: () => boolean): Promise<void> {
  for (let i = 0; i < 2000; i++) {
    if (condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  assert.fail(`not within two seconds: ${condition}`);
}
