/**
 * The six BARs of an assigned function (spec/pci.md sections 7 and 8.8). From the bottom up:
 *
 *   container        what the guest sizes; larger than the region after MSI-X relocation
 *     trapped region one pread or pwrite an access (`VfioRegion`), over the device's size
 *       mmap areas   the guest reaches the device itself
 *     MSI-X table, PBA, quirks   trapped, above both
 */

import {
  PCI_BASE_ADDRESS_0,
  PCI_BASE_ADDRESS_MEM_PREFETCH,
  PCI_BASE_ADDRESS_MEM_TYPE_64,
  PCI_BASE_ADDRESS_SPACE_IO,
} from "../../abi/pci-regs.ts";
import { hex } from "../../memory/address.ts";
import { MemoryRegion } from "../../memory/region.ts";
import { BAR_PRIORITY, type BarKind } from "../../pci/bar.ts";
import { errnoOf, ViaductError } from "../../sys/sys-error.ts";
import type { RegionInfo } from "../device.ts";
import { mmapAreas, type RegionArea, VfioRegion } from "../region.ts";
import type { MsixLayout } from "./msix-layout.ts";
import { carveOutTable } from "./msix-layout.ts";
import { BAR_COUNT } from "./populate.ts";
import type { VfioPciFunction } from "./vfio-pci.ts";

export interface AssignedBar {
  readonly index: number;
  readonly info: RegionInfo;
  readonly kind: BarKind;
  readonly prefetchable: boolean;
  /** What the guest sizes. */
  readonly size: number;
  readonly container: MemoryRegion;
  /** The device's own region at offset 0; absent in a BAR made for the MSI-X table alone. */
  readonly region: VfioRegion | undefined;
}

/** What a BAR's register says of it. */
export interface BarType {
  readonly kind: BarKind;
  readonly prefetchable: boolean;
}

/** A BAR that was made, or grown, for the MSI-X structures. */
export interface AddedBar extends BarType {
  readonly index: number;
  readonly size: number;
}

export class AssignedBars implements Disposable {
  readonly #fn: VfioPciFunction;
  #types: ReadonlyArray<BarType | undefined> = [];
  readonly #regions: VfioRegion[] = [];
  readonly #bars: Array<AssignedBar | undefined> = new Array(BAR_COUNT).fill(undefined);

  constructor(fn: VfioPciFunction) {
    this.#fn = fn;
  }

