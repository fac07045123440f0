/**
 * BuiltHost: a host's sysfs and procfs made in memory, file by file as Linux shows them, for the
 * tests of host/ and its verbs. `healthyHost()` is a desktop with an Intel IOMMU, a graphics card
 * with its audio function on vfio-pci, a network card and a disk of the host's own.
 */

import { HostTree } from "../../../src/host/tree.ts";
import { type MemoryEntry, MemorySource } from "../../../src/host/tree-source.ts";

export interface BuiltDevice {
  readonly address: string;
  readonly vendor: number;
  readonly device: number;
  readonly subsystem?: readonly [number, number];
  /** 0xCCSSPP. */
  readonly classCode: number;
  readonly driver?: string;
  readonly group?: number;
  /** The bridge above it. */
  readonly parent?: string;
  readonly resetMethods?: string;
  readonly files?: Readonly<Record<string, string>>;
  readonly config?: Uint8Array;
}

export class BuiltHost {
  private readonly entries = new Map<string, MemoryEntry>();
  private readonly folders = new Map<string, string>();

  file(path: string, content: string | Uint8Array): this {
    const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
    this.entries.set(path, { kind: "file", bytes });
    return this;
  }

  link(path: string, target: string): this {
    this.entries.set(path, { kind: "link", target });
    return this;
  }

  folder(path: string): this {
    this.entries.set(path, { kind: "folder" });
    return this;
  }

  node(path: string, mode = 0o600, uid = 0): this {
    this.entries.set(path, { kind: "device", mode, uid });
    return this;
  }

  /** There, but this user may not read it. */
  denied(path: string): this {
    this.entries.set(path, { kind: "denied" });
    return this;
  }

  remove(prefix: string): this {
    for (const path of [...this.entries.keys()]) {
      if (path === prefix || path.startsWith(`${prefix}/`)) this.entries.delete(path);
    }
    return this;
  }

  /** The folder of a device that was added, for more files. */
  folderOf(address: string): string {
    const folder = this.folders.get(address);
    if (folder === undefined) throw new Error(`${address} was not built`);
    return folder;
  }

  pci(device: BuiltDevice): this {
    const { address, vendor, device: id, classCode, driver, group } = device;
    const hex = (value: number, width: number) => value.toString(16).padStart(width, "0");
    const above =
      device.parent === undefined
        ? `/sys/devices/pci${address.slice(0, 7)}`
        : this.folderOf(device.parent);
    const folder = `${above}/${address}`;
    this.folders.set(address, folder);
    const [subVendor, subDevice] = device.subsystem ?? [vendor, id];
    const event = [
      ...(driver === undefined ? [] : [`DRIVER=${driver}`]),
      `PCI_CLASS=${hex(classCode, 1).toUpperCase()}`,
      `PCI_ID=${hex(vendor, 4)}:${hex(id, 4)}`.toUpperCase(),
      `PCI_SUBSYS_ID=${hex(subVendor, 4)}:${hex(subDevice, 4)}`.toUpperCase(),
      `PCI_SLOT_NAME=${address}`,
    ];
    const files: Record<string, string | Uint8Array> = {
      uevent: event.join("\n"),
      vendor: `0x${hex(vendor, 4)}`,
      device: `0x${hex(id, 4)}`,
      class: `0x${hex(classCode, 6)}`,
      revision: "0x00",
      driver_override: "(null)",
      power_state: "D0",
      reset_method: device.resetMethods ?? "flr bus",
      config: device.config ?? minimalConfig(vendor, id, classCode),
      ...device.files,
    };
    for (const [name, content] of Object.entries(files)) this.file(`${folder}/${name}`, content);
    if (device.resetMethods !== "") this.file(`${folder}/reset`, "");
    this.link(`/sys/bus/pci/devices/${address}`, `../../..${folder.slice(4)}`);
    if (driver !== undefined) {
      this.link(`${folder}/driver`, `../../../bus/pci/drivers/${driver}`);
      this.folder(`/sys/bus/pci/drivers/${driver}`);
      if (driver.includes("vfio") && group !== undefined) this.node(`/dev/vfio/${group}`);
    }
    if (group !== undefined) {
      this.link(`${folder}/iommu_group`, `../../../kernel/iommu_groups/${group}`);
      this.link(`/sys/kernel/iommu_groups/${group}/devices/${address}`, `../../../..${folder}`);
      this.file(`/sys/kernel/iommu_groups/${group}/type`, "DMA-FQ");
    }
    return this;
  }

  /** A process with its open nodes. */
  process(pid: number, name: string, ...nodes: string[]): this {
    this.file(`/proc/${pid}/comm`, `${name}\n`);
    this.folder(`/proc/${pid}/fd`);
    nodes.forEach((node, fd) => {
      this.link(`/proc/${pid}/fd/${fd}`, node);
    });
    return this;
  }

  get files(): ReadonlyMap<string, MemoryEntry> {
    return this.entries;
  }

