import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { createAddressSpace } from "../memory/address-space.ts";
import { MemoryRegion } from "../memory/region.ts";
import type { Bytes } from "../sys/syscalls.ts";
import { devfnOf } from "./bus.ts";
import { PciFunction } from "./function.ts";
import { MsiCapability } from "./msi.ts";
import { MsixCapability } from "./msix.ts";
import { PciePciBridge } from "./pcie-pci-bridge.ts";
import { RecordingPlatform } from "./recording-platform.ts";
import { RootComplex } from "./root-complex.ts";
import { RootPort } from "./root-port.ts";
import { SharedConfigReader } from "./shared-config.ts";

const FD = 9;
const FD_OFFSET = 7 * 2 ** 40;

/** A function half of whose bits come from "hardware" behind a file. */
class PassedThrough extends PciFunction {
  static readonly hardware = Uint8Array.from({ length: 4096 }, (_, i) => i * 5 + 1);
  deviceReads = 0;

  protected override readDevice(offset: number, length: number): number {
    this.deviceReads += 1;
    let value = 0;
    for (let i = 0; i < length; i++) value |= PassedThrough.hardware[offset + i]! << (8 * i);
    return value >>> 0;
  }
}

function pread(fd: number, into: Bytes, offset: number): number {
  if (fd !== FD) return -9;
  const at = offset - FD_OFFSET;
  new Uint8Array(into.buffer, into.byteOffset).set(
    PassedThrough.hardware.subarray(at, at + into.byteLength),
  );
  return into.byteLength;
}

/** Host bridge, a device on bus 0, a port with a passed-through device, a conventional bus. */
function machine() {
  const root = new RootComplex({ platform: new RecordingPlatform() });
  const device = new PciFunction({ name: "a", bus: root.bus, devfn: devfnOf(1), configSize: 256 });
  const bar = new MemoryRegion("bar", "container", 0x1000n);
  const table = { bar: 0, offset: 0, container: bar };
  MsixCapability.create(device, { entries: 8, table, pba: { ...table, offset: 0x800 } });
  MsiCapability.create(device, { is64Bit: true, maskable: true, vectors: 32 });
  device.registerBar(0, bar, { kind: "mem32" });
  device.registerBar(2, new MemoryRegion("io", "io", 0x20n), { kind: "io" });
  device.registerBar(4, new MemoryRegion("m", "io", 0x1000n), { kind: "mem64" });
  device.config.bytes[0x3d] = 1;
  device.addPowerManagement();
  root.bus.attach(device);
  const port = RootPort.create({ name: "rp0", bus: root.bus, devfn: devfnOf(2) });
  const passed = new PassedThrough({ name: "b", bus: port.secondaryBus, devfn: 0 });
  for (let i = 0; i < 4096; i++) passed.config.emuMask[i] = (i % 3) * 0x7f;
  passed.setConfigFile(FD, FD_OFFSET);
  port.secondaryBus.attach(passed);
  const bridgePort = RootPort.create({ name: "rp1", bus: root.bus, devfn: devfnOf(3) });
  PciePciBridge.create({ name: "pci.1", bus: bridgePort.secondaryBus, devfn: 0 });
  const reader = new SharedConfigReader(root.sharedConfig.buffer, { pread });
  return { root, device, port, passed, reader };
}

test("RootComplex has the host bridge 1b36:0008 at 00:00.0", () => {
  const { root } = machine();
  assert.equal(root.readConfig(0, 0, 4), 0x00081b36);
  assert.equal(root.readConfig(0, 0x0a, 2), 0x0600);
  assert.equal(root.ecam.read(0x1000, 4), 0xffffffff);
});

test("configuration mechanism #1: latch, enable bit, sub-dword data ports", () => {
  const { root } = machine();
  const { configPorts } = root;
  configPorts.write(0, 4, 0x8000_0000);
  assert.equal(configPorts.read(0, 4), 0x8000_0000);
  assert.equal(configPorts.read(4, 4), 0x00081b36);
  assert.equal(configPorts.read(6, 2), 0x0008);
  assert.equal(configPorts.read(7, 1), 0x00);
  configPorts.write(0, 2, 0xffff);
  assert.equal(configPorts.read(0, 4), 0x8000_0000, "only whole writes reach the latch");
  configPorts.write(0, 4, 0);
  assert.equal(configPorts.read(4, 4), 0xffffffff);
  configPorts.write(0, 4, 0x8000_083c);
  configPorts.write(4, 1, 0x0b);
  assert.equal(root.readConfig(0x08, 0x3c, 1), 0x0b);
});

test("a function of 256 bytes has nothing beyond them", () => {
  const { root } = machine();
  assert.equal(root.ecam.read(0x8 * 0x1000 + 0x100, 4), 0xffffffff);
});

