import assert from "node:assert/strict";
import { test } from "node:test";
import type { PciBus } from "../../../src/pci/bus.ts";
import { walkCapabilities, walkExtendedCapabilities } from "../../../src/pci/capabilities.ts";
import { PciePciBridge } from "../../../src/pci/pcie-pci-bridge.ts";
import { RootPort } from "../../../src/pci/root-port.ts";
import { eduSpec } from "../../../src/sim/devices/edu.ts";
import type { PciDeviceSpec } from "../../../src/sim/pci-spec.ts";
import type { VfioPciFunction } from "../../../src/vfio/pci/vfio-pci.ts";
import { BDF, TestMachine } from "./machine.ts";

const PCIE = 0x10;

function machineWith(more: Partial<PciDeviceSpec> = {}): TestMachine {
  return new TestMachine({ devices: [{ spec: { ...eduSpec(BDF), ...more }, group: 7 }] });
}

function belowPort(machine: TestMachine): PciBus {
  return RootPort.create({ name: "port", bus: machine.bus, devfn: 0x10 }).secondaryBus;
}

function belowBridge(machine: TestMachine): PciBus {
  return PciePciBridge.create({ name: "bridge", bus: machine.bus, devfn: 0x10 }).secondaryBus;
}

/** The chain as a guest walks it, through reads of config space. */
function guestChain(fn: VfioPciFunction): number[] {
  const ids: number[] = [];
  for (let at = fn.readConfig(0x34, 1); at !== 0 && ids.length < 48; ) {
    ids.push(fn.readConfig(at, 1));
    at = fn.readConfig(at + 1, 1);
  }
  return ids;
}

function guestExtendedChain(fn: VfioPciFunction): string[] {
  const found: string[] = [];
  for (let at = 0x100; at !== 0 && found.length < 64; ) {
    const header = fn.readConfig(at, 4);
    if (header === 0) break;
    found.push(`${(header & 0xffff).toString(16)}@${at.toString(16)}`);
    at = header >>> 20;
  }
  return found;
}

/** Sets the type and version of the physical device's PCI Express capability. */
function setExpressFlags(machine: TestMachine, flags: number): number {
  const device = machine.device();
  const at = walkCapabilities(device.config).find(({ id }) => id === PCIE)!.offset;
  device.setConfig(at + 2, Uint8Array.of(flags));
  return at;
}

/** A whole extended capability. */
function extended(id: number, offset: number, next: number, body: number[] = []) {
  const bytes = new Uint8Array(Math.max(8, 4 + 4 * body.length));
  const words = [(id | (1 << 16) | (next << 20)) >>> 0, ...body];
  words.forEach((word, i) => {
    for (let byte = 0; byte < 4; byte++) bytes[4 * i + byte] = word >>> (8 * byte);
  });
  return { offset, bytes };
}

test("spec F3: header type bit 7 follows multifunction, whatever the device says", () => {
  for (const physical of [0x00, 0x80]) {
    for (const multifunction of ["on", "off"]) {
      using machine = machineWith();
      machine.device().setConfig(0x0e, Uint8Array.of(physical));
      using fn = machine.assign({ multifunction });
      assert.equal(fn.readConfig(0x0e, 1), multifunction === "on" ? 0x80 : 0);
    }
  }
});

test("spec F5: overridden IDs are what the guest reads and what quirks go by", () => {
  using machine = machineWith({ vendorId: 0x1002, rom: new Uint8Array(2048) });
  using fn = machine.assign({ "x-pci-device-id": "0x6649", "x-pci-sub-vendor-id": "0x1234" });
  assert.deepEqual(fn.ids, { vendor: 0x1002, device: 0x6649, isVga: false });
  assert.equal(fn.readConfig(0, 4), 0x6649_1002);
  assert.equal(fn.readConfig(0x2c, 2), 0x1234);
  fn.writeConfig(0, 4, 0);
  assert.equal(fn.readConfig(0, 4), 0x6649_1002);
});

test("spec F5: vendor 0xffff is refused, device 0xffff is taken", () => {
  using machine = machineWith();
  assert.throws(
    () => machine.assign({ "x-pci-vendor-id": "0xffff" }),
    /^ViaductError: vfio 0000:01:00.0: invalid PCI vendor ID provided/,
  );
  using fn = machine.assign({ "x-pci-device-id": "0xffff" });
  assert.equal(fn.readConfig(2, 2), 0xffff);
});

