import assert from "node:assert/strict";
import { test } from "node:test";
import { createAddressSpace } from "../memory/address-space.ts";
import { MemoryRegion } from "../memory/region.ts";
import { devfnOf } from "./bus.ts";
import { walkCapabilities, walkExtendedCapabilities } from "./capabilities.ts";
import { PciFunction } from "./function.ts";
import { PciePciBridge } from "./pcie-pci-bridge.ts";
import { RecordingPlatform } from "./recording-platform.ts";
import { RootComplex } from "./root-complex.ts";
import { RootPort } from "./root-port.ts";

const PORT = devfnOf(1);
const CHILD = 0x0100;
const EXPRESS = 0x54;
const LNKSTA = EXPRESS + 0x12;
const SLTCTL = EXPRESS + 0x18;
const SLTSTA = EXPRESS + 0x1a;
const LINK_ACTIVE = 0x2000;
const [ABP, PDC, CC, PDS, DLLSC] = [0x01, 0x08, 0x10, 0x40, 0x100];
/** Presence, button and hot-plug interrupt enabled; indicators on, power on. */
const CONTROL_ON = 0x0169;
const CONTROL_OFF = 0x0769;
const CONTROL_BLINK = 0x0269;

function machine() {
  const platform = new RecordingPlatform();
  const root = new RootComplex({ platform });
  const port = RootPort.create({ name: "rp0", bus: root.bus, devfn: PORT, slot: 7 });
  const device = () => new PciFunction({ name: "device", bus: port.secondaryBus, devfn: 0 });
  return { platform, root, port, device };
}

function numberBuses(port: PciFunction, secondary: number, subordinate: number) {
  port.writeConfig(0x18, 4, (secondary << 8) | (subordinate << 16));
}

test("RootPort looks like 1b36:000c with its capabilities in place", () => {
  const { root } = machine();
  assert.equal(root.readConfig(PORT, 0, 4), 0x000c1b36);
  assert.equal(root.readConfig(PORT, 0x0a, 2), 0x0604);
  assert.equal(root.readConfig(PORT, 0x0e, 1), 1);
  const { bytes } = root.find(PORT)!.config;
  assert.deepEqual(
    walkCapabilities(bytes).map(({ id, offset }) => [id, offset]),
    [
      [0x10, 0x54],
      [0x11, 0x48],
      [0x0d, 0x40],
    ],
  );
  assert.deepEqual(
    walkExtendedCapabilities(bytes).map(({ id, offset }) => [id, offset]),
    [
      [0x01, 0x100],
      [0x0d, 0x148],
    ],
  );
  assert.equal(root.readConfig(PORT, EXPRESS + 2, 2), 0x0142);
  assert.equal(root.readConfig(PORT, EXPRESS + 0x14, 4) >>> 19, 7);
});

/** Registers as guests of QEMU 11.1 read them at 1b36:000c and 1b36:000e, by offset. */
const PORT_REGISTERS = {
  88: 0x00008020,
  96: 0x00300604,
  120: 0x00300020,
  128: 0x0000001e,
  256: 0x14820001,
  264: 0x02400000,
  268: 0x00462030,
  276: 0x0000e000,
  280: 0x000002a0,
};
const BRIDGE_REGISTERS = {
  4: 0x00b00000,
  28: 0x00a000f0,
  52: 0x0000008c,
  72: 0x00720010,
  76: 0x00008020,
  84: 0x00000411,
  88: 0x00110000,
  108: 0x00300000,
  132: 0x00034801,
  136: 0,
  140: 0x01808405,
  256: 0x00020001,
  264: 0x02400000,
  268: 0x00462030,
  276: 0x0000e000,
  280: 0x000000a0,
};

test("RootPort and PciePciBridge claim what the devices of these IDs claim", () => {
  const { root } = machine();
  PciePciBridge.create({ name: "pci.1", bus: root.bus, devfn: devfnOf(4) });
  const read = (devfn: number, registers: Readonly<Record<number, number>>) =>
    Object.fromEntries(
      Object.keys(registers).map((at) => [at, root.readConfig(devfn, Number(at), 4)]),
    );
  assert.deepEqual(read(PORT, PORT_REGISTERS), PORT_REGISTERS);
  assert.deepEqual(read(devfnOf(4), BRIDGE_REGISTERS), BRIDGE_REGISTERS);
});

