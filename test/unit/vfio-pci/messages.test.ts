import assert from "node:assert/strict";
import { test } from "node:test";
import { eduSpec } from "../../../src/sim/devices/edu.ts";
import { type MsixTestOptions, msixTestSpec } from "../../../src/sim/devices/msix.ts";
import type { VfioPciFunction } from "../../../src/vfio/pci/vfio-pci.ts";
import { BDF, type MachineOptions, TestMachine } from "./machine.ts";

const TABLE_BAR = 0xfd00_0000;
const TABLE = BigInt(TABLE_BAR + 0x1000);
const PBA = BigInt(TABLE_BAR + 0x2000);
const ENABLE = 0x8000;
const MASKALL = 0x4000;

/** A guest's driver for MSI-X. */
class Driver {
  readonly fn: VfioPciFunction;
  readonly #machine: TestMachine;

  constructor(machine: TestMachine, given: Record<string, string> = {}) {
    this.#machine = machine;
    this.fn = machine.assign(given);
    this.fn.writeConfig(0x20, 4, TABLE_BAR);
    this.fn.writeConfig(0x04, 2, 0x0006);
    machine.take();
  }

  get #control(): number {
    return this.fn.msix!.offset + 2;
  }

  setControl(bits: number): void {
    this.fn.writeConfig(this.#control, 2, bits);
  }

  /** Fills an entry's message; the entry stays masked. */
  program(vector: number): void {
    const at = TABLE + BigInt(16 * vector);
    this.#machine.memory.write(at, 4, 0xfee0_1000n);
    this.#machine.memory.write(at + 4n, 4, 0n);
    this.#machine.memory.write(at + 8n, 4, BigInt(0x40 + vector));
  }

  mask(vector: number, masked: boolean): void {
    this.#machine.memory.write(TABLE + BigInt(16 * vector + 12), 4, masked ? 1n : 0n);
  }

  unmask(...vectors: number[]): void {
    for (const vector of vectors) {
      this.program(vector);
      this.mask(vector, false);
    }
  }
}

function msixMachine(options: MsixTestOptions = {}, more: MachineOptions = {}): TestMachine {
  return new TestMachine({ devices: [{ spec: msixTestSpec(BDF, options), group: 7 }], ...more });
}

/** SET_IRQS and irqfd lines alone. */
function irqCalls(machine: TestMachine): string[] {
  return machine.take().filter((line) => /^(SET_IRQS|irqfd| {2}answered)/.test(line));
}

/** Did the device's message for `gsi` reach KVM's irqfd? */
function reachedKvm(machine: TestMachine, gsi: number): boolean {
  const irqfd = machine.routes.irqfds.get(gsi);
  return irqfd !== undefined && machine.sys.read(irqfd.fd, new BigUint64Array(1)) === 8;
}

test("spec F14: MSI-X with all vectors masked is enabled on the device, none armed", () => {
  using machine = msixMachine();
  const driver = new Driver(machine);
  using fn = driver.fn;
  driver.setControl(ENABLE);
  assert.deepEqual(irqCalls(machine), ["SET_IRQS MSIX 0 TRIGGER [-1]"]);
  assert.deepEqual(
    machine.host.describe().filter((line) => /irq (index|\d+-)/.test(line)),
    [`${BDF} irq index 2 on`],
  );
  assert.equal(fn.interrupts.mode, "msix");
  driver.setControl(0);
  assert.deepEqual(irqCalls(machine), ["SET_IRQS MSIX 0 TRIGGER NONE 0"]);
  assert.equal(fn.interrupts.mode, "none");
});

test("spec F15: a noresize host is disabled and armed anew for a vector above those it has", () => {
  using machine = msixMachine({ dynamic: false });
  const driver = new Driver(machine);
  using _fn = driver.fn;
  driver.unmask(0, 1, 2);
  driver.setControl(ENABLE);
  assert.deepEqual(irqCalls(machine), [
    "irqfd 24",
    "irqfd 25",
    "irqfd 26",
    "SET_IRQS MSIX 0 TRIGGER [fd fd fd]",
  ]);
  driver.unmask(5);
  assert.deepEqual(irqCalls(machine), [
    "irqfd 27",
    "SET_IRQS MSIX 0 TRIGGER NONE 0",
    "SET_IRQS MSIX 0 TRIGGER [fd fd fd -1 -1 fd]",
  ]);
  driver.unmask(4);
  assert.deepEqual(irqCalls(machine), ["irqfd 28", "SET_IRQS MSIX 4 TRIGGER [fd]"]);
});

test("spec F15: a dynamic host is asked for the one vector alone", () => {
  using machine = msixMachine({ dynamic: true });
  const driver = new Driver(machine);
  using fn = driver.fn;
  driver.unmask(0, 1, 2);
  driver.setControl(ENABLE);
  assert.deepEqual(irqCalls(machine).slice(3), [
    "SET_IRQS MSIX 0 TRIGGER [-1]",
    "SET_IRQS MSIX 0 TRIGGER [fd fd fd]",
  ]);
  driver.unmask(5);
  assert.deepEqual(irqCalls(machine), ["irqfd 27", "SET_IRQS MSIX 5 TRIGGER [fd]"]);
  assert.equal(fn.interrupts.msix?.count, 6);
});

