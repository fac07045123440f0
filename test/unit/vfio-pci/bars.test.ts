import assert from "node:assert/strict";
import { test } from "node:test";
import { msixTestSpec } from "../../../src/sim/devices/msix.ts";
import type { PciDeviceSpec } from "../../../src/sim/pci-spec.ts";
import { BDF, TestMachine } from "./machine.ts";

const AT = 0xfd00_0000n;

/** A device with one BAR of `size` and an MSI-X table at `table` in it. */
function withTable(
  size: number,
  table: number,
  vectors: number,
  more: Partial<PciDeviceSpec> = {},
): PciDeviceSpec {
  return {
    ...msixTestSpec(BDF),
    bars: { 0: { size, kind: "mem32" }, 2: { size: 0x1000, kind: "mem32", mmap: false } },
    msix: { vectors, table: { bar: 0, offset: table }, pba: { bar: 2, offset: 0 } },
    behaviour: () => ({}),
    ...more,
  };
}

/** The parts of BAR 0 a guest reaches without a trap, as offset+size. */
function mapped(
  spec: PciDeviceSpec,
  options: { given?: Record<string, string>; page?: number } = {},
) {
  const { given = {}, page = 4096 } = options;
  using machine = new TestMachine({ devices: [{ spec, group: 7 }], hostPage: page });
  using fn = machine.assign(given);
  fn.writeConfig(0x10, 4, Number(AT));
  fn.writeConfig(0x04, 2, 0x0002);
  return machine.memory.sections
    .filter(({ region }) => region.kind === "ram-device")
    .map(({ address, size }) => `${(address - AT).toString(16)}+${size.toString(16)}`);
}

test("spec F12: the table's pages are left out of the mapping, wherever it lies", () => {
  const old = { msixMappable: false };
  assert.deepEqual(mapped(withTable(0x4000, 0x1000, 8, old)), ["0+1000", "2000+2000"]);
  assert.deepEqual(mapped(withTable(0x4000, 0, 8, old)), ["1000+3000"]);
  assert.deepEqual(mapped(withTable(0x4000, 0x3000, 8, old)), ["0+3000"]);
  assert.deepEqual(mapped(withTable(0x1000, 0, 8, old)), []);
  assert.deepEqual(mapped(withTable(0x4000, 0xff0, 8, old)), ["2000+2000"]);
});

test("spec F12: with MSIX_MAPPABLE all is mapped, and only the table itself trapped", () => {
  assert.deepEqual(mapped(withTable(0x4000, 0x1000, 8)), ["0+1000", "1080+2f80"]);
});

test("spec F12: with host pages of 64 KiB the carve-out is as large", () => {
  const spec = withTable(0x4_0000, 0x1_8000, 8, { msixMappable: false });
  assert.deepEqual(mapped(spec, { page: 0x1_0000 }), ["0+10000", "20000+20000"]);
});

test("AssignedBars: x-no-mmap traps everything", () => {
  assert.deepEqual(mapped(withTable(0x4000, 0x1000, 8), { given: { "x-no-mmap": "on" } }), []);
});

test("AssignedBars: what the guest writes to a mapped BAR is in the device", () => {
  using machine = new TestMachine({ devices: [{ spec: msixTestSpec(BDF), group: 7 }] });
  using fn = machine.assign();
  fn.writeConfig(0x18, 4, 0xe000_0000);
  fn.writeConfig(0x1c, 4, 0x8);
  fn.writeConfig(0x04, 2, 0x0002);
  machine.take();
  const { hva } = machine.memory.find(0x8_e000_0000n)!.region.memory!;
  new Uint32Array(machine.sys.memoryAt(hva + 0x10, 4))[0] = 0x1234_5678;
  assert.deepEqual([...machine.device().barRead(2, 0x10, 4)], [0x78, 0x56, 0x34, 0x12]);
  assert.deepEqual(machine.take(), [], "no system call");
  machine.memory.write(0x8_e000_0014n, 4, 0x1n);
  assert.deepEqual(machine.take(), ["write region 2 0x14+4=0x1"], "what does not go through KVM");
});

