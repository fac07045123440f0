import assert from "node:assert/strict";
import { test } from "node:test";
import { eduSpec } from "../../../src/sim/devices/edu.ts";
import { SysError } from "../../../src/sys/sys-error.ts";
import type { Syscalls } from "../../../src/sys/syscalls.ts";
import type { VfioPciFunction } from "../../../src/vfio/pci/vfio-pci.ts";
import { BDF, type MachineOptions, TestMachine } from "./machine.ts";

const REGISTERS = 0xfe00_0000n;
const MEMORY = 0xfd00_0000n;
const RAISE = 0x60n;
const ACK = 0x64n;
/** Slot 3, INTA. */
const GSI = 19;

const spec = {
  ...eduSpec(BDF),
  bars: { ...eduSpec(BDF).bars, 2: { size: 0x4000, kind: "mem32" as const } },
};

function machineWith(options: MachineOptions = {}): TestMachine {
  return new TestMachine({ devices: [{ spec, group: 7 }], ...options });
}

/** Assigned, with BAR 0 and 2 placed and memory on, as a driver finds it. */
function start(machine: TestMachine, given: Record<string, string> = {}): VfioPciFunction {
  const fn = machine.assign(given);
  fn.writeConfig(0x10, 4, Number(REGISTERS));
  fn.writeConfig(0x18, 4, Number(MEMORY));
  fn.writeConfig(0x04, 2, 0x0006);
  machine.take();
  return fn;
}

const isMapped = (machine: TestMachine) =>
  machine.memory.find(MEMORY)?.region.kind === "ram-device";

test("spec F18: an INTx disables mmaps, a BAR access serves it, a timer restores mmaps", () => {
  using machine = machineWith({ hasResampleFd: false });
  using fn = start(machine);
  assert.equal(fn.interrupts.intx.accelerated, false);
  assert.equal(isMapped(machine), true);
  const device = machine.device();
  device.irqs.setIntx(true);
  machine.loop.dispatch();
  assert.deepEqual([machine.platform.lines.has(GSI), isMapped(machine)], [true, false]);
  assert.equal(device.irqs.masked, true);

  machine.clock.pass(1100);
  assert.equal(isMapped(machine), false, "still pending: the timer was armed again");
  device.irqs.setIntx(false);
  machine.take();
  machine.memory.read(MEMORY, 4);
  assert.deepEqual(machine.take(), ["read region 2 0x0+4", "SET_IRQS INTX 0 UNMASK NONE 1"]);
  assert.deepEqual([machine.platform.lines.has(GSI), isMapped(machine)], [false, false]);
  machine.clock.pass(1099);
  assert.equal(isMapped(machine), false);
  machine.clock.pass(1);
  assert.equal(isMapped(machine), true);
  assert.equal(machine.clock.pending, 0);
});

test("spec F18: a level that stays up fires again after each service", () => {
  using machine = machineWith({ hasResampleFd: false });
  using fn = start(machine);
  fn.writeConfig(0x3c, 1, 10);
  machine.memory.write(REGISTERS + RAISE, 4, 1n);
  machine.loop.dispatch();
  assert.equal(machine.platform.lines.has(GSI), true);
  machine.memory.read(REGISTERS + 0x24n, 4);
  assert.equal(machine.platform.lines.has(GSI), false);
  machine.loop.dispatch();
  assert.equal(machine.platform.lines.has(GSI), true, "not acknowledged at the device");
  machine.memory.write(REGISTERS + ACK, 4, 1n);
  machine.loop.dispatch();
  assert.equal(machine.platform.lines.has(GSI), false);
});

test("spec F18: with timeout 0 mmaps stay off until INTx is disabled", () => {
  using machine = machineWith({ hasResampleFd: false });
  using fn = start(machine, { "x-intx-mmap-timeout-ms": "0" });
  machine.device().irqs.setIntx(true);
  machine.loop.dispatch();
  assert.equal(machine.clock.pending, 0);
  machine.device().irqs.setIntx(false);
  machine.memory.read(MEMORY, 4);
  assert.equal(isMapped(machine), false);
  fn.interrupts.disable();
  assert.equal(isMapped(machine), true);
});

