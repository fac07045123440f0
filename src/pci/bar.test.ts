import assert from "node:assert/strict";
import { test } from "node:test";
import { createAddressSpace } from "../memory/address-space.ts";
import { MemoryRegion } from "../memory/region.ts";
import { check } from "../sys/sys-error.ts";
import { devfnOf } from "./bus.ts";
import { PciFunction } from "./function.ts";
import { RecordingPlatform } from "./recording-platform.ts";
import { RootComplex } from "./root-complex.ts";

const COMMAND = 0x04;
const BAR0 = 0x10;

function machine() {
  const root = new RootComplex({ platform: new RecordingPlatform() });
  const fn = new PciFunction({ name: "device", bus: root.bus, devfn: devfnOf(1) });
  root.bus.attach(fn);
  return { root, fn };
}

const region = (size: number) => new MemoryRegion("bar", "io", BigInt(size));

test("spec F4: BAR sizing reads back the size and the type bits", () => {
  const { fn } = machine();
  fn.registerBar(0, region(0x4000), { kind: "mem32" });
  fn.registerBar(1, region(0x40), { kind: "io" });
  fn.registerBar(2, new MemoryRegion("big", "io", 1n << 33n), {
    kind: "mem64",
    prefetchable: true,
  });
  fn.registerBar(6, region(0x10000), { kind: "mem32" });
  for (const at of [0x10, 0x14, 0x18, 0x1c, 0x30]) fn.writeConfig(at, 4, 0xffffffff);
  assert.equal(fn.readConfig(0x10, 4), 0xffffc000);
  assert.equal(fn.readConfig(0x14, 4), 0xffffffc1);
  assert.equal(fn.readConfig(0x18, 4), 0x0000000c);
  assert.equal(fn.readConfig(0x1c, 4), 0xfffffffe);
  assert.equal(fn.readConfig(0x30, 4), 0xffff0001);
});

test("a BAR is mapped only with its COMMAND bit, an address, and in D0", () => {
  const { root, fn } = machine();
  const bar = region(0x1000);
  fn.registerBar(0, bar, { kind: "mem32" });
  const pm = fn.addPowerManagement();
  const placed = () => root.bus.memory.placed.find((one) => one.region === bar);
  fn.writeConfig(COMMAND, 2, 2);
  assert.equal(fn.barAddress(0), undefined);
  fn.writeConfig(BAR0, 4, 0xfebd0000);
  assert.equal(fn.barAddress(0), 0xfebd0000n);
  assert.deepEqual(placed(), { region: bar, offset: 0xfebd0000n, priority: 1 });
  fn.writeConfig(pm + 4, 2, 3);
  assert.equal(placed(), undefined);
  fn.writeConfig(pm + 4, 2, 0);
  fn.writeConfig(BAR0, 4, 0xfeb00000);
  assert.equal(placed()?.offset, 0xfeb00000n);
  fn.writeConfig(COMMAND, 2, 1);
  assert.equal(fn.barAddress(0), undefined);
  fn.writeConfig(COMMAND, 2, 2);
  fn.writeConfig(BAR0, 4, 0xfffff000);
  assert.equal(fn.barAddress(0), undefined, "ends at 4 GiB - 1");
});

test("a ROM BAR needs its own enable bit as well", () => {
  const { fn } = machine();
  fn.registerBar(6, region(0x800), { kind: "mem32" });
  fn.writeConfig(COMMAND, 2, 2);
  fn.writeConfig(0x30, 4, 0xfe000000);
  assert.equal(fn.barAddress(6), undefined);
  fn.writeConfig(0x30, 4, 0xfe000001);
  assert.equal(fn.barAddress(6), 0xfe000000n);
});

test("a 64-bit BAR moves with its upper dword; setPriority re-inserts it", () => {
  const { root, fn } = machine();
  const bar = region(0x1000);
  fn.registerBar(4, bar, { kind: "mem64" });
  fn.writeConfig(COMMAND, 1, 2);
  fn.writeConfig(0x24, 4, 0x38);
  assert.equal(fn.barAddress(4), 0x38_0000_0000n);
  fn.bars.setPriority(4, 0);
  assert.equal(root.bus.memory.placed.find((one) => one.region === bar)?.priority, 0);
});

test("PciFunction.reset unmaps the BARs and keeps their type bits", () => {
  const { fn } = machine();
  fn.registerBar(0, region(0x20), { kind: "io" });
  fn.writeConfig(BAR0, 4, 0xc000);
  fn.writeConfig(COMMAND, 2, 0x407);
  assert.equal(fn.barAddress(0), 0xc000n);
  fn.reset();
  assert.equal(fn.barAddress(0), undefined);
  assert.equal(fn.readConfig(BAR0, 4), 1);
  assert.equal(fn.readConfig(COMMAND, 2), 0);
});

test("dispose takes the function off the bus", () => {
  const { root, fn } = machine();
  const bar = region(0x1000);
  fn.registerBar(0, bar, { kind: "mem32" });
  fn.writeConfig(BAR0, 4, 0xfebd0000);
  fn.writeConfig(COMMAND, 2, 2);
  assert.equal(root.readConfig(0x08, 4, 4), 0x00000002);
  fn[Symbol.dispose]();
  assert.equal(root.bus.memory.placed.length, 0);
  assert.equal(root.readConfig(0x08, 4, 4), 0xffffffff);
  fn[Symbol.dispose]();
});

test("a place that the host refuses is reported, never thrown at the guest", () => {
  const memory = new MemoryRegion("memory", "container", 1n << 64n);
  using space = createAddressSpace("memory", memory);
  const refused: string[] = [];
  const root = new RootComplex({
    platform: new RecordingPlatform(),
    memory,
    transaction: (change) => space.transaction(change),
    mapFailed: (error) => refused.push(error.message),
  });
  const fn = new PciFunction({ name: "device", bus: root.bus, devfn: devfnOf(1) });
  root.bus.attach(fn);
  fn.registerBar(0, region(0x1000), { kind: "mem64" });
  const add = () => check(-22, "memory slot");
  using _listening = space.listen({ priority: 0, add, remove: () => {} });
  fn.writeConfig(0x14, 4, 0xffff0000);
  fn.writeConfig(COMMAND, 2, 2);
  assert.deepEqual(refused, ["memory slot: EINVAL"]);
  assert.equal(fn.barAddress(0), 0xffff_0000_0000_0000n);
  fn.writeConfig(COMMAND, 2, 0);
  assert.equal(space.sections.length, 0);
});

test("spec F3: header type bit 7 follows multifunction", () => {
  const { root } = machine();
  for (const multifunction of [false, true]) {
    using fn = new PciFunction({ name: "f", bus: root.bus, devfn: devfnOf(3), multifunction });
    assert.equal(fn.readConfig(0x0e, 1), multifunction ? 0x80 : 0);
  }
});
