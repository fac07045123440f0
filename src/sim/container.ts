/**
 * A software container: `/dev/vfio/vfio` as drivers/vfio/container.c and vfio_iommu_type1.c answer
 * it (linux/vfio.h; spec/container.md 1.4).
 */

import {
  VFIO_API_VERSION,
  VFIO_CHECK_EXTENSION,
  VFIO_DMA_CC_IOMMU,
  VFIO_GET_API_VERSION,
  VFIO_SET_IOMMU,
  VFIO_TYPE1v2_IOMMU,
  VFIO_UNMAP_ALL,
  VFIO_UPDATE_VADDR,
} from "../abi/vfio.ts";
import {
  VFIO_DMA_MAP_FLAG_READ,
  VFIO_DMA_MAP_FLAG_VADDR,
  VFIO_DMA_MAP_FLAG_WRITE,
  VFIO_DMA_UNMAP_FLAG_ALL,
  VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP,
  VFIO_DMA_UNMAP_FLAG_VADDR,
  VFIO_IOMMU_DIRTY_PAGES,
  VFIO_IOMMU_GET_INFO,
  VFIO_IOMMU_INFO_CAPS,
  VFIO_IOMMU_INFO_PGSIZES,
  VFIO_IOMMU_MAP_DMA,
  VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE,
  VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION,
  VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL,
  VFIO_IOMMU_UNMAP_DMA,
  vfio_iommu_type1_dma_map,
  vfio_iommu_type1_dma_unmap,
  vfio_iommu_type1_info,
  vfio_iommu_type1_info_cap_iova_range,
  vfio_iommu_type1_info_cap_migration,
  vfio_iommu_type1_info_dma_avail,
  vfio_iova_range,
} from "../abi/vfio-iommu.ts";
import type { Bytes } from "../sys/syscalls.ts";
import { DirtyLog } from "./dirty-log.ts";
import { DmaTable, type IommuOptions } from "./dma-table.ts";
import { answerWithChain, argumentBytes, refusal, type SoftwareFile } from "./file.ts";

/** Largest bitmap of one call: 2^31 pages. */
const MAX_DIRTY_BITMAP_SIZE = 2n ** 28n;

/** What a container needs to know of a group. */
export interface ContainerMember {
  readonly number: number;
}

/** The memory of the process that maps it. */
export interface UserMemory {
  at(address: number, length: number): ArrayBuffer;
  /** Whether all of a range is mapped. */
  isThere(address: number, length: number): boolean;
}

export class SoftwareContainer implements SoftwareFile {
  readonly name = "container";
  readonly members: ContainerMember[] = [];
  readonly #options: IommuOptions;
  readonly #memory: UserMemory;
  readonly #onClosed: () => void;
  #table: DmaTable | undefined;
  #dirty: DirtyLog | undefined;
  #type: number | undefined;

  constructor(options: IommuOptions, memory: UserMemory, onClosed: () => void) {
    this.#options = options;
    this.#memory = memory;
    this.#onClosed = onClosed;
  }

  /** The IOMMU type that was set, and its mappings: undefined before VFIO_SET_IOMMU. */
  get table(): DmaTable | undefined {
    return this.#table;
  }

  get type(): number | undefined {
    return this.#type;
  }

  /** The last group leaving takes the IOMMU's state with it. */
  leave(member: ContainerMember): void {
    this.members.splice(this.members.indexOf(member), 1);
    if (this.members.length > 0) return;
    this.#table = undefined;
    this.#dirty = undefined;
    this.#type = undefined;
  }

  closed(): void {
    this.#onClosed();
  }

  ioctl(request: number, arg: number | Bytes): number {
    if (request === VFIO_GET_API_VERSION) return VFIO_API_VERSION;
    if (request === VFIO_CHECK_EXTENSION) return this.#checkExtension(arg as number);
    if (request === VFIO_SET_IOMMU) return this.#setIommu(arg as number);
    const table = this.#table;
    if (table === undefined) return refusal("EINVAL");
    const call = this.#iommuCall(table, request);
    if (call === undefined) return refusal("ENOTTY");
    const bytes = argumentBytes(arg);
    return bytes === undefined || bytes.length < 8 ? refusal("EFAULT") : call(bytes);
  }

  /** A container has no data. */
  pread(): number {
    return refusal("EINVAL");
  }

  pwrite(): number {
    return refusal("EINVAL");
  }

