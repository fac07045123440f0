/**
 * linux/vfio.h: containers, groups, devices, regions, interrupts, display. In the header's order.
 * Device features (migration, DMA logging, power) are in `vfio-feature.ts`, DMA mapping (type1 and
 * sPAPR) in `vfio-iommu.ts`, the s390 parts in `vfio-ccw.ts` and `vfio-zdev.ts`.
 */

import {
  flexible,
  flexibleBytes,
  overlay,
  s32,
  struct,
  u8,
  u16,
  u32,
  u64,
} from "../layout/struct.ts";
import { _IO } from "./ioctl.ts";

export const VFIO_API_VERSION = 0;

// IOMMU types and extensions, for VFIO_CHECK_EXTENSION and VFIO_SET_IOMMU.
export const VFIO_TYPE1_IOMMU = 1;
export const VFIO_SPAPR_TCE_IOMMU = 2;
export const VFIO_TYPE1v2_IOMMU = 3;
export const VFIO_DMA_CC_IOMMU = 4;
export const VFIO_EEH = 5;
export const VFIO_SPAPR_TCE_v2_IOMMU = 7;
export const VFIO_NOIOMMU_IOMMU = 8;
export const VFIO_UNMAP_ALL = 9;
export const VFIO_UPDATE_VADDR = 10;

export const VFIO_TYPE = 0x3b;
export const VFIO_BASE = 100;

/** Head of every capability of an info struct; `next` counts from the start of that struct. */
export const vfio_info_cap_header = struct("vfio_info_cap_header", 8, {
  id: u16,
  version: u16,
  next: u32,
});

// On a container.
export const VFIO_GET_API_VERSION = _IO(VFIO_TYPE, VFIO_BASE + 0);
export const VFIO_CHECK_EXTENSION = _IO(VFIO_TYPE, VFIO_BASE + 1);
export const VFIO_SET_IOMMU = _IO(VFIO_TYPE, VFIO_BASE + 2);

// On a group.
export const VFIO_GROUP_GET_STATUS = _IO(VFIO_TYPE, VFIO_BASE + 3);
export const VFIO_GROUP_SET_CONTAINER = _IO(VFIO_TYPE, VFIO_BASE + 4);
export const VFIO_GROUP_UNSET_CONTAINER = _IO(VFIO_TYPE, VFIO_BASE + 5);
export const VFIO_GROUP_GET_DEVICE_FD = _IO(VFIO_TYPE, VFIO_BASE + 6);

export const vfio_group_status = struct("vfio_group_status", 8, { argsz: u32, flags: u32 });
export const VFIO_GROUP_FLAGS_VIABLE = 1 << 0;
export const VFIO_GROUP_FLAGS_CONTAINER_SET = 1 << 1;

// On a device.
export const VFIO_DEVICE_GET_INFO = _IO(VFIO_TYPE, VFIO_BASE + 7);

/** Kernels before 6.2 know the first 16 bytes only. */
export const vfio_device_info = struct("vfio_device_info", 24, {
  argsz: u32,
  flags: u32,
  num_regions: u32,
  num_irqs: u32,
  cap_offset: u32,
  pad: u32,
});
export const VFIO_DEVICE_FLAGS_RESET = 1 << 0;
export const VFIO_DEVICE_FLAGS_PCI = 1 << 1;
export const VFIO_DEVICE_FLAGS_PLATFORM = 1 << 2;
export const VFIO_DEVICE_FLAGS_AMBA = 1 << 3;
export const VFIO_DEVICE_FLAGS_CCW = 1 << 4;
export const VFIO_DEVICE_FLAGS_AP = 1 << 5;
export const VFIO_DEVICE_FLAGS_FSL_MC = 1 << 6;
export const VFIO_DEVICE_FLAGS_CAPS = 1 << 7;
export const VFIO_DEVICE_FLAGS_CDX = 1 << 8;

// What a mediated device's type answers in its sysfs attribute `device_api`.
export const VFIO_DEVICE_API_PCI_STRING = "vfio-pci";
export const VFIO_DEVICE_API_PLATFORM_STRING = "vfio-platform";
export const VFIO_DEVICE_API_AMBA_STRING = "vfio-amba";
export const VFIO_DEVICE_API_CCW_STRING = "vfio-ccw";
export const VFIO_DEVICE_API_AP_STRING = "vfio-ap";

// Capabilities of the device info.
export const VFIO_DEVICE_INFO_CAP_ZPCI_BASE = 1;
export const VFIO_DEVICE_INFO_CAP_ZPCI_GROUP = 2;
export const VFIO_DEVICE_INFO_CAP_ZPCI_UTIL = 3;
export const VFIO_DEVICE_INFO_CAP_ZPCI_PFIP = 4;
export const VFIO_DEVICE_INFO_CAP_PCI_ATOMIC_COMP = 5;