test("spec F6: the capability order is the physical one, without what is dropped", () => {
  const capabilities = [
    { id: 0x09, body: Uint8Array.of(8, 1, 2, 3, 4, 5), offset: 0xf0 },
    { id: 0x03, body: new Uint8Array(6), offset: 0xe0 },
  ];
  using machine = machineWith({ capabilities });
  using onRoot = machine.assign();
  const order = [0x01, PCIE, 0x05, 0x09, 0x03];
  assert.deepEqual(guestChain(onRoot), order);
  onRoot[Symbol.dispose]();
  setExpressFlags(machine, 0x12); // A legacy endpoint has no such capability on a root bus.
  using fn = machine.assign();
  assert.deepEqual(guestChain(fn), [0x01, 0x05, 0x09, 0x03]);
  assert.equal(fn.readConfig(0xf2, 4), 0x0302_0108, "the body is the device's");
});

test("spec F6: overlapping capabilities fail, naming both", () => {
  const capabilities = [
    { id: 0x09, body: Uint8Array.of(8, 0, 0, 0, 0, 0), offset: 0xf0 },
    { id: 0x01, body: new Uint8Array(2), offset: 0xec },
  ];
  using machine = machineWith({ capabilities });
  assert.throws(() => machine.assign(), /capability 0x9\[0x10\]@0xf0.*overlaps capability 0x1/);
});

test("rebuildCapabilities: a chain that loops is walked once", () => {
  using machine = machineWith();
  const device = machine.device();
  const last = walkCapabilities(device.config).at(-1)!;
  device.setConfig(last.offset + 1, Uint8Array.of(0x40));
  using fn = machine.assign();
  assert.equal(guestChain(fn).length, 3);
});

test("spec F7: an endpoint on the root bus becomes integrated, without a link", () => {
  using machine = machineWith();
  using fn = machine.assign();
  const at = fn.config.findCapability(PCIE)!;
  assert.equal((fn.readConfig(at + 2, 2) >> 4) & 0xf, 9);
  for (const [register, length] of [
    [0x0c, 4],
    [0x10, 2],
    [0x12, 2],
    [0x2c, 4],
    [0x30, 2],
  ]) {
    assert.equal(fn.readConfig(at + register!, length!), 0, `+${register}`);
  }
});

test("spec F7: an integrated endpoint below a port becomes an endpoint with a link", () => {
  using machine = machineWith();
  const bus = belowPort(machine);
  setExpressFlags(machine, 0x92);
  using fn = machine.assign({}, { bus, devfn: 0 });
  const at = fn.config.findCapability(PCIE)!;
  assert.equal(fn.readConfig(at + 2, 2) & 0xff, 0x02);
  assert.equal(fn.readConfig(at + 0x0c, 4), 0x11);
  assert.equal(fn.readConfig(at + 0x10, 2), 0);
  fn.writeConfig(at + 0x10, 2, 0x40);
  assert.equal(fn.readConfig(at + 0x10, 2), 0);
});

test("spec F7: an endpoint below a port stays as it is", () => {
  using machine = machineWith();
  const bus = belowPort(machine);
  using fn = machine.assign({}, { bus, devfn: 0 });
  const at = fn.config.findCapability(PCIE)!;
  assert.equal(fn.readConfig(at + 0x0c, 4), 0x411);
});

test("spec F8: no PCIe capability for a legacy endpoint on a root bus; ext list stays", () => {
  using machine = machineWith({ extended: [extended(0x03, 0x100, 0, [1, 2])] });
  setExpressFlags(machine, 0x12);
  using fn = machine.assign();
  assert.equal(fn.config.findCapability(PCIE), undefined);
  assert.deepEqual(guestExtendedChain(fn), ["3@100"]);
});

test("spec F8: no PCIe capability for any type on a conventional bus of a PCIe machine", () => {
  for (const flags of [0x02, 0x12, 0x92]) {
    using machine = machineWith();
    const bus = belowBridge(machine);
    setExpressFlags(machine, flags);
    using fn = machine.assign({}, { bus, devfn: 0x08 });
    assert.deepEqual(guestChain(fn), [0x01, 0x05]);
  }
});

test("adaptExpressCapability: a port or a bridge is refused", () => {
  using machine = machineWith();
  setExpressFlags(machine, 0x42);
  assert.throws(() => machine.assign(), /assignment of PCIe type 0x4 devices is not currently/);
});

test("spec F9: PCIe version 0 shows as 1", () => {
  using machine = machineWith();
  const at = setExpressFlags(machine, 0x00);
  using fn = machine.assign();
  assert.equal(fn.readConfig(at + 2, 2) & 0xf, 1);
});

