/**
 * Captures what a diagnosis reads of a host into a tree in memory: the files that people are asked
 * for when they ask for help. Reading has no effect on devices.
 */

import type { Host } from "./host.ts";
import { configPath, configurations } from "./kernel-config.ts";
import type { KernelLog } from "./kernel-log.ts";
import { openersOf } from "./openers.ts";
import type { HostTree } from "./tree.ts";
import type { MemoryEntry } from "./tree-source.ts";

const FILES = [
  "/proc/cmdline",
  "/proc/cpuinfo",
  "/proc/version",
  "/proc/interrupts",
  "/proc/iomem",
  "/proc/modules",
  "/proc/mounts",
  "/proc/swaps",
  "/proc/meminfo",
  "/proc/net/route",
  "/proc/net/ipv6_route",
  "/proc/self/limits",
  "/proc/self/status",
  "/proc/1/cgroup",
  "/.dockerenv",
  "/run/.containerenv",
  "/proc/sys/kernel/osrelease",
  "/proc/sys/kernel/random/boot_id",
  "/etc/os-release",
  "/sys/class/dmi/id/board_vendor",
  "/sys/class/dmi/id/board_name",
  "/sys/class/dmi/id/bios_version",
];

/** Folders whose files are taken, one level deep. */
const FOLDERS = [
  "/etc/modprobe.d",
  "/sys/module/vfio/parameters",
  "/sys/module/vfio_pci/parameters",
  "/sys/module/vfio_iommu_type1/parameters",
];

const DEVICE_FILES = [
  "uevent",
  "vendor",
  "device",
  "class",
  "revision",
  "driver_override",
  "reset_method",
  "reset",
  "power_state",
  "d3cold_allowed",
  "numa_node",
  "irq",
  "boot_vga",
  "resource",
  "config",
  "sriov_totalvfs",
  "sriov_numvfs",
  "rom",
  "nvidia/current_vgpu_type",
];
const DEVICE_LINKS = ["driver", "iommu_group", "physfn"];
const DEVICE_FOLDERS = ["net", "drm", "sound", "vfio-dev", "mdev_supported_types"];
const FRAMEBUFFERS = ["efi-framebuffer", "simple-framebuffer", "vesa-framebuffer"].map(
  (name) => `/sys/bus/platform/drivers/${name}`,
);
const FILE_MAX = 4 << 20;

