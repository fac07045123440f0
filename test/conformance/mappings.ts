/** Programs of a type 1 container's mappings: drivers/vfio/vfio_iommu_type1.c. */

import {
  VFIO_IOMMU_DIRTY_PAGES,
  VFIO_IOMMU_MAP_DMA,
  VFIO_IOMMU_UNMAP_DMA,
  vfio_bitmap,
  vfio_iommu_type1_dirty_bitmap,
  vfio_iommu_type1_dirty_bitmap_get,
  vfio_iommu_type1_dma_map,
  vfio_iommu_type1_dma_unmap,
} from "../../src/abi/vfio-iommu.ts";
import { answer, type ConformanceProgram, hex, type ProgramHost } from "./program.ts";

/** Free on every x86 host: above the first MiB, below the MSI window. */
const BASE = 0x100_0000n;
const PAGE = 0x1000n;
const MSI_WINDOW = 0xfee0_0000n;

interface MapRequest {
  readonly iova?: bigint;
  readonly size?: bigint;
  readonly flags?: number;
  readonly argsz?: number;
  /** From the start of the program's memory. */
  readonly memoryOffset?: bigint;
  readonly vaddr?: bigint;
}

function map({ sys, container, memory }: ProgramHost, request: MapRequest = {}): string {
  const { iova = BASE, size = 4n * PAGE, flags = 3, memoryOffset = 0n } = request;
  const vaddr = request.vaddr ?? memory + memoryOffset;
  const argsz = request.argsz ?? vfio_iommu_type1_dma_map.size;
  const arg = vfio_iommu_type1_dma_map.bytes({ argsz, flags, vaddr, iova, size });
  return answer(sys.ioctl(container, VFIO_IOMMU_MAP_DMA, arg));
}

interface UnmapRequest {
  readonly iova?: bigint;
  readonly size?: bigint;
  readonly flags?: number;
  readonly argsz?: number;
}

function unmap({ sys, container }: ProgramHost, request: UnmapRequest = {}): string {
  const { iova = BASE, size = 4n * PAGE, flags = 0 } = request;
  const argsz = request.argsz ?? vfio_iommu_type1_dma_unmap.size;
  const arg = vfio_iommu_type1_dma_unmap.bytes({ argsz, flags, iova, size });
  const result = sys.ioctl(container, VFIO_IOMMU_UNMAP_DMA, arg);
  if (result < 0) return answer(result);
  return `unmapped ${hex(vfio_iommu_type1_dma_unmap.at(arg).size)}`;
}

const MAPS: Readonly<Record<string, MapRequest>> = {
  "of four pages": {},
  "of one page": { size: PAGE },
  "of nothing": { size: 0n },
  "of half a page": { size: PAGE / 2n },
  "of a page and a half": { size: PAGE + PAGE / 2n },
  "at half a page": { iova: BASE + PAGE / 2n },
  "at one byte past a page": { iova: BASE + 1n },
  "of memory at half a page": { memoryOffset: PAGE / 2n },
  "at address 0": { iova: 0n, size: PAGE },
  "without access": { flags: 0 },
  "read only": { flags: 1 },
  "write only": { flags: 2 },
  "of an address to update": { flags: 4 },
  "of an address to update, readable": { flags: 5 },
  "with flag 3": { flags: 8 | 3 },
  "with flag 7": { flags: 0x83 },
  "with flag 31": { flags: 0x8000_0003 },
  "with argsz 0": { argsz: 0 },
  "with argsz 31": { argsz: 31 },
  "with argsz 33": { argsz: 33 },
  "with argsz 64": { argsz: 64 },
  "of no memory": { vaddr: 0n, size: PAGE },
  "of memory that is not there": { vaddr: 0x1000n, size: PAGE },
  "of the last page before the MSI window": { iova: MSI_WINDOW - PAGE, size: PAGE },
  "into the MSI window": { iova: MSI_WINDOW - PAGE, size: 2n * PAGE },
  "of the MSI window": { iova: MSI_WINDOW, size: PAGE },
  "of the MSI window's end": { iova: MSI_WINDOW + 0xf_f000n, size: PAGE },
  "behind the MSI window": { iova: MSI_WINDOW + 0x10_0000n, size: PAGE },
  "above 4 GiB": { iova: 0x1_0000_0000n, size: PAGE },
  "over 4 GiB": { iova: 0xffff_f000n, size: 2n * PAGE },
  "of the last page of 2^64": { iova: 0xffff_ffff_ffff_f000n, size: PAGE },
  "past 2^64": { iova: 0xffff_ffff_ffff_f000n, size: 2n * PAGE },
  "of memory past 2^64": { vaddr: 0xffff_ffff_ffff_f000n, size: 2n * PAGE },
  "of 2^63 bytes": { size: 0x8000_0000_0000_0000n },
};