test("SharedConfigReader answers as the main thread does, whatever a guest does in between", () => {
  const { root, port, passed, reader } = machine();
  const step = fc.record({
    bdf: fc.constantFrom(0x00, 0x08, 0x10, 0x18, 0x100, 0x100, 0x100, 0x200, 0x1f00),
    offset: fc.oneof(
      fc.integer({ min: 0, max: 0xfff }),
      fc.constantFrom(0x18, 0x19, 0x1a, 0x3e, 0x6c, 0xfff, 0xffe),
    ),
    length: fc.constantFrom(1, 2, 4),
    value: fc.oneof(fc.integer({ min: 0, max: 0xffffffff }), fc.constantFrom(0x020100, 0x030200)),
    write: fc.boolean(),
  });
  let answered = 0;
  fc.assert(
    fc.property(fc.array(step, { minLength: 20, maxLength: 30 }), (steps) => {
      root.reset();
      port.writeConfig(0x18, 4, 0x010100);
      for (const { bdf, offset, length, value, write } of steps) {
        if (write) root.ecam.write(bdf * 4096 + offset, length as 4, value);
        if ((offset & 0xfff) + length > 4096) continue;
        const here = reader.readEcam(bdf * 4096 + offset, length);
        if (here === undefined) continue;
        answered += 1;
        assert.equal(here, root.ecam.read(bdf * 4096 + offset, length as 4));
      }
    }),
  );
  assert.ok(answered > 500, `${answered} answered`);
  assert.ok(passed.deviceReads > 0, `${passed.deviceReads} device reads`);
});

test("spec F1, spec F2: a thread reads the device once, and only for what is not emulated", () => {
  const { root, port, passed } = machine();
  port.writeConfig(0x18, 4, 0x010100);
  passed.config.emuMask.fill(0xff, 0x10, 0x14);
  passed.config.emuMask.fill(0x0f, 0x14, 0x18);
  const reads: number[] = [];
  const reader = new SharedConfigReader(root.sharedConfig.buffer, {
    pread: (fd, into, offset) => {
      reads.push(offset - FD_OFFSET, into.byteLength);
      return pread(fd, into, offset);
    },
  });
  assert.equal(reader.read(0x100, 0x10, 4), passed.config.read(0x10, 4));
  assert.deepEqual(reads, []);
  assert.equal(reader.read(0x100, 0x14, 4), root.readConfig(0x100, 0x14, 4));
  assert.deepEqual(reads, [0x14, 4]);
});

test("SharedConfigReader forwards what has no file, fails to read, or is being changed", () => {
  const { root, port, passed, reader } = machine();
  port.writeConfig(0x18, 4, 0x010100);
  assert.notEqual(reader.read(0x100, 0, 4), undefined);
  passed.setConfigFile(3, FD_OFFSET);
  assert.equal(reader.read(0x100, 0, 4), undefined);
  passed.setConfigFile(-1, 0);
  assert.equal(reader.read(0x100, 0, 4), undefined);
  passed.config.emuMask.fill(0xff);
  passed.config.update(() => assert.equal(reader.read(0x100, 0, 4), undefined));
  assert.equal(reader.read(0x100, 0, 4), root.readConfig(0x100, 0, 4));
});

test("SharedConfigReader knows absence, and follows functions that go", () => {
  const { device, reader } = machine();
  assert.equal(reader.read(0x1234, 0, 2), 0xffff);
  assert.equal(reader.readPort(0xcfc, 1), 0xff);
  assert.equal(reader.writePort(0xcf8, 4, 0x8000_0800), true);
  assert.equal(reader.readPort(0xcf8, 4), 0x8000_0800);
  assert.equal(reader.readPort(0xcfe, 2), device.readConfig(2, 2));
  assert.equal(reader.writePort(0xcfc, 4, 0), false);
  assert.equal(reader.writePort(0xcf9, 1, 6), false);
  device[Symbol.dispose]();
  assert.equal(reader.readPort(0xcfc, 4), 0xffffffff);
});

test("more functions than shared slots are answered by the main thread", () => {
  const { root, reader } = machine();
  const spare = Array.from({ length: 260 }, () => root.sharedConfig.allocate());
  using fn = new PciFunction({ name: "late", bus: root.bus, devfn: devfnOf(20) });
  root.bus.attach(fn);
  assert.equal(reader.read(devfnOf(20), 0, 4), undefined);
  assert.equal(root.readConfig(devfnOf(20), 0, 4), 0);
  for (const memory of spare) root.sharedConfig.free(memory);
});

test("no access of a guest throws, and any split of a read gives the same bytes", () => {
  const { root, device } = machine();
  using memory = createAddressSpace("memory", root.bus.memory);
  device.setIntx(true);
  const access = fc.record({
    bdf: fc.constantFrom(0x00, 0x08, 0x10, 0x18, 0x100, 0x200, 0x300, 0xffff),
    offset: fc.oneof(
      fc.integer({ min: 0, max: 0x100 }),
      fc.integer({ min: 0, max: 0xfff }),
      fc.constantFrom(0x04, 0x18, 0x3e, 0x6c, 0xfff, 0xffe, 0xffd),
    ),
    length: fc.constantFrom(1 as const, 2 as const, 4 as const),
    value: fc.oneof(fc.integer({ min: 0, max: 0xffffffff }), fc.constant(0xffffffff)),
    port: fc.integer({ min: 0, max: 7 }),
  });
  fc.assert(
    fc.property(fc.array(access, { minLength: 20, maxLength: 50 }), (accesses) => {
      for (const { bdf, offset, length, value, port } of accesses) {
        const at = (bdf * 4096 + offset) % (2 ** 28 - 4);
        root.ecam.write(at, length, value);
        root.configPorts.write(port, length, value);
        root.configPorts.read(port, length);
        let bytes = 0;
        for (let i = 0; i < length; i++) bytes |= root.ecam.read(at + i, 1) << (8 * i);
        assert.equal(root.ecam.read(at, length), bytes >>> 0);
        for (const { address } of memory.sections.slice(0, 4)) {
          memory.write(address, 4, BigInt(value));
          memory.read(address + 1n, 8);
        }
        device.msix!.notify(value % 8);
        device.msi!.notify(value % 32);
      }
    }),
    { numRuns: 60 },
  );
});
