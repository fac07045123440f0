/** The trace points of quirks: names and arguments as in QEMU's hw/vfio/trace-events. */

import { TracePoint } from "../../../sys/trace.ts";

export const vfio_quirk_generic_window_address_write = new TracePoint(
  "vfio_quirk_generic_window_address_write",
  { name: "str", region_name: "str", data: "hex" },
);
export const vfio_quirk_generic_window_data_read = new TracePoint(
  "vfio_quirk_generic_window_data_read",
  { name: "str", region_name: "str", data: "hex" },
);
export const vfio_quirk_generic_window_data_write = new TracePoint(
  "vfio_quirk_generic_window_data_write",
  { name: "str", region_name: "str", data: "hex" },
);
export const vfio_quirk_generic_mirror_read = new TracePoint("vfio_quirk_generic_mirror_read", {
  name: "str",
  region_name: "str",
  addr: "hex",
  data: "hex",
});
export const vfio_quirk_generic_mirror_write = new TracePoint("vfio_quirk_generic_mirror_write", {
  name: "str",
  region_name: "str",
  addr: "hex",
  data: "hex",
});
export const vfio_quirk_ati_3c3_read = new TracePoint("vfio_quirk_ati_3c3_read", {
  name: "str",
  data: "hex",
});
export const vfio_quirk_ati_3c3_probe = new TracePoint("vfio_quirk_ati_3c3_probe", { name: "str" });
export const vfio_quirk_ati_bar4_probe = new TracePoint("vfio_quirk_ati_bar4_probe", {
  name: "str",
});
export const vfio_quirk_ati_bar2_probe = new TracePoint("vfio_quirk_ati_bar2_probe", {
  name: "str",
});
export const vfio_quirk_nvidia_3d0_state = new TracePoint("vfio_quirk_nvidia_3d0_state", {
  name: "str",
  state: "str",
});
export const vfio_quirk_nvidia_3d0_read = new TracePoint("vfio_quirk_nvidia_3d0_read", {
  name: "str",
  offset: "hex",
  size: "int",
  val: "hex",
});
export const vfio_quirk_nvidia_3d0_write = new TracePoint("vfio_quirk_nvidia_3d0_write", {
  name: "str",
  offset: "hex",
  data: "hex",
  size: "int",
});
export const vfio_quirk_nvidia_3d0_probe = new TracePoint("vfio_quirk_nvidia_3d0_probe", {
  name: "str",
});
export const vfio_quirk_nvidia_bar5_state = new TracePoint("vfio_quirk_nvidia_bar5_state", {
  name: "str",
  state: "str",
});
export const vfio_quirk_nvidia_bar5_probe = new TracePoint("vfio_quirk_nvidia_bar5_probe", {
  name: "str",
});
export const vfio_quirk_nvidia_bar0_msi_ack = new TracePoint("vfio_quirk_nvidia_bar0_msi_ack", {
  name: "str",
});
export const vfio_quirk_nvidia_bar0_probe = new TracePoint("vfio_quirk_nvidia_bar0_probe", {
  name: "str",
});
export const vfio_quirk_rtl8168_fake_latch = new TracePoint("vfio_quirk_rtl8168_fake_latch", {
  name: "str",
  val: "hex",
});
export const vfio_quirk_rtl8168_msix_write = new TracePoint("vfio_quirk_rtl8168_msix_write", {
  name: "str",
  offset: "hex",
  val: "hex",
});
export const vfio_quirk_rtl8168_msix_read = new TracePoint("vfio_quirk_rtl8168_msix_read", {
  name: "str",
  offset: "hex",
  val: "hex",
});
export const vfio_quirk_rtl8168_probe = new TracePoint("vfio_quirk_rtl8168_probe", { name: "str" });
export const vfio_quirk_ati_bonaire_reset_skipped = new TracePoint(
  "vfio_quirk_ati_bonaire_reset_skipped",
  { name: "str" },
);
export const vfio_quirk_ati_bonaire_reset_no_smc = new TracePoint(
  "vfio_quirk_ati_bonaire_reset_no_smc",
  { name: "str" },
);
export const vfio_quirk_ati_bonaire_reset_timeout = new TracePoint(
  "vfio_quirk_ati_bonaire_reset_timeout",
  { name: "str" },
);
export const vfio_quirk_ati_bonaire_reset_done = new TracePoint(
  "vfio_quirk_ati_bonaire_reset_done",
  { name: "str" },
);
export const vfio_quirk_ati_bonaire_reset = new TracePoint("vfio_quirk_ati_bonaire_reset", {
  name: "str",
});
export const vfio_ioeventfd_exit = new TracePoint("vfio_ioeventfd_exit", {
  name: "str",
  addr: "hex",
  size: "int",
  data: "hex",
});
export const vfio_ioeventfd_handler = new TracePoint("vfio_ioeventfd_handler", {
  name: "str",
  addr: "hex",
  size: "int",
  data: "hex",
});
export const vfio_ioeventfd_init = new TracePoint("vfio_ioeventfd_init", {
  name: "str",
  addr: "hex",
  size: "int",
  data: "hex",
  vfio: "bool",
});
export const vfio_pci_igd_opregion_enabled = new TracePoint("vfio_pci_igd_opregion_enabled", {
  name: "str",
});
export const vfio_pci_igd_bar4_write = new TracePoint("vfio_pci_igd_bar4_write", {
  name: "str",
  index: "hex",
  data: "hex",
  base: "hex",
});
export const vfio_pci_igd_bdsm_enabled = new TracePoint("vfio_pci_igd_bdsm_enabled", {
  name: "str",
  size: "int",
});
export const vfio_pci_igd_host_bridge_enabled = new TracePoint("vfio_pci_igd_host_bridge_enabled", {
  name: "str",
});
export const vfio_pci_igd_lpc_bridge_enabled = new TracePoint("vfio_pci_igd_lpc_bridge_enabled", {
  name: "str",
});
export const vfio_pci_igd_vbios_patched = new TracePoint("vfio_pci_igd_vbios_patched", {
  name: "str",
});
