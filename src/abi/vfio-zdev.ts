/**
 * linux/vfio_zdev.h: capabilities of the device info that describe a PCI function on s390. The
 * header's `version` says how far a kernel fills them.
 */

import { flexibleBytes, struct, u8, u16, u32, u64 } from "../layout/struct.ts";
import { vfio_info_cap_header } from "./vfio.ts";

/** VFIO_DEVICE_INFO_CAP_ZPCI_BASE; `fh` from version 2, `ccdf_err_length` from version 3. */
export const vfio_device_info_cap_zpci_base = struct("vfio_device_info_cap_zpci_base", 40, {
  header: vfio_info_cap_header,
  start_dma: u64,
  end_dma: u64,
  pchid: u16,
  vfn: u16,
  fmb_length: u16,
  pft: u8,
  gid: u8,
  fh: u32,
  ccdf_err_length: u32,
});

/** VFIO_DEVICE_INFO_CAP_ZPCI_GROUP; `imaxstbl` from version 2. */
export const vfio_device_info_cap_zpci_group = struct("vfio_device_info_cap_zpci_group", 48, {
  header: vfio_info_cap_header,
  dasm: u64,
  msi_addr: u64,
  flags: u64,
  mui: u16,
  noi: u16,
  maxstbl: u16,
  version: u8,
  reserved: u8,
  imaxstbl: u16,
  _pad0: u16,
  _pad1: u32,
});
export const VFIO_DEVICE_INFO_ZPCI_FLAG_REFRESH = 1;

/** VFIO_DEVICE_INFO_CAP_ZPCI_UTIL: `size` bytes of EBCDIC. */
export const vfio_device_info_cap_zpci_util = struct("vfio_device_info_cap_zpci_util", 12, {
  header: vfio_info_cap_header,
  size: u32,
  util_str: flexibleBytes(),
});

/** VFIO_DEVICE_INFO_CAP_ZPCI_PFIP: the function's path, `size` bytes. */
export const vfio_device_info_cap_zpci_pfip = struct("vfio_device_info_cap_zpci_pfip", 12, {
  header: vfio_info_cap_header,
  size: u32,
  pfip: flexibleBytes(),
});
