/** Intel integrated graphics. */

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
import { IgdLpcBridge } from "../../../src/vfio/pci/quirks/igd-bridges.ts";
import { igdGeneration, stolenMemoryMiB } from "../../../src/vfio/pci/quirks/igd-generation.ts";
import { clearStolenMemoryNote } from "../../../src/vfio/pci/quirks/igd-vbios.ts";
import { BDF, TestMachine } from "./machine.ts";

const PLACE = { devfn: devfnOf(2) };
const BAR0 = 0xe000_0000n;

function machineWith(options: IgdOptions = {}, machineFamily: "i440fx" | "q35" = "q35") {
  const devices = [{ spec: igdSpec(BDF, options), group: 7 }];
  return new TestMachine({ devices, machineFamily });
}

const stolenSize = (machine: TestMachine): bigint => {
  const bytes = machine.firmwareFiles.get("etc/igd-bdsm-size")!;
  return bytes.reduceRight((sum, byte) => sum * 256n + BigInt(byte), 0n);
};

test("spec I1: one ID of each row of the generations, Broxton before the high byte", () => {
  const expected = new Map<number, number | undefined>([
    ...[0x0116].map((id): [number, number] => [id, 6]),
    ...[0x0412, 0x0a16, 0x0c06, 0x0d22, 0x0f31].map((id): [number, number] => [id, 7]),
    ...[0x1616, 0x22b0].map((id): [number, number] => [id, 8]),
    ...[0x1912, 0x5912, 0x3e92, 0x9bc5, 0x3185].map((id): [number, number] => [id, 9]),
    ...[0x0a84, 0x1a84, 0x1a85, 0x5a84, 0x5a85].map((id): [number, number] => [id, 9]),
    ...[0x8a52, 0x4571, 0x4e61].map((id): [number, number] => [id, 11]),
    ...[0x9a49, 0x4c8a, 0x4680, 0xa780].map((id): [number, number] => [id, 12]),
    [0x2a42, undefined],
    [0x56a0, undefined],
  ]);
  for (const [id, generation] of expected) {
    assert.equal(igdGeneration(id), generation, id.toString(16));
  }
});

test("spec I2: the OpRegion goes to the firmware, its address is the guest's own", () => {
  using machine = machineWith();
  using fn = machine.assign({ "x-igd-opregion": "on" });
  assert.deepEqual(machine.firmwareFiles.get("etc/igd-opregion"), igdOpRegion);
  assert.equal(fn.readConfig(0xfc, 4), 0);
  fn.writeConfig(0xfc, 4, 0x7fff_e000);
  assert.equal(fn.readConfig(0xfc, 4), 0x7fff_e000);
  const held = new DataView(machine.device().config.buffer).getUint32(0xfc, true);
  assert.equal(held, IGD_HOST_OPREGION);
});

test("spec I2: an OpRegion that the host does not offer is an error", () => {
  using machine = machineWith({ regions: false });
  assert.throws(() => machine.assign({ "x-igd-opregion": "on" }), /does not support IGD OpRegion/);
  assert.deepEqual(machine.host.describe(), []);
});

test("spec I3: a hot-plugged device cannot have an OpRegion", () => {
  using machine = machineWith();
  const plug = () => machine.assign({ "x-igd-opregion": "on" }, { hotplugged: true });
  assert.throws(plug, /OpRegion is not supported on hotplugged device/);
});

test("spec I6: graphics control is read-only, the stolen base the guest's", () => {
  using machine = machineWith();
  using fn = machine.assign();
  assert.equal(fn.readConfig(0x5c, 4), 0);
  fn.writeConfig(0x5c, 4, 0x7ff0_0000);
  fn.writeConfig(0x50, 4, 0xffff_ffff);
  assert.equal(fn.readConfig(0x5c, 4), 0x7ff0_0000);
  assert.equal(fn.readConfig(0x50, 4), 0x0241);
});

const LEGACY_ROM = new Uint8Array(2048);