test("spec F10: SR-IOV and ARI are dropped from the middle of the extended list", () => {
  using machine = machineWith({
    extended: [
      extended(0x01, 0x100, 0x140),
      extended(0x10, 0x140, 0x180),
      extended(0x0e, 0x180, 0x1c0),
      extended(0x03, 0x1c0, 0, [0xaabb_ccdd, 0x1122_3344]),
    ],
  });
  using fn = machine.assign();
  assert.deepEqual(guestExtendedChain(fn), ["1@100", "3@1c0"]);
  assert.equal(fn.readConfig(0x1c4, 4), 0xaabb_ccdd, "the body is the device's");
});

test("spec F10: dropping the first leaves ID 0 with a valid next; dropping all leaves 0", () => {
  using first = machineWith({ extended: [extended(0x0e, 0x100, 0x140), extended(0x03, 0x140, 0)] });
  using fn = first.assign();
  assert.equal(fn.readConfig(0x100, 4), 0x1400_0000);
  assert.deepEqual(guestExtendedChain(fn), ["0@100", "3@140"]);
  using none = machineWith({ extended: [extended(0x0e, 0x100, 0x140), extended(0x10, 0x140, 0)] });
  using empty = none.assign();
  assert.equal(empty.readConfig(0x100, 4), 0);
});

test("rebuildExtendedCapabilities: a list that loops ends, an overlong one is refused", () => {
  using machine = machineWith({
    extended: [extended(0x01, 0x100, 0x140), extended(0x03, 0x140, 0x100)],
  });
  using fn = machine.assign();
  assert.deepEqual(guestExtendedChain(fn), ["1@100", "3@140"]);
  assert.equal(walkExtendedCapabilities(fn.config.bytes).length, 2);
  using broken = machineWith({ extended: [extended(0x01, 0x100, 0x104, [0x0001_0003])] });
  assert.throws(() => broken.assign(), /extended capability 0x1 at 0x100 has 4 bytes/);
});

/** One resizable BAR of `1 << index` MiB. */
const rebar = (index: number) => extended(0x15, 0x200, 0, [0x0000_fff0, (index << 8) | (1 << 5)]);

test("spec F11: a resizable BAR offers its present size alone, and cannot be resized", () => {
  using machine = machineWith({
    extended: [extended(0x01, 0x100, 0x200), rebar(8)],
  });
  using fn = machine.assign();
  assert.equal(fn.readConfig(0x204, 4), 1 << 12);
  assert.equal(fn.readConfig(0x208, 4), 0x0820);
  fn.writeConfig(0x208, 4, 0x0320);
  assert.equal(fn.readConfig(0x208, 4), 0x0820);
});

test("spec F11: a BAR over 512 GiB hides the capability", () => {
  for (const [index, shown] of [
    [19, true],
    [20, false],
    [28, false],
  ] as const) {
    using machine = machineWith({ extended: [extended(0x01, 0x100, 0x200), rebar(index)] });
    using fn = machine.assign();
    assert.equal(guestExtendedChain(fn).includes("15@200"), shown, `size index ${index}`);
  }
});

test("spec F26: AtomicOps of the host show on the port, and vanish with the device", () => {
  using machine = machineWith({ atomics: 0b011 });
  const port = RootPort.create({ name: "port", bus: machine.bus, devfn: 0x10 });
  const at = port.expressOffset + 0x24;
  const before = port.config.read(at, 4);
  assert.equal(before & 0x380, 0);
  const fn = machine.assign({}, { bus: port.secondaryBus, devfn: 0 });
  assert.equal(port.config.read(at, 4), before | 0x180);
  fn[Symbol.dispose]();
  assert.equal(port.config.read(at, 4), before);
});

test("spec F26: not with multifunction, nor where the port completes something already", () => {
  using machine = machineWith({ atomics: 0b111 });
  const port = RootPort.create({ name: "port", bus: machine.bus, devfn: 0x10 });
  const at = port.expressOffset + 0x24;
  const before = port.config.read(at, 4);
  const many = machine.assign({ multifunction: "on" }, { bus: port.secondaryBus, devfn: 0 });
  assert.equal(port.config.read(at, 4), before);
  many[Symbol.dispose]();
  port.config.write(at, 4, before | 0x80);
  const fn = machine.assign({}, { bus: port.secondaryBus, devfn: 0 });
  assert.equal(port.config.read(at, 4), before | 0x80);
  fn[Symbol.dispose]();
  assert.equal(port.config.read(at, 4), before | 0x80);
});
