/**
 * For each code of the catalogue that a host can show: what to do to the healthy host so that it
 * has the problem, and the devices asked about.
 */

import { type BuiltHost, DISK, GPU, GPU_AUDIO, NIC } from "./built-host.ts";

export interface BrokenHost {
  readonly code: string;
  readonly breakIt: (host: BuiltHost) => unknown;
  readonly asked?: readonly string[];
}

const log = (line: string) => (host: BuiltHost) => host.file("/dmesg", `[    1.0] ${line}\n`);

/** Gives a device another driver: uevent and link. */
function drive(host: BuiltHost, address: string, driver: string | undefined): void {
  const folder = host.folderOf(address);
  const file = host.files.get(`${folder}/uevent`);
  const text = file?.kind === "file" ? new TextDecoder().decode(file.bytes) : "";
  const rest = text.replace(/^DRIVER=.*\n/, "");
  host.file(`${folder}/uevent`, driver === undefined ? rest : `DRIVER=${driver}\n${rest}`);
  host.remove(`${folder}/driver`);
  if (driver !== undefined) host.link(`${folder}/driver`, `../../../bus/pci/drivers/${driver}`);
}

function noGroups(host: BuiltHost): void {
  host.remove("/sys/kernel/iommu_groups").remove("/sys/class/iommu");
  for (const path of [...host.files.keys()]) {
    if (path.endsWith("/iommu_group")) host.remove(path);
  }
}

/** The kernel cannot reset the function alone. */
function withoutReset(host: BuiltHost, address: string): void {
  const folder = host.folderOf(address);
  host.file(`${folder}/reset_method`, "\n").remove(`${folder}/reset`);
}

/** An option ROM with one image of this code type. */
export function optionRom(type: number): Uint8Array {
  const rom = new Uint8Array(512);
  rom.set([0x55, 0xaa]);
  rom.set([0x1c, 0], 0x18);
  rom.set([0x50, 0x43, 0x49, 0x52], 0x1c);
  rom.set([1, 0, 0, 0, type, 0x80], 0x1c + 0x10);
  return rom;
}

const notRoot = (host: BuiltHost) =>
  host.file(
    "/proc/self/status",
    "Uid:\t1000\t1000\t1000\t1000\nGid:\t1000\t1000\nGroups:\t1000\nCapEff:\t0\n",
  );

const fileOf = (address: string, name: string, text: string) => (host: BuiltHost) =>
  host.file(`${host.folderOf(address)}/${name}`, text);

