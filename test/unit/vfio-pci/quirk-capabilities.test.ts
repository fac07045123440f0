import assert from "node:assert/strict";
import { test } from "node:test";
import { eduSpec } from "../../../src/sim/devices/edu.ts";
import { msixTestSpec } from "../../../src/sim/devices/msix.ts";
import type { PciDeviceSpec } from "../../../src/sim/pci-spec.ts";
import { BDF, sizeBar, TestMachine } from "./machine.ts";

const GPU = { vendorId: 0x10de, classCode: 0x030200 };

function machineWith(spec: PciDeviceSpec): TestMachine {
  return new TestMachine({ devices: [{ spec, group: 7 }] });
}

test("spec Q14: the GPUDirect clique is a capability at 0xc8, last in the chain", () => {
  using machine = machineWith({ ...eduSpec(BDF), ...GPU });
  using fn = machine.assign({ "x-nv-gpudirect-clique": "5" });
  const bytes = Array.from({ length: 8 }, (_, i) => fn.readConfig(0xc8 + i, 1));
  assert.deepEqual(bytes, [0x09, 0, 8, 0x50, 0x32, 0x50, 5 << 3, 0]);
  fn.writeConfig(0xce, 1, 0);
  assert.equal(fn.readConfig(0xce, 1), 5 << 3);
});

test("spec Q14: the clique moves to 0xd4 when 0xc8 is taken, and fails when both are", () => {
  const at = (offset: number) => ({ id: 0x03, body: new Uint8Array(6), offset });
  using machine = machineWith({ ...eduSpec(BDF), ...GPU, capabilities: [at(0xc8)] });
  using fn = machine.assign({ "x-nv-gpudirect-clique": "1" });
  assert.equal(fn.readConfig(0xd4, 1), 0x09);
  const capabilities = [at(0xc8), at(0xd4)];
  using full = machineWith({ ...eduSpec(BDF), ...GPU, capabilities });
  assert.throws(() => full.assign({ "x-nv-gpudirect-clique": "1" }), /Clique ID: no space/);
});

test("spec Q14: a clique on another vendor's device, or no GPU, is refused; so is 16", () => {
  using other = machineWith({ ...eduSpec(BDF), classCode: 0x030200 });
  assert.throws(() => other.assign({ "x-nv-gpudirect-clique": "1" }), /invalid device vendor/);
  using nic = machineWith({ ...eduSpec(BDF), vendorId: 0x10de, classCode: 0x020000 });
  assert.throws(() => nic.assign({ "x-nv-gpudirect-clique": "1" }), /unsupported PCI class/);
  assert.throws(() => nic.assign({ "x-nv-gpudirect-clique": "16" }), /valid range \[0,15\]/);
});

test("spec Q15: a VMD shows where the host has its BARs, the guest's being zero", () => {
  const bars = { 2: { size: 0x4000, kind: "mem64" as const, hostAddress: 0x12_3400_0000n } };
  using machine = machineWith({ ...eduSpec(BDF), vendorId: 0x8086, deviceId: 0x9a0b, bars });
  using fn = machine.assign();
  assert.equal(fn.readConfig(0xe8, 4) & 0xffff_00ff, 0x0118_0009);
  assert.equal(fn.readConfig(0xec, 4), 0x5348_4457);
  assert.equal(fn.readConfig(0xf0, 4), 0x3400_0004);
  assert.equal(fn.readConfig(0xf4, 4), 0x12);
  assert.equal(fn.config.read(0x18, 4), 4);
});

/** 8 vectors in BAR 4; BAR 0 is taken, BAR 2 is 64-bit, BAR 1 and 5 are free. */
const device = { ...msixTestSpec(BDF), behaviour: () => ({}) };

