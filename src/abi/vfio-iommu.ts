/**
 * linux/vfio.h: DMA mapping on a container: type1 (x86, arm64, s390) and sPAPR TCE (POWER), with
 * the EEH operations of the latter. Addresses are user-space (`vaddr`) or the device's (`iova`).
 */

import { flexible, flexibleBytes, overlay, struct, u32, u64 } from "../layout/struct.ts";
import { _IO } from "./ioctl.ts";
import { VFIO_BASE, VFIO_TYPE, vfio_info_cap_header } from "./vfio.ts";

export const VFIO_IOMMU_GET_INFO = _IO(VFIO_TYPE, VFIO_BASE + 12);
export const VFIO_IOMMU_MAP_DMA = _IO(VFIO_TYPE, VFIO_BASE + 13);
export const VFIO_IOMMU_UNMAP_DMA = _IO(VFIO_TYPE, VFIO_BASE + 14);
export const VFIO_IOMMU_ENABLE = _IO(VFIO_TYPE, VFIO_BASE + 15);
export const VFIO_IOMMU_DISABLE = _IO(VFIO_TYPE, VFIO_BASE + 16);
export const VFIO_IOMMU_DIRTY_PAGES = _IO(VFIO_TYPE, VFIO_BASE + 17);

/** Kernels before 5.4 know the first 16 bytes only. */
export const vfio_iommu_type1_info = struct("vfio_iommu_type1_info", 24, {
  argsz: u32,
  flags: u32,
  iova_pgsizes: u64,
  cap_offset: u32,
  pad: u32,
});
export const VFIO_IOMMU_INFO_PGSIZES = 1 << 0;
export const VFIO_IOMMU_INFO_CAPS = 1 << 1;

// Capabilities of the IOMMU info.
export const VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE = 1;
export const VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION = 2;
export const VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL = 3;

/** `end` is the last address inside the range. */
export const vfio_iova_range = struct("vfio_iova_range", 16, { start: u64, end: u64 });
export const vfio_iommu_type1_info_cap_iova_range = struct(
  "vfio_iommu_type1_info_cap_iova_range",
  16,
  {
    header: vfio_info_cap_header,
    nr_iovas: u32,
    reserved: u32,
    iova_ranges: flexible(vfio_iova_range),
  },
);
export const vfio_iommu_type1_info_cap_migration = struct(
  "vfio_iommu_type1_info_cap_migration",
  32,
  {
    header: vfio_info_cap_header,
    flags: u32,
    _pad: u32,
    pgsize_bitmap: u64,
    max_dirty_bitmap_size: u64,
  },
);
export const vfio_iommu_type1_info_dma_avail = struct("vfio_iommu_type1_info_dma_avail", 12, {
  header: vfio_info_cap_header,
  avail: u32,
});

export const vfio_iommu_type1_dma_map = struct("vfio_iommu_type1_dma_map", 32, {
  argsz: u32,
  flags: u32,
  vaddr: u64,
  iova: u64,
  size: u64,
});
export const VFIO_DMA_MAP_FLAG_READ = 1 << 0;
export const VFIO_DMA_MAP_FLAG_WRITE = 1 << 1;
export const VFIO_DMA_MAP_FLAG_VADDR = 1 << 2;

/** `data` points to one bit per page of `pgsize`; `size` counts its bytes. */
export const vfio_bitmap = struct("vfio_bitmap", 24, { pgsize: u64, size: u64, data: u64 });

/** The kernel writes the number of bytes really unmapped to `size`; `data` may be a vfio_bitmap. */
export const vfio_iommu_type1_dma_unmap = struct("vfio_iommu_type1_dma_unmap", 24, {
  argsz: u32,
  flags: u32,
  iova: u64,
  size: u64,
  data: flexibleBytes(),
});
export const VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP = 1 << 0;
export const VFIO_DMA_UNMAP_FLAG_ALL = 1 << 1;
export const VFIO_DMA_UNMAP_FLAG_VADDR = 1 << 2;

/** `data` is a vfio_iommu_type1_dirty_bitmap_get when the flag asks for the bitmap. */
export const vfio_iommu_type1_dirty_bitmap = struct("vfio_iommu_type1_dirty_bitmap", 8, {
  argsz: u32,
  flags: u32,
  data: flexibleBytes(),
});
export const VFIO_IOMMU_DIRTY_PAGES_FLAG_START = 1 << 0;
export const VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP = 1 << 1;
export const VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP = 1 << 2;

