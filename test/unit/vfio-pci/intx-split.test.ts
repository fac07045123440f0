/** INTx of a software device, through this machine's KVM with a split irqchip, to a real vCPU. */

import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { COUNT, countingGuest, until, VECTOR } from "../../../src/kvm/counting-guest.ts";
import { disposeTinyMachines, skipWithoutKvm } from "../../../src/kvm/tiny-machine.ts";
import { KvmPlatform } from "../../../src/machine/kvm-platform.ts";
import { RootComplex } from "../../../src/pci/root-complex.ts";
import { eduSpec } from "../../../src/sim/devices/edu.ts";
import { BDF, TestMachine } from "./machine.ts";

const limit = { skip: skipWithoutKvm, timeout: 20_000 };
/** Slot 3, INTA. */
const GSI = 19;
const LEVEL = 1 << 15;
const MASKED = 1 << 16;

afterEach(disposeTinyMachines);

/** The device on a PCI root whose interrupts go to `countingGuest("split")`. */
class SplitGuest implements AsyncDisposable {
  readonly guest = countingGuest("split");
  readonly machine = new TestMachine({ devices: [{ spec: eduSpec(BDF), group: 7 }] });
  readonly fn;
  readonly #platform = new KvmPlatform(this.guest.vm, (error) => assert.fail(error));
  readonly #root = new RootComplex({ platform: this.#platform });

  constructor() {
    this.fn = this.machine.assign({}, { bus: this.#root.bus });
  }

  get device() {
    return this.machine.device();
  }

  get served(): number {
    return this.guest.word(COUNT);
  }

  /** Acknowledgements that left the guest. */
  get acknowledged(): number {
    return this.guest.log.filter((line) => line === `eoi ${VECTOR}`).length;
  }

  /** The pin's redirection entry, as the guest writes it. */
  setEntry(low: number): void {
    this.#platform.ioapic!.write(0, 4, 0x10 + 2 * GSI);
    this.#platform.ioapic!.write(0x10, 4, low);
  }

  /** What the machine does with the exit. */
  endOfInterrupt(): void {
    this.#platform.ioapic!.endOfInterrupt(VECTOR);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.fn[Symbol.dispose]();
    this.#root[Symbol.dispose]();
    assert.deepEqual(await this.guest.end(), []);
    this.machine[Symbol.dispose]();
  }
}

test("Intx, spec 9.7: split, the end of the interrupt unmasks the device", limit, async () => {
  await using split = new SplitGuest();
  const { device, fn } = split;
  assert.equal(fn.interrupts.intx.accelerated, true);
  split.setEntry(LEVEL | VECTOR);
  device.irqs.setIntx(true);
  await until(() => split.served === 1 && split.acknowledged === 1);
  assert.equal(device.irqs.masked, true, "the machine has not handled the exit");
  split.endOfInterrupt();
  await until(() => split.served === 2 && split.acknowledged === 2);
  device.irqs.setIntx(false);
  split.endOfInterrupt();
  await until(() => !device.irqs.masked);
  assert.equal(split.served, 2);
  assert.equal(fn.interrupts.intx.pending, false, "this process never saw the interrupt");
});

test(
  "Intx, spec 9.7: split, what fires at a masked pin comes after the unmask",
  limit,
  async () => {
    await using split = new SplitGuest();
    const { device } = split;
    split.setEntry(LEVEL | VECTOR | MASKED);
    device.irqs.setIntx(true);
    await until(() => device.irqs.masked);
    assert.equal(split.served, 0);
    split.setEntry(LEVEL | VECTOR);
    await until(() => split.served > 0);
  },
);