/** Widths of AtomicOps that the root port completes. */
export const vfio_device_info_cap_pci_atomic_comp = struct(
  "vfio_device_info_cap_pci_atomic_comp",
  16,
  { header: vfio_info_cap_header, flags: u32, reserved: u32 },
);
export const VFIO_PCI_ATOMIC_COMP32 = 1 << 0;
export const VFIO_PCI_ATOMIC_COMP64 = 1 << 1;
export const VFIO_PCI_ATOMIC_COMP128 = 1 << 2;

export const VFIO_DEVICE_GET_REGION_INFO = _IO(VFIO_TYPE, VFIO_BASE + 8);

/** `offset` is where the region lies in the device fd. */
export const vfio_region_info = struct("vfio_region_info", 32, {
  argsz: u32,
  flags: u32,
  index: u32,
  cap_offset: u32,
  size: u64,
  offset: u64,
});
export const VFIO_REGION_INFO_FLAG_READ = 1 << 0;
export const VFIO_REGION_INFO_FLAG_WRITE = 1 << 1;
export const VFIO_REGION_INFO_FLAG_MMAP = 1 << 2;
export const VFIO_REGION_INFO_FLAG_CAPS = 1 << 3;

// Capabilities of the region info.
export const VFIO_REGION_INFO_CAP_SPARSE_MMAP = 1;
export const VFIO_REGION_INFO_CAP_TYPE = 2;
/** No content: its presence says that the MSI-X table may be mapped with the rest of the BAR. */
export const VFIO_REGION_INFO_CAP_MSIX_MAPPABLE = 3;
export const VFIO_REGION_INFO_CAP_NVLINK2_SSATGT = 4;
export const VFIO_REGION_INFO_CAP_NVLINK2_LNKSPD = 5;

export const vfio_region_sparse_mmap_area = struct("vfio_region_sparse_mmap_area", 16, {
  offset: u64,
  size: u64,
});
/** The parts of a region that may be mapped; everything between them is trapped. */
export const vfio_region_info_cap_sparse_mmap = struct("vfio_region_info_cap_sparse_mmap", 16, {
  header: vfio_info_cap_header,
  nr_areas: u32,
  reserved: u32,
  areas: flexible(vfio_region_sparse_mmap_area),
});
/** What a device-specific region (index 9 and above on PCI) is. */
export const vfio_region_info_cap_type = struct("vfio_region_info_cap_type", 16, {
  header: vfio_info_cap_header,
  type: u32,
  subtype: u32,
});
export const vfio_region_info_cap_nvlink2_ssatgt = struct(
  "vfio_region_info_cap_nvlink2_ssatgt",
  16,
  { header: vfio_info_cap_header, tgt: u64 },
);
export const vfio_region_info_cap_nvlink2_lnkspd = struct(
  "vfio_region_info_cap_nvlink2_lnkspd",
  16,
  { header: vfio_info_cap_header, link_speed: u32, __pad: u32 },
);

/** Set in `type`: the low bits are the PCI vendor whose subtypes apply. */
export const VFIO_REGION_TYPE_PCI_VENDOR_TYPE = 0x8000_0000;
export const VFIO_REGION_TYPE_PCI_VENDOR_MASK = 0xffff;
export const VFIO_REGION_TYPE_GFX = 1;
export const VFIO_REGION_TYPE_CCW = 2;
export const VFIO_REGION_TYPE_MIGRATION_DEPRECATED = 3;

// Subtypes of PCI vendor 8086.
export const VFIO_REGION_SUBTYPE_INTEL_IGD_OPREGION = 1;
export const VFIO_REGION_SUBTYPE_INTEL_IGD_HOST_CFG = 2;
export const VFIO_REGION_SUBTYPE_INTEL_IGD_LPC_CFG = 3;
// Subtypes of PCI vendors 10de and 1014.
export const VFIO_REGION_SUBTYPE_NVIDIA_NVLINK2_RAM = 1;
export const VFIO_REGION_SUBTYPE_IBM_NVLINK2_ATSD = 1;
// Subtypes of VFIO_REGION_TYPE_GFX, _CCW and _MIGRATION_DEPRECATED.
export const VFIO_REGION_SUBTYPE_GFX_EDID = 1;
export const VFIO_REGION_SUBTYPE_CCW_ASYNC_CMD = 1;
export const VFIO_REGION_SUBTYPE_CCW_SCHIB = 2;
export const VFIO_REGION_SUBTYPE_CCW_CRW = 3;
export const VFIO_REGION_SUBTYPE_MIGRATION_DEPRECATED = 1;

/** Head of the EDID region; the blob itself lies at `edid_offset` of the region. */
export const vfio_region_gfx_edid = struct("vfio_region_gfx_edid", 24, {
  edid_offset: u32,
  edid_max_size: u32,
  edid_size: u32,
  max_xres: u32,
  max_yres: u32,
  link_state: u32,
});
export const VFIO_DEVICE_GFX_LINK_STATE_UP = 1;
export const VFIO_DEVICE_GFX_LINK_STATE_DOWN = 2;

