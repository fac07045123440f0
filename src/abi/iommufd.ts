/**
 * linux/iommufd.h: /dev/iommu. I/O address spaces (IOAS), hardware page tables (HWPT), dirty
 * tracking, nested translation, virtual IOMMUs. In the header's order. Every argument begins with
 * its own `size`, so that a newer kernel's longer struct works with an older program.
 */

import { array, bytes, le64, overlay, s32, struct, u8, u16, u32, u64 } from "../layout/struct.ts";
import { _IO } from "./ioctl.ts";

export const IOMMUFD_TYPE = 0x3b;

// Ioctl numbers, all without a size.
export const IOMMUFD_CMD_BASE = 0x80;
export const IOMMUFD_CMD_DESTROY = IOMMUFD_CMD_BASE;
export const IOMMUFD_CMD_IOAS_ALLOC = 0x81;
export const IOMMUFD_CMD_IOAS_ALLOW_IOVAS = 0x82;
export const IOMMUFD_CMD_IOAS_COPY = 0x83;
export const IOMMUFD_CMD_IOAS_IOVA_RANGES = 0x84;
export const IOMMUFD_CMD_IOAS_MAP = 0x85;
export const IOMMUFD_CMD_IOAS_UNMAP = 0x86;
export const IOMMUFD_CMD_OPTION = 0x87;
export const IOMMUFD_CMD_VFIO_IOAS = 0x88;
export const IOMMUFD_CMD_HWPT_ALLOC = 0x89;
export const IOMMUFD_CMD_GET_HW_INFO = 0x8a;
export const IOMMUFD_CMD_HWPT_SET_DIRTY_TRACKING = 0x8b;
export const IOMMUFD_CMD_HWPT_GET_DIRTY_BITMAP = 0x8c;
export const IOMMUFD_CMD_HWPT_INVALIDATE = 0x8d;
export const IOMMUFD_CMD_FAULT_QUEUE_ALLOC = 0x8e;
export const IOMMUFD_CMD_IOAS_MAP_FILE = 0x8f;
export const IOMMUFD_CMD_VIOMMU_ALLOC = 0x90;
export const IOMMUFD_CMD_VDEVICE_ALLOC = 0x91;
export const IOMMUFD_CMD_IOAS_CHANGE_PROCESS = 0x92;
export const IOMMUFD_CMD_VEVENTQ_ALLOC = 0x93;
export const IOMMUFD_CMD_HW_QUEUE_ALLOC = 0x94;
export const IOMMUFD_CMD_IOAS_NOIOMMU_GET_PA = 0x95;

/** Any object; EBUSY while another one uses it. */
export const iommu_destroy = struct("iommu_destroy", 8, { size: u32, id: u32 });
export const IOMMU_DESTROY = _IO(IOMMUFD_TYPE, IOMMUFD_CMD_DESTROY);

/** An I/O address space: the maps, without a device yet. */
export const iommu_ioas_alloc = struct("iommu_ioas_alloc", 12, {
  size: u32,
  flags: u32,
  out_ioas_id: u32,
});
export const IOMMU_IOAS_ALLOC = _IO(IOMMUFD_TYPE, IOMMUFD_CMD_IOAS_ALLOC);

/** `last` is inside the range. */
export const iommu_iova_range = struct("iommu_iova_range", 16, { start: u64, last: u64 });

/** What may be mapped now. EMSGSIZE: `num_iovas` says how many there are. */
export const iommu_ioas_iova_ranges = struct("iommu_ioas_iova_ranges", 32, {
  size: u32,
  ioas_id: u32,
  num_iovas: u32,
  __reserved: u32,
  allowed_iovas: u64,
  out_iova_alignment: u64,
});
export const IOMMU_IOAS_IOVA_RANGES = _IO(IOMMUFD_TYPE, IOMMUFD_CMD_IOAS_IOVA_RANGES);

/** What must stay mappable, whichever device comes later. */
export const iommu_ioas_allow_iovas = struct("iommu_ioas_allow_iovas", 24, {
  size: u32,
  ioas_id: u32,
  num_iovas: u32,
  __reserved: u32,
  allowed_iovas: u64,
});
export const IOMMU_IOAS_ALLOW_IOVAS = _IO(IOMMUFD_TYPE, IOMMUFD_CMD_IOAS_ALLOW_IOVAS);

