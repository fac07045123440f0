import assert from "node:assert/strict";
import { test } from "node:test";
import { ram, SoftwareGuest } from "../../test/unit/software-guest.ts";
import { TraceRecorder } from "../../test/unit/trace-recorder.ts";
import { VFIO_TYPE1v2_IOMMU } from "../abi/vfio.ts";
import { iova } from "../memory/address.ts";
import { MemoryRegion } from "../memory/region.ts";
import { msixTestSpec } from "../sim/devices/msix.ts";
import { findRegion } from "./kernel-device.ts";
import { askRegion, mmapAreas, VfioRegion } from "./region.ts";

const FREE = 0x2000_0000n;
const DEVICE = "0000:03:00.0";
const HVA = 0x7f00_0000_0000;
const memory = { hva: HVA };

test("spec C2: a section that is filtered makes the skip event and no other", () => {
  using guest = new SoftwareGuest();
  using _device = guest.open();
  const handler = { read: () => 0, write: () => {} };
  const io = new MemoryRegion("registers", "io", 0x1000n, { handler });
  using recorder = new TraceRecorder();
  guest.root.add(io, FREE);
  guest.root.remove(io);
  assert.deepEqual(recorder.take(), [
    "vfio_listener_region_skip region_add 0x20000000 0x20000fff",
    "vfio_listener_region_skip region_del 0x20000000 0x20000fff",
  ]);
});

test("trace events of the DMA listener: the branch that a section takes", () => {
  using guest = new SoftwareGuest();
  using _device = guest.open();
  const more = ram("more", 0x2800n);
  const bar = new MemoryRegion("a BAR", "ram-device", 0x800n, { memory });
  const owner = { misalignedByDesign: true };
  const tpm = new MemoryRegion("tpm", "ram", 0x1000n, { memory, owner });
  using recorder = new TraceRecorder();
  guest.root.add(more, FREE);
  guest.root.remove(more);
  assert.deepEqual(recorder.take(), [
    `vfio_listener_region_add_ram 0x20000000 0x20001fff 0x${HVA.toString(16)}`,
    "vfio_listener_region_del 0x20000000 0x20001fff",
  ]);
  guest.root.add(bar, FREE);
  guest.root.remove(bar);
  assert.deepEqual(recorder.take(), [
    "vfio_listener_region_add_no_dma_map a BAR 0x20000000 0x800 0x1000",
  ]);
  guest.root.add(tpm, FREE + 0x800n);
  assert.deepEqual(recorder.take(), ["vfio_known_safe_misalignment tpm 0x20000800 0x0 0x1000"]);
});

test("trace events of mappings: a sparse region, a fault, all off and on", () => {
  using guest = new SoftwareGuest();
  const spec = msixTestSpec(DEVICE);
  const sparse = [
    { offset: 0x2000, size: 0x2000 },
    { offset: 0x8000, size: 0x1000 },
  ];
  const bars = { ...spec.bars, 2: { size: 0x1_0000, kind: "mem64" as const, sparse } };
  guest.host.addDevice({ ...spec, bars }, 9);
  using device = guest.open(DEVICE);
  using recorder = new TraceRecorder(/region/);
  const info = askRegion(device, 2, "BAR 2");
  assert.deepEqual(recorder.take(), [
    `vfio_region_sparse_mmap_header ${DEVICE} 2 2`,
    "vfio_region_sparse_mmap_entry 0 0x2000 0x3fff",
    "vfio_region_sparse_mmap_entry 1 0x8000 0x8fff",
    `vfio_region_setup ${DEVICE} 2 BAR 2 0xf 0x20000000000 0x10000`,
  ]);
  using bar = new VfioRegion(device, info, { name: "BAR 2" });
  guest.ledger.clearCalls();
  guest.ledger.failAt(1, "ENOMEM");
  assert.throws(() => bar.mapAreas(guest.ledger));
  const lines = recorder.take();
  assert.equal(lines.at(0)?.replace(/ .*/, ""), "vfio_region_mmap_fault");
  assert.match(lines.at(0)!, /^vfio_region_mmap_fault BAR 2 0 0x2000 0x2000 -12$/);
  bar.mapAreas(guest.ledger);
  bar.setMmapsEnabled(false);
  assert.deepEqual(recorder.take(), [
    "vfio_region_mmap BAR 2 mmap 0 0x2000 0x3fff",
    "vfio_region_mmap BAR 2 mmap 1 0x8000 0x8fff",
    "vfio_region_mmaps_set_enabled BAR 2 false",
  ]);
  assert.equal(mmapAreas(info).length, 2);
});

test("trace events of a type 1 container: dirty pages, the last page's workaround", () => {
  using guest = new SoftwareGuest({ iovaRanges: undefined, lastPageBug: true });
  using _device = guest.open();
  const { space, fd } = guest.state.groups[0]!.container;
  assert.equal(space.type, VFIO_TYPE1v2_IOMMU);
  using recorder = new TraceRecorder();
  space.setDirtyLogging(true);
  space.dirtyPages(iova(0), 0x10_0000n);
  assert.deepEqual(recorder.take(), [`vfio_get_dirty_bitmap ${fd} 0x0 0x100000 0x20 0x0 256`]);
  space.unmap(iova(1n << 63n), 1n << 63n);
  assert.deepEqual(recorder.take(), ["vfio_dma_unmap_overflow_workaround"]);
});

test("a search for a region of the device's own traces those that say their type", () => {
  using guest = new SoftwareGuest();
  const regions = [1, 2].map((subtype) => ({
    type: 0x8000_8086,
    subtype,
    bytes: new Uint8Array(8),
  }));
  guest.host.addDevice({ ...msixTestSpec(DEVICE), regions }, 9);
  using device = guest.open(DEVICE);
  using recorder = new TraceRecorder();
  assert.equal(findRegion(device, { type: 0x8000_8086, subtype: 2 })?.index, 10);
  assert.deepEqual(recorder.take(), [
    `vfio_get_dev_region ${DEVICE} 9 0x80008086 0x1`,
    `vfio_get_dev_region ${DEVICE} 10 0x80008086 0x2`,
  ]);
});