test("spec I9: the LPC bridge is made when there is none, and gets five fields", () => {
  using machine = machineWith({}, "i440fx");
  const hostBridge = machine.bus.get(0)!;
  const before = hostBridge.readConfig(0, 4);
  using _fn = machine.assign({ "x-igd-lpc": "on" });
  const lpc = machine.bus.get(devfnOf(0x1f))!;
  assert.ok(lpc instanceof IgdLpcBridge);
  const fields = [0x00, 0x02, 0x08, 0x2c, 0x2e];
  const shown = (fn: PciFunction) => fields.map((at) => fn.readConfig(at, 2));
  assert.deepEqual(shown(lpc), [0x8086, 0xa145, 0x0131, 0x1028, 0x06ad]);
  assert.equal(lpc.readConfig(0x0a, 2), 0x0601);
  assert.deepEqual(shown(hostBridge).slice(2), [0x0131, 0x1028, 0x06ad]);
  assert.equal(hostBridge.readConfig(0, 4), before);
});

test("spec I9: a dummy bridge that is there is used, another device is in the way", () => {
  using machine = machineWith({}, "i440fx");
  using bridge = IgdLpcBridge.create(machine.bus, devfnOf(0x1f));
  machine.bus.attach(bridge);
  using _fn = machine.assign({ "x-igd-lpc": "on" });
  assert.equal(bridge.readConfig(0x02, 2), 0xa145);
  using other = machineWith({}, "i440fx");
  const devfn = devfnOf(0x1f);
  using isa = new PciFunction({ name: "isa bridge", bus: other.bus, devfn });
  other.bus.attach(isa);
  assert.throws(() => other.assign({ "x-igd-lpc": "on" }), /isa bridge is at 00:1f.0/);
});

test("spec I10: the dummy bridge has its place only at 1f.0", () => {
  using machine = machineWith();
  assert.throws(() => IgdLpcBridge.create(machine.bus, devfnOf(0x1e)), /must have address 1f.0/);
  assert.throws(() => IgdLpcBridge.create(machine.bus, devfnOf(0x1f, 1)), /1f.0/);
});

test("spec I11: stolen memory counts 32 MiB steps, from 0xf0 on 4 MiB since generation 9", () => {
  const sizes = (generation: number) =>
    [2, 0xf0, 0xfe].map((value) => stolenMemoryMiB(generation, value << 8));
  assert.deepEqual(sizes(8), [64, 32 * 0xf0, 32 * 0xfe]);
  assert.deepEqual(sizes(9), [64, 4, 60]);
  assert.equal(stolenMemoryMiB(7, 2 << 3), 64);
});

test("spec I11: the firmware is told the host's size, or the one x-igd-gms asks for", () => {
  using machine = machineWith();
  using fn = machine.assign();
  assert.equal(stolenSize(machine), 64n << 20n);
  fn[Symbol.dispose]();
  using more = machine.assign({ "x-igd-gms": "0x4" });
  assert.equal(stolenSize(machine), 128n << 20n);
  assert.equal(more.readConfig(0x50, 4), 0x0441);
  more[Symbol.dispose]();
  using tooMuch = machine.assign({ "x-igd-gms": "0x41" });
  assert.equal(stolenSize(machine), 64n << 20n);
  assert.equal(tooMuch.readConfig(0x50, 4), 0x0241);
  assert.ok(machine.reports.some((line) => line.includes("x-igd-gms 0x41")));
  using old = machineWith({ deviceId: 0x0412, ggc: 0x10 });
  using haswell = old.assign({ "x-igd-gms": "0x11" });
  assert.equal(haswell.readConfig(0x50, 4), 0x10);
  assert.equal(stolenSize(old), 64n << 20n);
});