  /** Determines the BARs' types (7.2); a BAR whose register cannot be read stays away. */
  readTypes(): void {
    const fn = this.#fn;
    this.#types = fn.facts.bars.map((info) => {
      if (info.size === 0) return undefined;
      const low = fn.deviceConfig.read(PCI_BASE_ADDRESS_0 + 4 * info.index, 4);
      return low < 0 ? undefined : decodeType(low);
    });
  }

  get(index: number): AssignedBar | undefined {
    return this.#bars[index];
  }

  type(index: number): BarType | undefined {
    return this.#types[index];
  }

  /**
   * Makes the BARs the guest's, mapping what may be mapped (7.4).
   * @param msix where the device has its table, which is left out of the mapping
   */
  register(msix: MsixLayout | undefined, added: AddedBar | undefined): void {
    for (const info of this.#fn.facts.bars) {
      const here = added?.index === info.index ? added : undefined;
      const type = here ?? this.#types[info.index];
      const region = info.size > 0 && type ? this.#openRegion(info, msix) : undefined;
      if (type) this.#registerOne(info, { size: info.size, ...type }, region);
    }
  }

  /** Lets the guest reach the mapped areas of all BARs, or traps every access (8.8). */
  setMmapsEnabled(enabled: boolean): void {
    this.#fn.bus.root.transaction(() => {
      for (const bar of this.#bars) bar?.region?.setMmapsEnabled(enabled);
    });
  }

  /** Sub-page fix-up of every BAR whose guest address is no longer that of `before`. */
  fixMoved(before: ReadonlyArray<bigint | undefined>): void {
    for (const { index, size } of this.#fn.facts.bars) {
      if (before[index] === this.#fn.barAddress(index)) continue;
      if (size > 0 && size < this.#fn.hostPage) this.#fixSubPage(index);
    }
  }

  /** Unmaps the device. No vCPU may be inside. Idempotent. */
  [Symbol.dispose](): void {
    for (const region of this.#regions) region[Symbol.dispose]();
  }

  /**
   * After the guest moved a BAR smaller than a host page: grows it to the page when it begins one,
   * so that its mapping can be a KVM memory slot; else takes it back to its size (7.8).
   */
  #fixSubPage(index: number): void {
    const bar = this.#bars[index];
    const mmaps = bar?.region?.mmaps ?? [];
    const area = mmaps[0];
    if (!bar?.region || mmaps.length !== 1 || area?.offset !== 0 || area.size !== bar.info.size) {
      return;
    }
    const { region } = bar.region;
    const page = BigInt(this.#fn.hostPage);
    const address = this.#fn.barAddress(index);
    const grown = address !== undefined && address % page === 0n;
    const size = grown ? page : BigInt(bar.info.size);
    this.#fn.bus.root.transaction(() => {
      if (bar.container.size < size || !grown) {
        bar.container.setSize(grown ? size : BigInt(bar.size));
      }
      region.setSize(size);
      area.region.setSize(size);
      // Grown, it loses against other BARs that share the guest's page.
      this.#fn.bars.setPriority(index, grown && size !== BigInt(bar.size) ? 0 : BAR_PRIORITY);
    });
  }

  #openRegion(info: RegionInfo, msix: MsixLayout | undefined): VfioRegion {
    const fn = this.#fn;
    const { index } = info;
    if ((BigInt(info.size) & (BigInt(info.size) - 1n)) !== 0n) {
      const message = `BAR ${index} has ${hex(info.size)} bytes, which is no power of two`;
      throw new ViaductError("DEVICE_UNSUPPORTED", message);
    }
    const name = `${fn.name} BAR ${index}`;
    const { report } = fn;
    const afterAccess = () => fn.interrupts.intx.eoi();
    const region = new VfioRegion(fn.device, info, {
      ...{ name, owner: fn, afterAccess, gate: fn.accessGate, report },
    });
    this.#regions.push(region);
    this.#mapAreas(region, msix);
    return region;
  }

  #registerOne(
    info: RegionInfo,
    { size, kind, prefetchable }: BarType & { readonly size: number },
    region: VfioRegion | undefined,
  ): void {
    const fn = this.#fn;
    const { index } = info;
    const container = new MemoryRegion(`${fn.name} BAR ${index} base`, "container", BigInt(size), {
      owner: fn,
    });
    if (region) container.add(region.region, 0n);
    this.#bars[index] = { index, info, kind, prefetchable, size, container, region };
    fn.registerBar(index, container, { kind, prefetchable });
  }

  #mapAreas(region: VfioRegion, msix: MsixLayout | undefined): void {
    const fn = this.#fn;
    const { info } = region;
    if (fn.properties["x-no-mmap"]) return;
    let areas: RegionArea[] = mmapAreas(info);
    if (msix?.tableBar === info.index) {
      areas = carveOutTable(info, areas, msix, { name: fn.name, page: fn.hostPage });
    }
    try {
      region.mapAreas(fn.sys, areas);
    } catch (error) {
      const why = errnoOf(error);
      if (why === undefined) throw error;
      fn.report(`Failed to mmap ${fn.name} BAR ${info.index}. Performance may be slow (${why})`);
    }
  }
}

function decodeType(low: number): BarType {
  if ((low & PCI_BASE_ADDRESS_SPACE_IO) !== 0) return { kind: "io", prefetchable: false };
  const prefetchable = (low & PCI_BASE_ADDRESS_MEM_PREFETCH) !== 0;
  const is64Bit = (low & PCI_BASE_ADDRESS_MEM_TYPE_64) !== 0;
  return { kind: is64Bit ? "mem64" : "mem32", prefetchable };
}