/** Head of the migration region of protocol v1, which kernels since 5.18 do not offer. */
export const vfio_device_migration_info = struct("vfio_device_migration_info", 32, {
  device_state: u32,
  reserved: u32,
  pending_bytes: u64,
  data_offset: u64,
  data_size: u64,
});
export const VFIO_DEVICE_STATE_V1_STOP = 0;
export const VFIO_DEVICE_STATE_V1_RUNNING = 1 << 0;
export const VFIO_DEVICE_STATE_V1_SAVING = 1 << 1;
export const VFIO_DEVICE_STATE_V1_RESUMING = 1 << 2;
export const VFIO_DEVICE_STATE_MASK = 0x7;

export const VFIO_DEVICE_GET_IRQ_INFO = _IO(VFIO_TYPE, VFIO_BASE + 9);

export const vfio_irq_info = struct("vfio_irq_info", 16, {
  argsz: u32,
  flags: u32,
  index: u32,
  count: u32,
});
export const VFIO_IRQ_INFO_EVENTFD = 1 << 0;
export const VFIO_IRQ_INFO_MASKABLE = 1 << 1;
export const VFIO_IRQ_INFO_AUTOMASKED = 1 << 2;
export const VFIO_IRQ_INFO_NORESIZE = 1 << 3;

export const VFIO_DEVICE_SET_IRQS = _IO(VFIO_TYPE, VFIO_BASE + 10);

/** `data`: nothing, one byte or one s32 eventfd (-1: none) for each of `count` interrupts. */
export const vfio_irq_set = struct("vfio_irq_set", 20, {
  argsz: u32,
  flags: u32,
  index: u32,
  start: u32,
  count: u32,
  data: flexibleBytes(),
});
export const VFIO_IRQ_SET_DATA_NONE = 1 << 0;
export const VFIO_IRQ_SET_DATA_BOOL = 1 << 1;
export const VFIO_IRQ_SET_DATA_EVENTFD = 1 << 2;
export const VFIO_IRQ_SET_ACTION_MASK = 1 << 3;
export const VFIO_IRQ_SET_ACTION_UNMASK = 1 << 4;
export const VFIO_IRQ_SET_ACTION_TRIGGER = 1 << 5;
export const VFIO_IRQ_SET_DATA_TYPE_MASK = 0x07;
export const VFIO_IRQ_SET_ACTION_TYPE_MASK = 0x38;

export const VFIO_DEVICE_RESET = _IO(VFIO_TYPE, VFIO_BASE + 11);

// Region and interrupt indices of a PCI device.
export const VFIO_PCI_BAR0_REGION_INDEX = 0;
export const VFIO_PCI_BAR1_REGION_INDEX = 1;
export const VFIO_PCI_BAR2_REGION_INDEX = 2;
export const VFIO_PCI_BAR3_REGION_INDEX = 3;
export const VFIO_PCI_BAR4_REGION_INDEX = 4;
export const VFIO_PCI_BAR5_REGION_INDEX = 5;
export const VFIO_PCI_ROM_REGION_INDEX = 6;
export const VFIO_PCI_CONFIG_REGION_INDEX = 7;
export const VFIO_PCI_VGA_REGION_INDEX = 8;
/** Indices from here on are told apart by VFIO_REGION_INFO_CAP_TYPE. */
export const VFIO_PCI_NUM_REGIONS = 9;

export const VFIO_PCI_INTX_IRQ_INDEX = 0;
export const VFIO_PCI_MSI_IRQ_INDEX = 1;
export const VFIO_PCI_MSIX_IRQ_INDEX = 2;
export const VFIO_PCI_ERR_IRQ_INDEX = 3;
export const VFIO_PCI_REQ_IRQ_INDEX = 4;
export const VFIO_PCI_NUM_IRQS = 5;

// Region and interrupt indices of channel I/O and AP devices.
export const VFIO_CCW_CONFIG_REGION_INDEX = 0;
export const VFIO_CCW_NUM_REGIONS = 1;
export const VFIO_CCW_IO_IRQ_INDEX = 0;
export const VFIO_CCW_CRW_IRQ_INDEX = 1;
export const VFIO_CCW_REQ_IRQ_INDEX = 2;
export const VFIO_CCW_NUM_IRQS = 3;
export const VFIO_AP_REQ_IRQ_INDEX = 0;
export const VFIO_AP_CFG_CHG_IRQ_INDEX = 1;
export const VFIO_AP_NUM_IRQS = 2;

export const VFIO_DEVICE_GET_PCI_HOT_RESET_INFO = _IO(VFIO_TYPE, VFIO_BASE + 12);

