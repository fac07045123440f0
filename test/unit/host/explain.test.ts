/** What people paste, and the code it belongs to. */

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { explainLine, peel } from "../../../src/host/explain.ts";

/** Lines as they were printed; addresses, groups and sizes are examples. */
const LINES: ReadonlyArray<readonly [string, string]> = [
  ["vfio 0000:01:00.0: no iommu_group found: No such file or directory", "IOMMU_FIRMWARE_OFF"],
  ["VFIO device assignment is currently not supported on this system", "IOMMU_FIRMWARE_OFF"],
  [
    "IOMMU appears to be disabled in kernel. Add intel_iommu=on to kernel cmdline arguments",
    "IOMMU_KERNEL_OFF",
  ],
  [
    'No interrupt remapping support. Use the module param "allow_unsafe_interrupts" to enable',
    "INTR_REMAP_MISSING",
  ],
  [
    `vfio 0000:01:00.0: failed to setup container for group 14: Failed to set iommu for container: Operation not permitted`,
    "INTR_REMAP_MISSING",
  ],
  [
    `vfio-pci 0000:03:00.0: DMAR: Device is ineligible for IOMMU domain attach due to platform RMRR requirement. Contact your platform vendor.`,
    "RMRR_DEVICE",
  ],
  [
    "Firmware has requested this device have a 1:1 IOMMU mapping, rejecting configuring the device",
    "FIRMWARE_1TO1",
  ],
  ["EAL: cannot add vfio group to container, error 22 (Invalid argument)", "FIRMWARE_1TO1"],
  ["vfio 0000:00:05.0: No available IOMMU models", "VFIO_MISSING"],
  ["modprobe: FATAL: Module vfio_pci is builtin.", "VFIO_BUILTIN_OPTIONS"],
  ["IOMMU FD support requires /dev/iommu device", "IOMMUFD_UNAVAILABLE"],
  ["Need IOMMUFD backend when flts=on", "IOMMUFD_UNAVAILABLE"],
  ["vfio 0000:01:00.0: group 1 is not viable", "GROUP_NOT_VIABLE"],
  [
    "Please ensure all devices within the iommu_group are bound to their vfio bus driver.",
    "GROUP_NOT_VIABLE",
  ],
  [
    "VFIO group is not viable! Not all devices in IOMMU group bound to VFIO or unbound",
    "GROUP_NOT_VIABLE",
  ],
  [
    `error getting device from group 25: No such device. Verify all devices in group 25 are bound to vfio-<bus> or pci-stub and not already in use`,
    "NOT_BOUND",
  ],
  ["Cannot open /dev/vfio/151: Device or resource busy", "GROUP_BUSY"],
  ["vfio 0000:01:00.0: device is already attached", "GROUP_BUSY"],
  ["Could not open '/dev/vfio/14': Permission denied", "GROUP_PERMISSION"],
  ["modprobe: FATAL: Module amdgpu is in use.", "HOST_IN_USE"],
  ["vfio: Cannot reset device 0000:0c:00.3, no available reset mechanism.", "NO_RESET"],
  [
    "vfio: Cannot reset device 0000:0c:00.3, depends on group 22 which is not owned.",
    "RESET_NEEDS_GROUP",
  ],
  ["vfio-pci 0000:04:00.0: not ready 65535ms after FLR; giving up", "FLR_BROKEN"],
  [
    "vfio-pci 0000:01:00.0: Unable to change power state from D3cold to D0, device inaccessible",
    "D3COLD_STUCK",
  ],
  ["vfio: Unable to power on device, stuck in D3", "D3COLD_STUCK"],
  [
    "error: internal error: Unknown PCI header type '127' for device '0000:0b:00.0'",
    "CONFIG_ALL_FF",
  ],
  [
    "vfio-pci 0000:0a:00.0: BAR 3: cannot reserve [mem 0xf0000000-0xf1ffffff 64bit pref]",
    "BAR_RESERVED_BY_FB",
  ],
  [
    "vfio-pci 0000:0a:00.0: BAR 1: can't reserve [mem 0xe0000000-0xefffffff 64bit pref]",
    "BAR_RESERVED_BY_FB",
  ],
  [
    "vfio_region_write(0000:01:00.0:region1+0x2c1f8, 0x1,8) failed: Device or resource busy",
    "BAR_RESERVED_BY_FB",
  ],
  ["/sys/class/vtconsole/vtcon1/bind: No such file or directory", "FB_SCRIPT_STALE"],
  [
    "/sys/bus/platform/drivers/efi-framebuffer/unbind: write error: No such device",
    "FB_SCRIPT_STALE",
  ],
  ["vfio-pci: Cannot read device rom at 0000:01:00.0", "ROM_UNREADABLE"],
  ["Invalid PCI ROM header signature: expecting 0xaa55, got 0xffff", "ROM_UNREADABLE"],
  [
    "Rom loading for device at 0000:04:00.0 has been disabled due to system instability issues",
    "ROM_DENYLISTED",
  ],
  ["pci 0000:01:00.0: BAR 1: can't assign; no space", "BAR_NO_SPACE"],
  ["Failed to mmap 0000:03:00.0 BAR 2. Performance may be slow", "BAR_NO_MMAP"],
  ["Windows has stopped this device because it has reported problems. (Code 43)", "GUEST_CODE_43"],
  ["VFIO_MAP_DMA failed: Cannot allocate memory", "MEMLOCK_LOW"],
  ["vfio_pin_pages_remote: RLIMIT_MEMLOCK (4194304) exceeded", "MEMLOCK_LOW"],
  [
    "vfio_dma_map(0x55d3, 0x100000, 0x7ff00000, 0x7f00) = -12 (Cannot allocate memory)",
    "MEMLOCK_LOW",
  ],
  [
    "cannot limit locked memory of process 94 to 9663676416: Operation not permitted",
    "MEMLOCK_CONTAINER",
  ],
  ["VFIO_MAP_DMA failed: No space left on device", "DMA_ENTRY_LIMIT"],
  ["iommu width (39) is not sufficient for the mapped address 0x8000000000", "IOVA_WIDTH"],
  ["vfio_dma_map(0x55, 0x380000000000, 0x4000, 0x7f) = -22 (Invalid argument)", "IOVA_WIDTH"],
  ["PCI peer-to-peer transactions on BARs are not supported.", "P2P_BAR_WARNING"],
  ["IOMMU_IOAS_MAP failed: Bad address, PCI BAR?", "P2P_BAR_WARNING"],
  ["DMAR: [DMA Read NO_PASID] Request device [00:02.0] fault addr 0x2000", "IOMMU_FAULT"],
  ["AMD-Vi: Event logged [IO_PAGE_FAULT device=0000:0b:00.0 domain=0x0001]", "IOMMU_FAULT"],
  ["i915 0000:00:02.0: not enough MMIO resources for SR-IOV", "SRIOV_NO_MMIO"],
  ["bash: echo: write error: Numerical result out of range", "SRIOV_BAD_COUNT"],
  [
    "mlx5_core 0000:03:00.0: Driver doesn't support SRIOV configuration via sysfs",
    "SRIOV_NO_DRIVER",
  ],
  ["vfio-pci 0000:f8:00.1: VF token required to access device", "VF_TOKEN"],
  ["ls: cannot access 'mdev_supported_types': No such file or directory", "VGPU_API_CHANGED"],
  ["0000:01:00.0: VFIO migration is not supported in kernel", "MIG_NO_KERNEL"],
  [
    "Requested operation is not valid: cannot migrate a domain with <hostdev mode='subsystem'>",
    "MIG_NO_KERNEL",
  ],
  ["VFIO device doesn't support device dirty tracking", "MIG_NO_DIRTY"],
  ["Device 'vfio-user-pci' not found", "VFU_NO_CLIENT"],
];