  tree(): HostTree {
    return new HostTree(new MemorySource(new Map(this.entries)), { name: "the built host" });
  }
}

/** The 64 bytes of a header that `lspci` would need. */
export function minimalConfig(vendor: number, device: number, classCode: number): Uint8Array {
  const bytes = new Uint8Array(256);
  bytes.set([vendor & 0xff, vendor >> 8, device & 0xff, device >> 8]);
  bytes.set([classCode & 0xff, (classCode >> 8) & 0xff, classCode >> 16], 9);
  bytes[0x0e] = classCode >> 8 === 0x0604 ? 1 : 0;
  return bytes;
}

export const GPU = "0000:01:00.0";
export const GPU_AUDIO = "0000:01:00.1";
export const NIC = "0000:02:00.0";
export const DISK = "0000:03:00.0";

function platform(host: BuiltHost): BuiltHost {
  return host
    .file("/proc/cmdline", "root=/dev/nvme0n1p2 ro quiet intel_iommu=on iommu=pt\n")
    .file("/proc/sys/kernel/osrelease", "6.12.1-amd64\n")
    .file("/proc/modules", "vfio_pci 16384 0 - Live 0x0\nvfio_iommu_type1 49152 0 - Live 0x0\n")
    .file("/proc/interrupts", "  30:  1  0  IR-PCI-MSI-0000:03:00.0  0-edge  nvme0q0\n")
    .file("/proc/iomem", "80000000-dfffffff : PCI Bus 0000:00\n")
    .file("/proc/mounts", "/dev/nvme0n1p2 / ext4 rw 0 0\n")
    .file("/proc/swaps", "Filename\tType\tSize\tUsed\tPriority\n")
    .file("/proc/net/route", "Iface\tDestination\tGateway\neth0\t00000000\t0100A8C0\n")
    .file("/proc/self/limits", "Max locked memory   unlimited   unlimited   bytes\n")
    .file("/proc/self/status", "Uid:\t0\t0\t0\t0\nGroups:\t0\nCapEff:\t000001ffffffffff\n")
    .file("/proc/meminfo", "MemTotal:       32768000 kB\n")
    .file("/proc/cpuinfo", "address sizes\t: 39 bits physical, 48 bits virtual\n")
    .file("/sys/firmware/acpi/tables/DMAR", "DMAR")
    .file("/sys/module/vfio_pci/parameters/disable_idle_d3", "N")
    .folder("/sys/module/vfio")
    .folder("/sys/module/vfio_iommu_type1")
    .file("/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts", "N")
    .file("/sys/module/vfio_iommu_type1/parameters/dma_entry_limit", "65535")
    .file("/sys/class/iommu/dmar0/intel-iommu/cap", "d2008c40660462")
    .file("/dmesg", "[    0.000000] Linux version 6.12.1\n[    0.100000] DMAR: IOMMU enabled\n")
    .node("/dev/vfio/vfio", 0o666)
    .node("/dev/iommu", 0o660);
}

/** A host on which every check of the doctor is content. */
export function healthyHost(): BuiltHost {
  const host = platform(new BuiltHost());
  const root = { vendor: 0x8086, device: 0x1901, classCode: 0x060400, driver: "pcieport" };
  host
    .pci({ address: "0000:00:01.0", ...root, group: 1 })
    .pci({ address: "0000:00:1c.0", ...root, group: 2 })
    .pci({ address: "0000:00:1d.0", ...root, group: 3 })
    .pci({
      address: GPU,
      vendor: 0x10de,
      device: 0x2204,
      classCode: 0x030000,
      driver: "vfio-pci",
      group: 14,
      parent: "0000:00:01.0",
      files: { boot_vga: "0", driver_override: "vfio-pci" },
    })
    .pci({
      address: GPU_AUDIO,
      vendor: 0x10de,
      device: 0x1aef,
      classCode: 0x040300,
      driver: "vfio-pci",
      group: 14,
      parent: "0000:00:01.0",
      files: { driver_override: "vfio-pci" },
    })
    .pci({
      address: NIC,
      vendor: 0x8086,
      device: 0x1521,
      classCode: 0x020000,
      driver: "igb",
      group: 15,
      parent: "0000:00:1c.0",
    })
    .pci({
      address: DISK,
      vendor: 0x144d,
      device: 0xa808,
      classCode: 0x010802,
      driver: "nvme",
      group: 16,
      parent: "0000:00:1d.0",
    });
  const nic = host.folderOf(NIC);
  const disk = host.folderOf(DISK);
  return host
    .folder(`${nic}/net/eth0`)
    .link("/sys/class/net/eth0", `../..${nic.slice(4)}/net/eth0`)
    .link("/sys/class/nvme/nvme0", `../..${disk.slice(4)}/nvme/nvme0`)
    .link("/sys/class/block/nvme0n1", `../..${disk.slice(4)}/nvme/nvme0/nvme0n1`)
    .link("/sys/class/block/nvme0n1p2", `../..${disk.slice(4)}/nvme/nvme0/nvme0n1/nvme0n1p2`);
}