// enum iommufd_ioas_map_flags.
export const IOMMU_IOAS_MAP_FIXED_IOVA = 1 << 0;
export const IOMMU_IOAS_MAP_WRITEABLE = 1 << 1;
export const IOMMU_IOAS_MAP_READABLE = 1 << 2;

/** `iova` comes back unless IOMMU_IOAS_MAP_FIXED_IOVA is set. */
export const iommu_ioas_map = struct("iommu_ioas_map", 40, {
  size: u32,
  flags: u32,
  ioas_id: u32,
  __reserved: u32,
  user_va: u64,
  length: u64,
  iova: u64,
});
export const IOMMU_IOAS_MAP = _IO(IOMMUFD_TYPE, IOMMUFD_CMD_IOAS_MAP);

/** The physical address behind an IOVA, without an IOMMU (Linux 7.x). */
export const iommu_ioas_noiommu_get_pa = struct("iommu_ioas_noiommu_get_pa", 40, {
  size: u32,
  flags: u32,
  ioas_id: u32,
  __reserved: u32,
  iova: u64,
  length: u64,
  out_phys: u64,
});
export const IOMMU_IOAS_NOIOMMU_GET_PA = _IO(IOMMUFD_TYPE, IOMMUFD_CMD_IOAS_NOIOMMU_GET_PA);

/** Maps a memfd or dma-buf from `start` on; no user address is needed. */
export const iommu_ioas_map_file = struct("iommu_ioas_map_file", 40, {
  size: u32,
  flags: u32,
  ioas_id: u32,
  fd: s32,
  start: u64,
  length: u64,
  iova: u64,
});
export const IOMMU_IOAS_MAP_FILE = _IO(IOMMUFD_TYPE, IOMMUFD_CMD_IOAS_MAP_FILE);

/** Maps what another IOAS has mapped; the pages are pinned once. */
export const iommu_ioas_copy = struct("iommu_ioas_copy", 40, {
  size: u32,
  flags: u32,
  dst_ioas_id: u32,
  src_ioas_id: u32,
  length: u64,
  dst_iova: u64,
  src_iova: u64,
});
export const IOMMU_IOAS_COPY = _IO(IOMMUFD_TYPE, IOMMUFD_CMD_IOAS_COPY);

/** The number of bytes unmapped comes back in `length`. */
export const iommu_ioas_unmap = struct("iommu_ioas_unmap", 24, {
  size: u32,
  ioas_id: u32,
  iova: u64,
  length: u64,
});
export const IOMMU_IOAS_UNMAP = _IO(IOMMUFD_TYPE, IOMMUFD_CMD_IOAS_UNMAP);

// enum iommufd_option.
export const IOMMU_OPTION_RLIMIT_MODE = 0;
export const IOMMU_OPTION_HUGE_PAGES = 1;

// enum iommufd_option_ops.
export const IOMMU_OPTION_OP_SET = 0;
export const IOMMU_OPTION_OP_GET = 1;

/** A setting of one object, or of all (`object_id` 0). */
export const iommu_option = struct("iommu_option", 24, {
  size: u32,
  option_id: u32,
  op: u16,
  __reserved: u16,
  object_id: u32,
  val64: u64,
});
export const IOMMU_OPTION = _IO(IOMMUFD_TYPE, IOMMUFD_CMD_OPTION);

// enum iommufd_vfio_ioas_op.
export const IOMMU_VFIO_IOAS_GET = 0;
export const IOMMU_VFIO_IOAS_SET = 1;
export const IOMMU_VFIO_IOAS_CLEAR = 2;

/** The IOAS that the type1 compatibility ioctls of this fd work on. */
export const iommu_vfio_ioas = struct("iommu_vfio_ioas", 12, {
  size: u32,
  ioas_id: u32,
  op: u16,
  __reserved: u16,
});
export const IOMMU_VFIO_IOAS = _IO(IOMMUFD_TYPE, IOMMUFD_CMD_VFIO_IOAS);

// enum iommufd_hwpt_alloc_flags.
export const IOMMU_HWPT_ALLOC_NEST_PARENT = 1 << 0;
export const IOMMU_HWPT_ALLOC_DIRTY_TRACKING = 1 << 1;
export const IOMMU_HWPT_FAULT_ID_VALID = 1 << 2;
export const IOMMU_HWPT_ALLOC_PASID = 1 << 3;

