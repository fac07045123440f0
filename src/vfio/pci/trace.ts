/**
 * The trace points of the PCI device model: names and arguments as in QEMU's hw/vfio/trace-events.
 */

import { TracePoint } from "../../sys/trace.ts";

export const vfio_intx_interrupt = new TracePoint("vfio_intx_interrupt", {
  name: "str",
  line: "str",
});
export const vfio_intx_eoi = new TracePoint("vfio_intx_eoi", { name: "str" });
export const vfio_intx_enable_kvm = new TracePoint("vfio_intx_enable_kvm", { name: "str" });
export const vfio_intx_disable_kvm = new TracePoint("vfio_intx_disable_kvm", { name: "str" });
export const vfio_intx_update = new TracePoint("vfio_intx_update", {
  name: "str",
  new_irq: "int",
  target_irq: "int",
});
export const vfio_intx_enable = new TracePoint("vfio_intx_enable", { name: "str" });
export const vfio_intx_disable = new TracePoint("vfio_intx_disable", { name: "str" });
export const vfio_msi_interrupt = new TracePoint("vfio_msi_interrupt", {
  name: "str",
  index: "int",
  addr: "hex",
  data: "hex",
});
export const vfio_msix_vector_do_use = new TracePoint("vfio_msix_vector_do_use", {
  name: "str",
  index: "int",
});
export const vfio_msix_vector_release = new TracePoint("vfio_msix_vector_release", {
  name: "str",
  index: "int",
});
export const vfio_msix_enable = new TracePoint("vfio_msix_enable", { name: "str" });
export const vfio_msix_pba_disable = new TracePoint("vfio_msix_pba_disable", { name: "str" });
export const vfio_msix_pba_enable = new TracePoint("vfio_msix_pba_enable", { name: "str" });
export const vfio_msix_disable = new TracePoint("vfio_msix_disable", { name: "str" });
export const vfio_msix_fixup = new TracePoint("vfio_msix_fixup", {
  name: "str",
  bar: "int",
  start: "hex",
  end: "hex",
});
export const vfio_msix_relo = new TracePoint("vfio_msix_relo", {
  name: "str",
  bar: "int",
  offset: "hex",
});
export const vfio_msi_enable = new TracePoint("vfio_msi_enable", {
  name: "str",
  nr_vectors: "int",
});
export const vfio_msi_disable = new TracePoint("vfio_msi_disable", { name: "str" });
export const vfio_pci_load_rom = new TracePoint("vfio_pci_load_rom", {
  name: "str",
  size: "hex",
  offset: "hex",
  flags: "hex",
});
export const vfio_rom_read = new TracePoint("vfio_rom_read", {
  name: "str",
  addr: "hex",
  size: "int",
  data: "hex",
});
export const vfio_pci_size_rom = new TracePoint("vfio_pci_size_rom", { name: "str", size: "hex" });
export const vfio_vga_write = new TracePoint("vfio_vga_write", {
  addr: "hex",
  data: "hex",
  size: "int",
});
export const vfio_vga_read = new TracePoint("vfio_vga_read", {
  addr: "hex",
  size: "int",
  data: "hex",
});
export const vfio_pci_read_config = new TracePoint("vfio_pci_read_config", {
  name: "str",
  addr: "hex",
  len: "int",
  val: "hex",
});
export const vfio_pci_write_config = new TracePoint("vfio_pci_write_config", {
  name: "str",
  addr: "hex",
  val: "hex",
  len: "int",
});
export const vfio_msi_setup = new TracePoint("vfio_msi_setup", { name: "str", pos: "hex" });
export const vfio_msix_early_setup = new TracePoint("vfio_msix_early_setup", {
  name: "str",
  pos: "hex",
  table_bar: "int",
  offset: "hex",
  entries: "int",
});
export const vfio_check_pcie_flr = new TracePoint("vfio_check_pcie_flr", { name: "str" });
export const vfio_check_pm_reset = new TracePoint("vfio_check_pm_reset", { name: "str" });
export const vfio_check_af_flr = new TracePoint("vfio_check_af_flr", { name: "str" });
export const vfio_pci_hot_reset = new TracePoint("vfio_pci_hot_reset", {
  name: "str",
  type: "str",
});
export const vfio_pci_hot_reset_has_dep_devices = new TracePoint(
  "vfio_pci_hot_reset_has_dep_devices",
  { name: "str" },
);
export const vfio_pci_hot_reset_dep_devices = new TracePoint("vfio_pci_hot_reset_dep_devices", {
  domain: "hex",
  bus: "hex",
  slot: "hex",
  function: "int",
  group_id: "int",
});
export const vfio_pci_hot_reset_result = new TracePoint("vfio_pci_hot_reset_result", {
  name: "str",
  result: "str",
});
export const vfio_populate_device_config = new TracePoint("vfio_populate_device_config", {
  name: "str",
  size: "hex",
  offset: "hex",
  flags: "hex",
});
export const vfio_populate_device_get_irq_info_failure = new TracePoint(
  "vfio_populate_device_get_irq_info_failure",
  { errstr: "str" },
);
export const vfio_mdev = new TracePoint("vfio_mdev", { name: "str", is_mdev: "bool" });
export const vfio_add_ext_cap_dropped = new TracePoint("vfio_add_ext_cap_dropped", {
  name: "str",
  cap: "hex",
  offset: "hex",
});
export const vfio_pci_reset = new TracePoint("vfio_pci_reset", { name: "str" });
export const vfio_pci_reset_flr = new TracePoint("vfio_pci_reset_flr", { name: "str" });
export const vfio_pci_reset_pm = new TracePoint("vfio_pci_reset_pm", { name: "str" });
export const vfio_pci_emulated_vendor_id = new TracePoint("vfio_pci_emulated_vendor_id", {
  name: "str",
  val: "hex",
});
export const vfio_pci_emulated_device_id = new TracePoint("vfio_pci_emulated_device_id", {
  name: "str",
  val: "hex",
});
export const vfio_pci_emulated_sub_vendor_id = new TracePoint("vfio_pci_emulated_sub_vendor_id", {
  name: "str",
  val: "hex",
});
export const vfio_pci_emulated_sub_device_id = new TracePoint("vfio_pci_emulated_sub_device_id", {
  name: "str",
  val: "hex",
});
export const vfio_realize = new TracePoint("vfio_realize", { name: "str", group_id: "int" });
export const vfio_quirk_rom_in_denylist = new TracePoint("vfio_quirk_rom_in_denylist", {
  name: "str",
  vid: "hex",
  did: "hex",
});
