/**
 * DmaListener: follows an address space and keeps a DMA space's mappings equal to its RAM
 * (spec/container.md section 9): which sections count, how they are rounded, and what a failure
 * means.
 */

import { alignDown, alignUp } from "../layout/bits.ts";
import { hex, type Iova, iova as toIova } from "../memory/address.ts";
import type { AddressSpace, MemoryListener, Section } from "../memory/address-space.ts";
import type { HostMemory } from "../memory/region.ts";
import { errnoText } from "../sys/errno-text.ts";
import type { ViaductError } from "../sys/sys-error.ts";
import type { Syscalls } from "../sys/syscalls.ts";
import { dmaMapError } from "./dma-error.ts";
import type { DmaSpace } from "./dma-space.ts";
import { populateRam } from "./populate-ram.ts";
import { type Report, rateLimited, reportToStderr } from "./report.ts";
import * as trace from "./trace.ts";

/**
 * Set on a region's owner whose memory is misaligned by design and never a target of DMA (a TPM
 * CRB): it is passed over without a word.
 */
export interface MisalignedByDesign {
  readonly misalignedByDesign: true;
}

export interface DmaListenerOptions {
  /** To tell how much RAM there is in all, when the host refuses. */
  readonly addressSpace: AddressSpace;
  readonly hostPage?: number;
  readonly report?: Report;
  /** RAM could not be mapped while devices are already running. */
  readonly onFatal: (error: ViaductError) => void;
}

interface DmaRange {
  readonly iova: Iova;
  readonly size: bigint;
  readonly memory: HostMemory;
}

export class DmaListener implements MemoryListener {
  readonly priority = 0;
  /** From now on RAM that cannot be mapped is fatal; before, it fails the attach. */
  initialized = false;
  /** The first failure to map RAM before `initialized`. */
  firstError: ViaductError | undefined;
  readonly #sys: Syscalls;
  readonly #space: DmaSpace;
  readonly #addressSpace: AddressSpace;
  readonly #hostPage: bigint;
  readonly #report: Report;
  /** For what follows from where a guest puts its BARs. */
  readonly #reportPlacement: Report;
  readonly #onFatal: (error: ViaductError) => void;
  /** The smallest page the IOMMU maps. */
  readonly #iommuPage: bigint;

  constructor(sys: Syscalls, space: DmaSpace, options: DmaListenerOptions) {
    this.#sys = sys;
    this.#space = space;
    this.#addressSpace = options.addressSpace;
    this.#hostPage = BigInt(options.hostPage ?? 4096);
    this.#report = options.report ?? reportToStderr;
    this.#reportPlacement = rateLimited(this.#report);
    this.#onFatal = options.onFatal;
    this.#iommuPage = space.pageSizes & -space.pageSizes;
  }

