/**
 * Host: the PCI devices and IOMMU groups of one HostTree, found once. Read next: pci-device.ts for
 * a device, viability.ts for groups, find-device.ts for how a user's words become devices.
 */

import { isFullAddress } from "./pci-address.ts";
import { HostDevice } from "./pci-device.ts";
import type { HostTree } from "./tree.ts";
import { blocksGroup, type GroupMember, groupMembers, isWithVfio } from "./viability.ts";

export class HostGroup {
  readonly number: number;
  /** Its PCI functions, in order of address. */
  readonly devices: readonly HostDevice[];
  private readonly tree: HostTree;
  private knownOthers: readonly GroupMember[] | undefined;

  constructor(tree: HostTree, number: number, devices: readonly HostDevice[]) {
    this.tree = tree;
    this.number = number;
    this.devices = devices;
  }

  /** Its devices that are on another bus: ACPI and platform devices, mediated ones. */
  get others(): readonly GroupMember[] {
    this.knownOthers ??= groupMembers(this.tree, this.number, (name) => !isFullAddress(name));
    return this.knownOthers;
  }

  /** The members that keep VFIO from taking it. */
  get blockers(): readonly GroupMember[] {
    return [...this.devices, ...this.others].filter(blocksGroup);
  }
}

export class Host {
  readonly tree: HostTree;
  /** In order of address. */
  readonly devices: readonly HostDevice[];
  private readonly byAddress: ReadonlyMap<string, HostDevice>;
  private knownGroups: ReadonlyMap<number, HostGroup> | undefined;
  private knownSlots: ReadonlyMap<string, string> | undefined;

  private constructor(tree: HostTree, devices: readonly HostDevice[]) {
    this.tree = tree;
    this.devices = devices;
    this.byAddress = new Map(devices.map((device) => [device.address, device]));
  }

  /** Lists `/sys/bus/pci/devices`; a host without PCI has no devices. */
  static scan(tree: HostTree): Host {
    const names = tree.names("/sys/bus/pci/devices").filter(isFullAddress);
    return new Host(
      tree,
      names.map((name) => new HostDevice(tree, name)),
    );
  }

  device(address: string): HostDevice | undefined {
    return this.byAddress.get(address);
  }

  /** By number, in order. */
  get groups(): ReadonlyMap<number, HostGroup> {
    if (this.knownGroups === undefined) {
      const members = new Map<number, HostDevice[]>();
      for (const device of this.devices) {
        if (device.group === undefined) continue;
        const list = members.get(device.group);
        if (list === undefined) members.set(device.group, [device]);
        else list.push(device);
      }
      const sorted = [...members].sort(([a], [b]) => a - b);
      this.knownGroups = new Map(
        sorted.map(([number, devices]) => [number, new HostGroup(this.tree, number, devices)]),
      );
    }
    return this.knownGroups;
  }

  /** Slots that the kernel knows by name, as hot-plug ones: `0000:01:00` -> the name. */
  get physicalSlots(): ReadonlyMap<string, string> {
    if (this.knownSlots === undefined) {
      const folder = "/sys/bus/pci/slots";
      this.knownSlots = new Map(
        this.tree
          .names(folder)
          .map((name) => [this.tree.text(`${folder}/${name}/address`) ?? "", name] as const),
      );
    }
    return this.knownSlots;
  }

  /** The devices that travel together: the group's, or the device alone where there is none. */
  companions(device: HostDevice): readonly HostDevice[] {
    if (device.group === undefined) return [device];
    return this.groups.get(device.group)?.devices ?? [device];
  }
}

/**
 * `viable`: VFIO would take it now. `in use`: a member is with a host driver. `unbound`: nothing
 * is in the way but no member has a VFIO driver yet.
 */
export type GroupVerdict = "viable" | "unbound" | "in use";

export function verdictOf(group: HostGroup): GroupVerdict {
  if (group.blockers.length > 0) return "in use";
  return group.devices.some(isWithVfio) ? "viable" : "unbound";
}