export function capture(host: Host, log: KernelLog): Map<string, MemoryEntry> {
  const { tree } = host;
  const entries = new Map<string, MemoryEntry>();
  const file = (path: string) => {
    const bytes = tree.bytes(path).value;
    if (bytes !== undefined)
      entries.set(path, { kind: "file", bytes: bytes.subarray(0, FILE_MAX) });
  };
  const link = (path: string) => {
    const target = tree.link(path).value;
    if (target !== undefined) entries.set(path, { kind: "link", target });
  };
  for (const path of FILES) file(path);
  captureKernel(tree, entries);
  captureHooks(tree, "/etc/libvirt/hooks", file);
  for (const folder of FOLDERS) {
    if (tree.list(folder).value === undefined) continue;
    entries.set(folder, { kind: "folder" });
    for (const name of tree.names(folder)) file(`${folder}/${name}`);
  }
  for (const module of ["vfio", "vfio_pci", "vfio_iommu_type1", "vendor_reset"]) {
    if (tree.has(`/sys/module/${module}`)) entries.set(`/sys/module/${module}`, { kind: "folder" });
  }
  for (const name of tree.names("/sys/firmware/acpi/tables")) {
    const path = `/sys/firmware/acpi/tables/${name}`;
    // That a table is there says enough; its content is the machine's own.
    entries.set(path, { kind: "file", bytes: new Uint8Array() });
  }
  for (const name of tree.names("/sys/class/iommu"))
    file(`/sys/class/iommu/${name}/intel-iommu/cap`);
  for (const folder of ["net", "block", "nvme", "drm", "sound"]) {
    for (const name of tree.names(`/sys/class/${folder}`)) {
      const path = `/sys/class/${folder}/${name}`;
      link(path);
      const real = realPath(tree, path);
      link(`${real}/master`);
      file(`${real}/dm/name`);
      for (const below of tree.names(`${real}/slaves`)) {
        entries.set(`${real}/slaves/${below}`, { kind: "folder" });
      }
    }
  }
  for (const folder of ["/sys/class/vtconsole", ...FRAMEBUFFERS]) {
    if (tree.has(folder)) entries.set(folder, { kind: "folder" });
    for (const name of tree.names(folder)) entries.set(`${folder}/${name}`, { kind: "folder" });
  }
  for (const name of tree.names("/sys/class/nvme-subsystem")) {
    for (const one of tree.names(`/sys/class/nvme-subsystem/${name}`)) {
      if (/^nvme\d+$/.test(one)) link(`/sys/class/nvme-subsystem/${name}/${one}`);
    }
  }
  for (const name of tree.names("/sys/bus/pci/slots")) file(`/sys/bus/pci/slots/${name}/address`);
  for (const name of tree.names("/sys/bus/pci/drivers")) {
    entries.set(`/sys/bus/pci/drivers/${name}`, { kind: "folder" });
  }
  captureDevices(host, file, link, entries);
  captureNodes(host, link, file, entries);
  if (log.lines !== undefined) {
    const bytes = new TextEncoder().encode(`${log.lines.join("\n")}\n`);
    entries.set("/dmesg", { kind: "file", bytes });
  }
  return entries;
}

/** Where a link of sysfs leads; the path itself where it is none. */
function realPath(tree: HostTree, path: string): string {
  const target = tree.link(path).value;
  return target === undefined ? path : `/sys/${target.replace(/^(?:\.\.\/)+/, "")}`;
}

/** Of large files only the lines that a diagnosis looks for. */
function captureKernel(tree: HostTree, entries: Map<string, MemoryEntry>): void {
  const modules = `/lib/modules/${tree.text("/proc/sys/kernel/osrelease") ?? ""}`;
  const lines: ReadonlyArray<readonly [string, string | undefined, RegExp]> = [
    [`${modules}/modules.builtin`, tree.text(`${modules}/modules.builtin`), /vfio/],
    [`${modules}/modules.alias`, tree.text(`${modules}/modules.alias`), /^alias vfio_pci:/],
    [configPath(tree), configurations(tree)[0]?.text, /VFIO|IOMMU|FB_|SYSFB/],
  ];
  for (const [path, text, wanted] of lines) {
    if (text === undefined) continue;
    const kept = text.split("\n").filter((line) => wanted.test(line));
    entries.set(path, { kind: "file", bytes: new TextEncoder().encode(`${kept.join("\n")}\n`) });
  }
}

const HOOKS_DEPTH_MAX = 6;

function captureHooks(tree: HostTree, folder: string, file: (path: string) => void, depth = 0) {
  for (const name of tree.names(folder)) {
    const path = `${folder}/${name}`;
    if (tree.status(path).value?.kind !== "folder") file(path);
    else if (depth < HOOKS_DEPTH_MAX) captureHooks(tree, path, file, depth + 1);
  }
}