export const BROKEN: readonly BrokenHost[] = [
  {
    code: "IOMMU_FIRMWARE_OFF",
    breakIt: (host) => {
      noGroups(host);
      host.remove("/sys/firmware/acpi/tables/DMAR").file("/sys/firmware/acpi/tables/FACP", "");
    },
  },
  { code: "IOMMU_KERNEL_OFF", breakIt: noGroups },
  {
    code: "INTR_REMAP_MISSING",
    breakIt: (host) => host.file("/proc/interrupts", " 30: 1 PCI-MSI 1572864-edge nvme0q0\n"),
  },
  {
    code: "UNSAFE_INTERRUPTS_ON",
    breakIt: (host) =>
      host.file("/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts", "Y\n"),
  },
  {
    code: "RMRR_DEVICE",
    breakIt: (host) =>
      host.file(
        "/sys/kernel/iommu_groups/14/reserved_regions",
        "0x000000007b800000 0x000000007fffffff direct\n0xfee00000 0xfeefffff msi\n",
      ),
  },
  {
    code: "FIRMWARE_1TO1",
    breakIt: log(
      `vfio-pci 0000:01:00.0: Firmware has requested this device have a 1:1 IOMMU mapping, rejecting`,
    ),
  },
  {
    code: "VFIO_MISSING",
    breakIt: (host) => host.remove("/dev/vfio").remove("/sys/module/vfio"),
  },
  {
    code: "VFIO_BUILTIN_OPTIONS",
    breakIt: (host) =>
      host
        .file("/lib/modules/6.12.1-amd64/modules.builtin", "kernel/drivers/vfio/pci/vfio-pci.ko\n")
        .file("/etc/modprobe.d/vfio.conf", "options vfio-pci ids=10de:2204\n"),
  },
  { code: "NOIOMMU_MODE", breakIt: (host) => host.node("/dev/vfio/noiommu-0") },
  { code: "IOMMUFD_UNAVAILABLE", breakIt: (host) => host.remove("/dev/iommu") },
  { code: "GROUP_NOT_VIABLE", breakIt: (host) => drive(host, GPU_AUDIO, "snd_hda_intel") },
  { code: "GROUP_AUDIO_LEFT", breakIt: (host) => drive(host, GPU_AUDIO, "snd_hda_intel") },
  {
    code: "GROUP_SHARED",
    breakIt: (host) => {
      host.link(`${host.folderOf(NIC)}/iommu_group`, "../../../kernel/iommu_groups/14");
    },
  },
  {
    code: "ACS_OVERRIDE",
    breakIt: (host) => host.file("/proc/cmdline", "quiet pcie_acs_override=downstream\n"),
  },
  { code: "NOT_BOUND", breakIt: (host) => drive(host, GPU, "nouveau"), asked: [GPU] },
  {
    code: "BOOT_RACE",
    breakIt: (host) => {
      drive(host, GPU, "nouveau");
      host.file("/etc/modprobe.d/vfio.conf", "options vfio-pci ids=10de:2204,10de:1aef\n");
    },
  },
  {
    code: "IDS_AMBIGUOUS",
    breakIt: (host) =>
      host
        .file("/proc/cmdline", "vfio-pci.ids=144d:a808\n")
        .pci({ address: "0000:04:00.0", vendor: 0x144d, device: 0xa808, classCode: 0x010802 }),
  },
  { code: "BRIDGE_BOUND", breakIt: fileOf("0000:00:01.0", "driver_override", "vfio-pci\n") },
  {
    code: "GROUP_BUSY",
    breakIt: (host) => host.process(4321, "qemu-system-x86", "/dev/vfio/14"),
    asked: [GPU],
  },
  { code: "GROUP_PERMISSION", breakIt: notRoot },
  {
    // The group's node was given away, the container's was not.
    code: "GROUP_PERMISSION",
    breakIt: (host) => notRoot(host).node("/dev/vfio/14", 0o666).node("/dev/vfio/vfio", 0o600),
  },
  {
    code: "HOST_IN_USE",
    breakIt: (host) => {
      drive(host, GPU, "nouveau");
      host.folder(`${host.folderOf(GPU)}/drm/card0`).process(99, "Xorg", "/dev/dri/card0");
    },
    asked: [GPU],
  },
  // The healthy host's own network card and disk, asked about.
  { code: "HOST_CRITICAL", breakIt: () => undefined, asked: [NIC, DISK] },
  {
    code: "PF_WITH_VFS",
    breakIt: (host) => {
      drive(host, NIC, "vfio-pci");
      host
        .pci({
          address: "0000:02:10.0",
          vendor: 0x8086,
          device: 0x1520,
          classCode: 0x020000,
          driver: "igbvf",
          group: 40,
        })
        .file(`${host.folderOf(NIC)}/sriov_totalvfs`, "7")
        .file(`${host.folderOf(NIC)}/sriov_numvfs`, "1")
        .link(`${host.folderOf(NIC)}/virtfn0`, "../0000:02:10.0");
    },
  },
  {
    // On the root bus: no bridge above could reset it.
    code: "NO_RESET",
    breakIt: (host) =>
      host.pci({
        address: "0000:00:14.0",
        vendor: 0x8086,
        device: 0xa36d,
        classCode: 0x0c0330,
        driver: "vfio-pci",
        group: 17,
        resetMethods: "",
      }),
  },
  {
    code: "RESET_NEEDS_GROUP",
    breakIt: (host) => {
      withoutReset(host, GPU);
      drive(host, GPU_AUDIO, "snd_hda_intel");
    },
  },
  {
    // The kernel still lists the bus, on which there are others now.
    code: "RESET_NEEDS_GROUP",
    breakIt: (host) => {
      fileOf(GPU, "reset_method", "bus")(host);
      drive(host, GPU_AUDIO, "snd_hda_intel");
    },
  },
  {
    code: "FLR_BROKEN",
    breakIt: log("vfio-pci 0000:01:00.0: not ready 65535ms after FLR; giving up"),
  },
  {
    code: "AMD_RESET_BUG",
    breakIt: (host) =>
      host.pci({
        address: "0000:05:00.0",
        vendor: 0x1002,
        device: 0x731f,
        classCode: 0x030000,
        driver: "vfio-pci",
        group: 20,
      }),
  },
  {
    code: "D3COLD_STUCK",
    breakIt: log(
      "vfio-pci 0000:01:00.0: Unable to change power state from D3cold to D0, device inaccessible",
    ),
  },
  {
    code: "CONFIG_ALL_FF",
    breakIt: (host) => host.file(`${host.folderOf(GPU)}/config`, new Uint8Array(256).fill(0xff)),
  },
  {
    code: "BAR_RESERVED_BY_FB",
    breakIt: (host) =>
      host
        .file("/proc/iomem", "e0000000-efffffff : PCI Bus\n  e0000000-e02fffff : BOOTFB\n")
        .file(
          `${host.folderOf(GPU)}/resource`,
          "0x00000000e0000000 0x00000000efffffff 0x000000000014220c\n",
        ),
  },
  {
    code: "FB_SCRIPT_STALE",
    breakIt: (host) =>
      host.file(
        "/etc/libvirt/hooks/qemu.d/start.sh",
        "echo 0 > /sys/class/vtconsole/vtcon1/bind\n",
      ),
  },
  {
    code: "ROM_UNREADABLE",
    breakIt: log(
      "vfio-pci 0000:01:00.0: Invalid PCI ROM header signature: expecting 0xaa55, got 0xffff",
    ),
  },
  {
    code: "ROM_NO_UEFI",
    breakIt: (host) => host.file(`${host.folderOf(GPU)}/rom`, optionRom(0)),
  },
  {
    code: "ROM_DENYLISTED",
    breakIt: log(
      "Rom loading for device at 0000:01:00.0 has been disabled due to system instability issues",
    ),
  },
  {
    code: "BAR_NO_SPACE",
    breakIt: log(
      "pci 0000:01:00.0: BAR 1 [mem size 0x400000000 64bit pref]: can't assign; no space",
    ),
  },
  {
    code: "REBAR_RISK",
    breakIt: (host) =>
      host
        .file(`${host.folderOf(GPU)}/resource0_resize`, "0000000000007e00\n")
        .file(
          `${host.folderOf(GPU)}/resource`,
          "0x0000006000000000 0x00000063ffffffff 0x000000000014220c\n",
        ),
  },
  {
    code: "BAR_NO_SPACE",
    breakIt: fileOf(GPU, "resource", "0x0000000000000000 0x000000000fffffff 0x0000000020142208\n"),
  },
  {
    code: "GUEST_CODE_43",
    breakIt: log("Windows has stopped this device because it has reported problems. (Code 43)"),
  },
  {
    code: "BAR_NO_MMAP",
    breakIt: fileOf(GPU, "resource", "0x00000000f7000400 0x00000000f70004ff 0x0000000000040200\n"),
  },
  {
    code: "MEMLOCK_LOW",
    breakIt: (host) =>
      notRoot(host).file("/proc/self/limits", "Max locked memory  8388608  8388608  bytes\n"),
  },
  { code: "MEMLOCK_CONTAINER", breakIt: (host) => notRoot(host).file("/.dockerenv", "") },
  {
    code: "DMA_ENTRY_LIMIT",
    breakIt: (host) => host.file("/sys/module/vfio_iommu_type1/parameters/dma_entry_limit", "10\n"),
  },
  {
    code: "IOVA_WIDTH",
    breakIt: (host) =>
      host.file(
        "/proc/cpuinfo",
        "processor\t: 0\naddress sizes\t: 46 bits physical, 48 bits virtual\n",
      ),
  },
  {
    code: "P2P_BAR_WARNING",
    breakIt: log("PCI peer-to-peer transactions on BARs are not supported."),
  },
  {
    code: "IOMMU_FAULT",
    breakIt: log(
      `DMAR: [DMA Read NO_PASID] Request device [01:00.0] fault addr 0xfffff000 [fault reason 0x06]`,
    ),
  },
  {
    code: "SRIOV_NO_MMIO",
    breakIt: log("igb 0000:02:00.0: not enough MMIO resources for SR-IOV"),
  },
  {
    // Before anybody asks for VFs: a BAR of theirs has a size and no address.
    code: "SRIOV_NO_MMIO",
    breakIt: (host) => {
      host.file(`${host.folderOf(NIC)}/sriov_totalvfs`, "7");
      const resource = `${host.folderOf(NIC)}/resource`;
      const line = (start: number, end: number, flags: number) =>
        [start, end, flags].map((value) => `0x${value.toString(16).padStart(16, "0")}`).join(" ");
      const none = line(0, 0, 0);
      const own = line(0xf7c00000, 0xf7cfffff, 0x40200);
      const vfs = line(0, 0x1bfff, 0x14220c);
      host.file(resource, [own, ...Array(6).fill(none), vfs, ...Array(5).fill(none)].join("\n"));
    },
    asked: [NIC],
  },
  {
    // The kernel has looked for room and found none: their lines are empty.
    code: "SRIOV_NO_MMIO",
    breakIt: (host) => {
      host.file(`${host.folderOf(NIC)}/sriov_totalvfs`, "7");
      const own = "0x00000000f7c00000 0x00000000f7cfffff 0x0000000000040200";
      const none = "0x0000000000000000 0x0000000000000000 0x0000000000000000";
      host.file(`${host.folderOf(NIC)}/resource`, [own, ...Array(12).fill(none)].join("\n"));
    },
    asked: [NIC],
  },
  {
    code: "SRIOV_BAD_COUNT",
    breakIt: log("igb 0000:02:00.0: 4 VFs already enabled. Disable before enabling 2 VFs"),
  },
  {
    code: "SRIOV_NO_DRIVER",
    breakIt: log("vfio-pci 0000:02:00.0: Driver doesn't support SRIOV configuration via sysfs"),
  },
  {
    code: "VF_TOKEN",
    breakIt: (host) => {
      drive(host, NIC, "vfio-pci");
      host.pci({
        address: "0000:02:10.0",
        vendor: 0x8086,
        device: 0x1520,
        classCode: 0x020000,
        driver: "vfio-pci",
        group: 40,
      });
      host.link(`${host.folderOf("0000:02:10.0")}/physfn`, `../${NIC}`);
    },
  },
  {
    code: "VGPU_API_CHANGED",
    breakIt: fileOf(GPU, "nvidia/current_vgpu_type", "0\n"),
  },
  {
    code: "MIG_NO_KERNEL",
    breakIt: (host) =>
      host.file(
        "/lib/modules/6.12.1-amd64/modules.alias",
        "alias vfio_pci:v000010DEd00002204sv*sd*bc*sc*i* nvgrace_gpu_vfio_pci\n",
      ),
    asked: [GPU],
  },
  {
    code: "MIG_NO_DIRTY",
    breakIt: (host) =>
      host.file(`/sys/kernel/debug/vfio/${GPU}/migration/features`, "stop-copy\npre-copy\n"),
    asked: [GPU],
  },
  {
    code: "MIG_OLD_QEMU",
    breakIt: (host) =>
      host.file(
        "/dmesg",
        "starting up libvirt version: 9.0.0, qemu version: 7.2.9Debian 1:7.2+dfsg-7\n" +
          "-device vfio-pci,host=0000:01:00.0,id=hostdev0 \\\n",
      ),
  },
  { code: "VFU_NO_CLIENT", breakIt: log("Device 'vfio-user-pci' not found") },
  { code: "VFU_SOCKET_STALE", breakIt: log("vfio-user: server closed socket") },
];