test("a cold-plugged device has power, presence, an active link, and answers", () => {
  const { root, port, device } = machine();
  const fn = device();
  fn.config.write(0, 4, 0x56781234);
  assert.equal(root.readConfig(PORT, LNKSTA, 2) & LINK_ACTIVE, 0);
  port.secondaryBus.attach(fn);
  assert.equal(root.readConfig(PORT, SLTSTA, 2), PDS);
  assert.equal(root.readConfig(PORT, LNKSTA, 2) & LINK_ACTIVE, LINK_ACTIVE);
  assert.equal(root.readConfig(CHILD, 0, 4), 0xffffffff);
  numberBuses(port, 1, 1);
  assert.equal(root.readConfig(CHILD, 0, 4), 0x56781234);
  assert.equal(fn.requesterId, 0x0100);
  numberBuses(port, 5, 4);
  assert.equal(root.readConfig(0x0500, 0, 4), 0xffffffff, "subordinate below secondary");
});

test("hot-plug: presence and button interrupt, power makes the device appear", () => {
  const { platform, root, port, device } = machine();
  numberBuses(port, 1, 1);
  root.writeConfig(PORT, SLTCTL, 2, CONTROL_OFF);
  root.writeConfig(PORT, SLTSTA, 2, CC);
  port.secondaryBus.attach(device(), "hot");
  assert.equal(root.readConfig(PORT, SLTSTA, 2), ABP | PDC | PDS);
  assert.deepEqual([...platform.lines], [17]);
  assert.equal(root.readConfig(CHILD, 4, 4), 0xffffffff, "no power yet");
  root.writeConfig(PORT, SLTSTA, 2, ABP | PDC);
  assert.deepEqual([...platform.lines], []);
  root.writeConfig(PORT, SLTCTL, 2, CONTROL_ON);
  assert.equal(root.readConfig(PORT, SLTSTA, 2), CC | PDS | DLLSC);
  assert.equal(root.readConfig(PORT, LNKSTA, 2) & LINK_ACTIVE, LINK_ACTIVE);
  assert.equal(root.readConfig(CHILD, 4, 4), 0);
});

test("unplug: the button asks, taking power away lets go", () => {
  const { root, port, device } = machine();
  numberBuses(port, 1, 1);
  const fn = device();
  let unplugged = 0;
  fn.onUnplugged = () => {
    unplugged += 1;
  };
  port.secondaryBus.attach(fn);
  assert.equal(port.requestUnplug(), "asked");
  assert.equal(root.readConfig(PORT, SLTSTA, 2), ABP | PDS);
  root.writeConfig(PORT, SLTCTL, 2, CONTROL_BLINK);
  assert.equal(port.requestUnplug(), "busy", "power indicator blinks");
  assert.equal(unplugged, 0);
  root.writeConfig(PORT, SLTCTL, 2, CONTROL_OFF);
  assert.equal(unplugged, 1);
  assert.equal(root.readConfig(PORT, SLTSTA, 2) & (PDS | PDC | DLLSC), PDC | DLLSC);
  assert.equal(root.readConfig(PORT, LNKSTA, 2) & LINK_ACTIVE, 0);
  assert.equal(root.readConfig(CHILD, 4, 4), 0xffffffff);
});

test("unplug: a guest that turns the indicator on again keeps the device", () => {
  const { root, port, device } = machine();
  const fn = device();
  let refused = 0;
  fn.onUnplugRefused = () => {
    refused += 1;
  };
  port.secondaryBus.attach(fn);
  root.writeConfig(PORT, SLTCTL, 2, CONTROL_BLINK);
  root.writeConfig(PORT, SLTCTL, 2, CONTROL_ON);
  assert.equal(refused, 0, "nobody asked");
  port.requestUnplug();
  root.writeConfig(PORT, SLTCTL, 2, CONTROL_BLINK);
  root.writeConfig(PORT, SLTCTL, 2, CONTROL_ON);
  assert.equal(refused, 1);
  assert.equal(fn.isAttached, true);
  assert.equal(port.requestUnplug(), "asked");
});

