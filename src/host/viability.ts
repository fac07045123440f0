/**
 * Viability of an IOMMU group: the kernel gives a group to VFIO only when no member is in the hands
 * of a driver that does its own DMA. A member is harmless when it has no driver, a VFIO driver, or
 * one that leaves DMA to others (`driver_managed_dma`: pci-stub, and pcieport on bridges).
 */

/** Does VFIO refuse the group because of this driver? */
export function blocksGroup(driver: string | undefined): boolean {
  if (driver === undefined || driver === "pci-stub" || driver === "pcieport") return false;
  return !isVfioDriver(driver);
}

/** `vfio-pci` and the variant drivers (`mlx5_vfio_pci`, `hisi-acc-vfio-pci` and so on). */
export function isVfioDriver(driver: string | undefined): boolean {
  return driver !== undefined && /vfio/.test(driver);
}
