/**
 * `VFIO_IOMMU_DIRTY_PAGES` of a software container. As with real devices behind type 1, whose
 * writes the IOMMU does not report, every mapped page counts as dirty whenever it is asked.
 */

import {
  VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP,
  VFIO_IOMMU_DIRTY_PAGES_FLAG_START,
  VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP,
  vfio_bitmap,
  vfio_iommu_type1_dirty_bitmap,
  vfio_iommu_type1_dirty_bitmap_get,
} from "../abi/vfio-iommu.ts";
import type { UserMemory } from "./container.ts";
import type { DmaTable, IommuOptions } from "./dma-table.ts";
import { refusal } from "./file.ts";

const MAX_BITMAP_BYTES = 2n ** 28n;

export class DirtyLog {
  readonly #table: DmaTable;
  readonly #page: bigint;
  readonly #memory: Pick<UserMemory, "at">;
  #logging = false;

  constructor(table: DmaTable, options: IommuOptions, memory: Pick<UserMemory, "at">) {
    this.#table = table;
    this.#page = options.pageSizes & -options.pageSizes;
    this.#memory = memory;
  }

  ioctl(bytes: Uint8Array): number {
    const { argsz, flags } = vfio_iommu_type1_dirty_bitmap.at(bytes);
    if (argsz < vfio_iommu_type1_dirty_bitmap.size) return refusal("EINVAL");
    switch (flags) {
      case VFIO_IOMMU_DIRTY_PAGES_FLAG_START:
        this.#logging = true;
        return 0;
      case VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP:
        this.#logging = false;
        return 0;
      case VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP: {
        const head = vfio_iommu_type1_dirty_bitmap.size;
        const size = head + vfio_iommu_type1_dirty_bitmap_get.size;
        if (argsz < size || bytes.length < size) return refusal("EINVAL");
        const get = vfio_iommu_type1_dirty_bitmap_get.at(bytes, head);
        return this.report(bytes.subarray(head + 16), get.iova, get.size);
      }
      default:
        return refusal("EINVAL");
    }
  }

  /** Fills the bitmap of a range. @param arg begins with `struct vfio_bitmap` */
  report(arg: Uint8Array, iova: bigint, size: bigint): number {
    if (arg.length < vfio_bitmap.size) return refusal("EINVAL");
    const bitmap = vfio_bitmap.at(arg);
    const mask = this.#page - 1n;
    if (!this.#logging || bitmap.pgsize !== this.#page) return refusal("EINVAL");
    if (size === 0n || ((iova | size) & mask) !== 0n) return refusal("EINVAL");
    const needed = ((size / this.#page + 63n) / 64n) * 8n;
    if (bitmap.size < needed || bitmap.size > MAX_BITMAP_BYTES) return refusal("EINVAL");
    if (this.#table.isCut(iova, size)) return refusal("EINVAL");
    // SAFETY: the caller vouches for the pointer in its struct, as to a kernel.
    const bits = new Uint8Array(this.#memory.at(Number(bitmap.data), Number(needed)));
    for (const mapping of this.#table.mappings) {
      const start = mapping.iova > iova ? mapping.iova : iova;
      const end = minimum(mapping.iova + mapping.size, iova + size);
      for (let at = start; at < end; at += this.#page) {
        const page = Number((at - iova) / this.#page);
        bits[page >> 3]! |= 1 << (page & 7);
      }
    }
    return 0;
  }
}

const minimum = (a: bigint, b: bigint): bigint => (a < b ? a : b);
