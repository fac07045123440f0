/**
 * What the host itself needs: the device that carries the default route, a mounted or swap disk,
 * or the only console. `doctor` tells it (HOST_CRITICAL, HOST_IN_USE), `bind` refuses it.
 */

import { pciOwners } from "./class-device.ts";
import type { Evidence } from "./findings/finding.ts";
import type { Host } from "./host.ts";
import type { HostDevice } from "./pci-device.ts";
import { isVfioDriver } from "./viability.ts";

export interface Use {
  /** `critical`: the host loses network, disk or console. */
  readonly level: "critical" | "used";
  readonly what: string;
  readonly evidence: Evidence;
}

/** Every way in which the host uses the device now. */
export function usesOf(host: Host, device: HostDevice): Use[] {
  return [...networkUses(host, device), ...diskUses(host, device), ...displayUses(host, device)];
}

function networkUses(host: Host, device: HostDevice): Use[] {
  const uses: Use[] = [];
  const names = new Set(interfacesOf(host, device));
  if (names.size === 0) return uses;
  for (const line of (host.tree.text("/proc/net/route") ?? "").split("\n").slice(1)) {
    const [name = "", destination] = line.split(/\s+/);
    if (!names.has(name)) continue;
    const isDefault = destination === "00000000";
    uses.push({
      level: isDefault ? "critical" : "used",
      what: isDefault ? `carries the default route (${name})` : `${name} has routes`,
      evidence: { path: "/proc/net/route", value: line.trim() },
    });
  }
  for (const line of (host.tree.text("/proc/net/ipv6_route") ?? "").split("\n")) {
    const parts = line.trim().split(/\s+/);
    const name = parts.at(-1) ?? "";
    if (/^0{32}$/.test(parts[0] ?? "") && parts[1] === "00" && names.has(name)) {
      uses.push({
        level: "critical",
        what: `carries the default IPv6 route (${name})`,
        evidence: { path: "/proc/net/ipv6_route", value: line.trim() },
      });
    }
  }
  return uses.sort((a, b) => a.level.localeCompare(b.level)).slice(0, 3);
}

/** Interfaces on the device, and bridges and bonds that have one of them as a port. */
function interfacesOf(host: Host, device: HostDevice): string[] {
  const own = host.tree
    .names("/sys/class/net")
    .filter((name) => pciOwners(host.tree, "net", name).includes(device.address));
  const all = new Set([...own, ...device.interfaces]);
  for (const name of [...all]) {
    const master = host.tree.linkName(`/sys/class/net/${name}/master`);
    if (master !== undefined) all.add(master);
  }
  return [...all];
}

function diskUses(host: Host, device: HostDevice): Use[] {
  const uses: Use[] = [];
  const check = (node: string, use: (disk: string) => Use) => {
    const name = node.replace(/^\/dev\//, "").replace(/^mapper\//, "");
    for (const disk of disksUnder(host, name, 0)) {
      if (pciOwners(host.tree, "block", disk).includes(device.address)) uses.push(use(disk));
    }
  };
  for (const line of (host.tree.text("/proc/mounts") ?? "").split("\n")) {
    const [node = "", place = ""] = line.split(" ");
    if (!node.startsWith("/dev/")) continue;
    check(node, (disk) => ({
      level: "critical",
      what: `${disk} is mounted at ${place}`,
      evidence: { path: "/proc/mounts", value: line },
    }));
  }
  for (const line of (host.tree.text("/proc/swaps") ?? "").split("\n").slice(1)) {
    const node = line.split(/\s+/)[0] ?? "";
    if (!node.startsWith("/dev/")) continue;
    check(node, (disk) => ({
      level: "critical",
      what: `${disk} is swap`,
      evidence: { path: "/proc/swaps", value: line },
    }));
  }
  return uses;
}

/** A block device, or what a mapped one (LVM, crypt, RAID) stands on. */
function disksUnder(host: Host, name: string, depth: number): string[] {
  const { tree } = host;
  let block = name;
  // By name: in a captured tree a link may lead to nothing.
  if (!tree.names("/sys/class/block").includes(block)) {
    const mapped = tree
      .names("/sys/class/block")
      .filter((one) => one.startsWith("dm-"))
      .find((one) => tree.text(`/sys/class/block/${one}/dm/name`) === name);
    if (mapped === undefined) return [];
    block = mapped;
  }
  const below = depth > 8 ? [] : tree.names(`/sys/class/block/${block}/slaves`);
  return below.length === 0 ? [block] : below.flatMap((one) => disksUnder(host, one, depth + 1));
}

/** A host that has a display keeps its last one. */
function displayUses(host: Host, device: HostDevice): Use[] {
  if (!device.isDisplay || isVfioDriver(device.driver)) return [];
  const displays = host.devices.filter(
    (other) => other.isDisplay && other.driver !== undefined && !isVfioDriver(other.driver),
  );
  if (displays.length !== 1 || displays[0] !== device) return [];
  return [
    {
      level: "critical",
      what: `is the only display that the host drives (${device.driver})`,
      evidence: { path: `${device.path}/driver`, value: device.driver ?? "" },
    },
  ];
}
