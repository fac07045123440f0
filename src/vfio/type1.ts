/**
 * Type1Space: the DMA space of a type 1 container (`VFIO_TYPE1v2_IOMMU`, `VFIO_TYPE1_IOMMU`): what
 * the IOMMU can do, map and unmap (spec/container.md sections 7 and 9.6).
 */

import { errnoNumber } from "../abi/errno.ts";
import { VFIO_TYPE1v2_IOMMU } from "../abi/vfio.ts";
import {
  VFIO_DMA_MAP_FLAG_READ,
  VFIO_DMA_MAP_FLAG_WRITE,
  VFIO_IOMMU_DIRTY_PAGES,
  VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP,
  VFIO_IOMMU_DIRTY_PAGES_FLAG_START,
  VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP,
  VFIO_IOMMU_GET_INFO,
  VFIO_IOMMU_INFO_CAPS,
  VFIO_IOMMU_INFO_PGSIZES,
  VFIO_IOMMU_MAP_DMA,
  VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE,
  VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION,
  VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL,
  VFIO_IOMMU_UNMAP_DMA,
  vfio_iommu_type1_dirty_bitmap,
  vfio_iommu_type1_dirty_bitmap_get,
  vfio_iommu_type1_dma_map,
  vfio_iommu_type1_dma_unmap,
  vfio_iommu_type1_info,
  vfio_iommu_type1_info_cap_iova_range,
  vfio_iommu_type1_info_cap_migration,
  vfio_iommu_type1_info_dma_avail,
  vfio_iova_range,
} from "../abi/vfio-iommu.ts";
import { hex, type Iova, iova as toIova } from "../memory/address.ts";
import type { HostMemory } from "../memory/region.ts";
import { askWithArgsz, capabilityChain } from "../sys/argsz.ts";
import { check } from "../sys/sys-error.ts";
import type { Syscalls } from "../sys/syscalls.ts";
import type { DmaSpace, IovaRange } from "./dma-space.ts";
import * as trace from "./trace.ts";

/** Mappings a container allows when it does not say: the default of `dma_entry_limit`. */
export const MAPPING_LIMIT_DEFAULT = 65535;

const EBUSY = -errnoNumber("EBUSY");
const EINVAL = -errnoNumber("EINVAL");
const WHOLE_SPACE = 1n << 64n;

/** Dirty page tracking by the IOMMU (`VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION`). */
export interface DirtyTracking {
  /** Bitmap of page sizes the log can be kept in. */
  readonly pageSizes: bigint;
  readonly maxBitmapSize: bigint;
}

export interface Type1Info {
  readonly pageSizes: bigint;
  readonly mappingLimit: number;
  readonly iovaRanges: readonly IovaRange[] | undefined;
  /** Undefined when the host page size cannot be tracked. */
  readonly dirtyTracking: DirtyTracking | undefined;
}

/** Asks a container what its IOMMU can do. @throws {SysError} VFIO_IOMMU_GET_INFO */
export function type1Info(sys: Syscalls, containerFd: number, hostPage: number): Type1Info {
  const answer = askWithArgsz(
    (arg) => sys.ioctl(containerFd, VFIO_IOMMU_GET_INFO, arg),
    vfio_iommu_type1_info.bytes({ argsz: vfio_iommu_type1_info.size }),
    "VFIO_IOMMU_GET_INFO",
  );
  const info = vfio_iommu_type1_info.at(answer);
  const hasPageSizes = (info.flags & VFIO_IOMMU_INFO_PGSIZES) !== 0;
  const hasCapabilities = (info.flags & VFIO_IOMMU_INFO_CAPS) !== 0;
  const capabilities = capabilityChain(answer, hasCapabilities ? info.cap_offset : 0);
  const available = capabilities.get(VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL);
  return {
    pageSizes: hasPageSizes ? info.iova_pgsizes : BigInt(hostPage),
    mappingLimit: available
      ? vfio_iommu_type1_info_dma_avail.at(available).avail
      : MAPPING_LIMIT_DEFAULT,
    iovaRanges: iovaRanges(capabilities.get(VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE)),
    dirtyTracking: dirtyTracking(capabilities.get(VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION), hostPage),
  };
}