test("AssignedMsix: an enable with routes updates KVM's table once", () => {
  using machine = msixMachine();
  const driver = new Driver(machine);
  using _fn = driver.fn;
  driver.unmask(0, 1, 2, 3, 4, 5, 6, 7);
  const before = machine.routes.commits;
  driver.setControl(ENABLE);
  assert.equal(machine.routes.commits, before + 1);
  assert.deepEqual(machine.routes.routes.get(27), { address: 0xfee0_1000n, data: 0x43 });
  assert.equal(machine.device().irqs.fire(3), true);
  assert.equal(reachedKvm(machine, 27), true);
  assert.deepEqual(machine.platform.delivered, []);
});

test("spec F16: masking moves a vector to the user eventfd and keeps its route", () => {
  using machine = msixMachine();
  const driver = new Driver(machine);
  using fn = driver.fn;
  driver.unmask(0, 1);
  driver.setControl(ENABLE);
  const trap = fn.msix!.pbaRegion;
  assert.equal(trap.enabled, false);
  machine.take();
  driver.mask(1, true);
  assert.deepEqual(irqCalls(machine), ["SET_IRQS MSIX 1 TRIGGER [fd]"]);
  assert.equal(machine.routes.routes.has(25), true);

  machine.device().irqs.fire(1);
  machine.loop.dispatch();
  assert.equal(reachedKvm(machine, 25), false);
  assert.equal(trap.enabled, true);
  assert.equal(machine.memory.read(PBA, 8), 0b10n);

  driver.fn.writeConfig(0x04, 2, 0x0006);
  const commits = machine.routes.commits;
  driver.mask(1, false);
  assert.equal(trap.enabled, false);
  assert.equal(machine.routes.commits, commits + 1);
  assert.deepEqual(
    machine.platform.delivered.map(({ message }) => message.data),
    [0x41],
    "the pending message is delivered",
  );
  machine.device().irqs.fire(1);
  assert.equal(reachedKvm(machine, 25), true);
});

test("AssignedMsix: MASKALL releases and uses every unmasked vector", () => {
  using machine = msixMachine();
  const driver = new Driver(machine);
  using _fn = driver.fn;
  driver.unmask(0, 2);
  driver.setControl(ENABLE);
  machine.take();
  const one = ["SET_IRQS MSIX 0 TRIGGER [fd]", "SET_IRQS MSIX 2 TRIGGER [fd]"];
  driver.setControl(ENABLE | MASKALL);
  assert.deepEqual(irqCalls(machine), one);
  driver.setControl(ENABLE);
  assert.deepEqual(irqCalls(machine), one);
});

test("AssignedMsix: without KVM routes every message passes through this process", () => {
  for (const slow of [{ routes: false }, { given: { "x-no-kvm-msix": "on" } }, { capacity: 0 }]) {
    using machine = msixMachine({}, "routes" in slow ? { routes: false } : {});
    if ("capacity" in slow) machine.routes.capacity = 0;
    const driver = new Driver(machine, "given" in slow ? slow.given : {});
    using _fn = driver.fn;
    driver.unmask(0, 1);
    driver.setControl(ENABLE);
    assert.deepEqual(irqCalls(machine), ["SET_IRQS MSIX 0 TRIGGER [fd fd]"]);
    machine.device().irqs.fire(1);
    machine.loop.dispatch();
    assert.deepEqual(
      machine.platform.delivered.map(({ message }) => message),
      [{ address: 0xfee0_1000n, data: 0x41 }],
    );
  }
});

test("AssignedMsix: a host without that many vectors is reported, and the guest goes on", () => {
  using machine = msixMachine({ available: 2 });
  const driver = new Driver(machine);
  using _fn = driver.fn;
  driver.unmask(0, 1, 2);
  driver.setControl(ENABLE);
  assert.match(machine.reports.join("\n"), /the host has 2 MSI-X vectors, not 3/);
  driver.setControl(0);
});

const msi8 = { ...eduSpec(BDF), msi: { vectors: 8 as const, masking: true, available: 4 } };

function enableMsi(fn: VfioPciFunction, log2: number): void {
  const { offset } = fn.msi!;
  fn.writeConfig(offset + 4, 4, 0xfee0_2000);
  fn.writeConfig(offset + 8, 4, 0);
  fn.writeConfig(offset + 12, 2, 0x60);
  fn.writeConfig(offset + 2, 2, (log2 << 4) | 1);
}

