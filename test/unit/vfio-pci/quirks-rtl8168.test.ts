/** The RTL8168's way to its MSI-X table. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { rtl8168Spec } from "../../../src/sim/devices/rtl8168.ts";
import { BDF, TestMachine } from "./machine.ts";

const BAR2 = 0xe000_0000n;
const DATA = BAR2 + 0x70n;
const COMMAND = BAR2 + 0x74n;

function network(changes = {}) {
  const hardware = new Uint32Array(16).fill(0xdead);
  const spec = { ...rtl8168Spec(BDF, hardware), ...changes };
  const machine = new TestMachine({ devices: [{ spec, group: 7 }] });
  const fn = machine.assign();
  fn.writeConfig(0x18, 4, Number(BAR2));
  fn.writeConfig(0x1c, 4, 0);
  fn.writeConfig(0x04, 2, 0x0002);
  machine.take();
  return { machine, fn, hardware, memory: machine.memory };
}

test("spec Q12: a table write through the window lands in the guest's table alone", () => {
  const { machine, fn, hardware, memory } = network();
  using _machine = machine;
  using _fn = fn;
  memory.write(DATA, 4, 0xfee0_1000n);
  memory.write(COMMAND, 4, 0x8001_f000n);
  assert.equal(fn.msix!.message(0).address, 0xfee0_1000n);
  assert.equal(hardware[0], 0xdead);
  assert.equal(memory.read(COMMAND, 4), 0x0001_f000n);
  memory.write(COMMAND, 4, 0x0001_f000n);
  assert.equal(memory.read(COMMAND, 4), 0x8001_f000n);
  assert.equal(memory.read(DATA, 4), 0xfee0_1000n);
});

test("spec Q12: the window unmasks a vector as the table does", () => {
  const { machine, fn, memory } = network();
  using _machine = machine;
  using _fn = fn;
  memory.write(DATA, 4, 0n);
  memory.write(COMMAND, 4, 0x8001_f00cn);
  fn.writeConfig(fn.msix!.offset + 2, 2, 0x8000);
  assert.equal(fn.msix!.isMasked(0), false);
  assert.equal(fn.msix!.isMasked(1), true);
});

test("spec Q12: offsets past the table are harmless", () => {
  const { machine, fn, hardware, memory } = network();
  using _machine = machine;
  using _fn = fn;
  memory.write(DATA, 4, 0x1234n);
  const before = fn.msix!.table.slice();
  for (const offset of [0x40n, 0xffcn, 0xfffn]) {
    memory.write(COMMAND, 4, 0x8001_f000n | offset);
    memory.write(COMMAND, 4, 0x0001_f000n | offset);
    memory.read(DATA, 4);
  }
  assert.deepEqual(fn.msix!.table, before);
  assert.ok(hardware.every((entry) => entry === 0xdead));
});

test("spec Q12: what is no aligned access of 4 bytes does not reach the device", () => {
  const { machine, fn, memory } = network();
  using _machine = machine;
  using _fn = fn;
  memory.write(DATA, 2, 0x1234n);
  memory.write(COMMAND, 1, 0x12n);
  assert.equal(memory.read(DATA, 2), 0xffffn);
  assert.deepEqual(
    machine.take().filter((line) => line.includes("region 2 ")),
    [],
  );
});

test("spec Q12: other commands are the device's, and another device has no window", () => {
  const { machine, fn, memory } = network();
  using _machine = machine;
  using _fn = fn;
  memory.write(COMMAND, 4, 0x8002_0000n);
  assert.equal(memory.read(COMMAND, 4), 0x8002_0000n);
  memory.write(DATA, 4, 0x99n);
  assert.equal(memory.read(DATA, 4), 0x99n);
  const other = network({ deviceId: 0x8125 });
  using _otherMachine = other.machine;
  using _other = other.fn;
  other.memory.write(COMMAND, 4, 0x8001_f000n);
  assert.equal(other.hardware[0], 0);
});
