/** ATI's ways to config space, and the reset of Bonaire and Hawaii. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { configBackDoor } from "../../../src/sim/devices/config-back-door.ts";
import { radeonSpec, SMC_CLOCK, SMC_PROGRAM_COUNTER } from "../../../src/sim/devices/radeon.ts";
import type { PciDeviceSpec } from "../../../src/sim/pci-spec.ts";
import { DEVICE_RESETS, QUIRKS } from "../../../src/vfio/pci/quirks/quirk-table.ts";
import { BDF, TestMachine } from "./machine.ts";

const PORTS = 0xe000n;
const BAR2 = 0xe000_0000n;

function radeon(changes: Partial<PciDeviceSpec> = {}): TestMachine {
  const spec: PciDeviceSpec = {
    ...radeonSpec(BDF),
    vga: true,
    behaviour: (device) => {
      const mask = (changes.configSize ?? 4096) - 1;
      const door = configBackDoor(device, { address: 0, data: 4, match: 0x4000, mask });
      return { bars: { 4: door } };
    },
    ...changes,
  };
  return new TestMachine({ devices: [{ spec, group: 7 }] });
}

function assign(machine: TestMachine, given: Record<string, string> = { "x-vga": "on" }) {
  const fn = machine.assign(given);
  fn.writeConfig(0x18, 4, Number(BAR2));
  fn.writeConfig(0x1c, 4, 0);
  fn.writeConfig(0x20, 4, Number(PORTS));
  fn.writeConfig(0x04, 2, 0x0003);
  machine.take();
  return fn;
}

const regionAccesses = (machine: TestMachine, region: number): string[] =>
  machine.take().filter((line) => line.includes(`region ${region} `));

test("spec Q1: VGA port 3c3 is byte 1 of the guest's BAR 4, and a write is ignored", () => {
  using machine = radeon();
  using _fn = assign(machine);
  assert.equal(machine.io.read(0x3c3n, 1), 0xe0n);
  machine.io.write(0x3c3n, 1, 0x55n);
  assert.equal(machine.io.read(0x3c3n, 1), 0xe0n);
  assert.deepEqual(regionAccesses(machine, 8), []);
  assert.equal(machine.io.read(0x3c2n, 1), 0n);
  assert.deepEqual(regionAccesses(machine, 8), ["read region 8 0x3c2+1"]);
});

test("spec Q1: without VGA ranges, or with BAR 4 in memory or too small, 3c3 is the card's", () => {
  const bar = (size: number, kind: "io" | "mem32") => ({ 4: { size, kind, mmap: false } });
  for (const bars of [bar(0x80, "io"), bar(0x1000, "mem32")]) {
    using machine = radeon({ bars, behaviour: () => ({}) });
    using _fn = assign(machine);
    machine.io.read(0x3c3n, 1);
    assert.deepEqual(regionAccesses(machine, 8), ["read region 8 0x3c3+1"]);
  }
  using plain = radeon();
  using _fn = assign(plain, {});
  assert.equal(plain.io.read(0x3c3n, 1), 0xffn);
});

test("spec Q2: an address of ATI's window leads to the guest's config space", () => {
  using machine = radeon();
  using fn = assign(machine);
  machine.io.write(PORTS, 4, 0x4018n);
  assert.equal(machine.io.read(PORTS + 4n, 4), BAR2 | 0xcn);
  machine.io.write(PORTS, 4, 0x4020n);
  assert.equal(machine.io.read(PORTS + 4n, 4), PORTS | 1n);
  assert.equal(machine.io.read(PORTS, 4), 0x4020n);
  machine.io.write(PORTS, 4, 0x403cn);
  machine.io.write(PORTS + 4n, 1, 0x40n);
  assert.equal(fn.readConfig(0x3c, 1), 0x40);
  machine.io.write(PORTS, 4, 0x5000n);
  machine.io.write(PORTS + 4n, 4, 0x1234n);
  assert.equal(machine.io.read(PORTS + 4n, 4), 0x1234n);
});

test("spec Q2: with 256 bytes of config space, 0x4100 is not in the window", () => {
  using machine = radeon({ configSize: 256 });
  using _fn = assign(machine);
  machine.io.write(PORTS, 4, 0x4020n);
  assert.equal(machine.io.read(PORTS + 4n, 4), PORTS | 1n);
  machine.io.write(PORTS, 4, 0x4100n);
  machine.io.write(PORTS + 4n, 4, 0x77n);
  assert.equal(machine.io.read(PORTS + 4n, 4), 0x77n);
});

test("spec Q3: BAR 2 mirrors config space when it is 64-bit, and only then", () => {
  using machine = radeon();
  using _fn = assign(machine);
  assert.equal(machine.memory.read(BAR2 + 0x4018n, 4), BAR2 | 0xcn);
  machine.memory.write(BAR2 + 0x4100n, 4, 0xabcdn);
  assert.equal(machine.device().barRead(2, 0x4100, 2)[0], 0xcd);
  const { 5: registers } = radeonSpec(BDF).bars!;
  using narrow = radeon({ bars: { 2: registers! } });
  using _other = assign(narrow);
  narrow.memory.write(BAR2 + 0x4018n, 4, 0x5678n);
  assert.equal(narrow.memory.read(BAR2 + 0x4018n, 4), 0x5678n);
});

test("spec Q4: a redirected read touches the device, a redirected write does not", () => {
  using machine = radeon();
  using _fn = assign(machine);
  machine.io.write(PORTS, 4, 0x400cn);
  assert.deepEqual(regionAccesses(machine, 4), ["write region 4 0x0+4=0x400c"]);
  machine.io.read(PORTS + 4n, 2);
  assert.deepEqual(regionAccesses(machine, 4), ["read region 4 0x4+2"]);
  machine.io.write(PORTS + 4n, 2, 0x10n);
  assert.deepEqual(regionAccesses(machine, 4), []);
  machine.memory.read(BAR2 + 0x400cn, 4);
  machine.memory.write(BAR2 + 0x400cn, 4, 0x08n);
  assert.deepEqual(regionAccesses(machine, 2), ["read region 2 0x400c+4"]);
});

test("quirk table: a device of another vendor gets no trap, whatever its BARs", () => {
  using machine = radeon({ vendorId: 0x1003 });
  using fn = assign(machine);
  assert.deepEqual(machine.reports, []);
  for (const { index } of fn.facts.bars) {
    const placed = fn.assignedBars.get(index)?.region?.region.placed ?? [];
    assert.ok(placed.every(({ priority }) => priority === 0));
  }
  assert.equal(fn.deviceSpecificReset, undefined);
});

test("quirk table: IDs are unique to a reset, and every row names its vendor and BAR", () => {
  const ids = DEVICE_RESETS.flatMap(({ vendor, devices }) =>
    devices.map((id) => `${vendor}:${id}`),
  );
  assert.equal(new Set(ids).size, 18);
  assert.equal(new Set(QUIRKS.map(({ name }) => name)).size, QUIRKS.length);
});

function resetting(options: Parameters<typeof radeonSpec>[1], changes = {}): TestMachine {
  const spec = { ...radeonSpec(BDF, options), ...changes };
  return new TestMachine({ devices: [{ spec, group: 7 }] });
}

test("spec Q13: Bonaire's reset makes exactly its steps, and leaves COMMAND 0", () => {
  const log: string[] = [];
  using machine = resetting({ log, absentReads: 3 });
  using fn = machine.assign();
  fn.reset();
  assert.deepEqual(log, [
    "80000004",
    "80000370",
    "c00c0000",
    "c0000010",
    "c0000010=2",
    "c0000010",
    "80000000",
    "80000000=1",
    "80000004",
    "80000004=1",
  ]);
  const lines = machine.take();
  const trigger = lines.indexOf("write config 0x7c+4=0x39d5e86b");
  const firstPoll = lines.indexOf("read region 5 0x5428+4");
  assert.ok(trigger >= 0 && firstPoll > trigger);
  assert.equal(lines.filter((line) => line === "read region 5 0x5428+4").length, 4);
  const commands = lines.filter((line) => line.startsWith("write config 0x4+2"));
  assert.deepEqual(commands.slice(-2), ["write config 0x4+2=0x2", "write config 0x4+2=0x0"]);
});

test("spec Q13: a reset mode that the fuses do not ask for stays as it is", () => {
  const log: string[] = [];
  using machine = resetting({ log, smc: { 3222011904: 0x40 } });
  using fn = machine.assign();
  fn.reset();
  assert.ok(!log.some((line) => line.startsWith("c0000010=")));
});

test("spec Q13: with the SMC stopped, or in its boot code, nothing is reset, COMMAND is 0", () => {
  for (const smc of [{ [SMC_CLOCK]: 1 }, { [SMC_PROGRAM_COUNTER]: 0x2_00ff }]) {
    const log: string[] = [];
    using machine = resetting({ log, smc });
    using fn = machine.assign();
    assert.equal(fn.deviceSpecificReset!(), false);
    assert.ok(!log.some((line) => line.includes("=")));
    const commands = machine.take().filter((line) => line.startsWith("write config 0x4+2"));
    assert.deepEqual(commands, ["write config 0x4+2=0x2", "write config 0x4+2=0x0"]);
  }
});

test("spec Q13: a card that the kernel can reset is left to it", () => {
  const log: string[] = [];
  using machine = resetting({ log }, { reset: "flr" });
  using fn = machine.assign();
  fn.reset();
  assert.deepEqual(log, []);
  assert.equal(machine.device().resetCount, 1);
});

test("spec Q17: an overridden device ID chooses Bonaire's reset, and takes it away", () => {
  using machine = resetting({}, { deviceId: 0x1234 });
  using fn = machine.assign({ "x-pci-device-id": "0x67be" });
  assert.equal(fn.deviceSpecificReset!(), true);
  fn[Symbol.dispose]();
  using plain = machine.assign();
  assert.equal(plain.deviceSpecificReset, undefined);
});