test("spec F17: a host with 4 of 8 MSI vectors is asked again, with a new route batch", () => {
  using machine = new TestMachine({ devices: [{ spec: msi8, group: 7 }] });
  using fn = machine.assign({ "x-no-kvm-intx": "on" });
  machine.take();
  const commits = machine.routes.commits;
  enableMsi(fn, 3);
  assert.deepEqual(
    irqCalls(machine).filter((line) => !line.startsWith("irqfd")),
    [
      "SET_IRQS INTX 0 TRIGGER NONE 0",
      "SET_IRQS MSI 0 TRIGGER [fd fd fd fd fd fd fd fd]",
      "  answered 4",
      "SET_IRQS MSI 0 TRIGGER [fd fd fd fd]",
    ],
  );
  assert.equal(machine.routes.commits, commits + 3, "enable, release, enable");
  assert.equal(fn.interrupts.msi?.count, 4);
  assert.match(machine.reports.join("\n"), /Failed to enable 8 MSI vectors, retry with 4/);
  const [message] = [...machine.routes.routes.values()].slice(3);
  assert.deepEqual(message, { address: 0xfee0_2000n, data: 0x63 });
});

test("AssignedMsi: a rewritten message updates the routes, and the device is not told", () => {
  using machine = new TestMachine({ devices: [{ spec: eduSpec(BDF), group: 7 }] });
  using fn = machine.assign();
  enableMsi(fn, 0);
  machine.take();
  fn.writeConfig(fn.msi!.offset + 12, 2, 0x77);
  assert.deepEqual(irqCalls(machine), []);
  assert.deepEqual([...machine.routes.routes.values()].at(-1), {
    address: 0xfee0_2000n,
    data: 0x77,
  });
});

test("AssignedMsi: whichever call fails, the guest goes on and nothing stays behind", () => {
  using machine = new TestMachine({ devices: [{ spec: eduSpec(BDF), group: 7 }] });
  using fn = machine.assign();
  fn.interrupts.disable();
  const live = machine.ledger.live();
  for (let n = 1; ; n++) {
    machine.ledger.failAt(n, "EIO");
    fn.writeConfig(fn.msi!.offset + 2, 2, 1);
    const done = machine.ledger.stopFailing();
    assert(["none", "msi"].includes(fn.interrupts.mode));
    fn.writeConfig(fn.msi!.offset + 2, 2, 0);
    fn.interrupts.disable();
    assert.deepEqual(machine.ledger.live(), live, `call ${n}`);
    assert.equal(machine.routes.irqfds.size, 0);
    if (done) break;
    assert(n < 50);
  }
});

test("spec F20: leaving MSI-X brings INTx back; disabling interrupts ends in none", () => {
  const spec = { ...msixTestSpec(BDF), interruptPin: 1 as const };
  using machine = new TestMachine({ devices: [{ spec, group: 7 }] });
  const driver = new Driver(machine);
  using fn = driver.fn;
  assert.equal(fn.interrupts.mode, "intx");
  driver.unmask(0);
  driver.setControl(ENABLE);
  assert.equal(fn.interrupts.mode, "msix");
  machine.take();
  driver.setControl(0);
  assert.equal(fn.interrupts.mode, "intx");
  assert.deepEqual(irqCalls(machine).slice(0, 4), [
    "SET_IRQS MSIX 0 TRIGGER [fd]",
    "SET_IRQS MSIX 0 TRIGGER NONE 0",
    "irqfd 24 off",
    "SET_IRQS INTX 0 TRIGGER [fd]",
  ]);
  driver.setControl(ENABLE);
  fn.interrupts.disable();
  assert.equal(fn.interrupts.mode, "none");
});

test("AssignedMsix: 200 times on and off leave nothing behind", () => {
  using machine = msixMachine({ vectors: 8 });
  const driver = new Driver(machine);
  using _fn = driver.fn;
  driver.unmask(0, 1, 2);
  const live = machine.ledger.live();
  for (let i = 0; i < 200; i++) {
    driver.setControl(ENABLE);
    driver.setControl(0);
  }
  assert.deepEqual(machine.ledger.live(), live);
  assert.deepEqual([machine.routes.routes.size, machine.routes.irqfds.size], [0, 0]);
});

test("Interrupts: MSI turned on over MSI-X ends that, and neither undoes the other", () => {
  const spec = { ...msixTestSpec(BDF), msi: { vectors: 1 as const }, interruptPin: 1 as const };
  using machine = new TestMachine({ devices: [{ spec, group: 7 }] });
  const driver = new Driver(machine);
  using fn = driver.fn;
  fn.interrupts.disable();
  const live = machine.ledger.live();
  driver.unmask(0);
  driver.setControl(ENABLE);
  enableMsi(fn, 0);
  assert.equal(fn.interrupts.mode, "msi");
  driver.setControl(0);
  assert.equal(fn.interrupts.mode, "msi");
  fn.writeConfig(fn.msi!.offset + 2, 2, 0);
  assert.equal(fn.interrupts.mode, "intx");
  fn.interrupts.disable();
  assert.deepEqual(machine.ledger.live(), live);
});
