/**
 * The trace points of the PCI device model: names and arguments as in QEMU's hw/vfio/trace-events.
 */

import { TracePoint } from "../../sys/trace.ts";

interface Named {
  readonly name: string;
  readonly [argument: string]: string | number | bigint | boolean;
}

type Add<Numbers extends string> = Named & { readonly [N in Numbers]: number };

export const vfio_intx_interrupt = new TracePoint<Named & { line: string }>("vfio_intx_interrupt");
export const vfio_intx_eoi = new TracePoint<Named>("vfio_intx_eoi");
export const vfio_intx_enable_kvm = new TracePoint<Named>("vfio_intx_enable_kvm");
export const vfio_intx_disable_kvm = new TracePoint<Named>("vfio_intx_disable_kvm");
export const vfio_intx_update = new TracePoint<Add<"new_irq" | "target_irq">>("vfio_intx_update");
export const vfio_intx_enable = new TracePoint<Named>("vfio_intx_enable");
export const vfio_intx_disable = new TracePoint<Named>("vfio_intx_disable");
export const vfio_msi_interrupt = new TracePoint<Add<"index" | "data"> & { addr: bigint }>(
  "vfio_msi_interrupt",
);
export const vfio_msix_vector_do_use = new TracePoint<Add<"index">>("vfio_msix_vector_do_use");
export const vfio_msix_vector_release = new TracePoint<Add<"index">>("vfio_msix_vector_release");
export const vfio_msix_enable = new TracePoint<Named>("vfio_msix_enable");
export const vfio_msix_pba_disable = new TracePoint<Named>("vfio_msix_pba_disable");
export const vfio_msix_pba_enable = new TracePoint<Named>("vfio_msix_pba_enable");
export const vfio_msix_disable = new TracePoint<Named>("vfio_msix_disable");
export const vfio_msix_fixup = new TracePoint<Add<"bar" | "start" | "end">>("vfio_msix_fixup");
export const vfio_msix_relo = new TracePoint<Add<"bar" | "offset">>("vfio_msix_relo");
export const vfio_msi_enable = new TracePoint<Add<"nr_vectors">>("vfio_msi_enable");
export const vfio_msi_disable = new TracePoint<Named>("vfio_msi_disable");
export const vfio_pci_load_rom = new TracePoint<Add<"size" | "offset" | "flags">>(
  "vfio_pci_load_rom",
);
export const vfio_rom_read = new TracePoint<Add<"addr" | "size" | "data">>("vfio_rom_read");
export const vfio_pci_size_rom = new TracePoint<Add<"size">>("vfio_pci_size_rom");
export const vfio_vga_write = new TracePoint<{ addr: number; data: number; size: number }>(
  "vfio_vga_write",
);
export const vfio_vga_read = new TracePoint<{ addr: number; size: number; data: number }>(
  "vfio_vga_read",
);
export const vfio_pci_read_config = new TracePoint<Add<"addr" | "len" | "val">>(
  "vfio_pci_read_config",
);
export const vfio_pci_write_config = new TracePoint<Add<"addr" | "val" | "len">>(
  "vfio_pci_write_config",
);
export const vfio_msi_setup = new TracePoint<Add<"pos">>("vfio_msi_setup");
export const vfio_msix_early_setup = new TracePoint<
  Add<"pos" | "table_bar" | "offset" | "entries"> & { noresize: boolean }
>("vfio_msix_early_setup");
export const vfio_check_pcie_flr = new TracePoint<Named>("vfio_check_pcie_flr");
export const vfio_check_pm_reset = new TracePoint<Named>("vfio_check_pm_reset");
export const vfio_check_af_flr = new TracePoint<Named>("vfio_check_af_flr");
export const vfio_pci_hot_reset = new TracePoint<Named & { type: string }>("vfio_pci_hot_reset");
export const vfio_pci_hot_reset_has_dep_devices = new TracePoint<Named>(
  "vfio_pci_hot_reset_has_dep_devices",
);
export const vfio_pci_hot_reset_dep_devices = new TracePoint<{
  domain: number;
  bus: number;
  slot: number;
  function: number;
  group_id: number;
}>("vfio_pci_hot_reset_dep_devices");
export const vfio_pci_hot_reset_result = new TracePoint<Named & { result: string }>(
  "vfio_pci_hot_reset_result",
);
export const vfio_populate_device_config = new TracePoint<Add<"size" | "offset" | "flags">>(
  "vfio_populate_device_config",
);
export const vfio_populate_device_get_irq_info_failure = new TracePoint<{ errstr: string }>(
  "vfio_populate_device_get_irq_info_failure",
);
export const vfio_mdev = new TracePoint<Named & { is_mdev: boolean }>("vfio_mdev");
export const vfio_add_ext_cap_dropped = new TracePoint<Add<"cap" | "offset">>(
  "vfio_add_ext_cap_dropped",
);
export const vfio_pci_reset = new TracePoint<Named>("vfio_pci_reset");
export const vfio_pci_reset_flr = new TracePoint<Named>("vfio_pci_reset_flr");
export const vfio_pci_reset_pm = new TracePoint<Named>("vfio_pci_reset_pm");
export const vfio_pci_emulated_vendor_id = new TracePoint<Add<"val">>(
  "vfio_pci_emulated_vendor_id",
);
export const vfio_pci_emulated_device_id = new TracePoint<Add<"val">>(
  "vfio_pci_emulated_device_id",
);
export const vfio_pci_emulated_sub_vendor_id = new TracePoint<Add<"val">>(
  "vfio_pci_emulated_sub_vendor_id",
);
export const vfio_pci_emulated_sub_device_id = new TracePoint<Add<"val">>(
  "vfio_pci_emulated_sub_device_id",
);
export const vfio_realize = new TracePoint<Add<"group_id">>("vfio_realize");
export const vfio_quirk_rom_in_denylist = new TracePoint<Add<"vid" | "did">>(
  "vfio_quirk_rom_in_denylist",
);
