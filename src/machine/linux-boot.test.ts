import assert from "node:assert/strict";
import { test } from "node:test";
import { tinyBzImage } from "../../test/unit/machine/tiny-bzimage.ts";
import { ViaductError } from "../sys/sys-error.ts";
import { HEADER_BYTES, parseBzImage } from "./bzimage.ts";
import { BOOT_PARAMS, type BootImage, e820Map, type FileSource, loadLinux } from "./linux-boot.ts";
import { GIB, MIB, ramLayout } from "./memory-map.ts";

const source = (name: string, bytes: Uint8Array): FileSource => ({
  name,
  size: bytes.length,
  read: (offset, into) => into.set(bytes.subarray(offset, offset + into.length)),
});

function bootImage(options: { initrd?: Uint8Array; commandLine?: string } = {}): BootImage {
  const bytes = tinyBzImage(Uint8Array.of(0x90, 0xf4));
  return {
    kernel: source("vmlinuz", bytes),
    image: parseBzImage("vmlinuz", bytes.subarray(0, HEADER_BYTES), bytes.length),
    initrd: options.initrd && source("initrd.img", options.initrd),
    commandLine: options.commandLine ?? "console=ttyS0",
  };
}

const acpi = Uint8Array.of(1, 2, 3);
const refused = (run: () => unknown, code: string, message: RegExp) =>
  assert.throws(run, (error: unknown) => {
    assert.ok(error instanceof ViaductError);
    assert.equal(error.code, code);
    assert.match(error.message, message);
    return true;
  });

test("loadLinux places kernel, initrd, command line and boot_params", () => {
  const low = new Uint8Array(64 * MIB);
  const initrd = new Uint8Array(5000).fill(7);
  const entry = loadLinux(low, ramLayout(64 * MIB), bootImage({ initrd }), acpi);
  assert.deepEqual(entry, { rip: 0x100_0200, rsi: BOOT_PARAMS });
  assert.deepEqual([...low.subarray(0x100_0200, 0x100_0202)], [0x90, 0xf4]);
  const params = new DataView(low.buffer, BOOT_PARAMS, 4096);
  const initrdAt = params.getUint32(0x218, true);
  assert.equal(params.getUint32(0x21c, true), 5000);
  assert.equal(initrdAt % 4096, 0);
  assert.equal(initrdAt + 8192, 64 * MIB);
  assert.deepEqual(low.subarray(initrdAt, initrdAt + 5000), initrd);
  const commandLine = params.getUint32(0x228, true);
  assert.equal(
    Buffer.from(low.subarray(commandLine, commandLine + 14)).toString(),
    "console=ttyS0\0",
  );
  assert.deepEqual([...low.subarray(0xe0000, 0xe0003)], [1, 2, 3]);
});

test("loadLinux moves a relocatable kernel down when RAM ends early", () => {
  const low = new Uint8Array(8 * MIB);
  const entry = loadLinux(low, ramLayout(8 * MIB), bootImage(), acpi);
  assert.equal(entry.rip, 0x20_0200);
});

test("loadLinux refuses what does not fit", () => {
  const tight = 2 * MIB;
  refused(
    () => loadLinux(new Uint8Array(tight), ramLayout(tight), bootImage(), acpi),
    "OUT_OF_MEMORY",
    /needs 3 MiB to start and the guest has 2 MiB/,
  );
  const initrd = new Uint8Array(60 * MIB);
  refused(
    () => loadLinux(new Uint8Array(64 * MIB), ramLayout(64 * MIB), bootImage({ initrd }), acpi),
    "OUT_OF_MEMORY",
    /initrd.img: Cannot load the initrd/,
  );
  const commandLine = "x".repeat(2048);
  refused(
    () =>
      loadLinux(new Uint8Array(64 * MIB), ramLayout(64 * MIB), bootImage({ commandLine }), acpi),
    "USAGE",
    /2048 bytes long; this kernel takes 2047/,
  );
});

test("e820Map splits RAM around the hole and covers all of it", () => {
  const sizeOf = (ramSize: number) =>
    e820Map(ramLayout(ramSize))
      .filter((entry) => entry.type === 1)
      .reduce((sum, entry) => sum + entry.size, 0);
  const biosArea = 0x10_0000 - 0x9_fc00;
  assert.equal(sizeOf(512 * MIB), 512 * MIB - biosArea);
  assert.equal(sizeOf(6 * GIB), 6 * GIB - biosArea);
  assert.equal(e820Map(ramLayout(6 * GIB)).at(-1)!.address, 4 * GIB);
  assert.ok(
    e820Map(ramLayout(6 * GIB)).every((e) => e.address >= 4 * GIB || e.address + e.size <= 3 * GIB),
  );
});
