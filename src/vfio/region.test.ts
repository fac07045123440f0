import assert from "node:assert/strict";
import { test } from "node:test";
import { EDU, SoftwareGuest } from "../../test/unit/software-guest.ts";
import { EDU_ID } from "../sim/devices/edu.ts";
import { MSIX_TEST_SCRATCH, msixTestSpec } from "../sim/devices/msix.ts";
import { failEachCall } from "../sim/ledger.ts";
import { nativeSyscalls } from "../sys/native.ts";
import { KernelDevice } from "./kernel-device.ts";
import { alignmentOf, mmapAreas, VfioRegion } from "./region.ts";

const MSIX = "0000:03:00.0";
const AT = 0x2000_0000n;

test("VfioRegion traps accesses of 1, 2, 4 and 8 bytes and runs the EOI hook after each", () => {
  using guest = new SoftwareGuest();
  guest.host.addDevice(msixTestSpec(MSIX), 9);
  using device = guest.open(MSIX);
  let hooks = 0;
  using bar = new VfioRegion(device, device.regionInfo(2), {
    name: "BAR 2",
    afterAccess: () => hooks++,
  });
  bar.write(8, 4, 0xa1b2c3d4);
  assert.deepEqual([bar.read(8, 1), bar.read(8, 2), bar.read(8, 4)], [0xd4, 0xc3d4, 0xa1b2c3d4]);
  bar.write64(16, 0x1122_3344_5566_7788n);
  assert.equal(bar.read64(16), 0x1122_3344_5566_7788n);
  assert.equal(hooks, 6);
});

test("VfioRegion reads all ones where the host fails; only a failed write runs the hook", () => {
  using guest = new SoftwareGuest();
  using device = guest.open(EDU);
  let hooks = 0;
  const reports: string[] = [];
  using bar = new VfioRegion(device, device.regionInfo(0), {
    name: "BAR 0",
    afterAccess: () => hooks++,
    report: (line) => void reports.push(line),
  });
  assert.equal(bar.read(0, 4), EDU_ID);
  hooks = 0;
  for (const size of [1, 2, 4] as const) {
    guest.ledger.failAt(1, "EIO");
    assert.equal(bar.read(0, size), 2 ** (8 * size) - 1);
  }
  guest.ledger.failAt(1, "EIO");
  assert.equal(bar.read64(0x80), 2n ** 64n - 1n);
  assert.equal(hooks, 0);
  guest.ledger.failAt(1, "EIO");
  bar.write(4, 4, 1);
  assert.equal(hooks, 1);
  // A guest can cause these at will: one line a second.
  assert.equal(reports.length, 1);
  assert.match(reports[0]!, /BAR 0: read of 1 bytes at 0x0 failed/);
});

test("VfioRegion lays the device's memory over the trapped region, and takes it off again", () => {
  using guest = new SoftwareGuest();
  const made = guest.host.addDevice(msixTestSpec(MSIX), 9);
  using device = guest.open(MSIX);
  using bar = new VfioRegion(device, device.regionInfo(2), { name: "BAR 2" });
  bar.mapAreas(guest.ledger);
  guest.root.add(bar.region, AT);
  assert.deepEqual(guest.maps, ["0+100000", "20000000+10000"], "a target of peer-to-peer DMA");
  assert.equal(guest.memory.find(AT)?.region.kind, "ram-device");
  bar.mmaps[0]!.mapping.memory.write32(0x100, 0x600dcafe);
  assert.deepEqual([...made.barRead(2, 0x100, 4)], [0xfe, 0xca, 0x0d, 0x60]);
  bar.setMmapsEnabled(false);
  assert.equal(guest.memory.find(AT)?.region.kind, "io");
  assert.equal(guest.memory.read(AT + 0x100n, 4), 0x600dcafen, "the slow path sees the same");
  bar.setMmapsEnabled(true);
  assert.equal(guest.memory.find(AT)?.region.kind, "ram-device");
  bar[Symbol.dispose]();
  assert.equal(guest.memory.find(AT)?.region.kind, "io");
  assert.deepEqual(guest.maps, ["0+100000"]);
});

test("mmapAreas: none without the flag, those of the sparse capability, else everything", () => {
  using guest = new SoftwareGuest();
  const sparse = [
    { offset: 0x2000, size: 0x2000 },
    { offset: 0x8000, size: 0 },
  ];
  const spec = msixTestSpec(MSIX);
  const bars = { ...spec.bars, 2: { size: 0x1_0000, kind: "mem64" as const, sparse } };
  guest.host.addDevice({ ...spec, bars }, 9);
  using device = guest.open(MSIX);
  assert.deepEqual(mmapAreas(device.regionInfo(0)), []);
  assert.deepEqual(mmapAreas(device.regionInfo(1)), []);
  assert.deepEqual(mmapAreas(device.regionInfo(2)), [{ offset: 0x2000, size: 0x2000 }]);
  assert.deepEqual(mmapAreas(device.regionInfo(4)), [{ offset: 0, size: 0x4000 }]);
});

test("VfioRegion maps large areas at a multiple of their size, for huge pages", () => {
  assert.deepEqual([0x1000, 0x3000, 0x40_0000, 3 * 2 ** 30].map(alignmentOf), [
    0x1000,
    0x1000,
    0x40_0000,
    2 ** 30,
  ]);
  using guest = new SoftwareGuest();
  const spec = msixTestSpec(MSIX);
  const bars = { ...spec.bars, 2: { size: 0x40_0000, kind: "mem64" as const } };
  guest.host.addDevice({ ...spec, bars }, 9);
  using device = guest.open(MSIX);
  using bar = new VfioRegion(device, device.regionInfo(2), { name: "BAR 2" });
  bar.mapAreas(guest.ledger);
  assert.equal(bar.mmaps[0]!.mapping.address % 0x40_0000, 0);
});

test("VfioRegion.mapAreas maps all areas or none, whichever mmap fails", () => {
  const sparse = [
    { offset: 0, size: 0x4000 },
    { offset: 0x8000, size: 0x4000 },
  ];
  const spec = msixTestSpec(MSIX);
  const bars = { ...spec.bars, 2: { size: 0x1_0000, kind: "mem64" as const, sparse } };
  using guest = new SoftwareGuest();
  guest.host.addDevice({ ...spec, bars }, 9);
  using device = guest.open(MSIX);
  const info = device.regionInfo(2);
  const failed = failEachCall(nativeSyscalls, (ledger) => {
    const bar = new VfioRegion(device, info, { name: "BAR 2" });
    try {
      bar.mapAreas(ledger);
    } catch (error) {
      assert.deepEqual(bar.region.placed, []);
      throw error;
    }
    return bar;
  });
  assert(failed >= 4, `${failed} calls`);
});

test("VfioRegion reaches a device's registers through the guest's address space", () => {
  using guest = new SoftwareGuest();
  guest.host.addDevice(msixTestSpec(MSIX), 9);
  using device = guest.open(MSIX);
  assert(device instanceof KernelDevice);
  using bar = new VfioRegion(device, device.regionInfo(0), { name: "BAR 0" });
  guest.root.add(bar.region, AT);
  guest.memory.write(AT + BigInt(MSIX_TEST_SCRATCH), 4, 0x1234n);
  assert.equal(guest.memory.read(AT + BigInt(MSIX_TEST_SCRATCH), 4), 0x1234n);
});
