/** The trace points of quirks: names and arguments as in QEMU's hw/vfio/trace-events. */

import { TracePoint } from "../../../sys/trace.ts";

interface Named {
  readonly name: string;
  readonly [argument: string]: string | number | bigint | boolean;
}

type Add<Numbers extends string> = Named & { readonly [N in Numbers]: number };
type InRegion<Numbers extends string> = Add<Numbers> & { readonly region_name: string };
type Ioeventfd = Add<"addr" | "size" | "data">;

export const vfio_quirk_generic_window_address_write = new TracePoint<InRegion<"data">>(
  "vfio_quirk_generic_window_address_write",
);
export const vfio_quirk_generic_window_data_read = new TracePoint<InRegion<"data">>(
  "vfio_quirk_generic_window_data_read",
);
export const vfio_quirk_generic_window_data_write = new TracePoint<InRegion<"data">>(
  "vfio_quirk_generic_window_data_write",
);
export const vfio_quirk_generic_mirror_read = new TracePoint<InRegion<"addr" | "data">>(
  "vfio_quirk_generic_mirror_read",
);
export const vfio_quirk_generic_mirror_write = new TracePoint<InRegion<"addr" | "data">>(
  "vfio_quirk_generic_mirror_write",
);
export const vfio_quirk_ati_3c3_read = new TracePoint<Add<"data">>("vfio_quirk_ati_3c3_read");
export const vfio_quirk_ati_3c3_probe = new TracePoint<Named>("vfio_quirk_ati_3c3_probe");
export const vfio_quirk_ati_bar4_probe = new TracePoint<Named>("vfio_quirk_ati_bar4_probe");
export const vfio_quirk_ati_bar2_probe = new TracePoint<Named>("vfio_quirk_ati_bar2_probe");
export const vfio_quirk_nvidia_3d0_state = new TracePoint<Named & { state: string }>(
  "vfio_quirk_nvidia_3d0_state",
);
export const vfio_quirk_nvidia_3d0_read = new TracePoint<Add<"offset" | "size" | "val">>(
  "vfio_quirk_nvidia_3d0_read",
);
export const vfio_quirk_nvidia_3d0_write = new TracePoint<Add<"offset" | "data" | "size">>(
  "vfio_quirk_nvidia_3d0_write",
);
export const vfio_quirk_nvidia_3d0_probe = new TracePoint<Named>("vfio_quirk_nvidia_3d0_probe");
export const vfio_quirk_nvidia_bar5_state = new TracePoint<Named & { state: string }>(
  "vfio_quirk_nvidia_bar5_state",
);
export const vfio_quirk_nvidia_bar5_probe = new TracePoint<Named>("vfio_quirk_nvidia_bar5_probe");
export const vfio_quirk_nvidia_bar0_msi_ack = new TracePoint<Named>(
  "vfio_quirk_nvidia_bar0_msi_ack",
);
export const vfio_quirk_nvidia_bar0_probe = new TracePoint<Named>("vfio_quirk_nvidia_bar0_probe");
export const vfio_quirk_rtl8168_fake_latch = new TracePoint<Add<"val">>(
  "vfio_quirk_rtl8168_fake_latch",
);
export const vfio_quirk_rtl8168_msix_write = new TracePoint<Add<"offset" | "val">>(
  "vfio_quirk_rtl8168_msix_write",
);
export const vfio_quirk_rtl8168_msix_read = new TracePoint<Add<"offset" | "val">>(
  "vfio_quirk_rtl8168_msix_read",
);
export const vfio_quirk_rtl8168_probe = new TracePoint<Named>("vfio_quirk_rtl8168_probe");
export const vfio_quirk_ati_bonaire_reset_skipped = new TracePoint<Named>(
  "vfio_quirk_ati_bonaire_reset_skipped",
);
export const vfio_quirk_ati_bonaire_reset_no_smc = new TracePoint<Named>(
  "vfio_quirk_ati_bonaire_reset_no_smc",
);
export const vfio_quirk_ati_bonaire_reset_timeout = new TracePoint<Named>(
  "vfio_quirk_ati_bonaire_reset_timeout",
);
export const vfio_quirk_ati_bonaire_reset_done = new TracePoint<Named>(
  "vfio_quirk_ati_bonaire_reset_done",
);
export const vfio_quirk_ati_bonaire_reset = new TracePoint<Named>("vfio_quirk_ati_bonaire_reset");
export const vfio_ioeventfd_exit = new TracePoint<Ioeventfd>("vfio_ioeventfd_exit");
export const vfio_ioeventfd_handler = new TracePoint<Ioeventfd>("vfio_ioeventfd_handler");
export const vfio_ioeventfd_init = new TracePoint<Ioeventfd & { vfio: boolean }>(
  "vfio_ioeventfd_init",
);
export const vfio_pci_igd_opregion_enabled = new TracePoint<Named>("vfio_pci_igd_opregion_enabled");
export const vfio_pci_igd_bdsm_enabled = new TracePoint<Add<"size">>("vfio_pci_igd_bdsm_enabled");
export const vfio_pci_igd_host_bridge_enabled = new TracePoint<Named>(
  "vfio_pci_igd_host_bridge_enabled",
);
export const vfio_pci_igd_lpc_bridge_enabled = new TracePoint<Named>(
  "vfio_pci_igd_lpc_bridge_enabled",
);
export const vfio_pci_igd_vbios_patched = new TracePoint<Named>("vfio_pci_igd_vbios_patched");