/** Beside and over a mapping of four pages at `BASE`. */
const SECOND_MAPS: Readonly<Record<string, MapRequest>> = {
  "of the same": {},
  "of its first page": { size: PAGE },
  "of its last page": { iova: BASE + 3n * PAGE, size: PAGE },
  "over its begin": { iova: BASE - PAGE, size: 2n * PAGE },
  "over its end": { iova: BASE + 3n * PAGE, size: 2n * PAGE },
  "around it": { iova: BASE - PAGE, size: 6n * PAGE },
  "just before it": { iova: BASE - PAGE, size: PAGE },
  "just behind it": { iova: BASE + 4n * PAGE, size: PAGE },
  "of the same memory elsewhere": { iova: BASE + 0x10_0000n },
};

/** With four pages at `BASE`, one more behind them, and one after a hole. */
const UNMAPS: Readonly<Record<string, UnmapRequest>> = {
  "of the four pages": {},
  "of nothing": { size: 0n },
  "of half a page": { size: PAGE / 2n },
  "at half a page": { iova: BASE + PAGE / 2n, size: PAGE },
  "of the first page of four": { size: PAGE },
  "of the last page of four": { iova: BASE + 3n * PAGE, size: PAGE },
  "of the middle of four": { iova: BASE + PAGE, size: 2n * PAGE },
  "of two mappings": { size: 5n * PAGE },
  "of two mappings, beginning before": { iova: BASE - PAGE, size: 6n * PAGE },
  "of a mapping and a part of the next but one": { size: 7n * PAGE },
  "over a hole": { size: 8n * PAGE },
  "into the first of two": { iova: BASE + 2n * PAGE, size: 3n * PAGE },
  "where nothing is": { iova: BASE + 0x10_0000n, size: PAGE },
  "of everything by size": { iova: 0n, size: 0xffff_ffff_ffff_f000n },
  "past 2^64": { iova: 0xffff_ffff_ffff_f000n, size: 2n * PAGE },
  "of the last page of 2^64": { iova: 0xffff_ffff_ffff_f000n, size: PAGE },
  "of all": { iova: 0n, size: 0n, flags: 2 },
  "of all, with an address": { size: 0n, flags: 2 },
  "of all, with a size": { iova: 0n, flags: 2 },
  "with a bitmap and of all": { iova: 0n, size: 0n, flags: 3 },
  "of addresses": { flags: 4 },
  "with flag 3": { flags: 8 },
  "with flag 7": { flags: 0x80 },
  "with argsz 0": { argsz: 0 },
  "with argsz 23": { argsz: 23 },
  "with argsz 64": { argsz: 64 },
};

function three(host: ProgramHost): void {
  map(host);
  map(host, { iova: BASE + 4n * PAGE, size: PAGE });
  map(host, { iova: BASE + 7n * PAGE, size: PAGE });
}

/** What is left afterwards shows in a last unmap of everything. */
const rest = (host: ProgramHost): string => `then ${unmap(host, { iova: 0n, size: 0n, flags: 2 })}`;

interface DirtyRequest {
  readonly flags: number;
  readonly argsz?: number;
  readonly iova?: bigint;
  readonly size?: bigint;
  readonly pgsize?: bigint;
  readonly bitmapSize?: bigint;
}

function dirty({ sys, container }: ProgramHost, request: DirtyRequest): string {
  const { flags, iova = BASE, size = 4n * PAGE, pgsize = PAGE, bitmapSize = 8n } = request;
  const bits = new BigUint64Array(64);
  const head = vfio_iommu_type1_dirty_bitmap.size;
  const bytes = new Uint8Array(head + vfio_iommu_type1_dirty_bitmap_get.size);
  const argsz = request.argsz ?? bytes.length;
  bytes.set(vfio_iommu_type1_dirty_bitmap.bytes({ argsz, flags }));
  const bitmap = { pgsize, size: bitmapSize, data: BigInt(sys.addressOf(bits)) };
  bytes.set(vfio_iommu_type1_dirty_bitmap_get.bytes({ iova, size, bitmap }), head);
  const result = answer(sys.ioctl(container, VFIO_IOMMU_DIRTY_PAGES, bytes));
  return (flags & 4) !== 0 && result === "ok" ? `bits ${hex(bits[0]!)}` : result;
}

const START = { flags: 1 };
const STOP = { flags: 2 };