test("spec Q16: a free BAR becomes prefetchable for MSI-X, 64-bit where it can be", () => {
  using machine = machineWith({ ...device, bars: { 4: device.bars![4]! } });
  using fn = machine.assign({ "x-msix-relocation": "bar1" });
  assert.equal(sizeBar(fn, 0x14), 0xffff_f00c);
  assert.equal(fn.readConfig(fn.msix!.offset + 4, 4), 1);
  assert.equal(fn.readConfig(fn.msix!.offset + 8, 4), 0x80 | 1);
  fn[Symbol.dispose]();
  using last = machine.assign({ "x-msix-relocation": "bar5" });
  assert.equal(sizeBar(last, 0x24), 0xffff_f008);
});

test("spec Q16: a BAR in use is doubled, the table in its upper half", () => {
  using machine = machineWith(device);
  using fn = machine.assign({ "x-msix-relocation": "bar2" });
  assert.equal(sizeBar(fn, 0x18), 0xfffe_000c);
  fn.writeConfig(0x18, 4, 0xe000_0000);
  fn.writeConfig(0x1c, 4, 0);
  fn.writeConfig(0x04, 2, 0x0002);
  assert.equal(fn.readConfig(fn.msix!.offset + 4, 4), 0x1_0002);
  machine.memory.write(0xe001_0008n, 4, 0x1234n);
  assert.equal(machine.memory.read(0xe001_0008n, 4), 0x1234n);
  assert.equal(fn.msix!.message(0).data, 0x1234);
  assert.equal(machine.memory.find(0xe001_8000n), undefined);
});

test("spec Q16: auto, an I/O BAR, an upper half and a huge 32-bit BAR are refused", () => {
  const bars = {
    ...device.bars!,
    1: { size: 0x20, kind: "io" as const },
    5: { size: 2 ** 31, kind: "mem32" as const, mmap: false },
  };
  using machine = machineWith({ ...device, bars });
  const refusals: Array<[string, RegExp]> = [
    ["auto", /No automatic MSI-X relocation available for device 1b36:10f0/],
    ["bar1", /I\/O port/],
    ["bar3", /consumed by 64-bit BAR 2/],
    ["bar5", /no space to extend 32-bit BAR/],
  ];
  for (const [wanted, why] of refusals) {
    assert.throws(() => machine.assign({ "x-msix-relocation": wanted }), why);
  }
});

test("spec F13: with relocation a PBA outside its BAR is forgiven", () => {
  const spec: PciDeviceSpec = {
    ...device,
    bars: { 0: { size: 0x1_0000, kind: "mem32" } },
    msix: { vectors: 8, table: { bar: 0, offset: 0 }, pba: { bar: 0, offset: 0x2_0000 } },
  };
  using machine = machineWith(spec);
  using fn = machine.assign({ "x-msix-relocation": "bar2" });
  assert.equal(fn.readConfig(fn.msix!.offset + 8, 4), 0x82);
});

test("realize: what was asked for and cannot be had is refused", () => {
  using machine = machineWith(eduSpec(BDF));
  const refusals: Array<[Record<string, string>, RegExp]> = [
    [{ display: "on" }, /display method/],
    [{ xres: "1024" }, /xres and yres properties require display=on/],
    [{ "enable-migration": "on" }, /migration is not supported/],
    [{ failover_pair_id: "net0" }, /failover primary device is not an Ethernet device/],
    [{ iommufd: "iommufd0" }, /fd and iommufd are not supported/],
  ];
  for (const [given, why] of refusals) assert.throws(() => machine.assign(given), why);
  assert.deepEqual(machine.host.describe(), []);
});

test("spec F5: an overridden device ID chooses what is done for the device", () => {
  using machine = machineWith({ ...eduSpec(BDF), vendorId: 0x8086, deviceId: 0x9a0b });
  using plain = machine.assign({ "x-pci-device-id": "0x1533" });
  assert.notEqual(plain.readConfig(0xe8, 1), 0x09);
  plain[Symbol.dispose]();
  using other = machineWith({ ...eduSpec(BDF), vendorId: 0x8086, deviceId: 0x1533 });
  using vmd = other.assign({ "x-pci-device-id": "0x9a0b" });
  assert.equal(vmd.readConfig(0xe8, 1), 0x09);
});