  add(section: Section): void {
    if (!isMappable(section)) {
      traceSkip("region_add", section);
      return;
    }
    if (!this.#isAligned(section, this.#reportPlacement)) return;
    const range = this.#range(section);
    if (range === undefined || !this.#fits(section, range)) {
      traceNotMapped(section, range ? this.#iommuPage : this.#hostPage);
      return;
    }
    const { iova, memory, size } = range;
    trace.vfio_listener_region_add_ram.emit({
      iova_start: iova,
      iova_end: iova + size - 1n,
      vaddr: memory.hva,
    });
    const { kind, name } = section.region;
    if (kind === "ram") {
      populateRam(this.#sys, { name, hva: memory.hva, size: Number(size) }, this.#report);
    }
    try {
      this.#space.map(iova, memory, size, { write: !section.readOnly });
    } catch (cause) {
      this.#refused(section, range, cause);
    }
  }

  remove(section: Section): void {
    if (!isMappable(section)) {
      traceSkip("region_del", section);
      return;
    }
    if (!this.#isAligned(section, () => {})) return;
    const range = this.#range(section);
    if (range === undefined) return;
    const { iova, size } = range;
    trace.vfio_listener_region_del.emit({ start: iova, end: iova + size - 1n });
    if (!this.#fits(section, range)) return;
    try {
      this.#space.unmap(iova, size);
    } catch (error) {
      this.#report(
        `VFIO_UNMAP_DMA failed: ${errnoText(error)} (IOVA ${hex(iova)}, size ${hex(size)}` +
          ` of ${section.region.name})`,
      );
    }
  }

  /** A BAR smaller than the IOMMU's page cannot be a target of peer-to-peer DMA: not an error. */
  #fits({ region }: Section, { iova, size }: DmaRange): boolean {
    if (region.kind !== "ram-device") return true;
    return iova % this.#iommuPage === 0n && size % this.#iommuPage === 0n;
  }

  #isAligned(section: Section, report: Report): boolean {
    const { address, offsetInRegion, region } = section;
    if (address % this.#hostPage === offsetInRegion % this.#hostPage) return true;
    const owner = region.owner as Partial<MisalignedByDesign> | undefined;
    if (owner?.misalignedByDesign === true) {
      trace.vfio_known_safe_misalignment.emit({
        name: region.name,
        iova: address,
        offset_within_region: offsetInRegion,
        page_size: this.#hostPage,
      });
      return false;
    }
    report(
      `${region.name}: not mapped for DMA: address ${hex(address)} and offset` +
        ` ${hex(offsetInRegion)} differ within a page of ${hex(this.#hostPage)}`,
    );
    return false;
  }

  /** Rounds inwards to host pages, a fragment at either end stays out; undefined: no page left. */
  #range(section: Section): DmaRange | undefined {
    const { address, offsetInRegion, region, size } = section;
    const iova = alignUp(address as bigint, this.#hostPage);
    const end = alignDown(address + size, this.#hostPage);
    if (iova >= end || region.memory === undefined) return undefined;
    const into = Number(offsetInRegion + (iova - address));
    const { hva, fd, fdOffset } = region.memory;
    const memory: HostMemory =
      fd === undefined
        ? { hva: hva + into }
        : { hva: hva + into, fd, fdOffset: (fdOffset ?? 0) + into };
    return { iova: toIova(iova), size: end - iova, memory };
  }

  #refused(section: Section, range: DmaRange, cause: unknown): void {
    const error = dmaMapError(this.#sys, {
      region: section.region.name,
      iova: range.iova,
      size: range.size,
      hva: range.memory.hva,
      ramBytes: this.#ramBytes(),
      cause,
    });
    if (section.region.kind === "ram-device") {
      const report = this.initialized ? this.#reportPlacement : this.#report;
      report(`${error.message}; peer-to-peer DMA to it will not work`);
    } else if (!this.initialized) {
      this.firstError ??= error;
    } else {
      this.#report(error.message);
      this.#onFatal(error);
    }
  }

  #ramBytes(): bigint {
    return this.#addressSpace.sections
      .filter((section) => section.region.kind !== "ram-device" && isMappable(section))
      .reduce((sum, { size }) => sum + size, 0n);
  }
}

function traceSkip(name: "region_add" | "region_del", { address, size }: Section): void {
  trace.vfio_listener_region_skip.emit({ name, start: address, end: address + size - 1n });
}

function traceNotMapped({ region, address, size }: Section, page_size: bigint): void {
  if (region.kind !== "ram-device") return;
  const { name } = region;
  trace.vfio_listener_region_add_no_dma_map.emit({ name, iova: address, size, page_size });
}

/**
 * Conditions 1 to 3 of the filter: RAM of any kind, not private to the guest, and not a 64-bit BAR
 * in the middle of being sized.
 */
export function isMappable({ region, address }: Section): boolean {
  if (region.kind === "io" || region.kind === "container") return false;
  return !region.protected && (address & (1n << 63n)) === 0n;
}
