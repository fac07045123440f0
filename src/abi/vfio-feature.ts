/**
 * linux/vfio.h: VFIO_DEVICE_FEATURE and the content of each feature: migration protocol v2, DMA
 * logging, low power, bus mastering, dma-buf export.
 */

import { flexible, flexibleBytes, s32, struct, u32, u64 } from "../layout/struct.ts";
import { _IO } from "./ioctl.ts";
import { VFIO_BASE, VFIO_TYPE } from "./vfio.ts";

export const VFIO_DEVICE_FEATURE = _IO(VFIO_TYPE, VFIO_BASE + 17);

/** The low 16 bits of `flags` are the feature, the others what to do with it. */
export const vfio_device_feature = struct("vfio_device_feature", 8, {
  argsz: u32,
  flags: u32,
  data: flexibleBytes(),
});
export const VFIO_DEVICE_FEATURE_MASK = 0xffff;
export const VFIO_DEVICE_FEATURE_GET = 1 << 16;
export const VFIO_DEVICE_FEATURE_SET = 1 << 17;
export const VFIO_DEVICE_FEATURE_PROBE = 1 << 18;

// Features. The VF token's content is a UUID of 16 bytes.
export const VFIO_DEVICE_FEATURE_PCI_VF_TOKEN = 0;
export const VFIO_DEVICE_FEATURE_MIGRATION = 1;
export const VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE = 2;
export const VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY = 3;
export const VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP = 4;
export const VFIO_DEVICE_FEATURE_LOW_POWER_EXIT = 5;
export const VFIO_DEVICE_FEATURE_DMA_LOGGING_START = 6;
export const VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP = 7;
export const VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT = 8;
export const VFIO_DEVICE_FEATURE_MIG_DATA_SIZE = 9;
export const VFIO_DEVICE_FEATURE_BUS_MASTER = 10;
export const VFIO_DEVICE_FEATURE_DMA_BUF = 11;
export const VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2 = 12;
export const VFIO_DEVICE_FEATURE_ZPCI_ERROR = 13;

export const vfio_device_feature_migration = struct("vfio_device_feature_migration", 8, {
  flags: u64,
});
export const VFIO_MIGRATION_STOP_COPY = 1 << 0;
export const VFIO_MIGRATION_P2P = 1 << 1;
export const VFIO_MIGRATION_PRE_COPY = 1 << 2;

export const vfio_device_feature_mig_state = struct("vfio_device_feature_mig_state", 8, {
  device_state: u32,
  data_fd: s32,
});

// enum vfio_device_mig_state.
export const VFIO_DEVICE_STATE_ERROR = 0;
export const VFIO_DEVICE_STATE_STOP = 1;
export const VFIO_DEVICE_STATE_RUNNING = 2;
export const VFIO_DEVICE_STATE_STOP_COPY = 3;
export const VFIO_DEVICE_STATE_RESUMING = 4;
export const VFIO_DEVICE_STATE_RUNNING_P2P = 5;
export const VFIO_DEVICE_STATE_PRE_COPY = 6;
export const VFIO_DEVICE_STATE_PRE_COPY_P2P = 7;

/** On the migration data fd, not the device. */
export const VFIO_MIG_GET_PRECOPY_INFO = _IO(VFIO_TYPE, VFIO_BASE + 21);
export const vfio_precopy_info = struct("vfio_precopy_info", 24, {
  argsz: u32,
  flags: u32,
  initial_bytes: u64,
  dirty_bytes: u64,
});
export const VFIO_PRECOPY_INFO_REINIT = 1 << 0;

export const vfio_device_low_power_entry_with_wakeup = struct(
  "vfio_device_low_power_entry_with_wakeup",
  8,
  { wakeup_eventfd: s32, reserved: u32 },
);

/** `ranges` points to `num_ranges` of the next struct. */
export const vfio_device_feature_dma_logging_control = struct(
  "vfio_device_feature_dma_logging_control",
  24,
  { page_size: u64, num_ranges: u32, __reserved: u32, ranges: u64 },
);
export const vfio_device_feature_dma_logging_range = struct(
  "vfio_device_feature_dma_logging_range",
  16,
  { iova: u64, length: u64 },
);
/** `bitmap` points to one bit per `page_size`; the kernel only ever sets bits. */
export const vfio_device_feature_dma_logging_report = struct(
  "vfio_device_feature_dma_logging_report",
  32,
  { iova: u64, length: u64, page_size: u64, bitmap: u64 },
);

export const vfio_device_feature_mig_data_size = struct("vfio_device_feature_mig_data_size", 8, {
  stop_copy_length: u64,
});

export const vfio_device_feature_bus_master = struct("vfio_device_feature_bus_master", 4, {
  op: u32,
});
export const VFIO_DEVICE_FEATURE_CLEAR_MASTER = 0;
export const VFIO_DEVICE_FEATURE_SET_MASTER = 1;

export const vfio_region_dma_range = struct("vfio_region_dma_range", 16, {
  offset: u64,
  length: u64,
});
export const vfio_device_feature_dma_buf = struct("vfio_device_feature_dma_buf", 16, {
  region_index: u32,
  open_flags: u32,
  flags: u32,
  nr_ranges: u32,
  dma_ranges: flexible(vfio_region_dma_range),
});

/** `data` points to a buffer as long as the device info's zPCI base capability says. */
export const vfio_device_feature_zpci_err = struct("vfio_device_feature_zpci_err", 8, {
  data: u64,
});
