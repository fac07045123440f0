/**
 * The messages of the catalogue as programs print them, with placeholders for what differs from
 * one host to the next, and what other programs put around them.
 */

/** `{bdf}` an address, `{group}`, `{n}` a small number, `{size}`, `{hex}`, `{pid}`. */
export interface Message {
  readonly code: string;
  readonly text: string;
}

const message = (code: string, ...texts: string[]): Message[] =>
  texts.map((text) => ({ code, text }));

export const MESSAGES: readonly Message[] = [
  ...message(
    "IOMMU_FIRMWARE_OFF",
    "no iommu_group found: No such file or directory",
    "VFIO device assignment is currently not supported on this system",
    "-bash: echo: write error: No such device",
  ),
  ...message(
    "IOMMU_KERNEL_OFF",
    "IOMMU appears to be disabled in kernel. Add intel_iommu=on to kernel cmdline arguments",
  ),
  ...message(
    "INTR_REMAP_MISSING",
    `vfio_iommu_type1_attach_group: No interrupt remapping support.  Use the module param "allow_unsafe_interrupts" to enable VFIO IOMMU support on this platform`,
    "Failed to set iommu for container: Operation not permitted",
  ),
  ...message(
    "RMRR_DEVICE",
    `Device is ineligible for IOMMU domain attach due to platform RMRR requirement.  Contact your platform vendor.`,
  ),
  ...message(
    "FIRMWARE_1TO1",
    `Firmware has requested this device have a 1:1 IOMMU mapping, rejecting configuring the device without a 1:1 mapping. Contact your platform vendor.`,
    "cannot add vfio group to container, error 22 (Invalid argument)",
  ),
  ...message(
    "VFIO_MISSING",
    "No available IOMMU models",
    "Could not open '/dev/vfio/vfio': No such file or directory",
    "failed to open /dev/vfio/vfio: No such file or directory",
    "failed to open /dev/vfio/{n}: No such file or directory; " +
      "failed to open /dev/vfio/vfio: No such file or directory",
  ),
  ...message("VFIO_BUILTIN_OPTIONS", "modprobe: FATAL: Module vfio_pci is builtin."),
  ...message("NOIOMMU_MODE", "cannot open /dev/vfio/noiommu-{group}: no-iommu mode is off"),
  ...message(
    "IOMMUFD_UNAVAILABLE",
    "IOMMU FD support requires /dev/iommu device",
    "Need IOMMUFD backend when flts=on",
  ),
  ...message(
    "GROUP_NOT_VIABLE",
    "group {group} is not viable",
    "Please ensure all devices within the iommu_group are bound to their vfio bus driver.",
    "VFIO group is not viable! Not all devices in IOMMU group bound to VFIO or unbound",
  ),
  ...message(
    "NOT_BOUND",
    `error getting device from group {group}: No such device. Verify all devices in group {group} are bound to vfio-<bus> or pci-stub and not already in use`,
    "error getting device from group {group}: Invalid argument",
    "failed to open /dev/vfio/{group}: No such file or directory",
    "Could not open '/dev/vfio/{group}': No such file or directory",
  ),
  ...message("GROUP_AUDIO_LEFT", "In group {group}: 0000:01:00.1 is bound to snd_hda_intel."),
  ...message(
    "HOST_CRITICAL",
    "refused: {bdf} nvme0n1p2 is mounted at /",
    "refused: {bdf} carries the default route (eth0)",
  ),
  ...message(
    "GROUP_BUSY",
    "Cannot open /dev/vfio/{group}: Device or resource busy",
    "failed to open /dev/vfio/{group}: Device or resource busy",
    "Could not open '/dev/vfio/{group}': Device or resource busy",
    "device is already attached",
  ),
  ...message(
    "GROUP_PERMISSION",
    "Could not open '/dev/vfio/{group}': Permission denied",
    "failed to open /dev/vfio/{group}: Permission denied",
  ),
  ...message("HOST_IN_USE", "modprobe: FATAL: Module amdgpu is in use."),
  ...message("NO_RESET", "vfio: Cannot reset device {bdf}, no available reset mechanism."),
  ...message(
    "RESET_NEEDS_GROUP",
    "vfio: Cannot reset device {bdf}, depends on group {group} which is not owned.",
  ),
  ...message("FLR_BROKEN", "not ready {size}ms after FLR; giving up"),
  ...message(
    "D3COLD_STUCK",
    "Unable to change power state from D3cold to D0, device inaccessible",
    "vfio: Unable to power on device, stuck in D3",
  ),
  ...message("CONFIG_ALL_FF", "Unknown PCI header type '127' for device '{bdf}'"),
  ...message(
    "BAR_RESERVED_BY_FB",
    "BAR {n}: cannot reserve [mem 0x{hex}-0x{hex} 64bit pref]",
    "BAR {n}: can't reserve [mem 0x{hex}-0x{hex}]",
    "vfio_region_write({bdf}:region{n}+0x{hex}, 0x{hex},8) failed: Device or resource busy",
  ),
  ...message(
    "FB_SCRIPT_STALE",
    "/sys/class/vtconsole/vtcon{n}/bind: No such file or directory",
    "/sys/bus/platform/drivers/efi-framebuffer/unbind: write error: No such device",
  ),
  ...message(
    "ROM_UNREADABLE",
    "vfio-pci: Cannot read device rom at {bdf}",
    `Device option ROM contents are probably invalid (check dmesg). Skip option ROM probe with rombar=0, or load from file with romfile=`,
    "Invalid PCI ROM header signature: expecting 0xaa55, got 0xffff",
  ),
  ...message(
    "ROM_DENYLISTED",
    "Rom loading for device at {bdf} has been disabled due to system instability issues",
  ),
  ...message(
    "BAR_NO_SPACE",
    "BAR {n} [mem size 0x{hex} 64bit pref]: can't assign; no space",
    "BAR {n}: failed to assign [mem size 0x{hex}]",
  ),
  ...message("BAR_NO_MMAP", "Failed to mmap {bdf} BAR {n}. Performance may be slow"),
  ...message(
    "GUEST_CODE_43",
    "Windows has stopped this device because it has reported problems. (Code 43)",
  ),
  ...message(
    "MEMLOCK_LOW",
    "VFIO_MAP_DMA failed: Cannot allocate memory",
    "vfio_pin_pages_remote: RLIMIT_MEMLOCK ({size}) exceeded",
    "vfio_dma_map(0x{hex}, 0x{hex}, 0x{hex}, 0x{hex}) = -12 (Cannot allocate memory)",
  ),
  ...message(
    "MEMLOCK_CONTAINER",
    "cannot limit locked memory of process {pid} to {size}: Operation not permitted",
  ),
  ...message(
    "DMA_ENTRY_LIMIT",
    "VFIO_MAP_DMA failed: No space left on device",
    "vfio_dma_map possibly running out of DMA mappings. Maximum possible DMA mappings: {size}",
    "vfio_container_dma_map(0x{hex}, 0x{hex}, 0x{hex}, 0x{hex}) = -28 (No space left on device)",
  ),
  ...message(
    "IOVA_WIDTH",
    "iommu width ({n}) is not sufficient for the mapped address 0x{hex}",
    "vfio_dma_map(0x{hex}, 0x{hex}, 0x{hex}, 0x{hex}) = -22 (Invalid argument)",
  ),
  ...message(
    "P2P_BAR_WARNING",
    "PCI peer-to-peer transactions on BARs are not supported.",
    "IOMMU_IOAS_MAP failed: Bad address, PCI BAR?",
  ),
  ...message(
    "IOMMU_FAULT",
    `DMAR: [DMA Read NO_PASID] Request device [{bdf}] fault addr 0x{hex} [fault reason 0x06] PTE Read access is not set`,
    "AMD-Vi: Event logged [IO_PAGE_FAULT device={bdf} domain=0x{hex} address=0x{hex} flags=0x0000]",
  ),
  ...message(
    "SRIOV_NO_MMIO",
    "not enough MMIO resources for SR-IOV",
    "sh: echo: write error: Cannot allocate memory",
    "echo '{n}' > /sys/bus/pci/devices/{bdf}/sriov_numvfs: ENOMEM",
  ),
  ...message(
    "SRIOV_BAD_COUNT",
    "tee: sriov_numvfs: Numerical result out of range",
    "{n} VFs already enabled. Disable before enabling {n} VFs",
    "{bdf}: has at most {n} VFs",
  ),
  ...message("SRIOV_NO_DRIVER", "Driver doesn't support SRIOV configuration via sysfs"),
  ...message("VF_TOKEN", "VF token required to access device", "Incorrect VF token provided"),
  ...message(
    "VGPU_API_CHANGED",
    `ls: cannot access '/sys/bus/pci/devices/{bdf}/mdev_supported_types': No such file or directory`,
  ),
  ...message(
    "MIG_NO_KERNEL",
    "VFIO migration is not supported in kernel",
    "Requested operation is not valid: cannot migrate a domain with <hostdev mode='subsystem'>",
  ),
  ...message(
    "MIG_NO_DIRTY",
    "VFIO device doesn't support device dirty tracking",
    "Multiple VFIO devices migration is supported only if all of them support P2P migration",
    "VFIO migration is not supported with vIOMMU enabled",
  ),
  ...message("MIG_OLD_QEMU", "VFIO device doesn't support migration"),
  ...message(
    "VFU_NO_CLIENT",
    "Device 'vfio-user-pci' not found",
    "'vfio-user-pci' is not a valid device model name",
  ),
  ...message(
    "VFU_SOCKET_STALE",
    "server closed socket",
    "connect /run/edu.sock: Connection refused",
  ),
  ...message("VFU_NO_MIGRATION", "vfio-user: dirty page tracking: Not supported"),
];

