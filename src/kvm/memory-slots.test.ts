import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { gpa } from "../memory/address.ts";
import { GuestRam } from "../memory/guest-ram.ts";
import { MemoryRegion } from "../memory/region.ts";
import { slotPlace } from "./memory-slots.ts";
import {
  asm,
  disposeTinyMachines,
  MAIN_MMIO,
  skipWithoutKvm,
  TinyMachine,
} from "./tiny-machine.ts";

const limit = { skip: skipWithoutKvm, timeout: 20_000 };

afterEach(disposeTinyMachines);

test("slotPlace takes whole pages, and none where guest and host disagree about pages", () => {
  const region = new MemoryRegion("bar", "ram-device", 0x10000n, { memory: { hva: 0x7000_0000 } });
  const section = (address: bigint, size: bigint, offsetInRegion: bigint) => ({
    region,
    address: gpa(address),
    size,
    offsetInRegion,
    readOnly: false,
  });
  const place = { gpa: 0x2000n, size: 0x1000n, hva: 0x7000_1000, readOnly: false };
  assert.deepEqual(slotPlace(section(0x2000n, 0x1000n, 0x1000n)), place);
  assert.deepEqual(slotPlace(section(0x1800n, 0x2000n, 0x800n)), place);
  assert.equal(slotPlace(section(0x2000n, 0x800n, 0n)), undefined);
  assert.equal(slotPlace(section(0x2000n, 0x1000n, 0x800n)), undefined);
  assert.equal(
    slotPlace({ ...section(0n, 0x1000n, 0n), region: new MemoryRegion("io", "io", 1n) }),
    undefined,
  );
});

test("a slot is added, moved and removed under a running guest", limit, async () => {
  const machine = new TinyMachine();
  const window = GuestRam.create(machine.ledger, { name: "bar", size: 0x1000 });
  new Uint32Array(window.buffer, window.byteOffset, 1)[0] = 0x0bad_cafe;
  const region = window.region();
  // Reads two places for ever and leaves what it read at 0x2000 and 0x2004.
  const body = [
    ...asm.loadEax(MAIN_MMIO),
    ...asm.storeEax(0x2000),
    ...asm.loadEax(MAIN_MMIO + 0x4000),
    ...asm.storeEax(0x2004),
  ];
  machine.load([body, [0xeb, 256 - body.length - 2]]);
  machine.threads.resume();
  const reads = async (first: number, second: number) => {
    for (let i = 0; i < 3000; i++) {
      if (machine.word(0x2000) === first && machine.word(0x2004) === second) return;
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    assert.fail(`${machine.word(0x2000)} ${machine.word(0x2004)}`);
  };
  const trapped = 0x4433_2211;
  await reads(trapped, trapped);
  machine.root.add(region, BigInt(MAIN_MMIO));
  await reads(0x0bad_cafe, trapped);
  machine.memory.transaction(() => {
    machine.root.remove(region);
    machine.root.add(region, BigInt(MAIN_MMIO + 0x4000));
  });
  await reads(trapped, 0x0bad_cafe);
  machine.root.remove(region);
  await reads(trapped, trapped);
  await machine.threads.stop();
  window[Symbol.dispose]();
  assert.deepEqual(await machine.end(), []);
});

test("a section that starts within a page is removed as it was added", limit, async () => {
  const machine = new TinyMachine();
  const bar = GuestRam.create(machine.ledger, { name: "bar", size: 0x4000 });
  const region = bar.region();
  // An MSI-X table over the BAR's first bytes: the rest of the BAR starts in the middle of a page.
  const handler = { read: () => 0, write: () => {} };
  const table = new MemoryRegion("table", "io", 0x410n, { handler });
  region.add(table, 0n, 1);
  machine.root.add(region, BigInt(MAIN_MMIO));
  machine.root.remove(region);
  bar[Symbol.dispose]();
  assert.deepEqual(await machine.end(), []);
});

test("a write to a read-only slot exits, a read does not", limit, async () => {
  const machine = new TinyMachine();
  const rom = GuestRam.create(machine.ledger, { name: "rom", size: 0x1000 });
  new Uint32Array(rom.buffer, rom.byteOffset, 1)[0] = 0x600d_600d;
  machine.root.add(rom.region("rom"), BigInt(MAIN_MMIO));
  machine.load([
    asm.loadEax(MAIN_MMIO),
    asm.storeEax(0x2000),
    asm.storeEax(MAIN_MMIO + 4),
    asm.done,
  ]);
  await machine.run();
  assert.equal(machine.word(0x2000), 0x600d_600d);
  assert.deepEqual(machine.log, ["write4 e0000004 600d600d"]);
  await machine.threads.stop();
  rom[Symbol.dispose]();
  assert.deepEqual(await machine.end(), []);
});
