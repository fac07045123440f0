import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { eduSpec } from "../../../src/sim/devices/edu.ts";
import type { VfioPciFunction } from "../../../src/vfio/pci/vfio-pci.ts";
import { BDF, sizeBar, TestMachine } from "./machine.ts";

const AT = 0xfc00_0000n;
const PCIR = 0x1c;

/** An option ROM image whose bytes sum to 0. */
function romImage(vendor: number, device: number, size = 0x1000): Uint8Array {
  const rom = new Uint8Array(size).fill(0x11, 0x40);
  rom.set([0x55, 0xaa, 8]);
  rom.set([PCIR, 0], 0x18);
  rom.set(new TextEncoder().encode("PCIR"), PCIR);
  rom.set([vendor & 0xff, vendor >> 8, device & 0xff, device >> 8], PCIR + 4);
  rom[6] = -byteSum(rom);
  return rom;
}

const byteSum = (bytes: Uint8Array) => bytes.reduce((sum, byte) => (sum + byte) & 0xff, 0);

function machineWith(ids: { vendorId?: number; deviceId?: number; size?: number } = {}) {
  const base = eduSpec(BDF);
  const { vendorId = base.vendorId, deviceId = base.deviceId, size = 0x1000 } = ids;
  const rom = romImage(vendorId, deviceId, size);
  const spec = { ...base, vendorId, deviceId, rom };
  return new TestMachine({ devices: [{ spec, group: 7 }] });
}

function mapRom(fn: VfioPciFunction): void {
  fn.writeConfig(0x30, 4, Number(AT) | 1);
  fn.writeConfig(0x04, 2, 0x0002);
}

function readRom(machine: TestMachine, size: number): Uint8Array {
  const image = new Uint8Array(size);
  for (let i = 0; i < size; i++) image[i] = Number(machine.memory.read(AT + BigInt(i), 1));
  return image;
}

test("spec F21: the ROM is not read before the guest reads it, and then once", () => {
  using machine = machineWith();
  using fn = machine.assign();
  mapRom(fn);
  assert.deepEqual(
    machine.take().filter((line) => line.includes("region 6")),
    [],
  );
  assert.equal(machine.memory.read(AT, 2), 0xaa55n);
  assert.equal(machine.memory.read(AT + 0x40n, 4), 0x1111_1111n);
  assert.deepEqual(machine.take(), ["read region 6 0x0+4096"]);
});

test("spec F21: the device's ID is patched into the image, whose byte sum stays 0", () => {
  using machine = machineWith();
  using fn = machine.assign({ "x-pci-device-id": "0xabcd" });
  mapRom(fn);
  const image = readRom(machine, 0x1000);
  assert.deepEqual([...image.subarray(PCIR + 4, PCIR + 8)], [0x34, 0x12, 0xcd, 0xab]);
  assert.equal(byteSum(image), 0);
});

test("spec F21: another vendor's image stays untouched", () => {
  using machine = machineWith();
  using fn = machine.assign({ "x-pci-vendor-id": "0x4321", "x-pci-device-id": "0xabcd" });
  mapRom(fn);
  assert.deepEqual(readRom(machine, 0x1000), machine.device().spec.rom);
});

test("spec F21: an empty romfile, or rombar=0, hides the ROM", () => {
  for (const given of [{ romfile: "" }, { rombar: "0" }]) {
    using machine = machineWith();
    using fn = machine.assign(given);
    assert.equal(sizeBar(fn, 0x30), 0);
  }
});

test("spec F21: a denied ROM is shown only to a user who insists", () => {
  const denied = { vendorId: 0x14e4, deviceId: 0x168e };
  using quiet = machineWith(denied);
  using hidden = quiet.assign();
  assert.equal(sizeBar(hidden, 0x30), 0);
  assert.match(quiet.reports.join("\n"), /ROM disabled. Specify rombar=1 or romfile to force/);
  using forced = machineWith(denied);
  using shown = forced.assign({ rombar: "1" });
  assert.equal(sizeBar(shown, 0x30), 0xffff_f001);
  assert.match(forced.reports.join("\n"), /Proceeding anyway/);
});

test("DeviceRom: what cannot be read is all ones, and said once", () => {
  using machine = machineWith();
  using fn = machine.assign();
  mapRom(fn);
  const { pread } = machine.ledger;
  machine.ledger.pread = function (fd, into, offset) {
    return Math.floor(offset / 2 ** 40) === 6 ? -5 : pread.call(this, fd, into, offset);
  };
  assert.equal(machine.memory.read(AT, 4), 0xffff_ffffn);
  assert.equal(machine.memory.read(AT + 8n, 4), 0xffff_ffffn);
  assert.equal(machine.reports.length, 1);
});

test("FileRom: a romfile is shown as it is, rounded up to a power of two", (t) => {
  const folder = mkdtempSync(join(tmpdir(), "viaduct-rom-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const path = join(folder, "vga.rom");
  const image = romImage(0x1234, 0x11e8, 0xc00);
  writeFileSync(path, image);
  using machine = machineWith();
  using fn = machine.assign({ romfile: path, "x-pci-device-id": "0xabcd" });
  assert.equal(sizeBar(fn, 0x30), 0xffff_f001);
  mapRom(fn);
  assert.deepEqual(readRom(machine, 0xc00), image);
  fn[Symbol.dispose]();
  assert.throws(() => machine.assign({ romfile: path, romsize: "0x800" }), /too large for romsize/);
  assert.throws(() => machine.assign({ romfile: "/none" }), /failed to find romfile "\/none"/);
});
