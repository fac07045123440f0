import assert from "node:assert/strict";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { test } from "node:test";
import { TrapFileReader, TrapFiles } from "../../../src/machine/trap-files.ts";
import { AccessGateReader } from "../../../src/memory/access-gates.ts";
import { EDU_ID, eduSpec } from "../../../src/sim/devices/edu.ts";
import { channelOf } from "../../../src/sys/trace.ts";
import { BDF, TestMachine } from "./machine.ts";

const REGISTERS = 0xfe00_0000;
const MSIX_BAR = 0xfd00_0000;
const LIVENESS = 4;
const TABLE = 0x800;

/** The device with its BARs placed, and what a vCPU's thread has of it. */
function start() {
  const msix = { vectors: 2, table: { bar: 2, offset: TABLE }, pba: { bar: 2, offset: 0xc00 } };
  const edu = eduSpec(BDF);
  const bars = { ...edu.bars, 2: { size: 0x1000, kind: "mem32" as const, mmap: false } };
  const devices = [{ spec: { ...edu, bars, msix }, group: 7 }];
  const machine = new TestMachine({ devices, hasResampleFd: false });
  const files = new TrapFiles(machine.memory);
  const gates = new AccessGateReader(machine.accessGates.buffer);
  const thread = new TrapFileReader(files.buffer, gates, machine.sys, 0);
  const fn = machine.assign();
  fn.writeConfig(0x10, 4, REGISTERS);
  fn.writeConfig(0x18, 4, MSIX_BAR);
  fn.writeConfig(0x04, 2, 0x0006);
  machine.take();
  return { machine, thread, fn, files };
}

test("TrapFileReader makes a trapped access of a BAR in the vCPU's thread", () => {
  const { machine, thread, fn } = start();
  using _ = machine;
  assert.equal(thread.read(REGISTERS, 4), EDU_ID);
  assert.equal(thread.write(REGISTERS + LIVENESS, 4, 0x1234_5678), true);
  assert.equal(thread.read(REGISTERS + LIVENESS, 4), ~0x1234_5678 >>> 0);
  assert.deepEqual(machine.take(), [
    "read region 0 0x0+4",
    "write region 0 0x4+4=0x12345678",
    "read region 0 0x4+4",
  ]);
  assert.equal(machine.memory.read(BigInt(REGISTERS + LIVENESS), 4), 0xedcb_a987n);
  fn[Symbol.dispose]();
});

test("TrapFileReader leaves the MSI-X table, and what no BAR holds, to the main thread", () => {
  const { machine, thread, fn } = start();
  using _ = machine;
  assert.equal(thread.read(MSIX_BAR, 4) !== undefined, true);
  assert.equal(thread.read(MSIX_BAR + TABLE, 4), undefined);
  assert.equal(thread.write(MSIX_BAR + TABLE, 4, 1), false);
  assert.equal(thread.read(MSIX_BAR + TABLE - 2, 4), undefined, "across the table's begin");
  assert.equal(thread.read(MSIX_BAR + 0x1000, 1), undefined);
  fn.writeConfig(0x04, 2, 0x0004);
  assert.equal(thread.read(REGISTERS, 4), undefined, "memory is off");
  fn.writeConfig(0x04, 2, 0x0006);
  assert.equal(thread.read(REGISTERS, 4), EDU_ID);
  fn[Symbol.dispose]();
  assert.equal(thread.read(REGISTERS, 4), undefined, "the device is gone");
});

test("TrapFileReader leaves accesses to the main thread while INTx is pending", () => {
  const { machine, thread, fn } = start();
  using _ = machine;
  const device = machine.device();
  device.irqs.setIntx(true);
  machine.loop.dispatch();
  assert.equal(fn.interrupts.intx.pending, true);
  assert.equal(thread.read(REGISTERS, 4), undefined);
  assert.equal(thread.write(REGISTERS + LIVENESS, 4, 1), false);
  device.irqs.setIntx(false);
  machine.take();
  machine.memory.read(BigInt(REGISTERS), 4);
  assert.deepEqual(machine.take(), ["read region 0 0x0+4", "SET_IRQS INTX 0 UNMASK NONE 1"]);
  assert.equal(thread.read(REGISTERS, 4), EDU_ID);
  fn[Symbol.dispose]();
});

test("VfioRegion keeps accesses that are traced to the main thread", () => {
  const channel = channelOf("vfio_region_read");
  const ignore = () => {};
  subscribe(channel, ignore);
  try {
    const { machine, thread, fn } = start();
    using _ = machine;
    assert.equal(thread.read(REGISTERS, 4), undefined);
    fn[Symbol.dispose]();
  } finally {
    unsubscribe(channel, ignore);
  }
});