function iovaRanges(capability: Uint8Array | undefined): IovaRange[] | undefined {
  if (capability === undefined) return undefined;
  const { nr_iovas } = vfio_iommu_type1_info_cap_iova_range.at(capability);
  const ranges: IovaRange[] = [];
  for (let i = 0; i < nr_iovas; i++) {
    const at = vfio_iommu_type1_info_cap_iova_range.size + i * vfio_iova_range.size;
    if (at + vfio_iova_range.size > capability.length) break;
    const { start, end } = vfio_iova_range.at(capability, at);
    ranges.push({ start: toIova(start), last: toIova(end) });
  }
  return ranges.sort((a, b) => (a.start < b.start ? -1 : 1));
}

function dirtyTracking(
  capability: Uint8Array | undefined,
  hostPage: number,
): DirtyTracking | undefined {
  if (capability === undefined) return undefined;
  const cap = vfio_iommu_type1_info_cap_migration.at(capability);
  if ((cap.pgsize_bitmap & BigInt(hostPage)) === 0n) return undefined;
  return { pageSizes: cap.pgsize_bitmap, maxBitmapSize: cap.max_dirty_bitmap_size };
}

/** Bytes of a dirty bitmap: one bit a page, rounded up to words of 64 bits. */
export function dirtyBitmapBytes(size: bigint, page: bigint): number {
  const pages = (size + page - 1n) / page;
  return Number((pages + 63n) / 64n) * 8;
}

function countBits(bitmap: Uint8Array): number {
  let count = 0;
  for (let byte of bitmap) for (; byte !== 0; byte &= byte - 1) count++;
  return count;
}

export class Type1Space implements DmaSpace {
  readonly info: Type1Info;
  /** `VFIO_TYPE1v2_IOMMU` or `VFIO_TYPE1_IOMMU`. */
  readonly type: number;
  readonly #sys: Syscalls;
  readonly #container: { readonly fd: number };
  readonly #hostPage: number;
  readonly #mapArg = vfio_iommu_type1_dma_map.bytes();
  readonly #unmapArg = vfio_iommu_type1_dma_unmap.bytes();

  /** @param container borrowed: the container node's descriptor, its IOMMU type set */
  constructor(
    sys: Syscalls,
    container: { readonly fd: number },
    options: { type: number; hostPage: number },
  ) {
    this.#sys = sys;
    this.#container = container;
    this.type = options.type;
    this.#hostPage = options.hostPage;
    this.info = type1Info(sys, container.fd, options.hostPage);
  }

  get pageSizes(): bigint {
    return this.info.pageSizes;
  }

  get iovaRanges(): readonly IovaRange[] | undefined {
    return this.info.iovaRanges;
  }

  get mappingLimit(): number {
    return this.info.mappingLimit;
  }

  /** The smallest page the IOMMU maps. */
  get smallestPage(): bigint {
    return this.pageSizes & -this.pageSizes;
  }

