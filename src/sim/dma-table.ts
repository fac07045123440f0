/**
 * The mappings of a software container, with the rules of drivers/vfio/vfio_iommu_type1.c
 * (spec/container.md 1.4): alignment, overlap, limits, and what an unmap may cut.
 */

import { refusal } from "./file.ts";

export interface DmaMapping {
  readonly iova: bigint;
  readonly size: bigint;
  readonly vaddr: bigint;
  readonly read: boolean;
  readonly write: boolean;
}

/** A range of a device's address space. */
interface Range {
  readonly iova: bigint;
  readonly size: bigint;
}

/** Where mapped memory is; the process behind a container may be replaced under it. */
interface Whereabouts {
  isThere(address: number, length: number): boolean;
}

export interface IommuOptions {
  /** Types CHECK_EXTENSION says yes to. */
  readonly types: readonly number[];
  /** What VFIO_SET_IOMMU answers for a type: an errno's name. */
  readonly setIommuFails: ReadonlyMap<number, string>;
  readonly pageSizes: bigint;
  /** Undefined: the container says nothing of ranges and takes any address. */
  readonly iovaRanges: ReadonlyArray<{ start: bigint; end: bigint }> | undefined;
  readonly entryLimit: number;
  /** Capabilities of VFIO_IOMMU_GET_INFO in chain order. */
  readonly capabilities: ReadonlyArray<"migration" | "dma-avail" | "iova-range">;
  readonly dirtyPageSizes: bigint;
  /** RLIMIT_MEMLOCK in bytes; undefined for no limit. */
  readonly memlock: bigint | undefined;
  /** False: takes any address for memory, for tests that only pretend to have some. */
  readonly pins: boolean;
  /** The IOMMU can keep DMA coherent with caches (`VFIO_DMA_CC_IOMMU`). */
  readonly isCoherent: boolean;
  /** What a range past 2^64 is answered: EINVAL before Linux 7. */
  readonly pastTheEnd: "EOVERFLOW" | "EINVAL";
  /** Linux 4.15 to 4.20: an unmap that ends at 2^64 is EINVAL. */
  readonly lastPageBug: boolean;
}

export const IOMMU_DEFAULTS: IommuOptions = {
  types: [1, 3],
  setIommuFails: new Map(),
  pageSizes: 0x4020_1000n,
  // x86: the MSI window is reserved, and 48 bits are translated.
  iovaRanges: [
    { start: 0n, end: 0xfedf_ffffn },
    { start: 0xfef0_0000n, end: 0xffff_ffff_ffffn },
  ],
  entryLimit: 65535,
  capabilities: ["migration", "dma-avail", "iova-range"],
  dirtyPageSizes: 0x1000n,
  memlock: undefined,
  pins: true,
  isCoherent: false,
  pastTheEnd: "EOVERFLOW",
  lastPageBug: false,
};

const MAX = (1n << 64n) - 1n;

export class DmaTable {
  readonly #options: IommuOptions;
  readonly #isV2: boolean;
  readonly #memory: Whereabouts;
  /** Ascending, not overlapping. */
  #mappings: DmaMapping[] = [];
  /** Mappings whose address was taken back, until it is updated. */
  readonly #addressless = new Set<DmaMapping>();

  constructor(options: IommuOptions, isV2: boolean, memory: Whereabouts) {
    this.#options = options;
    this.#isV2 = isV2;
    this.#memory = memory;
  }

  get mappings(): readonly DmaMapping[] {
    return this.#mappings;
  }

  get available(): number {
    return this.#options.entryLimit - this.#mappings.length;
  }

