import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { HVA, SoftwareGuest } from "../../test/unit/software-guest.ts";
import {
  VFIO_IOMMU_GET_INFO,
  VFIO_IOMMU_MAP_DMA,
  VFIO_IOMMU_UNMAP_DMA,
} from "../abi/vfio-iommu.ts";
import { iova } from "../memory/address.ts";
import type { IommuOptions } from "../sim/dma-table.ts";
import { errnoOf } from "../sys/sys-error.ts";
import { dirtyBitmapBytes, type Type1Space } from "./type1.ts";

/** A container's space with no mapping in it. */
function emptySpace(options: Partial<IommuOptions> = {}): [SoftwareGuest, Type1Space] {
  const guest = new SoftwareGuest(options);
  for (const { region } of guest.root.placed) guest.root.remove(region);
  guest.open();
  guest.ledger.clearCalls();
  return [guest, guest.state.groups[0]!.container.space];
}

const RAM = { hva: HVA };
const WRITE = { write: true };

test("spec T5: GET_INFO is asked again with its argsz; the chain may have any order", () => {
  const names = ["migration", "dma-avail", "iova-range"] as const;
  fc.assert(
    fc.property(fc.shuffledSubarray([...names]), (capabilities) => {
      using guest = new SoftwareGuest({ capabilities, entryLimit: 1000 });
      guest.open();
      const { info } = guest.state.groups[0]!.container.space;
      assert.equal(guest.calls(VFIO_IOMMU_GET_INFO), capabilities.length > 0 ? 2 : 1);
      assert.equal(info.mappingLimit, capabilities.includes("dma-avail") ? 1000 : 65535);
      assert.equal(info.dirtyTracking !== undefined, capabilities.includes("migration"));
      assert.equal(info.iovaRanges?.length, capabilities.includes("iova-range") ? 2 : undefined);
    }),
    { numRuns: 20 },
  );
});

test("Type1Space reads page sizes, ranges and limits as the container says them", () => {
  const [guest, space] = emptySpace({
    iovaRanges: [
      { start: 0xfef0_0000n, end: 0xffff_ffffn },
      { start: 0n, end: 0xfedf_ffffn },
    ],
  });
  using _guest = guest;
  assert.equal(space.pageSizes, 0x4020_1000n);
  assert.equal(space.smallestPage, 0x1000n);
  assert.deepEqual(
    space.iovaRanges?.map(({ start, last }) => [start, last]),
    [
      [0n, 0xfedf_ffffn],
      [0xfef0_0000n, 0xffff_ffffn],
    ],
  );
});

test("spec T6: no dirty tracking when the log cannot be kept in host pages", () => {
  const [coarse, without] = emptySpace({ dirtyPageSizes: 0x20_0000n });
  using _coarse = coarse;
  assert.equal(without.info.dirtyTracking, undefined);
  const [fine, tracking] = emptySpace({ dirtyPageSizes: 0x20_1000n });
  using _fine = fine;
  assert.deepEqual(tracking.info.dirtyTracking, {
    pageSizes: 0x20_1000n,
    maxBitmapSize: 2n ** 28n,
  });
});

test("spec T12: 2^64 bytes are unmapped as two halves", () => {
  const [guest, space] = emptySpace({ iovaRanges: undefined });
  using _guest = guest;
  space.map(iova(0x1000), RAM, 0x1000n, WRITE);
  space.map(iova(1n << 63n), RAM, 0x3000n, WRITE);
  guest.ledger.clearCalls();
  assert.equal(space.unmap(iova(0), 1n << 64n), 0x4000n);
  assert.equal(guest.calls(VFIO_IOMMU_UNMAP_DMA), 2);
  assert.deepEqual(guest.maps, []);
});

test("spec T13: an unmap up to the last page is tried again without it, on version 2 only", () => {
  const top = iova(1n << 63n);
  const [guest, space] = emptySpace({ iovaRanges: undefined, lastPageBug: true });
  using _guest = guest;
  space.map(top, RAM, 0x1000n, WRITE);
  assert.equal(space.unmap(top, 1n << 63n), 0x1000n);
  assert.equal(guest.calls(VFIO_IOMMU_UNMAP_DMA), 2);
  const [old, version1] = emptySpace({ types: [1], iovaRanges: undefined, lastPageBug: true });
  using _old = old;
  assert.throws(() => version1.unmap(top, 1n << 63n), { code: "EINVAL" });
  assert.equal(old.calls(VFIO_IOMMU_UNMAP_DMA), 1);
  // And not when the range ends elsewhere.
  guest.ledger.clearCalls();
  assert.throws(() => space.unmap(iova(0x10), 0x1000n), { code: "EINVAL" });
  assert.equal(guest.calls(VFIO_IOMMU_UNMAP_DMA), 1);
});

test("spec T14: EBUSY of a map is answered by one unmap and one more map", () => {
  const [guest, space] = emptySpace();
  using _guest = guest;
  guest.ledger.failAt(1, "EBUSY");
  space.map(iova(0), RAM, 0x2000n, WRITE);
  assert.equal(guest.calls(VFIO_IOMMU_MAP_DMA), 2);
  assert.equal(guest.calls(VFIO_IOMMU_UNMAP_DMA), 1);
  assert.deepEqual(guest.maps, ["0+2000"]);
});

test("Type1Space.map passes on what the IOMMU refuses", () => {
  const [guest, space] = emptySpace({ entryLimit: 2 });
  using _guest = guest;
  space.map(iova(0x1000), RAM, 0x1000n, WRITE);
  const refused: Array<[bigint, bigint, string]> = [
    [0x1000n, 0x1000n, "EEXIST"],
    [0x1800n, 0x1000n, "EINVAL"],
    [0xfee0_0000n, 0x1000n, "EINVAL"],
    [0x2000n, 0n, "EINVAL"],
    [1n << 60n, 0x1000n, "EINVAL"],
  ];
  for (const [at, size, code] of refused) {
    assert.throws(
      () => space.map(iova(at), RAM, size, WRITE),
      (error) => errnoOf(error) === code,
      `${at}`,
    );
  }
  space.map(iova(0x2000), RAM, 0x1000n, WRITE);
  assert.throws(() => space.map(iova(0x3000), RAM, 0x1000n, WRITE), { code: "ENOSPC" });
});

test("spec T25: a dirty bitmap is rounded up to words of 64 bits", () => {
  const sizes = [1n, 64n, 65n, 128n, 129n].map((pages) => dirtyBitmapBytes(pages * 4096n, 4096n));
  assert.deepEqual(sizes, [8, 8, 16, 16, 24]);
  assert.equal(dirtyBitmapBytes(1n, 4096n), 8);
});

test("Type1Space.dirtyPages has a bit for every page the container holds as dirty", () => {
  const [guest, space] = emptySpace();
  using _guest = guest;
  space.map(iova(0x1000), RAM, 0x2000n, WRITE);
  assert.throws(() => space.dirtyPages(iova(0), 0x4000n), { code: "EINVAL" });
  space.setDirtyLogging(true);
  assert.deepEqual([...space.dirtyPages(iova(0), 0x4000n)], [0b0110, 0, 0, 0, 0, 0, 0, 0]);
  space.setDirtyLogging(false);
  const [old, version1] = emptySpace({ types: [1] });
  using _old = old;
  assert.throws(() => version1.setDirtyLogging(true), { code: "EACCES" });
});