function captureDevices(
  host: Host,
  file: (path: string) => void,
  link: (path: string) => void,
  entries: Map<string, MemoryEntry>,
): void {
  const { tree } = host;
  for (const device of host.devices) {
    link(device.path);
    const folder = realPath(tree, device.path);
    file(`/sys/kernel/debug/vfio/${device.address}/migration/features`);
    for (const name of DEVICE_FILES) file(`${folder}/${name}`);
    for (const name of DEVICE_LINKS) link(`${folder}/${name}`);
    for (const name of tree.names(folder)) {
      if (/^virtfn\d+$/.test(name)) link(`${folder}/${name}`);
      if (/^resource\d_resize$/.test(name)) file(`${folder}/${name}`);
    }
    for (const name of DEVICE_FOLDERS) {
      for (const child of tree.names(`${folder}/${name}`)) {
        entries.set(`${folder}/${name}/${child}`, { kind: "folder" });
      }
    }
  }
  for (const group of host.groups.values()) {
    const path = `/sys/kernel/iommu_groups/${group.number}`;
    file(`${path}/type`);
    file(`${path}/reserved_regions`);
    for (const device of group.devices) link(`${path}/devices/${device.address}`);
    for (const { name } of group.others) {
      entries.set(`${path}/devices/${name}`, { kind: "folder" });
      link(`${path}/devices/${name}/driver`);
    }
  }
}

function captureNodes(
  host: Host,
  link: (path: string) => void,
  file: (path: string) => void,
  entries: Map<string, MemoryEntry>,
): void {
  const { tree } = host;
  const nodes = ["/dev/iommu", ...tree.names("/dev/vfio").map((name) => `/dev/vfio/${name}`)];
  for (const path of nodes) {
    const status = tree.status(path).value;
    if (status === undefined || status.kind === "folder") continue;
    const { mode, uid, gid } = status;
    entries.set(path, { kind: "device", mode, uid, gid });
  }
  const isDevice = (node: string) => /^\/dev\/(?:(?:vfio|dri|snd)\/|nvidia)/.test(node);
  for (const { pid } of openersOf(tree, isDevice).found) {
    file(`/proc/${pid}/comm`);
    for (const fd of tree.names(`/proc/${pid}/fd`)) {
      const path = `/proc/${pid}/fd/${fd}`;
      if (isDevice(tree.link(path).value ?? "")) link(path);
    }
  }
}

const SECRETS: ReadonlyArray<readonly [RegExp, string]> = [
  [/\b(?:[0-9a-f]{2}:){5}[0-9a-f]{2}\b/gi, "xx:xx:xx:xx:xx:xx"],
  [/\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b/gi, "(uuid)"],
  [/\b(serial(?:\s*number)?\s*[:=]\s*)\S+/gi, "$1(hidden)"],
  [/\b(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)\b(?!\.)/g, "(ip)"],
];

/** Hides hardware addresses, UUIDs, serial and IP numbers. */
export function redactText(text: string): string {
  return SECRETS.reduce((all, [pattern, by]) => all.replace(pattern, by), text);
}

/** The same for a captured tree; a device's serial number is in its configuration space. */
export function redact(entries: ReadonlyMap<string, MemoryEntry>): Map<string, MemoryEntry> {
  const hidden = new Map<string, MemoryEntry>();
  for (const [path, entry] of entries) {
    if (entry.kind !== "file") {
      hidden.set(path, entry);
    } else if (path.endsWith("/rom")) {
      hidden.set(path, entry);
    } else if (path.endsWith("/config")) {
      hidden.set(path, { ...entry, bytes: withoutSerial(entry.bytes) });
    } else if (!/\/boot_id$/.test(path)) {
      const text = redactText(new TextDecoder().decode(entry.bytes));
      hidden.set(path, { ...entry, bytes: new TextEncoder().encode(text) });
    }
  }
  return hidden;
}

const SERIAL_NUMBER = 0x0003;

function withoutSerial(bytes: Uint8Array): Uint8Array {
  const copy = bytes.slice();
  const u16 = (at: number) => (copy[at] ?? 0) | ((copy[at + 1] ?? 0) << 8);
  let at = 0x100;
  for (let steps = 0; at >= 0x100 && at + 12 <= copy.length && steps < 960; steps++) {
    if (u16(at) === SERIAL_NUMBER) copy.fill(0, at + 4, at + 12);
    at = (u16(at + 2) >> 4) & 0xffc;
  }
  return copy;
}