/** `devid` takes the place of `group_id` when VFIO_PCI_HOT_RESET_FLAG_DEV_ID is set. */
export const vfio_pci_dependent_device = struct("vfio_pci_dependent_device", 8, {
  _: overlay({ group_id: u32, devid: u32 }),
  segment: u16,
  bus: u8,
  devfn: u8,
});
export const VFIO_PCI_DEVID_OWNED = 0;
export const VFIO_PCI_DEVID_NOT_OWNED = -1;

export const vfio_pci_hot_reset_info = struct("vfio_pci_hot_reset_info", 12, {
  argsz: u32,
  flags: u32,
  count: u32,
  devices: flexible(vfio_pci_dependent_device),
});
export const VFIO_PCI_HOT_RESET_FLAG_DEV_ID = 1 << 0;
export const VFIO_PCI_HOT_RESET_FLAG_DEV_ID_OWNED = 1 << 1;

export const VFIO_DEVICE_PCI_HOT_RESET = _IO(VFIO_TYPE, VFIO_BASE + 13);

/** `count` 0 on a device opened through its cdev: ownership is proved by the iommufd. */
export const vfio_pci_hot_reset = struct("vfio_pci_hot_reset", 12, {
  argsz: u32,
  flags: u32,
  count: u32,
  group_fds: flexible(s32),
});

export const VFIO_DEVICE_QUERY_GFX_PLANE = _IO(VFIO_TYPE, VFIO_BASE + 14);

export const vfio_device_gfx_plane_info = struct("vfio_device_gfx_plane_info", 64, {
  argsz: u32,
  flags: u32,
  drm_plane_type: u32,
  drm_format: u32,
  drm_format_mod: u64,
  width: u32,
  height: u32,
  stride: u32,
  size: u32,
  x_pos: u32,
  y_pos: u32,
  x_hot: u32,
  y_hot: u32,
  _: overlay({ region_index: u32, dmabuf_id: u32 }),
  reserved: u32,
});
export const VFIO_GFX_PLANE_TYPE_PROBE = 1 << 0;
export const VFIO_GFX_PLANE_TYPE_DMABUF = 1 << 1;
export const VFIO_GFX_PLANE_TYPE_REGION = 1 << 2;

export const VFIO_DEVICE_GET_GFX_DMABUF = _IO(VFIO_TYPE, VFIO_BASE + 15);

export const VFIO_DEVICE_IOEVENTFD = _IO(VFIO_TYPE, VFIO_BASE + 16);

/** A write of `data` to a device register that the kernel does when `fd` is signalled. */
export const vfio_device_ioeventfd = struct("vfio_device_ioeventfd", 32, {
  argsz: u32,
  flags: u32,
  offset: u64,
  data: u64,
  fd: s32,
  reserved: u32,
});
export const VFIO_DEVICE_IOEVENTFD_8 = 1 << 0;
export const VFIO_DEVICE_IOEVENTFD_16 = 1 << 1;
export const VFIO_DEVICE_IOEVENTFD_32 = 1 << 2;
export const VFIO_DEVICE_IOEVENTFD_64 = 1 << 3;
export const VFIO_DEVICE_IOEVENTFD_SIZE_MASK = 0xf;

// A device opened as /dev/vfio/devices/vfioN, with an iommufd.
export const VFIO_DEVICE_BIND_IOMMUFD = _IO(VFIO_TYPE, VFIO_BASE + 18);
export const VFIO_DEVICE_ATTACH_IOMMUFD_PT = _IO(VFIO_TYPE, VFIO_BASE + 19);
export const VFIO_DEVICE_DETACH_IOMMUFD_PT = _IO(VFIO_TYPE, VFIO_BASE + 20);

/** `token_uuid_ptr` is there from Linux 6.17 on; before that, argsz is 16. */
export const vfio_device_bind_iommufd = struct("vfio_device_bind_iommufd", 24, {
  argsz: u32,
  flags: u32,
  iommufd: s32,
  out_devid: u32,
  token_uuid_ptr: u64,
});
export const VFIO_DEVICE_BIND_FLAG_TOKEN = 1 << 0;

/** `pasid` is there from Linux 6.15 on; before that, argsz is 12. */
export const vfio_device_attach_iommufd_pt = struct("vfio_device_attach_iommufd_pt", 16, {
  argsz: u32,
  flags: u32,
  pt_id: u32,
  pasid: u32,
});
export const VFIO_DEVICE_ATTACH_PASID = 1 << 0;

/** `pasid` is there from Linux 6.15 on; before that, argsz is 8. */
export const vfio_device_detach_iommufd_pt = struct("vfio_device_detach_iommufd_pt", 12, {
  argsz: u32,
  flags: u32,
  pasid: u32,
});
export const VFIO_DEVICE_DETACH_PASID = 1 << 0;