// enum iommu_hwpt_vtd_s1_flags.
export const IOMMU_VTD_S1_SRE = 1 << 0;
export const IOMMU_VTD_S1_EAFE = 1 << 1;
export const IOMMU_VTD_S1_WPE = 1 << 2;

/** First stage of Intel VT-d: the guest's page table. */
export const iommu_hwpt_vtd_s1 = struct("iommu_hwpt_vtd_s1", 24, {
  flags: u64,
  pgtbl_addr: u64,
  addr_width: u32,
  __reserved: u32,
});

/** First two words of a stream table entry. */
export const iommu_hwpt_arm_smmuv3 = struct("iommu_hwpt_arm_smmuv3", 16, { ste: array(le64, 2) });

/** Words of a device table entry. */
export const iommu_hwpt_amd_guest = struct("iommu_hwpt_amd_guest", 32, { dte: array(u64, 4) });

// enum iommu_hwpt_data_type.
export const IOMMU_HWPT_DATA_NONE = 0;
export const IOMMU_HWPT_DATA_VTD_S1 = 1;
export const IOMMU_HWPT_DATA_ARM_SMMUV3 = 2;
export const IOMMU_HWPT_DATA_AMD_GUEST = 3;

/** A page table in hardware form; `pt_id` is an IOAS, a parent HWPT or a vIOMMU. */
export const iommu_hwpt_alloc = struct("iommu_hwpt_alloc", 48, {
  size: u32,
  flags: u32,
  dev_id: u32,
  pt_id: u32,
  out_hwpt_id: u32,
  __reserved: u32,
  data_type: u32,
  data_len: u32,
  data_uptr: u64,
  fault_id: u32,
  __reserved2: u32,
});
export const IOMMU_HWPT_ALLOC = _IO(IOMMUFD_TYPE, IOMMUFD_CMD_HWPT_ALLOC);

// enum iommu_hw_info_vtd_flags.
export const IOMMU_HW_INFO_VTD_ERRATA_772415_SPR17 = 1 << 0;

/** Capability registers of Intel VT-d. */
export const iommu_hw_info_vtd = struct("iommu_hw_info_vtd", 24, {
  flags: u32,
  __reserved: u32,
  cap_reg: u64,
  ecap_reg: u64,
});

// enum iommu_hw_info_arm_smmuv3_flags.
export const IOMMU_HW_INFO_ARM_SMMUV3_ERRATA_REPEAT_TLBI_CFGI = 1 << 0;

/** Identification registers of the SMMU. */
export const iommu_hw_info_arm_smmuv3 = struct("iommu_hw_info_arm_smmuv3", 40, {
  flags: u32,
  __reserved: u32,
  idr: array(u32, 6),
  iidr: u32,
  aidr: u32,
});

/** Command queue virtualization of Tegra241. */
export const iommu_hw_info_tegra241_cmdqv = struct("iommu_hw_info_tegra241_cmdqv", 8, {
  flags: u32,
  version: u8,
  log2vcmdqs: u8,
  log2vsids: u8,
  __reserved: u8,
});

/** Extended feature registers of AMD-Vi. */
export const iommu_hw_info_amd = struct("iommu_hw_info_amd", 16, { efr: u64, efr2: u64 });

// enum iommu_hw_info_type.
export const IOMMU_HW_INFO_TYPE_NONE = 0;
export const IOMMU_HW_INFO_TYPE_DEFAULT = 0;
export const IOMMU_HW_INFO_TYPE_INTEL_VTD = 1;
export const IOMMU_HW_INFO_TYPE_ARM_SMMUV3 = 2;
export const IOMMU_HW_INFO_TYPE_TEGRA241_CMDQV = 3;
export const IOMMU_HW_INFO_TYPE_AMD = 4;

// enum iommufd_hw_capabilities.
export const IOMMU_HW_CAP_DIRTY_TRACKING = 1 << 0;
export const IOMMU_HW_CAP_PCI_PASID_EXEC = 1 << 1;
export const IOMMU_HW_CAP_PCI_PASID_PRIV = 1 << 2;
export const IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED = 1 << 3;

// enum iommufd_hw_info_flags.
export const IOMMU_HW_INFO_FLAG_INPUT_TYPE = 1 << 0;

