/** `VFIO_DEVICE_GET_REGION_INFO` of a software PCI device. */

import {
  VFIO_PCI_CONFIG_REGION_INDEX,
  VFIO_PCI_NUM_REGIONS,
  VFIO_PCI_ROM_REGION_INDEX,
  VFIO_PCI_VGA_REGION_INDEX,
  VFIO_REGION_INFO_CAP_MSIX_MAPPABLE,
  VFIO_REGION_INFO_CAP_SPARSE_MMAP,
  VFIO_REGION_INFO_CAP_TYPE,
  VFIO_REGION_INFO_FLAG_CAPS,
  VFIO_REGION_INFO_FLAG_MMAP,
  VFIO_REGION_INFO_FLAG_READ,
  VFIO_REGION_INFO_FLAG_WRITE,
  vfio_info_cap_header,
  vfio_region_info,
  vfio_region_info_cap_sparse_mmap,
  vfio_region_info_cap_type,
} from "../abi/vfio.ts";
import { answerWithChain, refusal } from "./file.ts";
import { romBarSize } from "./pci-config.ts";
import type { BarSpec, PciDeviceSpec, RegionSpec } from "./pci-spec.ts";

/** `VFIO_PCI_OFFSET_SHIFT`: where region n begins in the device fd, n times this. */
export const REGION_SHIFT = 2 ** 40;
const HOST_PAGE = 4096;
const VGA_REGION_SIZE = 0xc0000;

/** A region's size in bytes, 0 when it is not there. */
export function regionSize(spec: PciDeviceSpec, index: number): number {
  if (index < VFIO_PCI_ROM_REGION_INDEX) return spec.bars?.[index]?.size ?? 0;
  if (index >= VFIO_PCI_NUM_REGIONS) return ownRegion(spec, index)?.bytes.length ?? 0;
  if (index === VFIO_PCI_ROM_REGION_INDEX) return romBarSize(spec);
  if (index === VFIO_PCI_VGA_REGION_INDEX) return spec.vga ? VGA_REGION_SIZE : 0;
  return index === VFIO_PCI_CONFIG_REGION_INDEX ? (spec.configSize ?? 4096) : 0;
}

/** How many regions the device has. */
export function regionCount(spec: PciDeviceSpec): number {
  return VFIO_PCI_NUM_REGIONS + (spec.regions?.length ?? 0);
}

function ownRegion(spec: PciDeviceSpec, index: number): RegionSpec | undefined {
  return spec.regions?.[index - VFIO_PCI_NUM_REGIONS];
}

export function regionInfo(spec: PciDeviceSpec, bytes: Uint8Array): number {
  if (bytes.length < vfio_region_info.size) return refusal("EFAULT");
  const { argsz, index } = vfio_region_info.at(bytes);
  // A device that is no VGA has no such region.
  if (argsz < vfio_region_info.size || index >= regionCount(spec)) return refusal("EINVAL");
  if (index === VFIO_PCI_VGA_REGION_INDEX && !spec.vga) return refusal("EINVAL");
  const size = regionSize(spec, index);
  const capabilities = capabilitiesOf(spec, index);
  const flags = size === 0 ? 0 : flagsOf(spec, index);
  const fixed = vfio_region_info.bytes({
    argsz,
    flags: flags | (capabilities.length > 0 ? VFIO_REGION_INFO_FLAG_CAPS : 0),
    index,
    size: BigInt(size),
    offset: BigInt(index * REGION_SHIFT),
  });
  return answerWithChain(bytes, fixed, vfio_region_info.offsetof("cap_offset"), capabilities);
}

function flagsOf(spec: PciDeviceSpec, index: number): number {
  const readOnly = index === VFIO_PCI_ROM_REGION_INDEX || index >= VFIO_PCI_NUM_REGIONS;
  if (readOnly) return VFIO_REGION_INFO_FLAG_READ;
  const both = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
  return canMap(spec.bars?.[index]) ? both | VFIO_REGION_INFO_FLAG_MMAP : both;
}

/** How much of a BAR may be mapped: whole pages. */
export function mappedSize(spec: PciDeviceSpec, index: number): number {
  return Math.ceil(regionSize(spec, index) / HOST_PAGE) * HOST_PAGE;
}

export function canMap(bar: BarSpec | undefined): boolean {
  if (bar === undefined || bar.kind === "io") return false;
  return bar.mmap ?? bar.size >= HOST_PAGE;
}

function capabilitiesOf(spec: PciDeviceSpec, index: number): Uint8Array[] {
  const own = ownRegion(spec, index);
  if (own) {
    const header = { id: VFIO_REGION_INFO_CAP_TYPE, version: 1 };
    const { type, subtype } = own;
    return [vfio_region_info_cap_type.bytes({ header, type, subtype })];
  }
  const bar = index < VFIO_PCI_ROM_REGION_INDEX ? spec.bars?.[index] : undefined;
  if (bar === undefined || !canMap(bar)) return [];
  const capabilities: Uint8Array[] = [];
  if (bar.sparse) {
    capabilities.push(
      vfio_region_info_cap_sparse_mmap.bytes({
        header: { id: VFIO_REGION_INFO_CAP_SPARSE_MMAP, version: 1 },
        nr_areas: bar.sparse.length,
        areas: bar.sparse.map(({ offset, size }) => ({
          offset: BigInt(offset),
          size: BigInt(size),
        })),
      }),
    );
  }
  if (spec.msix?.table.bar === index && spec.msixMappable !== false) {
    capabilities.push(
      vfio_info_cap_header.bytes({ id: VFIO_REGION_INFO_CAP_MSIX_MAPPABLE, version: 1 }),
    );
  }
  return capabilities;
}