test("AssignedBars: a mapping that fails leaves the slow path and a word about it", () => {
  using machine = new TestMachine({ devices: [{ spec: msixTestSpec(BDF), group: 7 }] });
  machine.ledger.mmap = () => -12;
  using _fn = machine.assign();
  assert.match(machine.reports[0] ?? "", /Failed to mmap 0000:01:00.0 BAR 2. Performance may be/);
});

test("AssignedBars: I/O BARs are trapped, one access each", () => {
  const spec: PciDeviceSpec = {
    ...msixTestSpec(BDF),
    bars: { ...msixTestSpec(BDF).bars, 1: { size: 0x20, kind: "io" } },
  };
  using machine = new TestMachine({ devices: [{ spec, group: 7 }] });
  using fn = machine.assign();
  fn.writeConfig(0x14, 4, 0xc000);
  fn.writeConfig(0x04, 2, 0x0001);
  machine.take();
  machine.io.write(0xc004n, 2, 0xbeefn);
  assert.equal(machine.io.read(0xc004n, 2), 0xbeefn);
  assert.deepEqual(machine.take(), ["write region 1 0x4+2=0xbeef", "read region 1 0x4+2"]);
});

test("AssignedBars: a sub-page BAR grows to the page at a page's start, and back", () => {
  const spec: PciDeviceSpec = {
    ...msixTestSpec(BDF),
    bars: {
      ...msixTestSpec(BDF).bars,
      5: { size: 0x100, kind: "mem32", mmap: true },
    },
  };
  using machine = new TestMachine({ devices: [{ spec, group: 7 }] });
  using fn = machine.assign();
  const sectionAt = (address: bigint) => {
    const { region, size } = machine.memory.find(address)!;
    return `${region.kind} ${size}`;
  };
  fn.writeConfig(0x04, 2, 0x0002);
  fn.writeConfig(0x24, 4, 0xfd00_1000);
  assert.equal(sectionAt(0xfd00_1000n), "ram-device 4096");
  fn.writeConfig(0x24, 4, 0xfd00_1100);
  assert.equal(sectionAt(0xfd00_1100n), "ram-device 256");
  fn.writeConfig(0x24, 4, 0xfd00_2000);
  assert.equal(sectionAt(0xfd00_2000n), "ram-device 4096");
  fn.writeConfig(0x20, 4, 0xfd00_2000);
  assert.notEqual(sectionAt(0xfd00_2000n), "ram-device 4096", "a normal BAR there wins");
});

/** A PBA that lies outside its BAR. */
function brokenPba(vendorId: number, deviceId: number): PciDeviceSpec {
  return {
    ...msixTestSpec(BDF),
    vendorId,
    deviceId,
    bars: { 0: { size: 0x1_0000, kind: "mem32" } },
    msix: { vectors: 8, table: { bar: 0, offset: 0 }, pba: { bar: 0, offset: 0x2_0000 } },
    behaviour: () => ({}),
  };
}

test("spec F13: the PBA of devices that report it wrong is found", () => {
  for (const [vendor, device, at] of [
    [0x1425, 0x5801, 0x1000],
    [0x1d22, 0x3685, 0xb400],
  ] as const) {
    using machine = new TestMachine({ devices: [{ spec: brokenPba(vendor, device), group: 7 }] });
    using fn = machine.assign();
    assert.equal(fn.readConfig(fn.msix!.offset + 8, 4), at);
  }
});

test("spec F13: any other PBA outside its BAR is an error that says what to try", () => {
  using machine = new TestMachine({ devices: [{ spec: brokenPba(0x1425, 0x6801), group: 7 }] });
  assert.throws(
    () => machine.assign(),
    (error: { message: string; nextStep: string }) =>
      /hardware reports invalid configuration, MSIX PBA outside/.test(error.message) &&
      /x-msix-relocation/.test(error.nextStep),
  );
});