/** The kernel fills `data_len` bytes at `data_uptr` and says how long its own are. */
export const iommu_hw_info = struct("iommu_hw_info", 40, {
  size: u32,
  flags: u32,
  dev_id: u32,
  data_len: u32,
  data_uptr: u64,
  _: overlay({ in_data_type: u32, out_data_type: u32 }),
  out_max_pasid_log2: u8,
  __reserved: bytes(3),
  out_capabilities: u64,
});
export const IOMMU_GET_HW_INFO = _IO(IOMMUFD_TYPE, IOMMUFD_CMD_GET_HW_INFO);

// enum iommufd_hwpt_set_dirty_tracking_flags.
export const IOMMU_HWPT_DIRTY_TRACKING_ENABLE = 1;

/** Starts or stops dirty tracking in the page table. */
export const iommu_hwpt_set_dirty_tracking = struct("iommu_hwpt_set_dirty_tracking", 16, {
  size: u32,
  flags: u32,
  hwpt_id: u32,
  __reserved: u32,
});
export const IOMMU_HWPT_SET_DIRTY_TRACKING = _IO(IOMMUFD_TYPE, IOMMUFD_CMD_HWPT_SET_DIRTY_TRACKING);

// enum iommufd_hwpt_get_dirty_bitmap_flags.
export const IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR = 1;

/** Sets one bit at `data` for each dirty page; clears the log unless told not to. */
export const iommu_hwpt_get_dirty_bitmap = struct("iommu_hwpt_get_dirty_bitmap", 48, {
  size: u32,
  hwpt_id: u32,
  flags: u32,
  __reserved: u32,
  iova: u64,
  length: u64,
  page_size: u64,
  data: u64,
});
export const IOMMU_HWPT_GET_DIRTY_BITMAP = _IO(IOMMUFD_TYPE, IOMMUFD_CMD_HWPT_GET_DIRTY_BITMAP);

// enum iommu_hwpt_invalidate_data_type.
export const IOMMU_HWPT_INVALIDATE_DATA_VTD_S1 = 0;
export const IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3 = 1;

// enum iommu_hwpt_vtd_s1_invalidate_flags.
export const IOMMU_VTD_INV_FLAGS_LEAF = 1 << 0;

/** One range; npages all ones: everything. */
export const iommu_hwpt_vtd_s1_invalidate = struct("iommu_hwpt_vtd_s1_invalidate", 24, {
  addr: u64,
  npages: u64,
  flags: u32,
  __reserved: u32,
});

/** A command as the guest wrote it. */
export const iommu_viommu_arm_smmuv3_invalidate = struct("iommu_viommu_arm_smmuv3_invalidate", 16, {
  cmd: array(le64, 2),
});

/** `entry_num` entries of `entry_len` bytes; how many were done comes back. */
export const iommu_hwpt_invalidate = struct("iommu_hwpt_invalidate", 32, {
  size: u32,
  hwpt_id: u32,
  data_uptr: u64,
  data_type: u32,
  entry_len: u32,
  entry_num: u32,
  __reserved: u32,
});
export const IOMMU_HWPT_INVALIDATE = _IO(IOMMUFD_TYPE, IOMMUFD_CMD_HWPT_INVALIDATE);

// enum iommu_hwpt_pgfault_flags.
export const IOMMU_PGFAULT_FLAGS_PASID_VALID = 1 << 0;
export const IOMMU_PGFAULT_FLAGS_LAST_PAGE = 1 << 1;

// enum iommu_hwpt_pgfault_perm.
export const IOMMU_PGFAULT_PERM_READ = 1 << 0;
export const IOMMU_PGFAULT_PERM_WRITE = 1 << 1;
export const IOMMU_PGFAULT_PERM_EXEC = 1 << 2;
export const IOMMU_PGFAULT_PERM_PRIV = 1 << 3;

/** A page fault read from the fault queue. */
export const iommu_hwpt_pgfault = struct("iommu_hwpt_pgfault", 40, {
  flags: u32,
  dev_id: u32,
  pasid: u32,
  grpid: u32,
  perm: u32,
  __reserved: u32,
  addr: u64,
  length: u32,
  cookie: u32,
});

// enum iommufd_page_response_code.
export const IOMMUFD_PAGE_RESP_SUCCESS = 0;
export const IOMMUFD_PAGE_RESP_INVALID = 1;

/** The answer, written to the fault queue. */
export const iommu_hwpt_page_response = struct("iommu_hwpt_page_response", 8, {
  cookie: u32,
  code: u32,
});

