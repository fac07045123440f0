import assert from "node:assert/strict";
import { totalmem } from "node:os";
import { test } from "node:test";
import { failEachCall, Ledger } from "../sim/ledger.ts";
import { nativeSyscalls } from "../sys/native.ts";
import { ViaductError } from "../sys/sys-error.ts";
import { GuestRam } from "./guest-ram.ts";

const MIB = 2 ** 20;

test("GuestRam: every thread's bytes are the memfd's, from a 2 MiB boundary on", () => {
  const sys = nativeSyscalls();
  using ram = GuestRam.create(sys, { name: "pc.ram", size: 4 * MIB });
  assert.equal(ram.hva % (2 * MIB), 0);
  ram.bytes(0x1234, 3).set([1, 2, 3]);
  const read = new Uint8Array(3);
  assert.equal(sys.pread(ram.fd, read, 0x1234), 3);
  assert.deepEqual([...read], [1, 2, 3]);
  assert.throws(() => ram.bytes(4 * MIB - 1, 2), RangeError);
});

test("GuestRam: after dispose a stale view reads zeros and nothing is held", () => {
  const ledger = new Ledger(nativeSyscalls());
  const ram = GuestRam.create(ledger, { name: "pc.ram", size: 2 * MIB });
  const view = ram.bytes(0, 16);
  view.fill(7);
  ram[Symbol.dispose]();
  ram[Symbol.dispose]();
  assert.equal(view[0], 0);
  assert.deepEqual(ledger.live(), []);
});

test("GuestRam: a 6 GiB guest is one buffer, also where Uint8Array ends at 4 GiB", () => {
  const size = 6 * 1024 * MIB;
  if (size > totalmem()) return;
  using ram = GuestRam.create(nativeSyscalls(), { name: "pc.ram", size });
  ram.bytes(5 * 1024 * MIB, 1)[0] = 42;
  const read = new Uint8Array(1);
  nativeSyscalls().pread(ram.fd, read, 5 * 1024 * MIB);
  assert.equal(read[0], 42);
});

test("GuestRam: more than the host has is refused with both sizes", () => {
  assert.throws(
    () => GuestRam.create(nativeSyscalls(), { name: "pc.ram", size: 2 ** 46 }),
    (error) =>
      error instanceof ViaductError &&
      error.code === "OUT_OF_MEMORY" &&
      error.message.includes("67108864 MiB"),
  );
});

test("GuestRam.create: whichever call fails, nothing is held", () => {
  const failed = failEachCall(nativeSyscalls, (sys) =>
    GuestRam.create(sys, { name: "pc.ram", size: 2 * MIB }),
  );
  assert(failed >= 3);
});

test("GuestRam.region: accesses that no slot serves reach the bytes, ROM drops writes", () => {
  using ram = GuestRam.create(nativeSyscalls(), { name: "pc.ram", size: 2 * MIB });
  const { handler } = ram.region();
  handler!.write(0x101, 4, 0x44332211);
  assert.deepEqual([...ram.bytes(0x101, 4)], [0x11, 0x22, 0x33, 0x44]);
  assert.equal(handler!.read(0x101, 4), 0x44332211);
  assert.equal(handler!.read(0x103, 2), 0x4433);
  handler!.write(0x200, 4, 0xffff_ffff);
  assert.equal(handler!.read(0x200, 4), 0xffff_ffff);
  const rom = ram.region("rom").handler!;
  rom.write(0x101, 1, 0);
  assert.equal(rom.read(0x101, 1), 0x11);
});
