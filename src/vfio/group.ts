/**
 * Group: an IOMMU group (`/dev/vfio/<number>`), the smallest unit the host hands out. Opened for
 * its first device, given back with its last (spec/container.md sections 3 and 8).
 */

import { O_RDWR } from "../abi/fcntl.ts";
import {
  VFIO_GROUP_FLAGS_VIABLE,
  VFIO_GROUP_GET_DEVICE_FD,
  VFIO_GROUP_GET_STATUS,
  vfio_group_status,
} from "../abi/vfio.ts";
import { openersOf } from "../host/openers.ts";
import { blocksGroup, groupMembers } from "../host/viability.ts";
import type { AddressSpace } from "../memory/address-space.ts";
import { errnoText } from "../sys/errno-text.ts";
import { OwnedFd } from "../sys/fd.ts";
import { Owner } from "../sys/owner.ts";
import { check, errnoOf, ViaductError, type ViaductErrorCode } from "../sys/sys-error.ts";
import { CONTAINER_PATH, Container } from "./container.ts";
import { KernelDevice } from "./kernel-device.ts";
import { remove, type VfioState } from "./state.ts";
import * as trace from "./trace.ts";

/** What an errno of VFIO_GROUP_GET_DEVICE_FD means to a user. */
const REFUSALS: Readonly<Record<string, ViaductErrorCode>> = {
  EACCES: "NO_PERMISSION",
  EBUSY: "DEVICE_BUSY",
  EINVAL: "DEVICE_NOT_BOUND",
  ENODEV: "DEVICE_NOT_BOUND",
};

export interface OpenDeviceOptions {
  /** Secret shared with the user of the physical function (`vf-token`). */
  readonly vfToken?: string;
  /** The device tolerates that guest RAM is discarded under it. */
  readonly discardAllowed?: boolean;
}

export class Group {
  readonly number: number;
  readonly container: Container;
  /** Attached devices, newest first. */
  readonly devices: KernelDevice[] = [];
  readonly #state: VfioState;
  readonly #fd: OwnedFd;
  /** Set by the first device, agreed to by the others. */
  #discardAllowed = false;

  private constructor(state: VfioState, number: number, fd: OwnedFd, container: Container) {
    this.#state = state;
    this.#fd = fd;
    this.number = number;
    this.container = container;
  }

  /**
   * The group, already held or opened now, with its container in `addressSpace`.
   * @throws {ViaductError} GROUP_IN_OTHER_ADDRESS_SPACE, GROUP_NOT_VIABLE, GROUP_BUSY,
   * DEVICE_NOT_BOUND, NO_PERMISSION, VFIO_MISSING, IOMMU_REFUSED, and what mapping guest RAM throws
   */
  static get(state: VfioState, number: number, addressSpace: AddressSpace): Group {
    const held = state.groups.find((group) => group.number === number);
    if (held) {
      if (held.container.addressSpace === addressSpace) return held;
      throw new ViaductError(
        "GROUP_IN_OTHER_ADDRESS_SPACE",
        `group ${number} used in multiple address spaces`,
        { nextStep: "Put all devices of the group behind the same virtual IOMMU domain." },
      );
    }
    using owner = new Owner();
    const fd = owner.own(openGroup(state, number));
    refuseNotViable(state, number, fd.fd);
    const container = Container.connect(state, fd.fd, number, addressSpace);
    const group = new Group(state, number, fd, container);
    state.addGroup(group);
    owner.move();
    return group;
  }

  get fd(): number {
    return this.#fd.fd;
  }

  get discardAllowed(): boolean {
    return this.#discardAllowed;
  }

  /**
   * Opens a device of this group. Disposing it closes it, and gives the group back when it was the
   * last one.
   * @throws {ViaductError} DEVICE_BUSY, DEVICE_UNSUPPORTED; the caller then calls `release()`
   */
  openDevice(name: string, options: OpenDeviceOptions = {}): KernelDevice {
    const { number } = this;
    if (this.devices.some((device) => device.name === name)) {
      throw new ViaductError("DEVICE_BUSY", "device is already attached", {
        nextStep: "Name each host device once.",
      });
    }
    const wanted = options.vfToken === undefined ? name : `${name} vf_token=${options.vfToken}`;
    const argument = new TextEncoder().encode(`${wanted}\0`);
    const { sys } = this.#state;
    let device: KernelDevice | undefined;
    try {
      const fd = sys.ioctl(this.fd, VFIO_GROUP_GET_DEVICE_FD, argument);
      check(fd, `VFIO_GROUP_GET_DEVICE_FD ${wanted}`);
      device = KernelDevice.open(sys, name, fd, () => this.#closed(device));
    } catch (cause) {
      throw new ViaductError(
        REFUSALS[errnoOf(cause) ?? ""] ?? "DEVICE_UNSUPPORTED",
        `error getting device from group ${number}: ${errnoText(cause)}`,
        {
          cause,
          nextStep: `Verify all devices in group ${number} are bound to vfio-<bus> or pci-stub and not already in use`,
        },
      );
    }
    this.#agreeOnDiscards(device, options.discardAllowed ?? false);
    this.devices.unshift(device);
    return device;
  }

  /** Gives the group back when it has no device left; otherwise does nothing. */
  release(): void {
    if (this.devices.length > 0 || this.fd < 0) return;
    this.container.leave(this);
    this.#state.removeGroup(this);
    trace.vfio_put_group.emit({ fd: this.fd });
    this.#fd[Symbol.dispose]();
  }

  #closed(device: KernelDevice | undefined): void {
    if (device === undefined || !this.devices.includes(device)) return;
    remove(this.devices, device);
    this.release();
  }

