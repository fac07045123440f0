import assert from "node:assert/strict";
import { test } from "node:test";
import { HVA, ram, SoftwareGuest } from "../../test/unit/software-guest.ts";
import { VFIO_IOMMU_MAP_DMA, VFIO_IOMMU_UNMAP_DMA } from "../abi/vfio-iommu.ts";
import { MemoryRegion, type RegionKind } from "../memory/region.ts";
import { ViaductError } from "../sys/sys-error.ts";

const HOLE = 0xfee0_0000n; // Reserved for MSI on x86: no map there succeeds.
const FREE = 0x2000_0000n;

function region(kind: RegionKind, size: bigint, options: { owner?: object } = {}): MemoryRegion {
  return new MemoryRegion(`a ${kind}`, kind, size, { memory: { hva: HVA }, ...options });
}

/** A region's window that begins inside it: an alias at an offset of its own. */
function misaligned(owner?: object): MemoryRegion {
  return region("ram", 0x4000n, owner ? { owner } : {});
}

test("spec T7: trapped regions, private RAM and BARs being sized are not mapped", () => {
  using guest = new SoftwareGuest();
  using _device = guest.open();
  guest.ledger.clearCalls();
  const io = new MemoryRegion("registers", "io", 0x1000n, {
    handler: { read: () => 0, write: () => {} },
  });
  const secret = new MemoryRegion("secret", "ram", 0x1000n, {
    memory: { hva: HVA },
    protected: true,
  });
  const sizing = region("ram-device", 0x1000n);
  guest.root.add(io, FREE);
  guest.root.add(secret, FREE + 0x1000n);
  guest.root.add(sizing, 0xffff_ffff_ffff_0000n);
  for (const placed of [io, secret, sizing]) guest.root.remove(placed);
  assert.equal(guest.calls("ioctl"), 0);
  assert.deepEqual(guest.reports, []);
});

test("spec T7: a misaligned section is reported and passed over, a TPM's without a word", () => {
  using guest = new SoftwareGuest();
  using _device = guest.open();
  guest.ledger.clearCalls();
  const tpm = misaligned({ misalignedByDesign: true });
  guest.root.add(tpm, FREE + 0x800n);
  assert.deepEqual(guest.reports, []);
  guest.root.add(misaligned(), FREE + 0x1_0800n);
  assert.equal(guest.reports.length, 1);
  assert.match(guest.reports[0]!, /a ram: not mapped for DMA: address 0x20010800 and offset 0x0/);
  guest.root.remove(tpm);
  assert.equal(guest.calls("ioctl"), 0);
});

/** A section of RAM that covers [address, last], aligned with itself. */
function addWindow(guest: SoftwareGuest, address: bigint, last: bigint): void {
  const base = address & ~0xfffn;
  const whole = ram("window", last - base + 1n);
  guest.root.add(whole, base);
  if (address === base) return;
  const cover = new MemoryRegion("cover", "io", address - base, {
    handler: { read: () => 0, write: () => {} },
  });
  guest.root.add(cover, base, 1);
}

test("spec T8: sections are rounded inwards to host pages", () => {
  using guest = new SoftwareGuest();
  for (const { region: placed } of guest.root.placed) guest.root.remove(placed);
  using _device = guest.open();
  addWindow(guest, 0x1800n, 0x37ffn);
  assert.deepEqual(guest.maps, ["2000+1000"]);
  const [mapping] = guest.host.containers[0]!.table!.mappings;
  assert.equal(mapping?.vaddr, BigInt(HVA + 0x1000), "the page's own address, not the section's");
  addWindow(guest, 0x10800n, 0x10fffn);
  assert.deepEqual(guest.maps, ["2000+1000"], "less than a page maps nothing");
  assert.deepEqual(guest.reports, []);
});

test("spec T9: a ROM is mapped for reading only", () => {
  using guest = new SoftwareGuest();
  using _device = guest.open();
  guest.root.add(region("rom", 0x2000n), FREE);
  const { mappings } = guest.host.containers[0]!.table!;
  assert.deepEqual(
    mappings.map(({ iova, read, write }) => [iova, read, write]),
    [
      [0n, true, true],
      [FREE, true, false],
    ],
  );
});