test("spec I12: from generation 11 on the stolen base is 64 bits, in BAR 0 too", () => {
  using machine = machineWith({ deviceId: 0x9a49 });
  using fn = machine.assign();
  assert.equal(fn.readConfig(0xc0, 4), 0);
  fn.writeConfig(0xc0, 4, 0x1230_0000);
  fn.writeConfig(0xc4, 4, 0x1);
  assert.equal(fn.readConfig(0x5c, 4), IGD_HOST_STOLEN_BASE);
  fn.writeConfig(0x10, 4, Number(BAR0));
  fn.writeConfig(0x04, 2, 2);
  assert.equal(machine.memory.read(BAR0 + 0x10_80c0n, 8), 0x1_1230_0000n);
  assert.equal(machine.memory.read(BAR0 + 0x10_8040n, 2), 0x0241n);
  assert.equal(machine.memory.find(BAR0 + 0x10_8042n)?.region.kind, "ram-device");
});

test("spec I13: legacy mode by its property and its conditions", () => {
  const matrix: Array<[mode: string, met: boolean, legacy: boolean | "error"]> = [
    ["off", true, false],
    ["off", false, false],
    ["auto", true, true],
    ["auto", false, false],
    ["on", true, true],
    ["on", false, "error"],
  ];
  for (const [mode, met, legacy] of matrix) {
    using machine = machineWith({ rom: LEGACY_ROM }, met ? "i440fx" : "q35");
    const assign = () => machine.assign({ "x-igd-legacy-mode": mode }, PLACE);
    if (legacy === "error") {
      assert.throws(assign, /IGD legacy mode is not possible: the machine is no i440fx/);
      assert.deepEqual(machine.host.describe(), []);
      continue;
    }
    using fn = assign();
    assert.equal(fn.vga !== undefined, legacy);
    assert.equal(machine.firmwareFiles.has("etc/igd-opregion"), legacy);
    assert.equal(machine.bus.get(devfnOf(0x1f)) !== undefined, legacy);
    const told = machine.reports.some((line) => line.includes("x-igd-legacy-mode=off"));
    assert.equal(told, legacy && mode === "auto");
  }
});

test("spec I13: legacy mode needs 00:02.0", () => {
  using machine = machineWith({ rom: LEGACY_ROM }, "i440fx");
  const assign = () => machine.assign({ "x-igd-legacy-mode": "on" }, { devfn: devfnOf(3) });
  assert.throws(assign, /the device is not at 00:02.0/);
  using fn = machine.assign({}, { devfn: devfnOf(3) });
  assert.equal(fn.vga, undefined);
});

test("spec I13: an error of legacy set-up is fatal when forced, else a device without it", () => {
  const lacks: IgdOptions[] = [
    {},
    { rom: LEGACY_ROM, vga: false },
    { rom: LEGACY_ROM, regions: false },
  ];
  for (const options of lacks) {
    using machine = machineWith(options, "i440fx");
    const forced = () => machine.assign({ "x-igd-legacy-mode": "on" }, PLACE);
    assert.throws(forced, { name: "ViaductError" });
    assert.deepEqual(machine.host.describe(), []);
    using fn = machine.assign({}, PLACE);
    const disabled = machine.reports.filter((line) => line.includes("legacy mode disabled"));
    assert.equal(disabled.length, 1);
    assert.equal(fn.readConfig(0, 2), 0x8086);
  }
});

test("spec I4: what legacy set-up did before it failed remains, and the device works", () => {
  using machine = machineWith({ rom: LEGACY_ROM }, "i440fx");
  const devfn = devfnOf(0x1f);
  using isa = new PciFunction({ name: "isa bridge", bus: machine.bus, devfn });
  machine.bus.attach(isa);
  using fn = machine.assign({}, PLACE);
  assert.equal(machine.reports.filter((line) => line.includes("mode disabled")).length, 1);
  assert.notEqual(fn.vga, undefined);
  assert.ok(machine.firmwareFiles.has("etc/igd-opregion"));
  assert.equal(fn.readConfig(0xfc, 4), 0);
  fn.writeConfig(0x10, 4, Number(BAR0));
  fn.writeConfig(0x04, 2, 3);
  machine.memory.write(BAR0 + 8n, 4, 0x1234n);
  assert.deepEqual(machine.device().barRead(0, 8, 2), new Uint8Array([0x34, 0x12]));
  fn[Symbol.dispose]();
  assert.deepEqual(machine.host.describe(), []);
});