  #agreeOnDiscards(device: KernelDevice, allowed: boolean): void {
    if (this.devices.length === 0) {
      this.#discardAllowed = allowed;
      if (allowed) this.container.allowDiscards(this.number);
      return;
    }
    if (this.#discardAllowed === allowed) return;
    device[Symbol.dispose]();
    throw new ViaductError(
      "DEVICE_UNSUPPORTED",
      `Inconsistent setting of support for discarding RAM (e.g., balloon) within group ${this.number}`,
      { nextStep: "Give x-balloon-allowed the same value for all devices of the group." },
    );
  }
}

function openGroup(state: VfioState, number: number): OwnedFd {
  const path = `/dev/vfio/${number}`;
  try {
    return OwnedFd.open(state.sys, path, O_RDWR);
  } catch (cause) {
    const message = `failed to open ${path}: ${errnoText(cause)}`;
    switch (errnoOf(cause)) {
      case "EBUSY":
        throw new ViaductError("GROUP_BUSY", message, {
          cause,
          nextStep: nameHolders(state, path),
        });
      case "EACCES":
      case "EPERM":
        throw new ViaductError("NO_PERMISSION", message, {
          cause,
          nextStep: `Run as root, or give this user the node: chown $USER ${path}`,
        });
      case "ENOENT":
        refuseWithoutVfio(state, message, cause);
        throw new ViaductError("DEVICE_NOT_BOUND", message, {
          cause,
          nextStep: `Load vfio-pci and bind a device of group ${number} to it: modprobe vfio-pci; ${membersText(state, number)}`,
        });
      default:
        throw new ViaductError("VFIO_MISSING", message, { cause });
    }
  }
}

/** Without VFIO no group has a node, and binding a device would not make one. */
function refuseWithoutVfio(state: VfioState, message: string, cause: unknown): void {
  try {
    OwnedFd.open(state.sys, CONTAINER_PATH, O_RDWR)[Symbol.dispose]();
  } catch (error) {
    if (errnoOf(error) !== "ENOENT") return;
    const why = `failed to open ${CONTAINER_PATH}: ${errnoText(error)}`;
    throw new ViaductError("VFIO_MISSING", `${message}; ${why}`, {
      cause,
      nextStep: "Load VFIO: sudo modprobe -a vfio-pci vfio_iommu_type1; then bind the device.",
    });
  }
}

function nameHolders(state: VfioState, path: string): string {
  const { found } = openersOf(state.tree, (node) => node === path);
  const holders = found.map(({ pid, name }) => `${name} (pid ${pid})`);
  if (holders.length === 0) return `Find the process that holds it: sudo fuser -v ${path}`;
  return `${path} is held by ${holders.join(", ")}: end it first.`;
}

function refuseNotViable(state: VfioState, number: number, fd: number): void {
  const status = vfio_group_status.bytes({ argsz: vfio_group_status.size });
  try {
    check(state.sys.ioctl(fd, VFIO_GROUP_GET_STATUS, status), "VFIO_GROUP_GET_STATUS");
  } catch (cause) {
    throw new ViaductError(
      "VFIO_MISSING",
      `failed to get group ${number} status: ${errnoText(cause)}`,
      { cause },
    );
  }
  if ((vfio_group_status.at(status).flags & VFIO_GROUP_FLAGS_VIABLE) !== 0) return;
  throw new ViaductError("GROUP_NOT_VIABLE", `group ${number} is not viable`, {
    nextStep:
      "Please ensure all devices within the iommu_group are bound to their vfio bus driver." +
      ` ${membersText(state, number)}`,
  });
}

/** `0000:01:00.1 is bound to snd_hda_intel`, for those that stand in the way. */
function membersText(state: VfioState, number: number): string {
  const members = groupMembers(state.tree, number);
  const blocking = members.filter(blocksGroup);
  const shown = blocking.length > 0 ? blocking : members;
  if (shown.length === 0) return "";
  const texts = shown.map(({ name, driver }) => `${name} is bound to ${driver ?? "no driver"}`);
  return `In group ${number}: ${texts.join(", ")}.`;
}