export const vfio_iommu_type1_dirty_bitmap_get = struct("vfio_iommu_type1_dirty_bitmap_get", 40, {
  iova: u64,
  size: u64,
  bitmap: vfio_bitmap,
});

// sPAPR TCE. Numbers 12, 17 and up are shared with type1 or the device; the fd tells them apart.
export const VFIO_IOMMU_SPAPR_TCE_GET_INFO = _IO(VFIO_TYPE, VFIO_BASE + 12);
export const VFIO_IOMMU_SPAPR_REGISTER_MEMORY = _IO(VFIO_TYPE, VFIO_BASE + 17);
export const VFIO_IOMMU_SPAPR_UNREGISTER_MEMORY = _IO(VFIO_TYPE, VFIO_BASE + 18);
export const VFIO_IOMMU_SPAPR_TCE_CREATE = _IO(VFIO_TYPE, VFIO_BASE + 19);
export const VFIO_IOMMU_SPAPR_TCE_REMOVE = _IO(VFIO_TYPE, VFIO_BASE + 20);
export const VFIO_EEH_PE_OP = _IO(VFIO_TYPE, VFIO_BASE + 21);

/** Dynamic DMA windows (version 2). */
export const vfio_iommu_spapr_tce_ddw_info = struct("vfio_iommu_spapr_tce_ddw_info", 16, {
  pgsizes: u64,
  max_dynamic_windows_supported: u32,
  levels: u32,
});
/** `ddw` counts only with VFIO_IOMMU_SPAPR_INFO_DDW. */
export const vfio_iommu_spapr_tce_info = struct("vfio_iommu_spapr_tce_info", 32, {
  argsz: u32,
  flags: u32,
  dma32_window_start: u32,
  dma32_window_size: u32,
  ddw: vfio_iommu_spapr_tce_ddw_info,
});
export const VFIO_IOMMU_SPAPR_INFO_DDW = 1 << 0;

export const vfio_iommu_spapr_register_memory = struct("vfio_iommu_spapr_register_memory", 24, {
  argsz: u32,
  flags: u32,
  vaddr: u64,
  size: u64,
});
/** `start_addr` comes back: where the kernel placed the window on the bus. */
export const vfio_iommu_spapr_tce_create = struct("vfio_iommu_spapr_tce_create", 40, {
  argsz: u32,
  flags: u32,
  page_shift: u32,
  __resv1: u32,
  window_size: u64,
  levels: u32,
  __resv2: u32,
  start_addr: u64,
});
export const vfio_iommu_spapr_tce_remove = struct("vfio_iommu_spapr_tce_remove", 16, {
  argsz: u32,
  flags: u32,
  start_addr: u64,
});

export const vfio_eeh_pe_err = struct("vfio_eeh_pe_err", 24, {
  type: u32,
  func: u32,
  addr: u64,
  mask: u64,
});
/** Operations on a partitionable endpoint, the unit of error isolation on POWER. */
export const vfio_eeh_pe_op = struct("vfio_eeh_pe_op", 40, {
  argsz: u32,
  flags: u32,
  op: u32,
  _pad: u32,
  _: overlay({ err: vfio_eeh_pe_err }),
});
export const VFIO_EEH_PE_DISABLE = 0;
export const VFIO_EEH_PE_ENABLE = 1;
export const VFIO_EEH_PE_UNFREEZE_IO = 2;
export const VFIO_EEH_PE_UNFREEZE_DMA = 3;
export const VFIO_EEH_PE_GET_STATE = 4;
export const VFIO_EEH_PE_STATE_NORMAL = 0;
export const VFIO_EEH_PE_STATE_RESET = 1;
export const VFIO_EEH_PE_STATE_STOPPED = 2;
export const VFIO_EEH_PE_STATE_STOPPED_DMA = 4;
export const VFIO_EEH_PE_STATE_UNAVAIL = 5;
export const VFIO_EEH_PE_RESET_DEACTIVATE = 5;
export const VFIO_EEH_PE_RESET_HOT = 6;
export const VFIO_EEH_PE_RESET_FUNDAMENTAL = 7;
export const VFIO_EEH_PE_CONFIGURE = 8;
export const VFIO_EEH_PE_INJECT_ERR = 9;