  #iommuCall(table: DmaTable, request: number): ((bytes: Uint8Array) => number) | undefined {
    switch (request) {
      case VFIO_IOMMU_GET_INFO:
        return (bytes) => this.#getInfo(table, bytes);
      case VFIO_IOMMU_MAP_DMA:
        return (bytes) => this.#map(table, bytes);
      case VFIO_IOMMU_UNMAP_DMA:
        return (bytes) => this.#unmap(table, bytes);
      case VFIO_IOMMU_DIRTY_PAGES:
        return (bytes) => this.#dirty?.ioctl(bytes) ?? refusal("EACCES");
      default:
        return undefined;
    }
  }

  #checkExtension(extension: number): number {
    if (this.#options.types.includes(extension)) return 1;
    const isSet = this.#table !== undefined;
    if (extension === VFIO_DMA_CC_IOMMU) return isSet && this.#options.isCoherent ? 1 : 0;
    // Not offered while a device without an IOMMU of its own (an mdev) could join.
    if (extension === VFIO_UPDATE_VADDR) return isSet ? 1 : 0;
    return extension === VFIO_UNMAP_ALL ? 1 : 0;
  }

  #setIommu(type: number): number {
    if (this.members.length === 0 || this.#table !== undefined) return refusal("EINVAL");
    // The driver says yes to its extensions too, and then does not know them as types.
    if (type === VFIO_UNMAP_ALL) return refusal("EINVAL");
    if (!this.#options.types.includes(type)) return refusal("ENODEV");
    const fails = this.#options.setIommuFails.get(type);
    if (fails !== undefined) return refusal(fails);
    const isV2 = type === VFIO_TYPE1v2_IOMMU;
    this.#type = type;
    this.#table = new DmaTable(this.#options, isV2, this.#memory);
    // A version 1 container has no dirty log.
    if (isV2) this.#dirty = new DirtyLog(this.#table, this.#options, this.#memory);
    return 0;
  }

  #getInfo(table: DmaTable, bytes: Uint8Array): number {
    const { argsz } = vfio_iommu_type1_info.at(padded(bytes, vfio_iommu_type1_info.size));
    if (argsz < vfio_iommu_type1_info.offsetof("cap_offset")) return refusal("EINVAL");
    const capabilities = this.#options.capabilities.flatMap((name) => {
      if (name === "migration") return [this.#migrationCapability()];
      if (name === "dma-avail") return [dmaAvailable(table.available)];
      return this.#options.iovaRanges ? [rangeCapability(this.#options.iovaRanges)] : [];
    });
    const fixed = vfio_iommu_type1_info.bytes({
      argsz,
      flags: VFIO_IOMMU_INFO_PGSIZES | (capabilities.length > 0 ? VFIO_IOMMU_INFO_CAPS : 0),
      iova_pgsizes: this.#options.pageSizes,
    });
    return answerWithChain(
      bytes,
      fixed,
      vfio_iommu_type1_info.offsetof("cap_offset"),
      capabilities,
    );
  }

  #migrationCapability(): Uint8Array {
    return vfio_iommu_type1_info_cap_migration.bytes({
      header: { id: VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION, version: 1 },
      pgsize_bitmap: this.#options.dirtyPageSizes,
      max_dirty_bitmap_size: MAX_DIRTY_BITMAP_SIZE,
    });
  }

  #map(table: DmaTable, bytes: Uint8Array): number {
    if (bytes.length < vfio_iommu_type1_dma_map.size) return refusal("EFAULT");
    const { argsz, flags, vaddr, iova, size } = vfio_iommu_type1_dma_map.at(bytes);
    const access = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE;
    const known = access | VFIO_DMA_MAP_FLAG_VADDR;
    if (argsz < vfio_iommu_type1_dma_map.size || (flags & ~known) !== 0) return refusal("EINVAL");
    if (flags === VFIO_DMA_MAP_FLAG_VADDR) return table.updateAddress({ iova, size, vaddr });
    if ((flags & VFIO_DMA_MAP_FLAG_VADDR) !== 0) return refusal("EINVAL");
    return table.map({
      iova,
      size,
      vaddr,
      read: (flags & VFIO_DMA_MAP_FLAG_READ) !== 0,
      write: (flags & VFIO_DMA_MAP_FLAG_WRITE) !== 0,
    });
  }

  #unmap(table: DmaTable, bytes: Uint8Array): number {
    if (bytes.length < vfio_iommu_type1_dma_unmap.size) return refusal("EFAULT");
    const unmap = vfio_iommu_type1_dma_unmap.at(bytes);
    const { argsz, flags, iova, size } = unmap;
    const withBitmap = (flags & VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP) !== 0;
    const others = VFIO_DMA_UNMAP_FLAG_ALL | VFIO_DMA_UNMAP_FLAG_VADDR;
    const known = VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP | others;
    if (argsz < vfio_iommu_type1_dma_unmap.size || (flags & ~known) !== 0) return refusal("EINVAL");
    if (withBitmap && (flags & others) !== 0) return refusal("EINVAL");
    const all = (flags & VFIO_DMA_UNMAP_FLAG_ALL) !== 0;
    if (all && (iova !== 0n || size !== 0n)) return refusal("EINVAL");
    if ((flags & VFIO_DMA_UNMAP_FLAG_VADDR) !== 0) {
      const result = table.forgetAddresses(all ? undefined : { iova, size });
      if (typeof result === "number") return result;
      unmap.size = result;
      return 0;
    }
    if (all) {
      unmap.size = table.unmapAll();
      return 0;
    }
    if (withBitmap) {
      const result = this.#dirty?.report(bytes.subarray(24), iova, size) ?? refusal("EINVAL");
      if (result < 0) return result;
    }
    const result = table.unmap(iova, size);
    if (typeof result === "number") return result;
    unmap.size = result;
    return 0;
  }
}

/** A struct may be asked for with fewer bytes than it has today. */
function padded(bytes: Uint8Array, size: number): Uint8Array {
  if (bytes.length >= size) return bytes;
  const copy = new Uint8Array(size);
  copy.set(bytes);
  return copy;
}

function dmaAvailable(avail: number): Uint8Array {
  return vfio_iommu_type1_info_dma_avail.bytes({
    header: { id: VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL, version: 1 },
    avail,
  });
}

function rangeCapability(ranges: ReadonlyArray<{ start: bigint; end: bigint }>): Uint8Array {
  const head = vfio_iommu_type1_info_cap_iova_range.size;
  const bytes = new Uint8Array(head + ranges.length * vfio_iova_range.size);
  bytes.set(
    vfio_iommu_type1_info_cap_iova_range.bytes({
      header: { id: VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE, version: 1 },
      nr_iovas: ranges.length,
    }),
  );
  ranges.forEach((range, i) => {
    bytes.set(vfio_iova_range.bytes(range), head + i * vfio_iova_range.size);
  });
  return bytes;
}