test("spec T10: device memory off the IOMMU's pages is neither mapped nor unmapped", () => {
  using guest = new SoftwareGuest({ pageSizes: 0x1_0000n }); // 64 KiB, host pages of 4 KiB.
  using _device = guest.open();
  guest.ledger.clearCalls();
  const small = region("ram-device", 0x1000n);
  guest.root.add(small, FREE);
  guest.root.remove(small);
  const large = region("ram-device", 0x1_0000n);
  guest.root.add(large, FREE + 0x1000n);
  guest.root.remove(large);
  assert.equal(guest.calls("ioctl"), 0);
  guest.root.add(large, FREE);
  assert.deepEqual(guest.maps, ["0+100000", "20000000+10000"]);
  guest.root.remove(large);
  assert.deepEqual(guest.maps, ["0+100000"]);
  assert.deepEqual(guest.reports, []);
});

test("spec T11: the first RAM that cannot be mapped fails the attach", () => {
  using guest = new SoftwareGuest();
  guest.root.add(ram("first", 0x1000n), HOLE);
  guest.root.add(ram("second", 0x1000n), HOLE + 0x2000n);
  assert.throws(
    () => guest.open(),
    (error) =>
      error instanceof ViaductError &&
      error.code === "DMA_MAP_FAILED" &&
      /^vfio 0000:01:00\.0: first: Cannot map 0x1000 bytes at IOVA 0xfee00000/.test(error.message),
  );
  assert.deepEqual(guest.host.describe(), []);
  assert.deepEqual(guest.ledger.live(), []);
});

test("spec T11: RAM that cannot be mapped while devices run is fatal", () => {
  const fatal: ViaductError[] = [];
  using guest = new SoftwareGuest({}, { onFatal: (error) => void fatal.push(error) });
  using _device = guest.open();
  guest.root.add(ram("hot-plugged", 0x1000n), HOLE);
  assert.equal(fatal.length, 1);
  assert.match(fatal[0]!.message, /^hot-plugged: Cannot map .* VFIO_MAP_DMA failed: Invalid/);
  assert.match(guest.reports[0]!, /hot-plugged/);
});

test("spec T11: device memory that cannot be mapped is only reported, at any time", () => {
  const fatal: ViaductError[] = [];
  using guest = new SoftwareGuest({}, { onFatal: (error) => void fatal.push(error) });
  const early = region("ram-device", 0x1000n);
  guest.root.add(early, HOLE);
  using _device = guest.open();
  guest.root.add(region("ram-device", 0x1000n), HOLE + 0x4000n);
  assert.deepEqual(fatal, []);
  assert.equal(guest.reports.length, 2);
  assert.match(guest.reports[0]!, /peer-to-peer DMA to it will not work/);
  guest.ledger.clearCalls();
  guest.root.remove(early);
  assert.equal(guest.calls(VFIO_IOMMU_UNMAP_DMA), 1);
  assert.equal(guest.reports.length, 2);
});

test("device memory is mapped for other devices: peer-to-peer DMA", () => {
  using guest = new SoftwareGuest();
  using _device = guest.open();
  guest.ledger.clearCalls();
  guest.root.add(region("ram-device", 0x10_0000n), FREE);
  assert.equal(guest.calls(VFIO_IOMMU_MAP_DMA), 1);
  assert.deepEqual(guest.maps, ["0+100000", "20000000+100000"]);
});

test("a failure to unmap is only reported", () => {
  using guest = new SoftwareGuest();
  using _device = guest.open();
  const dimm = ram("dimm", 0x1000n);
  guest.root.add(dimm, FREE);
  guest.ledger.failAt(1, "EIO");
  guest.root.remove(dimm);
  assert.match(guest.reports[0]!, /VFIO_UNMAP_DMA failed: Input\/output error .*dimm/);
});