  map(wanted: DmaMapping): number {
    const { iova, size, vaddr } = wanted;
    if (size === 0n || ((iova | size | vaddr) & this.#pageMask) !== 0n) return refusal("EINVAL");
    if (iova + size - 1n > MAX || vaddr + size - 1n > MAX) {
      return refusal(this.#options.pastTheEnd);
    }
    if (!wanted.read && !wanted.write) return refusal("EINVAL");
    if (this.#overlapping(iova, size).length > 0) return refusal("EEXIST");
    if (this.available <= 0) return refusal("ENOSPC");
    const last = iova + size - 1n;
    const ranges = this.#options.iovaRanges;
    if (ranges && !ranges.some(({ start, end }) => start <= iova && last <= end)) {
      return refusal("EINVAL");
    }
    const { memlock } = this.#options;
    const locked = this.#mappings.reduce((sum, mapping) => sum + mapping.size, size);
    if (memlock !== undefined && locked > memlock) return refusal("ENOMEM");
    const { pins } = this.#options;
    if (pins && !this.#memory.isThere(Number(vaddr), Number(size))) return refusal("EFAULT");
    this.#insert(wanted);
    return 0;
  }

  /** Takes the addresses of a range's mappings back; they stay mapped, for who comes to update. */
  forgetAddresses(range: Range | undefined): bigint | number {
    const wrong = range && this.#wrongRange(range);
    if (wrong !== undefined) return refusal(wrong);
    const touched = range ? this.#overlapping(range.iova, range.size) : this.#mappings;
    if (range && this.#isV2 && touched.some((mapping) => cuts(mapping, range.iova, range.size))) {
      return refusal("EINVAL");
    }
    if (touched.some((mapping) => this.#addressless.has(mapping))) return refusal("EINVAL");
    for (const mapping of touched) this.#addressless.add(mapping);
    return touched.reduce((sum, mapping) => sum + mapping.size, 0n);
  }

  /** Says where the memory of a mapping is now that the process behind it was replaced. */
  updateAddress({ iova, size, vaddr }: Range & { readonly vaddr: bigint }): number {
    const known = this.find(iova);
    if (known === undefined) return refusal("ENOENT");
    const isWhole = known.iova === iova && known.size === size;
    if (!isWhole || !this.#addressless.delete(known)) return refusal("EINVAL");
    this.#mappings = this.#mappings.filter((mapping) => mapping !== known);
    this.#insert({ ...known, vaddr });
    return 0;
  }

  /** @returns the bytes unmapped, or a negated errno as a number */
  unmap(iova: bigint, size: bigint): bigint | number {
    const wrong = this.#wrongRange({ iova, size });
    if (wrong !== undefined) return refusal(wrong);
    if (this.#options.lastPageBug && iova + size - 1n === MAX) return refusal("EINVAL");
    const touched = this.#overlapping(iova, size);
    if (this.#isV2 && touched.some((mapping) => cuts(mapping, iova, size))) {
      return refusal("EINVAL");
    }
    // Version 1 has no such rule: it stops at a mapping that begins before the range.
    const gone = this.#isV2 ? touched : touched[0] && touched[0].iova < iova ? [] : touched;
    this.#mappings = this.#mappings.filter((mapping) => !gone.includes(mapping));
    return gone.reduce((sum, mapping) => sum + mapping.size, 0n);
  }

  unmapAll(): bigint {
    const size = this.#mappings.reduce((sum, mapping) => sum + mapping.size, 0n);
    this.#mappings = [];
    return size;
  }

  /** The mapping that holds `iova`. */
  find(iova: bigint): DmaMapping | undefined {
    return this.#overlapping(iova, 1n)[0];
  }

  /** Whether a range ends inside a mapping at either side. */
  isCut(iova: bigint, size: bigint): boolean {
    return this.#overlapping(iova, size).some((mapping) => cuts(mapping, iova, size));
  }

  get #pageMask(): bigint {
    const { pageSizes } = this.#options;
    return (pageSizes & -pageSizes) - 1n;
  }

  /** The errno for what is no range of whole pages. */
  #wrongRange({ iova, size }: Range): string | undefined {
    if (size === 0n || ((iova | size) & this.#pageMask) !== 0n) return "EINVAL";
    return iova + size - 1n > MAX ? this.#options.pastTheEnd : undefined;
  }

  #insert(mapping: DmaMapping): void {
    this.#mappings.push(mapping);
    this.#mappings.sort((a, b) => (a.iova < b.iova ? -1 : 1));
  }

  #overlapping(iova: bigint, size: bigint): DmaMapping[] {
    const end = iova + size;
    return this.#mappings.filter((m) => m.iova < end && iova < m.iova + m.size);
  }
}

function cuts(mapping: DmaMapping, iova: bigint, size: bigint): boolean {
  return mapping.iova < iova || mapping.iova + mapping.size > iova + size;
}
