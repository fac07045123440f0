import assert from "node:assert/strict";
import { test } from "node:test";
import { eduSpec } from "../../../src/sim/devices/edu.ts";
import { msixTestSpec } from "../../../src/sim/devices/msix.ts";
import { BDF, sizeBar, TestMachine } from "./machine.ts";

test("VfioPciFunction: a device is assigned, and everything given back", () => {
  using machine = new TestMachine({ devices: [{ spec: msixTestSpec(BDF), group: 7 }] });
  const before = machine.ledger.live();
  const fn = machine.assign();
  assert.equal(fn.readConfig(0, 4), 0x10f0_1b36);
  fn[Symbol.dispose]();
  fn[Symbol.dispose]();
  assert.deepEqual(machine.ledger.live(), before);
  assert.deepEqual(machine.host.describe(), []);
  assert.deepEqual(machine.reports, []);
});

test("spec F4: BARs and ROM BAR are zero in the shadow, and size as the regions do", () => {
  const rom = new Uint8Array(0x1800).fill(0x5a);
  using machine = new TestMachine({ devices: [{ spec: { ...msixTestSpec(BDF), rom }, group: 7 }] });
  const fn = machine.assign();
  assert.deepEqual(
    [...fn.config.bytes.subarray(0x10, 0x28)].filter((b) => b > 0xf),
    [],
  );
  assert.equal(fn.config.read(0x30, 4), 0);
  assert.equal(sizeBar(fn, 0x10), 0xffff_f000);
  assert.equal(sizeBar(fn, 0x18), 0xffff_000c);
  assert.equal(sizeBar(fn, 0x1c), 0xffff_ffff);
  assert.equal(sizeBar(fn, 0x20), 0xffff_c000);
  assert.equal(sizeBar(fn, 0x30), 0xffff_e001);
});

test("spec F1: a partially emulated dword is merged by bit with one device read", () => {
  using machine = new TestMachine({ devices: [{ spec: eduSpec(BDF), group: 7 }] });
  const fn = machine.assign();
  machine.device().setConfig(0x0c, Uint8Array.of(0x10, 0x20, 0xff, 0x40));
  assert.equal(fn.readConfig(0x0c, 4), 0x407f_2010);
  assert.deepEqual(machine.take(), ["read config 0xc+4"]);
});

test("spec F2: a fully emulated read asks nothing; a write always reaches the device first", () => {
  using machine = new TestMachine({ devices: [{ spec: eduSpec(BDF), group: 7 }] });
  const fn = machine.assign();
  fn.readConfig(0x10, 4);
  assert.deepEqual(machine.take(), []);
  fn.writeConfig(0x10, 4, 0xfe00_0000);
  assert.deepEqual(machine.take(), ["write config 0x10+4=0xfe000000"]);
});