test("spec I13: with VGA disabled in graphics control, legacy mode claims no VGA ranges", () => {
  using machine = machineWith({ rom: LEGACY_ROM, vga: false, ggc: 0x0243 }, "i440fx");
  using fn = machine.assign({ "x-igd-legacy-mode": "on" }, PLACE);
  assert.equal(fn.vga, undefined);
  assert.ok(machine.firmwareFiles.has("etc/igd-opregion"));
});

test("spec I15: on q35 legacy mode is never on, and x-igd-lpc is an error", () => {
  using machine = machineWith({ rom: LEGACY_ROM });
  using fn = machine.assign({}, PLACE);
  assert.equal(fn.vga, undefined);
  assert.deepEqual([...machine.firmwareFiles.keys()], ["etc/igd-bdsm-size"]);
  fn[Symbol.dispose]();
  assert.throws(() => machine.assign({ "x-igd-lpc": "on" }), /LPC bridge of its own/);
});

test("IGD set-up: another vendor, or an unknown generation, keeps its registers", () => {
  using machine = machineWith({ deviceId: 0x2a42 });
  using fn = machine.assign();
  assert.equal(fn.readConfig(0x5c, 4), IGD_HOST_STOLEN_BASE);
  assert.deepEqual([...machine.firmwareFiles], []);
  const spec = { ...igdSpec(BDF), vendorId: 0x10de };
  using other = new TestMachine({ devices: [{ spec, group: 7 }] });
  using gpu = other.assign({ "x-igd-opregion": "on" });
  assert.equal(gpu.readConfig(0xfc, 4), IGD_HOST_OPREGION);
});

/** A video BIOS with the routine at each of `places`, its note at 0x300. */
function videoBios(places: readonly number[]): Uint8Array {
  const image = new Uint8Array(2048).fill(0x11, 0x400);
  image.set([0x55, 0xaa]);
  image[0x18] = 0x40;
  image.set([0x50, 0x43, 0x49, 0x52, 0x86, 0x80, 0x12, 0x19], 0x40);
  const routine = [0x66, 0x2e, 0x83, 0x3e, 0x00, 0x03, 0x00, 0x74, 0x07, 0x66, 0x2e, 0xa1];
  for (const at of places) image.set([...routine, 0, 3, 0xeb, 0x0f, 0xb8, 0x5e, 0x10], at);
  image.set([0x01, 0x00, 0x00, 0x7c], 0x300);
  return image;
}

test("spec I14: the VBIOS loses its note of stolen memory if its routine is there once", () => {
  const once = videoBios([0x200]);
  assert.equal(clearStolenMemoryNote(once), true);
  assert.deepEqual(once.slice(0x300, 0x304), new Uint8Array(4));
  assert.equal(once.reduce((sum, byte) => sum + byte, 0) & 0xff, 0);
  for (const places of [[0x200, 0x240], []]) {
    const image = videoBios(places);
    assert.equal(clearStolenMemoryNote(image), false);
    assert.deepEqual(image, videoBios(places));
  }
});

test("spec I14: the guest of legacy mode reads the patched VBIOS, another the host's", () => {
  for (const [family, note] of [
    ["i440fx", 0n],
    ["q35", 0x7c00_0001n],
  ] as const) {
    using machine = machineWith({ rom: videoBios([0x200]) }, family);
    using fn = machine.assign({}, PLACE);
    fn.writeConfig(0x30, 4, Number(BAR0) | 1);
    fn.writeConfig(0x04, 2, 2);
    assert.equal(machine.memory.read(BAR0 + 0x300n, 4), note);
  }
});