const GETS: Readonly<Record<string, Partial<DirtyRequest>>> = {
  "of the mapping": {},
  "of the mapping and what is behind": { size: 8n * PAGE },
  "of nothing": { size: 0n },
  "of half a page": { size: PAGE / 2n },
  "at half a page": { iova: BASE + PAGE / 2n },
  "of its first page": { size: PAGE },
  "where nothing is": { iova: BASE + 0x10_0000n },
  "in pages of no size": { pgsize: 0n },
  "in pages of 8 KiB": { pgsize: 2n * PAGE },
  "in pages of 2 MiB": { pgsize: 0x20_0000n },
  "in a bitmap of no bytes": { bitmapSize: 0n },
  "in a bitmap of 16 bytes": { bitmapSize: 16n },
  "in a bitmap of 2^29 bytes": { bitmapSize: 1n << 29n },
  "with argsz 8": { argsz: 8 },
  "with argsz 47": { argsz: 47 },
};

function unmapWithBitmap({ sys, container }: ProgramHost, size: bigint): string {
  const bits = new BigUint64Array(64);
  const head = vfio_iommu_type1_dma_unmap.size;
  const bytes = new Uint8Array(head + vfio_bitmap.size);
  bytes.set(vfio_iommu_type1_dma_unmap.bytes({ argsz: bytes.length, flags: 1, iova: BASE, size }));
  const data = BigInt(sys.addressOf(bits));
  bytes.set(vfio_bitmap.bytes({ pgsize: PAGE, size: 8n, data }), head);
  const result = answer(sys.ioctl(container, VFIO_IOMMU_UNMAP_DMA, bytes));
  return result === "ok" ? `bits ${hex(bits[0]!)}` : result;
}

const entries = Object.entries;

export const mappingPrograms: readonly ConformanceProgram[] = [
  ...entries(MAPS).map(
    ([what, request]): ConformanceProgram => ({
      name: `MAP_DMA ${what}`,
      stage: "iommu",
      run: (host) => `${map(host, request)}, ${rest(host)}`,
    }),
  ),
  ...entries(SECOND_MAPS).map(
    ([what, request]): ConformanceProgram => ({
      name: `MAP_DMA of four pages, then ${what}`,
      stage: "iommu",
      run: (host) => `${map(host)}, ${map(host, request)}, ${rest(host)}`,
    }),
  ),
  ...(["iommu", "iommu-v1"] as const).flatMap((stage) =>
    entries(UNMAPS).map(
      ([what, request]): ConformanceProgram => ({
        name: `UNMAP_DMA ${what}, ${stage}`,
        stage,
        run: (host) => {
          three(host);
          return `${unmap(host, request)}, ${rest(host)}`;
        },
      }),
    ),
  ),
  {
    name: "MAP_DMA with the device open",
    stage: "device",
    run: (host) => `${map(host, { size: PAGE })}, ${unmap(host, { size: PAGE })}`,
  },
];

export const dirtyPrograms: readonly ConformanceProgram[] = [
  ...[0, 1, 2, 3, 4, 5, 8, 0x80].map(
    (flags): ConformanceProgram => ({
      name: `DIRTY_PAGES with flags ${flags}`,
      stage: "iommu",
      run: (host) => dirty(host, { flags }),
    }),
  ),
  ...[0, 7, 8, 64].map(
    (argsz): ConformanceProgram => ({
      name: `DIRTY_PAGES START with argsz ${argsz}`,
      stage: "iommu",
      run: (host) => dirty(host, { flags: 1, argsz }),
    }),
  ),
  {
    name: "DIRTY_PAGES START, version 1",
    stage: "iommu-v1",
    run: (host) => dirty(host, START),
  },
  {
    name: "DIRTY_PAGES START twice, STOP twice",
    stage: "iommu",
    run: (host) => [START, START, STOP, STOP].map((each) => dirty(host, each)).join(", "),
  },
  ...entries(GETS).map(
    ([what, request]): ConformanceProgram => ({
      name: `GET_BITMAP ${what}`,
      stage: "iommu",
      run: (host) => {
        map(host);
        dirty(host, START);
        return dirty(host, { flags: 4, ...request });
      },
    }),
  ),
  {
    name: "GET_BITMAP without START",
    stage: "iommu",
    run: (host) => `${map(host)}, ${dirty(host, { flags: 4 })}`,
  },
  {
    name: "GET_BITMAP after STOP",
    stage: "iommu",
    run: (host) =>
      [map(host), dirty(host, START), dirty(host, STOP), dirty(host, { flags: 4 })].join(", "),
  },
  ...[4n, 1n, 8n].map(
    (pages): ConformanceProgram => ({
      name: `UNMAP_DMA of ${pages} pages with their bitmap`,
      stage: "iommu",
      run: (host) =>
        [map(host), dirty(host, START), unmapWithBitmap(host, pages * PAGE)].join(", "),
    }),
  ),
  {
    name: "UNMAP_DMA with its bitmap, without START",
    stage: "iommu",
    run: (host) => `${map(host)}, ${unmapWithBitmap(host, 4n * PAGE)}`,
  },
];