const WRAPPED = [
  (line: string) => line,
  (line: string) =>
    `qemu-system-x86_64: -device vfio-pci,host=0000:01:00.0,id=hostdev0,bus=pci.5: vfio 0000:01:00.0: ${line}`,
  (line: string) =>
    `error: internal error: qemu unexpectedly closed the monitor: 2024-05-01T10:00:00.123456Z qemu-system-x86_64: -device {"driver":"vfio-pci"}: ${line}`,
  (line: string) =>
    `server error. command SyncVMI failed: "LibvirtError(Code=1, Domain=10, Message='internal error: process unexpectedly closed the monitor: ${line}')"`,
  (line: string) => `[  123.456789] ${line}`,
];

for (const [line, code] of LINES) {
  test(`explain knows ${code} in "${line.slice(0, 50)}"`, () => {
    for (const wrap of WRAPPED) {
      const { entries } = explainLine(wrap(line));
      assert.equal(entries[0]?.code, code, wrap(line));
    }
  });
}

test("an errno that alone is ambiguous asks for the kernel's log", () => {
  const permission = explainLine("failed to set iommu for container: Operation not permitted");
  assert.match(permission.question ?? "", /kernel's log/);
  assert.deepEqual(
    permission.entries.map(({ code }) => code),
    ["INTR_REMAP_MISSING", "RMRR_DEVICE"],
  );
  const invalid = explainLine("vfio: failed to set iommu for container: Invalid argument");
  assert.ok(invalid.entries.some(({ code }) => code === "IOVA_WIDTH"));
});

test("peel takes off every layer, and leaves text that has none", () => {
  assert.equal(peel("group 3 is not viable"), "group 3 is not viable");
  assert.equal(
    peel("qemu-kvm: -device vfio-pci,host=1:0.0: vfio 0000:01:00.0: group 3 is not viable"),
    "group 3 is not viable",
  );
});

test("text that is no message is not explained, whatever it holds", () => {
  assert.deepEqual(explainLine("the weather is nice").entries, []);
  fc.assert(
    fc.property(fc.string({ maxLength: 500 }), (text) => {
      explainLine(text);
      assert.ok(peel(text).length <= text.length);
    }),
    { numRuns: 500 },
  );
});
