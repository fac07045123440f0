/** Intel integrated graphics as QEMU had it up to 9.0: set A of the specification. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { devfnOf } from "../../../src/pci/bus.ts";
import { PciFunction } from "../../../src/pci/function.ts";
import {
  IGD_HOST_OPREGION,
  IGD_HOST_STOLEN_BASE,
  type IgdOptions,
  igdOpRegion,
  igdSpec,
} from "../../../src/sim/devices/igd.ts";
import type { RegionSpec } from "../../../src/sim/pci-spec.ts";
import { igdGenerationUpTo90 } from "../../../src/vfio/pci/quirks/igd-generation.ts";
import { TraceRecorder } from "../trace-recorder.ts";
import { BDF, type MachineOptions, TestMachine } from "./machine.ts";

const PLACE = { devfn: devfnOf(2) };
const COMPAT = { "x-igd-compat": "9.0" };
const LPC = devfnOf(0x1f);
const BAR0 = 0xe000_0000n;
const PORTS = 0xd000n;
const ROM = new Uint8Array(2048).fill(0x5a);
/** Ivy Bridge with 2 MiB of page tables, 64 MiB of graphics memory. */
const GENERATION_6: IgdOptions = { rom: ROM, deviceId: 0x0166, ggc: 0x0210 };
/** Skylake with 2 MiB and 64 MiB. */
const GENERATION_8: IgdOptions = { rom: ROM, deviceId: 0x1912, ggc: 0x0240 };

type Change = (regions: readonly RegionSpec[]) => readonly RegionSpec[];

function machineWith(options: IgdOptions, change: Change = (regions) => regions): TestMachine {
  const spec = igdSpec(BDF, options);
  const devices = [{ spec: { ...spec, regions: [...change(spec.regions ?? [])] }, group: 7 }];
  const machine: MachineOptions = { devices, machineFamily: "i440fx" };
  return new TestMachine(machine);
}

const stolenSize = (machine: TestMachine): bigint => {
  const bytes = machine.firmwareFiles.get("etc/igd-bdsm-size")!;
  return bytes.reduceRight((sum, byte) => sum * 256n + BigInt(byte), 0n);
};

const disabled = (machine: TestMachine): string[] =>
  machine.reports.filter((line) => line.includes("IGD legacy mode disabled"));

test("spec I1: the generations of 9.0, Broxton's pattern before the high byte", () => {
  const expected = new Map<number, 6 | 8 | undefined>([
    ...[0x0042, 0x2562, 0x2772, 0x29c2, 0x2a42, 0x2e12, 0x3577, 0xa001].map(
      (id): [number, undefined] => [id, undefined],
    ),
    ...[0x0116, 0x0412, 0x0a16, 0x0c06, 0x0d22, 0x0f31].map((id): [number, 6] => [id, 6]),
    ...[0x1616, 0x1912, 0x22b0, 0x5912].map((id): [number, 8] => [id, 8]),
    // Anything else counts as the newer kind; 0a84 would be of generation 6 by its high byte.
    ...[0x3e92, 0x9a49, 0x0a84, 0x1a84, 0x5a84].map((id): [number, 8] => [id, 8]),
    [0x0a85, 6],
  ]);
  for (const [id, generation] of expected) {
    assert.equal(igdGenerationUpTo90(id), generation, id.toString(16));
  }
});

test("spec I2: legacy mode of 9.0 hands the OpRegion over, whose address is the guest's", () => {
  using machine = machineWith(GENERATION_8);
  using fn = machine.assign(COMPAT, PLACE);
  assert.deepEqual(disabled(machine), []);
  assert.deepEqual(machine.firmwareFiles.get("etc/igd-opregion"), igdOpRegion);
  fn.writeConfig(0xfc, 4, 0x7fff_e000);
  assert.equal(fn.readConfig(0xfc, 4), 0x7fff_e000);
  const held = new DataView(machine.device().config.buffer).getUint32(0xfc, true);
  assert.equal(held, IGD_HOST_OPREGION);
  assert.notEqual(fn.vga, undefined);
});

test("spec I3: a hot-plugged device cannot have an OpRegion, with 9.0 neither", () => {
  using machine = machineWith(GENERATION_8);
  const given = { ...COMPAT, "x-igd-opregion": "on" };
  const plug = () => machine.assign(given, { hotplugged: true });
  assert.throws(plug, /OpRegion is not supported on hotplugged device/);
  assert.deepEqual(machine.host.describe(), []);
});