/** A queue of page faults, with an fd of its own. */
export const iommu_fault_alloc = struct("iommu_fault_alloc", 16, {
  size: u32,
  flags: u32,
  out_fault_id: u32,
  out_fault_fd: u32,
});
export const IOMMU_FAULT_QUEUE_ALLOC = _IO(IOMMUFD_TYPE, IOMMUFD_CMD_FAULT_QUEUE_ALLOC);

// enum iommu_viommu_type.
export const IOMMU_VIOMMU_TYPE_DEFAULT = 0;
export const IOMMU_VIOMMU_TYPE_ARM_SMMUV3 = 1;
export const IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV = 2;

/** Where the virtual interface may be mapped. */
export const iommu_viommu_tegra241_cmdqv = struct("iommu_viommu_tegra241_cmdqv", 16, {
  out_vintf_mmap_offset: u64,
  out_vintf_mmap_length: u64,
});

/** A virtual IOMMU: the slice of a physical one that a guest has. */
export const iommu_viommu_alloc = struct("iommu_viommu_alloc", 40, {
  size: u32,
  flags: u32,
  type: u32,
  dev_id: u32,
  hwpt_id: u32,
  out_viommu_id: u32,
  data_len: u32,
  __reserved: u32,
  data_uptr: u64,
});
export const IOMMU_VIOMMU_ALLOC = _IO(IOMMUFD_TYPE, IOMMUFD_CMD_VIOMMU_ALLOC);

/** A device as the guest's IOMMU names it. */
export const iommu_vdevice_alloc = struct("iommu_vdevice_alloc", 24, {
  size: u32,
  viommu_id: u32,
  dev_id: u32,
  out_vdevice_id: u32,
  virt_id: u64,
});
export const IOMMU_VDEVICE_ALLOC = _IO(IOMMUFD_TYPE, IOMMUFD_CMD_VDEVICE_ALLOC);

/** Moves the accounting of pinned memory to the calling process. */
export const iommu_ioas_change_process = struct("iommu_ioas_change_process", 8, {
  size: u32,
  __reserved: u32,
});
export const IOMMU_IOAS_CHANGE_PROCESS = _IO(IOMMUFD_TYPE, IOMMUFD_CMD_IOAS_CHANGE_PROCESS);

// enum iommu_veventq_flag.
export const IOMMU_VEVENTQ_FLAG_LOST_EVENTS = 1 << 0;

/** Before each event of a queue. */
export const iommufd_vevent_header = struct("iommufd_vevent_header", 8, {
  flags: u32,
  sequence: u32,
});

// enum iommu_veventq_type.
export const IOMMU_VEVENTQ_TYPE_DEFAULT = 0;
export const IOMMU_VEVENTQ_TYPE_ARM_SMMUV3 = 1;
export const IOMMU_VEVENTQ_TYPE_TEGRA241_CMDQV = 2;

/** An SMMU event record. */
export const iommu_vevent_arm_smmuv3 = struct("iommu_vevent_arm_smmuv3", 32, {
  evt: array(le64, 4),
});

/** Error bits of the command queues. */
export const iommu_vevent_tegra241_cmdqv = struct("iommu_vevent_tegra241_cmdqv", 16, {
  lvcmdq_err_map: array(le64, 2),
});

/** A queue of a vIOMMU's events, with an fd of its own. */
export const iommu_veventq_alloc = struct("iommu_veventq_alloc", 32, {
  size: u32,
  flags: u32,
  viommu_id: u32,
  type: u32,
  veventq_depth: u32,
  out_veventq_id: u32,
  out_veventq_fd: u32,
  __reserved: u32,
});
export const IOMMU_VEVENTQ_ALLOC = _IO(IOMMUFD_TYPE, IOMMUFD_CMD_VEVENTQ_ALLOC);

// enum iommu_hw_queue_type.
export const IOMMU_HW_QUEUE_TYPE_DEFAULT = 0;
export const IOMMU_HW_QUEUE_TYPE_TEGRA241_CMDQV = 1;

/** A hardware queue of a vIOMMU in guest memory. */
export const iommu_hw_queue_alloc = struct("iommu_hw_queue_alloc", 40, {
  size: u32,
  flags: u32,
  viommu_id: u32,
  type: u32,
  index: u32,
  out_hw_queue_id: u32,
  nesting_parent_iova: u64,
  length: u64,
});
export const IOMMU_HW_QUEUE_ALLOC = _IO(IOMMUFD_TYPE, IOMMUFD_CMD_HW_QUEUE_ALLOC);