test("unplug: without power the device goes at once; without hot-plug it stays", () => {
  const { root, port, device } = machine();
  const unplugged: string[] = [];
  const fn = device();
  fn.onUnplugged = () => void unplugged.push("without power");
  root.writeConfig(PORT, SLTCTL, 2, CONTROL_OFF);
  port.secondaryBus.attach(fn, "hot");
  assert.equal(port.requestUnplug(), "asked");
  const hidden = new PciFunction({ name: "f1", bus: port.secondaryBus, devfn: 1 });
  hidden.onUnplugged = () => void unplugged.push("before function 0");
  port.secondaryBus.attach(hidden, "hot");
  assert.equal(root.readConfig(PORT, SLTSTA, 2) & PDS, 0, "not there until function 0 is");
  assert.equal(port.requestUnplug(), "asked");
  assert.deepEqual(unplugged, ["without power", "before function 0"]);
  const options = { name: "rp1", bus: root.bus, devfn: devfnOf(2), hotplug: false };
  assert.equal(RootPort.create(options).requestUnplug(), "unsupported");
});

test("surprise removal: presence and link go, and the guest is told", () => {
  const { platform, root, port, device } = machine();
  const fn = device();
  port.secondaryBus.attach(fn);
  // As Linux does where there is an attention button: link changes, and no presence changes.
  root.writeConfig(PORT, SLTCTL, 2, 0x1161);
  assert.deepEqual([...platform.lines], []);
  fn[Symbol.dispose]();
  assert.equal(root.readConfig(PORT, SLTSTA, 2) & (PDS | PDC | DLLSC), PDC | DLLSC);
  assert.deepEqual([...platform.lines], [17]);
  root.writeConfig(PORT, SLTSTA, 2, 0xffff);
  assert.deepEqual([...platform.lines], []);
});

test("hot-plug events go to MSI-X when the guest enabled it", () => {
  const { platform, root, port, device } = machine();
  root.writeConfig(PORT, 4, 2, 6);
  port.msix!.table.set([0x00, 0x10, 0xe0, 0xfe, 0, 0, 0, 0, 0x41, 0, 0, 0, 0, 0, 0, 0]);
  root.writeConfig(PORT, 0x4a, 2, 0x8000);
  root.writeConfig(PORT, SLTCTL, 2, CONTROL_ON);
  port.secondaryBus.attach(device(), "hot");
  assert.deepEqual(platform.delivered, [
    { message: { address: 0xfee01000n, data: 0x41 }, requesterId: PORT },
  ]);
});

test("secondary bus reset resets what is below and hides it while it lasts", () => {
  const { root, port, device } = machine();
  numberBuses(port, 1, 1);
  const fn = device();
  port.secondaryBus.attach(fn);
  root.writeConfig(CHILD, 4, 2, 7);
  root.writeConfig(PORT, 0x3e, 2, 0x40);
  assert.equal(root.readConfig(CHILD, 4, 4), 0xffffffff);
  root.writeConfig(PORT, 0x3e, 2, 0);
  assert.equal(root.readConfig(CHILD, 4, 4), 0);
});

test("a port has slot 0 only, and a place is taken once", () => {
  const { port, device } = machine();
  port.secondaryBus.attach(device());
  assert.throws(() => port.secondaryBus.attach(device()), /device is there/);
  const wrong = new PciFunction({ name: "x", bus: port.secondaryBus, devfn: devfnOf(1) });
  assert.throws(() => port.secondaryBus.attach(wrong), /slot 0 only/);
  assert.equal(port.secondaryBus.freeSlot(), undefined);
});

test("functions share a slot only when function 0 says multifunction", () => {
  const { root } = machine();
  const make = (fn: number, multifunction: boolean) =>
    new PciFunction({ name: `f${fn}`, bus: root.bus, devfn: devfnOf(9, fn), multifunction });
  root.bus.attach(make(0, false));
  assert.throws(() => root.bus.attach(make(1, true)), /f1: Cannot use slot 9 function 1/);
  root.bus.get(devfnOf(9))?.[Symbol.dispose]();
  root.bus.attach(make(1, false));
  assert.throws(() => root.bus.attach(make(0, false)), /two functions share it/);
  root.bus.attach(make(0, true));
  assert.equal(root.readConfig(devfnOf(9), 0x0e, 1), 0x80);
});