test("spec F19: acceleration masks, adds the irqfd, then the unmask eventfd, then unmasks", () => {
  using machine = machineWith();
  using fn = start(machine);
  fn.interrupts.disable();
  machine.take();
  fn.interrupts.intx.enable();
  assert.equal(fn.interrupts.intx.accelerated, true);
  assert.deepEqual(machine.take(), [
    "read config 0x3d+1",
    "SET_IRQS INTX 0 TRIGGER [fd]",
    "SET_IRQS INTX 0 MASK NONE 1",
    `irqfd ${GSI} with resamplefd`,
    "SET_IRQS INTX 0 UNMASK [fd]",
    "SET_IRQS INTX 0 UNMASK NONE 1",
  ]);
  machine.device().irqs.setIntx(true);
  machine.loop.dispatch();
  assert.equal(isMapped(machine), true, "this process does not see the interrupt");
  assert.deepEqual(machine.platform.edges, []);
});

test("spec F19: whichever step of the acceleration fails, user-space mode is restored", () => {
  for (const step of ["eventfd", "irqfd", "unmask eventfd"]) {
    using machine = machineWith();
    using fn = start(machine);
    fn.interrupts.disable();
    const live = machine.ledger.live().length;
    machine.take();
    if (step === "irqfd") {
      machine.routes.assignIrqfd = () => {
        throw refused();
      };
    } else {
      failCall(machine, step === "eventfd" ? "eventfd" : "ioctl", step === "eventfd" ? 2 : 3);
    }
    fn.interrupts.intx.enable();
    assert.equal(fn.interrupts.intx.accelerated, false, step);
    assert.equal(fn.interrupts.mode, "intx", step);
    assert.match(machine.reports.at(-1) ?? "", /failed to set up KVM INTx/, step);
    assert.equal(machine.routes.irqfds.size, 0, step);
    machine.device().irqs.setIntx(true);
    machine.loop.dispatch();
    assert.equal(machine.platform.lines.has(GSI), true, step);
    fn.interrupts.disable();
    assert.equal(machine.ledger.live().length, live, step);
  }
});

/** Makes the n-th call of a method from now on fail with EIO. */
function failCall(machine: TestMachine, name: "eventfd" | "ioctl", nth: number): void {
  const ledger = machine.ledger as Syscalls;
  const original = ledger[name].bind(ledger) as (...args: unknown[]) => number;
  let count = 0;
  Object.assign(ledger, {
    [name]: (...args: unknown[]) => (++count === nth ? -5 : original(...args)),
  });
}

function refused(): Error {
  return new SysError(22, "KVM_IRQFD");
}

test("spec F19: a new route moves the irqfd; a route to nowhere falls back", () => {
  using machine = machineWith();
  using fn = start(machine);
  machine.take();
  machine.platform.reroute(() => ({ mode: "enabled", gsi: 11 }));
  assert.deepEqual(machine.take(), [
    "SET_IRQS INTX 0 MASK NONE 1",
    `irqfd ${GSI} off`,
    "SET_IRQS INTX 0 UNMASK NONE 1",
    "SET_IRQS INTX 0 MASK NONE 1",
    "irqfd 11 with resamplefd",
    "SET_IRQS INTX 0 UNMASK [fd]",
    "SET_IRQS INTX 0 UNMASK NONE 1",
  ]);
  machine.platform.reroute(() => ({ mode: "enabled", gsi: 11 }));
  assert.deepEqual(machine.take(), []);
  machine.platform.reroute(() => ({ mode: "disabled", gsi: -1 }));
  assert.equal(fn.interrupts.intx.accelerated, false);
  assert.equal(fn.interrupts.mode, "intx");
});

test("Intx: x-no-kvm-intx keeps the interrupt in this process", () => {
  using machine = machineWith();
  using fn = start(machine, { "x-no-kvm-intx": "on" });
  assert.equal(fn.interrupts.intx.accelerated, false);
  assert.equal(machine.routes.irqfds.size, 0);
});

test("Intx: disabling gives back the eventfds and leaves nothing armed", () => {
  using machine = machineWith();
  const idle = machine.ledger.live();
  using fn = start(machine);
  fn.interrupts.disable();
  assert.equal(fn.interrupts.mode, "none");
  assert.deepEqual(
    machine.host.describe().filter((line) => /irq (index|\d+-)/.test(line)),
    [],
  );
  fn[Symbol.dispose]();
  assert.deepEqual(machine.ledger.live(), idle);
});
