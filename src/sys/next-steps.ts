/**
 * What to do when the host refused something and whoever threw the error knew no better: one
 * sentence for each code. An errno that has the same remedy everywhere comes before any other text.
 */

import type { ViaductErrorCode } from "./sys-error.ts";

const DMESG = "The host's kernel log (sudo dmesg | tail) may say more.";
const DEVICE = `Look at the device with \`viaduct list\` and lspci -vv. ${DMESG}`;

/** By code. */
export const NEXT_STEPS: Readonly<Record<ViaductErrorCode, string>> = {
  USAGE: "See viaduct --help.",
  DEVICE_NOT_FOUND: "List the host's devices with `viaduct list`.",
  DEVICE_NOT_BOUND: "Bind the device to vfio-pci: sudo driverctl set-override ADDRESS vfio-pci",
  DEVICE_BUSY: "Find out who uses it: sudo fuser -v /dev/vfio/*",
  DEVICE_UNSUPPORTED: DEVICE,
  NO_IOMMU_GROUP: "Enable the IOMMU in the firmware and in the kernel (intel_iommu=on).",
  GROUP_NOT_VIABLE: "Bind all devices of the group to vfio-pci; `viaduct groups` shows them.",
  GROUP_BUSY: "Find out who uses it: sudo fuser -v /dev/vfio/*",
  GROUP_IN_OTHER_ADDRESS_SPACE: "Put all devices of the group into one address space.",
  NO_PERMISSION: "Run as root, or give this user access.",
  VFIO_MISSING: `Load the driver: sudo modprobe vfio-pci. ${DMESG}`,
  IOMMU_REFUSED: "Look in dmesg for lines of vfio and of the IOMMU.",
  DMA_MAP_FAILED: "Look in dmesg for lines of vfio and of the IOMMU.",
  MEMLOCK_LIMIT: "Raise the limit of locked memory: ulimit -l unlimited",
  REGION_FAILED: DEVICE,
  IRQ_FAILED: DEVICE,
  RESET_FAILED: DEVICE,
  KVM_MISSING: "Load kvm_intel or kvm_amd.",
  KVM_FAILED: DMESG,
  KERNEL_IMAGE: "Pass an x86-64 bzImage, for example /boot/vmlinuz-$(uname -r).",
  OUT_OF_MEMORY: "Give the guest less memory (--memory), or free some on the host.",
  CAPABILITY_OVERLAP: "Report this with the output of lspci -vvvxxxx for the device.",
  PROPERTY: "See viaduct run --help.",
  LAB_FAILED: "Run the command again; its log says what it did.",
};

const DESCRIPTORS = "Raise the limit of open files: ulimit -n 65536";

/** Errnos with one remedy, whatever failed. */
export const ERRNO_STEPS: Readonly<Record<string, string>> = {
  EMFILE: DESCRIPTORS,
  ENFILE: "The host has no file descriptor left: raise fs.file-max (sysctl).",
};
