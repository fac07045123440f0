/**
 * The DMA-space interface: where a device's addresses lead. A group's container (type 1), an IOAS
 * of iommufd, and a vfio-user connection implement it; `dma-listener.ts` drives it from guest
 * memory.
 */

import type { Iova } from "../memory/address.ts";
import type { HostMemory } from "../memory/region.ts";

export interface IovaRange {
  readonly start: Iova;
  /** Inclusive. */
  readonly last: Iova;
}

export interface DmaSpace extends Disposable {
  /** Bitmap of page sizes the IOMMU can map; the lowest bit is the smallest page. */
  readonly pageSizes: bigint;
  /** Usable ranges, ascending; undefined when the host does not say. */
  readonly iovaRanges: readonly IovaRange[] | undefined;
  /** How many mappings the host allows in all. */
  readonly mappingLimit: number;
  /**
   * Maps process memory for the devices of this space; it stays pinned until unmapped.
   * @throws {SysError} EEXIST overlap, ENOMEM locked-memory limit, EINVAL alignment or range,
   * ENOSPC limit
   */
  map(iova: Iova, memory: HostMemory, size: bigint, access: { write: boolean }): void;
  /** @returns the number of bytes that were mapped */
  unmap(iova: Iova, size: bigint): bigint;
}