/** Without a region, or with one that ends early. */
const without =
  (subtype: number): Change =>
  (regions) =>
    regions.filter((region) => region.subtype !== subtype);
const short =
  (subtype: number, size: number): Change =>
  (regions) =>
    regions.map((region) =>
      region.subtype === subtype ? { ...region, bytes: region.bytes.slice(0, size) } : region,
    );

interface GiveUp {
  readonly row: string;
  readonly options?: IgdOptions;
  readonly withoutRom?: true;
  readonly change?: Change;
  readonly why: RegExp;
  /** What the rows before it have done. */
  readonly vga?: true;
  readonly bridge?: true;
}

const GIVE_UPS: readonly GiveUp[] = [
  { row: "2 generation", options: { deviceId: 0x2a42 }, why: /try SandyBridge or newer/ },
  { row: "3 ROM", withoutRom: true, why: /Device has no ROM/ },
  { row: "5 OpRegion", change: without(1), why: /support IGD OpRegion/ },
  { row: "5 host bridge", change: without(2), why: /support IGD host bridge/ },
  { row: "5 LPC bridge", change: without(3), why: /support IGD LPC bridge/ },
  { row: "6 VGA", options: { vga: false }, why: /VGA region/ },
  {
    row: "7 LPC IDs",
    change: short(3, 0x20),
    why: /igd lpc bridge's IDs/,
    vga: true,
    bridge: true,
  },
  { row: "8 host IDs", change: short(2, 0x20), why: /host bridge's IDs/, vga: true, bridge: true },
];

for (const { row, options, withoutRom, change, why, vga, bridge } of GIVE_UPS) {
  test(`spec I4: legacy mode of 9.0 is given up at row ${row}, and the device works`, () => {
    const { rom, ...rest } = GENERATION_8;
    using machine = machineWith({ ...rest, ...(!withoutRom && { rom: rom! }), ...options }, change);
    using fn = machine.assign(COMPAT, PLACE);
    assert.equal(disabled(machine).length, 1);
    assert.match(disabled(machine)[0]!, why);
    assert.equal(fn.vga !== undefined, vga ?? false);
    assert.equal(machine.bus.get(LPC) !== undefined, bridge ?? false);
    assert.deepEqual([...machine.firmwareFiles], []);
    // What legacy mode would hide is the device's.
    assert.equal(fn.readConfig(0x5c, 4), IGD_HOST_STOLEN_BASE);
    fn.writeConfig(0x10, 4, Number(BAR0));
    fn.writeConfig(0x04, 2, 3);
    machine.memory.write(BAR0 + 8n, 4, 0x1234n);
    assert.deepEqual(machine.device().barRead(0, 8, 2), new Uint8Array([0x34, 0x12]));
    fn[Symbol.dispose]();
    assert.equal(machine.bus.get(LPC), undefined);
    assert.deepEqual(machine.host.describe(), []);
  });
}

test("spec I4: row 1, a device at 00:1f.0 that is no dummy bridge", () => {
  using machine = machineWith(GENERATION_8);
  using isa = new PciFunction({ name: "isa bridge", bus: machine.bus, devfn: LPC });
  machine.bus.attach(isa);
  using fn = machine.assign(COMPAT, PLACE);
  assert.match(disabled(machine).join(), /isa bridge is at 00:1f.0/);
  assert.equal(fn.vga, undefined);
});

test("spec I4: row 4, a hot-plugged device, whose ROM is not read either", () => {
  using machine = machineWith(GENERATION_8);
  using fn = machine.assign(COMPAT, { ...PLACE, hotplugged: true });
  assert.equal(disabled(machine).length, 1);
  fn.writeConfig(0x30, 4, Number(BAR0) | 1);
  fn.writeConfig(0x04, 2, 2);
  machine.take();
  assert.equal(machine.memory.read(BAR0, 4), 0xffff_ffffn);
  assert.deepEqual(machine.take(), []);
});

test("spec I4: row 9, an OpRegion that cannot be read, leaves bridges and VGA", () => {
  using machine = machineWith(GENERATION_8);
  const read = machine.ledger.pread.bind(machine.ledger);
  machine.ledger.pread = (fd, into, offset) =>
    into.byteLength === igdOpRegion.length ? -5 : read(fd, into, offset);
  using fn = machine.assign(COMPAT, PLACE);
  assert.match(disabled(machine).join(), /failed to read IGD OpRegion/);
  assert.notEqual(fn.vga, undefined);
  assert.notEqual(machine.bus.get(LPC), undefined);
});

test("spec I4: elsewhere than at 00:02.0 legacy mode of 9.0 is not attempted", () => {
  using machine = machineWith(GENERATION_8);
  using fn = machine.assign(COMPAT);
  assert.deepEqual(machine.reports, []);
  assert.equal(fn.vga, undefined);
  assert.deepEqual([...machine.firmwareFiles], []);
});

test("spec I5: stolen memory of 9.0 is the page tables', and what x-igd-gms adds", () => {
  for (const [options, ggc] of [
    [GENERATION_6, 0x0200],
    [GENERATION_8, 0x0040],
  ] as const) {
    const shift = options === GENERATION_6 ? 3 : 8;
    for (const [gms, added] of [
      ["0", 0],
      ["2", 2],
      ["0x10", 16],
      ["0x11", 0],
    ] as const) {
      using machine = machineWith(options);
      using fn = machine.assign({ ...COMPAT, "x-igd-gms": gms }, PLACE);
      assert.equal(stolenSize(machine), BigInt(2 + 32 * added) << 20n);
      assert.equal(fn.readConfig(0x50, 4), ggc | (added << shift));
      const ignored = machine.reports.some((line) => line.includes("x-igd-gms 0x11"));
      assert.equal(ignored, gms === "0x11");
    }
  }
});

test("spec I6: graphics control of 9.0 is read-only, the stolen base the guest's", () => {
  for (const [options, ggc] of [
    [GENERATION_6, 0x0200],
    [GENERATION_8, 0x0040],
  ] as const) {
    using machine = machineWith(options);
    using fn = machine.assign(COMPAT, PLACE);
    assert.equal(fn.readConfig(0x5c, 4), 0);
    fn.writeConfig(0x5c, 4, 0x7ff0_0001);
    fn.writeConfig(0x50, 4, 0xffff_ffff);
    assert.equal(fn.readConfig(0x5c, 4), 0x7ff0_0001);
    assert.equal(fn.readConfig(0x50, 4), ggc);
  }
});

const GUEST_BASE = 0x6000_0000;

/** A guest whose firmware has reserved stolen memory, and whose ports are on. */
function guestWith(options: IgdOptions, guestBase = GUEST_BASE) {
  const machine = machineWith(options);
  const fn = machine.assign(COMPAT, PLACE);
  fn.writeConfig(0x5c, 4, guestBase);
  fn.writeConfig(0x20, 4, Number(PORTS));
  fn.writeConfig(0x04, 2, 1);
  machine.take();
  const enter = (index: number, value: number) => {
    machine.io.write(PORTS, 4, BigInt(index));
    machine.io.write(PORTS + 4n, 4, BigInt(value));
    return machine.take().map((line) => line.replace("write region 4 ", ""));
  };
  return { machine, fn, enter };
}

const ENTRY = IGD_HOST_STOLEN_BASE + 0x3001;
const MOVED = "0x4+4=0x60003001";
const KEPT = `0x4+4=0x${ENTRY.toString(16)}`;

test("spec I7: generation 6 moves every entry of the page tables", () => {
  const { machine, fn, enter } = guestWith(GENERATION_6);
  using _machine = machine;
  using _fn = fn;
  for (const index of [1, 5, 9, 2045]) {
    assert.deepEqual(enter(index, ENTRY), [`0x0+4=0x${index.toString(16)}`, MOVED]);
  }
  // No entry, and past 512 pages of 4 bytes.
  for (const index of [0, 2, 3, 2049]) assert.equal(enter(index, ENTRY).at(-1), KEPT);
});

test("spec I7: generation 8 moves the lower half of an entry, and clears the upper", () => {
  const { machine, fn, enter } = guestWith(GENERATION_8);
  using _machine = machine;
  using _fn = fn;
  using recorder = new TraceRecorder(/igd_bar4/);
  assert.equal(enter(1, ENTRY).at(-1), MOVED);
  assert.deepEqual(recorder.take(), [
    `vfio_pci_igd_bar4_write ${BDF} 0x1 0x${ENTRY.toString(16)} 0x60000000`,
  ]);
  assert.equal(enter(5, ENTRY).at(-1), "0x4+4=0x0");
  assert.equal(enter(9, ENTRY).at(-1), MOVED);
  assert.equal(enter(2, ENTRY).at(-1), KEPT);
  assert.equal(enter(4089, ENTRY).at(-1), MOVED);
  assert.equal(enter(4097, ENTRY).at(-1), KEPT);
});

test("spec I7: a read, or a write of data, forgets the index", () => {
  const { machine, fn, enter } = guestWith(GENERATION_6);
  using _machine = machine;
  using _fn = fn;
  for (const port of [PORTS, PORTS + 4n]) {
    machine.io.write(PORTS, 4, 1n);
    machine.io.read(port, 4);
    machine.take();
    machine.io.write(PORTS + 4n, 4, BigInt(ENTRY));
    assert.deepEqual(machine.take(), [`write region 4 ${KEPT}`]);
  }
  assert.equal(enter(1, ENTRY).at(-1), MOVED);
  machine.io.write(PORTS + 4n, 4, BigInt(ENTRY));
  assert.deepEqual(machine.take(), [`write region 4 ${KEPT}`]);
});

test("spec I7: an entry while the firmware has reserved nothing ends the VM", () => {
  const { machine, fn } = guestWith(GENERATION_6, 0);
  using _machine = machine;
  using _fn = fn;
  machine.io.write(PORTS, 4, 1n);
  machine.take();
  const write = () => machine.io.write(PORTS + 4n, 4, BigInt(ENTRY));
  assert.throws(write, /the guest's firmware has reserved no stolen memory for IGD/);
  assert.deepEqual(machine.take(), []);
});

test("spec I8: the page tables are cleared below their end, and COMMAND is as before", () => {
  for (const [options, limit] of [
    [GENERATION_6, 2048],
    [GENERATION_8, 4096],
  ] as const) {
    using machine = machineWith(options);
    using _fn = machine.assign(COMPAT, PLACE);
    // The kernel opened the device with both kinds of decoding on, and it is left so.
    const on = machine.startLog.indexOf("write config 0x4+2=0x3");
    const off = machine.startLog.indexOf("write config 0x4+2=0x3", on + 1);
    const cleared = machine.startLog.slice(on + 1, off);
    const expected = Array.from({ length: limit / 4 }, (_, i) => [
      `write region 4 0x0+4=0x${(1 + 4 * i).toString(16)}`,
      "write region 4 0x4+4=0x0",
    ]);
    assert.deepEqual(cleared, expected.flat());
    assert.equal(machine.device().config[0x04], 0x03);
  }
});

test("spec I9: legacy mode of 9.0 gives both bridges the host's IDs", () => {
  using machine = machineWith(GENERATION_8);
  const hostBridge = machine.bus.get(0)!;
  const before = hostBridge.readConfig(0, 4);
  using _fn = machine.assign(COMPAT, PLACE);
  const fields = [0x00, 0x02, 0x08, 0x2c, 0x2e];
  const shown = (fn: PciFunction) => fields.map((at) => fn.readConfig(at, 2));
  assert.deepEqual(shown(machine.bus.get(LPC)!), [0x8086, 0xa145, 0x0131, 0x1028, 0x06ad]);
  assert.deepEqual(shown(hostBridge).slice(2), [0x0131, 0x1028, 0x06ad]);
  assert.equal(hostBridge.readConfig(0, 4), before);
});

test("x-igd-opregion of 9.0 is of any device, also without legacy mode", () => {
  using machine = machineWith(GENERATION_8);
  using fn = machine.assign({ ...COMPAT, "x-igd-opregion": "on" });
  assert.deepEqual([...machine.firmwareFiles.keys()], ["etc/igd-opregion"]);
  assert.equal(fn.readConfig(0xfc, 4), 0);
  using other = machineWith(GENERATION_8, without(1));
  const assign = () => other.assign({ ...COMPAT, "x-igd-opregion": "on" }, PLACE);
  assert.throws(assign, /does not support IGD OpRegion/);
  assert.deepEqual(other.host.describe(), []);
});

test("x-igd-compat=9.0 has neither the mirrors nor the properties of 10.0", () => {
  using machine = machineWith(GENERATION_8);
  using fn = machine.assign(COMPAT, PLACE);
  fn.writeConfig(0x10, 4, Number(BAR0));
  fn.writeConfig(0x04, 2, 2);
  assert.equal(machine.memory.find(BAR0 + 0x10_8040n)?.region.kind, "ram-device");
  fn[Symbol.dispose]();
  for (const given of [{ "x-igd-lpc": "on" }, { "x-igd-legacy-mode": "on" }]) {
    assert.throws(() => machine.assign({ ...COMPAT, ...given }), /x-igd-compat=9.0/);
  }
  assert.deepEqual(machine.host.describe(), []);
});