test("PciePciBridge makes a conventional bus; what is behind shares one requester ID", () => {
  const { root } = machine();
  const bridge = PciePciBridge.create({ name: "pci.1", bus: root.bus, devfn: devfnOf(4) });
  assert.equal(root.readConfig(devfnOf(4), 0, 4), 0x000e1b36);
  assert.equal(bridge.secondaryBus.isExpress, false);
  numberBuses(bridge, 3, 3);
  const fn = new PciFunction({ name: "x", bus: bridge.secondaryBus, devfn: devfnOf(6) });
  bridge.secondaryBus.attach(fn);
  assert.equal(fn.requesterId, 0x0300);
  assert.equal(root.readConfig(0x0330, 0, 2), 0);
});

test("bridge windows show the part of a BAR that lies in them", () => {
  const { root, port, device } = machine();
  using space = createAddressSpace("memory", root.bus.memory);
  numberBuses(port, 1, 1);
  const fn = device();
  const bar = new MemoryRegion("bar", "io", 0x20_0000n, {
    handler: { read: (offset) => offset, write: () => {} },
  });
  fn.registerBar(0, bar, { kind: "mem64", prefetchable: true });
  port.secondaryBus.attach(fn);
  root.writeConfig(CHILD, 0x10, 4, 0xe000_0000);
  root.writeConfig(CHILD, 4, 2, 2);
  assert.equal(space.sections.length, 0, "no window");
  root.writeConfig(PORT, 4, 2, 2);
  root.writeConfig(PORT, 0x20, 4, 0xe010_e010);
  assert.deepEqual(
    space.sections.map(({ address, size, offsetInRegion }) => [address, size, offsetInRegion]),
    [[0xe010_0000n, 0x10_0000n, 0x10_0000n]],
  );
  assert.equal(space.read(0xe010_0004n, 4), 0x10_0004n);
  root.writeConfig(PORT, 0x20, 4, 0xe020_e000);
  assert.deepEqual(space.sections[0]?.address, 0xe000_0000n);
  assert.deepEqual(space.sections[0]?.size, 0x20_0000n);
  root.writeConfig(PORT, 0x24, 4, 0x0001_0001);
  root.writeConfig(PORT, 0x28, 4, 8);
  root.writeConfig(PORT, 0x2c, 4, 8);
  root.writeConfig(CHILD, 0x14, 4, 8);
  root.writeConfig(CHILD, 0x10, 4, 0);
  assert.deepEqual(space.sections[0]?.address, 0x8_0000_0000n, "through the prefetchable window");
  root.writeConfig(PORT, 4, 2, 0);
  assert.equal(space.sections.length, 0);
});

test("INTx is rotated once per bridge on the way up", () => {
  const { platform, root } = machine();
  const port = RootPort.create({ name: "rp1", bus: root.bus, devfn: devfnOf(2) });
  const bridge = PciePciBridge.create({ name: "pci.1", bus: port.secondaryBus, devfn: 0 });
  const fn = new PciFunction({ name: "x", bus: bridge.secondaryBus, devfn: devfnOf(3) });
  fn.config.bytes[0x3d] = 1;
  bridge.secondaryBus.attach(fn);
  fn.setIntx(true);
  // INTA of slot 3 is pin 3 at the bridge, slot 0 leaves it, the port is slot 2: 16 + 2 + 3.
  assert.deepEqual([...platform.lines], [21]);
});

test("RootComplex.reset shuts windows, clears bus numbers and keeps the slot occupied", () => {
  const { root, port, device } = machine();
  port.secondaryBus.attach(device());
  numberBuses(port, 1, 1);
  root.writeConfig(PORT, 0x20, 4, 0xe010_e010);
  root.reset();
  assert.equal(root.readConfig(PORT, 0x18, 4), 0);
  assert.equal(root.readConfig(PORT, 0x20, 4), 0xfff0);
  assert.equal(root.readConfig(CHILD, 0, 4), 0xffffffff);
  numberBuses(port, 1, 1);
  assert.equal(root.readConfig(CHILD, 0, 4), 0);
});

test("disposing the root complex takes everything below with it", () => {
  const { root, port, device } = machine();
  port.secondaryBus.attach(device());
  root[Symbol.dispose]();
  assert.equal(root.bus.functions.length, 0);
  assert.equal(port.secondaryBus.functions.length, 0);
});