  map(iova: Iova, memory: HostMemory, size: bigint, access: { write: boolean }): void {
    const arg = vfio_iommu_type1_dma_map.at(this.#mapArg);
    arg.argsz = vfio_iommu_type1_dma_map.size;
    arg.flags = VFIO_DMA_MAP_FLAG_READ | (access.write ? VFIO_DMA_MAP_FLAG_WRITE : 0);
    arg.vaddr = BigInt(memory.hva);
    arg.iova = iova;
    arg.size = size;
    let result = this.#sys.ioctl(this.#container.fd, VFIO_IOMMU_MAP_DMA, this.#mapArg);
    if (result === EBUSY) {
      // Something is there that we do not know of; ours replaces it.
      this.unmap(iova, size);
      result = this.#sys.ioctl(this.#container.fd, VFIO_IOMMU_MAP_DMA, this.#mapArg);
    }
    check(result, `VFIO_IOMMU_MAP_DMA iova ${hex(iova)} size ${hex(size)}`);
  }

  unmap(iova: Iova, size: bigint): bigint {
    if (size !== WHOLE_SPACE) return this.#unmap(iova, size);
    // 2^64 does not fit the struct.
    const half = WHOLE_SPACE / 2n;
    return this.#unmap(iova, half) + this.#unmap(toIova(iova + half), half);
  }

  /** Starts or stops the IOMMU's dirty log. @throws {SysError} VFIO_IOMMU_DIRTY_PAGES */
  setDirtyLogging(on: boolean): void {
    const flags = on ? VFIO_IOMMU_DIRTY_PAGES_FLAG_START : VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP;
    const argsz = vfio_iommu_type1_dirty_bitmap.size;
    const arg = vfio_iommu_type1_dirty_bitmap.bytes({ argsz, flags });
    const result = this.#sys.ioctl(this.#container.fd, VFIO_IOMMU_DIRTY_PAGES, arg);
    check(result, `VFIO_IOMMU_DIRTY_PAGES ${on ? "START" : "STOP"}`);
  }

  /**
   * Takes the pages written since the last question: bit n of the little-endian bitmap is page n of
   * the range. Whether it fits `maxBitmapSize` is the host's to say.
   * @throws {SysError} VFIO_IOMMU_DIRTY_PAGES
   */
  dirtyPages(iova: Iova, size: bigint): Uint8Array {
    const page = BigInt(this.#hostPage);
    const bitmap = new Uint8Array(dirtyBitmapBytes(size, page));
    const head = vfio_iommu_type1_dirty_bitmap.size;
    const argsz = head + vfio_iommu_type1_dirty_bitmap_get.size;
    const arg = new Uint8Array(argsz);
    const flags = VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP;
    arg.set(vfio_iommu_type1_dirty_bitmap.bytes({ argsz, flags }));
    const get = vfio_iommu_type1_dirty_bitmap_get.at(arg, head);
    get.iova = iova;
    get.size = size;
    get.bitmap.pgsize = page;
    get.bitmap.size = BigInt(bitmap.length);
    get.bitmap.data = BigInt(this.#sys.addressOf(bitmap));
    const result = this.#sys.ioctl(this.#container.fd, VFIO_IOMMU_DIRTY_PAGES, arg);
    check(result, `VFIO_IOMMU_DIRTY_PAGES GET_BITMAP iova ${hex(iova)} size ${hex(size)}`);
    if (trace.vfio_get_dirty_bitmap.enabled) {
      trace.vfio_get_dirty_bitmap.emit({
        fd: this.#container.fd,
        iova,
        size,
        bitmap_size: bitmap.length,
        // Guest memory is mapped where it is.
        start: iova,
        dirty_pages: countBits(bitmap),
      });
    }
    return bitmap;
  }

  /** Nothing: the mappings end with the container. */
  [Symbol.dispose](): void {}

  #unmap(iova: Iova, size: bigint): bigint {
    const arg = vfio_iommu_type1_dma_unmap.at(this.#unmapArg);
    arg.argsz = vfio_iommu_type1_dma_unmap.size;
    arg.flags = 0;
    arg.iova = iova;
    arg.size = size;
    let result = this.#sys.ioctl(this.#container.fd, VFIO_IOMMU_UNMAP_DMA, this.#unmapArg);
    const wraps = iova + size === WHOLE_SPACE && size > this.smallestPage;
    if (result === EINVAL && wraps && this.type === VFIO_TYPE1v2_IOMMU) {
      // Linux 4.15 to 4.20 compute the last page's end as 0 and refuse; all but it will do.
      trace.vfio_dma_unmap_overflow_workaround.emit({});
      arg.argsz = vfio_iommu_type1_dma_unmap.size;
      arg.iova = iova;
      arg.size = size - this.smallestPage;
      result = this.#sys.ioctl(this.#container.fd, VFIO_IOMMU_UNMAP_DMA, this.#unmapArg);
    }
    check(result, `VFIO_IOMMU_UNMAP_DMA iova ${hex(iova)} size ${hex(size)}`);
    return arg.size;
  }
}