/** Each puts a message where another program would. */
export const WRAPPERS: ReadonlyArray<(text: string) => string> = [
  (text) =>
    `qemu-system-x86_64: -device vfio-pci,host={bdf},id=hostdev0,bus=pci.{n},addr=0x0: ${text}`,
  (text) =>
    `qemu-kvm: -device {"driver":"vfio-pci","host":"{bdf}","id":"hostdev{n}","bus":"pci.{n}"}: ${text}`,
  (text) => `vfio {bdf}: ${text}`,
  (text) => `failed to setup container for group {group}: ${text}`,
  (text) => `memory listener initialization failed: Region pc.ram: ${text}`,
  (text) => `error: internal error: QEMU unexpectedly closed the monitor (vm='win{n}'): ${text}`,
  (text) => `internal error: process exited while connecting to monitor: ${text}`,
  (text) =>
    `server error. command SyncVMI failed: "LibvirtError(Code=1, Domain=10, Message='${text}')"`,
  (text) => `EAL:   {bdf} ${text}`,
  (text) => `2026-05-01T10:00:00.{pid}Z ${text}`,
  (text) => `[  123.{pid}] ${text}`,
  (text) => `vfio-pci {bdf}: ${text}`,
  (text) => `May 01 10:00:00 pve kernel: ${text}`,
  (text) => `viaduct: ${text}`,
];
