/** The PCI state of an assigned device: saving, loading, and what is left when it goes. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { eduSpec } from "../../../src/sim/devices/edu.ts";
import { msixTestSpec } from "../../../src/sim/devices/msix.ts";
import type { PciDeviceSpec } from "../../../src/sim/pci-spec.ts";
import { loadPciState, savePciState } from "../../../src/vfio/pci/saved-state.ts";
import { TraceRecorder } from "../trace-recorder.ts";
import { BDF, type MachineOptions, TestMachine } from "./machine.ts";

const machineWith = (options: MachineOptions, spec: PciDeviceSpec) =>
  new TestMachine({ ...options, devices: [{ spec, group: 7 }] });

test("spec F27: loading a state writes COMMAND to the device and turns MSI-X on", () => {
  using source = new TestMachine({ devices: [{ spec: msixTestSpec(BDF), group: 7 }] });
  using from = source.assign();
  from.writeConfig(0x20, 4, 0xfd00_0000);
  from.writeConfig(0x04, 2, 0x0006);
  for (const [at, value] of [
    [0, 0xfee0_1000n],
    [8, 0x51n],
    [12, 0n],
  ] as const) {
    source.memory.write(0xfd00_1000n + BigInt(at), 4, value);
  }
  from.writeConfig(from.msix!.offset + 2, 2, 0x8000);
  const state = savePciState(from);

  using target = new TestMachine({ devices: [{ spec: msixTestSpec(BDF), group: 7 }] });
  using to = target.assign();
  loadPciState(to, state);
  const log = target.take();
  assert(log.includes("write config 0x4+2=0x6"));
  assert(log.includes("SET_IRQS MSIX 0 TRIGGER [fd]"));
  assert.equal(log.filter((line) => line.startsWith("write config 0x1")).length, 0);
  assert.equal(to.barAddress(4), 0xfd00_0000n);
  assert.deepEqual([...target.routes.routes.values()], [{ address: 0xfee0_1000n, data: 0x51 }]);
  assert.deepEqual(savePciState(to), state);
});

test("spec F27: loading a state turns MSI on", () => {
  using source = new TestMachine({ devices: [{ spec: eduSpec(BDF), group: 7 }] });
  using from = source.assign();
  from.writeConfig(from.msi!.offset + 2, 2, 1);
  using target = new TestMachine({ devices: [{ spec: eduSpec(BDF), group: 7 }] });
  using to = target.assign();
  loadPciState(to, savePciState(from));
  assert.equal(to.interrupts.mode, "msi");
});

test("loadPciState: another device's state is refused before anything changes", () => {
  using source = new TestMachine({ devices: [{ spec: eduSpec(BDF), group: 7 }] });
  using from = source.assign();
  const state = savePciState(from);
  using target = new TestMachine({ devices: [{ spec: eduSpec(BDF), group: 7 }] });
  using to = target.assign();
  const before = to.config.bytes.slice();
  for (const bad of [state.slice(1), state.with(4 + 2, 0x77), state.with(0, 9)]) {
    assert.throws(() => loadPciState(to, bad), /Bad config data/);
    assert.deepEqual(to.config.bytes, before);
  }
});

const CONFIG = 4;

test("savePciState: version, config space, pin levels, MSI-X table and pending bits", () => {
  using machine = machineWith({ routes: false }, { ...msixTestSpec(BDF), interruptPin: 2 });
  using fn = machine.assign();
  machine.device().irqs.setIntx(true);
  machine.loop.dispatch();
  assert.equal(fn.config.bytes[0x06]! & 0x08, 0x08);
  fn.msix!.table[5] = 0xa5;
  fn.msix!.setPending(3);
  const state = savePciState(fn);
  const levels = CONFIG + 4096;
  assert.equal(state.length, levels + 16 + 8 * 16 + 1);
  assert.deepEqual(state.slice(0, 4), Uint8Array.of(2, 0, 0, 0));
  const config = fn.config.bytes.slice();
  config[0x06]! &= ~0x08;
  assert.deepEqual(state.slice(CONFIG, levels), config, "without the interrupt's status bit");
  const inta = [0, 0, 0, 0];
  assert.deepEqual([...state.slice(levels, levels + 8)], [...inta, 0, 0, 0, 1]);
  assert.equal(state[levels + 16 + 5], 0xa5);
  assert.equal(state.at(-1), 0b1000);
});

test("loadPciState: a conventional device's state has 256 bytes of config space", () => {
  const spec: PciDeviceSpec = { ...eduSpec(BDF), configSize: 256 };
  using machine = machineWith({}, spec);
  using fn = machine.assign();
  const state = savePciState(fn);
  assert.equal(state.length, CONFIG + 256 + 16);
  using express = machineWith({}, eduSpec(BDF));
  using other = express.assign();
  assert.throws(() => loadPciState(other, state), /276 bytes, where 4116 are expected/);
});

test("loadPciState: what a guest can write may differ, what it cannot may not", () => {
  using machine = machineWith({}, msixTestSpec(BDF));
  using fn = machine.assign();
  const state = savePciState(fn);
  const with_ = (at: number, value: number) => state.with(CONFIG + at, value);
  // Cache line size, interrupt line, COMMAND; an error bit of STATUS; what is compared by nobody.
  for (const good of [with_(0x0c, 8), with_(0x3c, 11), with_(0x04, 2), with_(0x07, 0x40)]) {
    loadPciState(fn, good);
  }
  const capability = fn.msix!.offset;
  const bad = [0x00, 0x08, 0x0a, 0x0e, 0x10, 0x34, capability, capability + 2];
  for (const at of bad) {
    const changed = with_(at, state[CONFIG + at]! ^ 0x01);
    assert.throws(
      () => loadPciState(fn, changed),
      new RegExp(`config byte 0x${at.toString(16)} is`),
    );
  }
});

test("skip-vsc-check: a vendor capability's body may differ, its head may not", () => {
  const body = Uint8Array.of(12, 1, 2, 3, 4, 5, 6, 7, 8, 9);
  const spec = { ...eduSpec(BDF), capabilities: [{ id: 0x09, offset: 0xa0, body }] };
  for (const skip of ["on", "off"]) {
    using machine = machineWith({}, spec);
    using fn = machine.assign({ "skip-vsc-check": skip });
    const state = savePciState(fn);
    const load = (at: number) => () => loadPciState(fn, state.with(CONFIG + at, 0x77));
    for (const at of [0xa0, 0xa1, 0xa2]) assert.throws(load(at), /Bad config data/);
    if (skip === "on") load(0xa3)();
    else assert.throws(load(0xa3), /config byte 0xa3/);
  }
});

test("loadPciState: a small BAR has its page again where the guest had put it", () => {
  const bars = { 0: { size: 0x100, kind: "mem32" as const, mmap: true } };
  const spec: PciDeviceSpec = { address: BDF, vendorId: 0x1b36, deviceId: 5, bars };
  using source = machineWith({}, spec);
  using from = source.assign();
  from.writeConfig(0x10, 4, 0xe000_0000);
  from.writeConfig(0x04, 2, 2);
  using target = machineWith({}, spec);
  using to = target.assign();
  assert.equal(to.assignedBars.get(0)!.region!.mmaps[0]!.region.size, 0x100n);
  loadPciState(to, savePciState(from));
  assert.equal(to.barAddress(0), 0xe000_0000n);
  assert.equal(to.assignedBars.get(0)!.region!.mmaps[0]!.region.size, 0x1000n);
});

/** The state of a guest whose device has its INTx up. */
function stateWithIntx(): Uint8Array {
  using source = machineWith({ hasResampleFd: false }, eduSpec(BDF));
  using from = source.assign();
  from.writeConfig(0x10, 4, 0xe000_0000);
  from.writeConfig(0x04, 2, 2);
  source.device().irqs.setIntx(true);
  source.loop.dispatch();
  return savePciState(from);
}

test("loadPciState: an INTx that was up is served by the next access", () => {
  using target = machineWith({ hasResampleFd: false }, eduSpec(BDF));
  using to = target.assign();
  loadPciState(to, stateWithIntx());
  assert.deepEqual([to.interrupts.mode, to.interrupts.intx.pending], ["intx", true]);
  assert.equal(target.platform.lines.size, 1);
  target.take();
  target.memory.read(0xe000_0000n, 4);
  assert.equal(target.platform.lines.size, 0);
  assert(target.take().includes("SET_IRQS INTX 0 UNMASK NONE 1"));
});

test("loadPciState: an INTx that KVM delivers is left to the device to raise again", () => {
  using target = machineWith({}, eduSpec(BDF));
  using to = target.assign();
  loadPciState(to, stateWithIntx());
  assert.equal(to.interrupts.intx.accelerated, true);
  assert.deepEqual([target.platform.lines.size, to.interrupts.intx.pending], [0, false]);
});

test("loadPciState: a pending MSI-X vector is in the PBA, and comes when it is unmasked", () => {
  using source = machineWith({}, msixTestSpec(BDF));
  using from = source.assign();
  from.writeConfig(0x20, 4, 0xfd00_0000);
  from.writeConfig(0x04, 2, 6);
  source.memory.write(0xfd00_1020n, 4, 0xfee0_1000n);
  source.memory.write(0xfd00_1028n, 4, 0x52n);
  from.msix!.setPending(2);
  from.writeConfig(from.msix!.offset + 2, 2, 0x8000);
  using target = machineWith({}, msixTestSpec(BDF));
  using to = target.assign();
  loadPciState(to, savePciState(from));
  assert.equal(target.memory.read(0xfd00_2000n, 8), 0b100n);
  const { delivered } = target.platform;
  assert.equal(delivered.length, 0);
  target.memory.write(0xfd00_102cn, 4, 0n);
  assert.deepEqual(
    delivered.map(({ message }) => message.data),
    [0x52],
  );
  assert.equal(to.msix!.pbaRegion.enabled, false);
});

test("exit (19.1): notifiers, then interrupts; then mappings, the device, its group", () => {
  const spec = { ...eduSpec(BDF), classCode: 0x030000, vga: true };
  using machine = machineWith({}, spec);
  const fn = machine.assign({ "x-vga": "on" });
  machine.take();
  using recorder = new TraceRecorder(/intx_disable$|finalize|put_|disconnect/);
  fn[Symbol.dispose]();
  const irqs = machine.take().filter((line) => line.startsWith("SET_IRQS"));
  assert.deepEqual(irqs, [
    "SET_IRQS REQ 0 TRIGGER [-1]",
    "SET_IRQS ERR 0 TRIGGER [-1]",
    "SET_IRQS INTX 0 MASK NONE 1",
    "SET_IRQS INTX 0 UNMASK NONE 1",
    "SET_IRQS INTX 0 TRIGGER NONE 0",
  ]);
  assert.deepEqual(
    recorder.take().map((line) => line.replace(/ .*/, "")),
    [
      "vfio_intx_disable",
      "vfio_region_finalize",
      "vfio_put_base_device",
      "vfio_disconnect_container",
      "vfio_put_group",
    ],
  );
  assert.equal(machine.clock.pending, 0);
  assert.deepEqual(machine.host.describe(), []);
});
