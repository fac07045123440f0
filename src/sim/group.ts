/** A software IOMMU group: `/dev/vfio/<number>` as drivers/vfio/group.c answers it. */

import {
  VFIO_GROUP_FLAGS_CONTAINER_SET,
  VFIO_GROUP_FLAGS_VIABLE,
  VFIO_GROUP_GET_DEVICE_FD,
  VFIO_GROUP_GET_STATUS,
  VFIO_GROUP_SET_CONTAINER,
  VFIO_GROUP_UNSET_CONTAINER,
  vfio_group_status,
} from "../abi/vfio.ts";
import type { Bytes } from "../sys/syscalls.ts";
import type { SoftwareContainer } from "./container.ts";
import { argumentBytes, refusal, type SoftwareFile } from "./file.ts";
import type { SoftwarePciDevice } from "./pci-device.ts";

/** What a group asks of the host around it. */
export interface GroupHost {
  /** The container behind a descriptor, or a negated errno. */
  containerOf(fd: number): SoftwareContainer | number;
  /** A new descriptor for the device; undefined when descriptors have run out. */
  openDevice(device: SoftwarePciDevice): number;
}

export class SoftwareGroup implements SoftwareFile {
  readonly number: number;
  readonly devices: SoftwarePciDevice[] = [];
  readonly #host: GroupHost;
  #container: SoftwareContainer | undefined;
  #open = false;

  constructor(number: number, host: GroupHost) {
    this.number = number;
    this.#host = host;
  }

  get name(): string {
    return `group ${this.number}`;
  }

  get container(): SoftwareContainer | undefined {
    return this.#container;
  }

  get isOpen(): boolean {
    return this.#open;
  }

  /** Every device bound to a VFIO driver, a stub, a port's driver, or none. */
  get viable(): boolean {
    return this.devices.every(({ driver }) => {
      return driver === undefined || /vfio|^pci-stub$|^pcieport$/.test(driver);
    });
  }

  /** The node is there while a device of the group is bound to a VFIO driver. */
  get hasNode(): boolean {
    return this.devices.some(({ driver }) => driver !== undefined && /vfio/.test(driver));
  }

  /** One opener at a time. */
  opened(): number {
    if (!this.hasNode) return refusal("ENOENT");
    if (this.#open) return refusal("EBUSY");
    this.#open = true;
    return 0;
  }

  closed(): void {
    this.#open = false;
    if (!this.#hasOpenDevice) this.#leaveContainer();
  }

  /** A device of the group was closed: a group that is closed too lets go of its container. */
  deviceClosed(): void {
    if (!this.#open && !this.#hasOpenDevice) this.#leaveContainer();
  }

  ioctl(request: number, arg: number | Bytes): number {
    const bytes = argumentBytes(arg);
    switch (request) {
      case VFIO_GROUP_GET_STATUS:
        return bytes ? this.#status(bytes) : refusal("EFAULT");
      case VFIO_GROUP_SET_CONTAINER:
        return bytes ? this.#setContainer(bytes) : refusal("EFAULT");
      case VFIO_GROUP_UNSET_CONTAINER:
        if (this.#container === undefined) return refusal("EINVAL");
        if (this.#hasOpenDevice) return refusal("EBUSY");
        this.#leaveContainer();
        return 0;
      case VFIO_GROUP_GET_DEVICE_FD:
        return bytes ? this.#getDevice(bytes) : refusal("EFAULT");
      default:
        return refusal("ENOTTY");
    }
  }

  /** A group has no data. */
  pread(): number {
    return refusal("EINVAL");
  }

  pwrite(): number {
    return refusal("EINVAL");
  }

  get #hasOpenDevice(): boolean {
    return this.devices.some((device) => device.isOpen);
  }

  #status(bytes: Uint8Array): number {
    const status = vfio_group_status.at(bytes);
    if (status.argsz < vfio_group_status.size) return refusal("EINVAL");
    status.flags =
      (this.viable ? VFIO_GROUP_FLAGS_VIABLE : 0) |
      (this.#container ? VFIO_GROUP_FLAGS_CONTAINER_SET : 0);
    return 0;
  }

  #setContainer(bytes: Uint8Array): number {
    const fd = new Int32Array(bytes.slice(0, 4).buffer)[0]!;
    const container = this.#host.containerOf(fd);
    if (container === refusal("EBADF")) return container;
    if (this.#container !== undefined) return refusal("EINVAL");
    if (typeof container === "number") return container;
    if (!this.viable) return refusal("EPERM");
    this.#container = container;
    container.members.push(this);
    return 0;
  }

  #leaveContainer(): void {
    this.#container?.leave(this);
    this.#container = undefined;
  }

  #getDevice(bytes: Uint8Array): number {
    const end = bytes.indexOf(0);
    if (end < 0) return refusal("EINVAL");
    const [name, ...options] = new TextDecoder().decode(bytes.subarray(0, end)).split(" ");
    const device = this.devices.find((other) => other.name === name);
    if (device === undefined || !/vfio/.test(device.driver ?? "")) return refusal("ENODEV");
    const tokens = options.filter((option) => option.startsWith("vf_token="));
    if (options.some((option) => option !== "" && !tokens.includes(option)) || tokens.length > 1) {
      return refusal("EINVAL");
    }
    if (this.#container?.table === undefined || !this.viable) return refusal("EINVAL");
    const token = tokens[0]?.slice("vf_token=".length);
    if (device.vfToken === undefined && token !== undefined) return refusal("EINVAL");
    if (device.vfToken !== token) return refusal("EACCES");
    return this.#host.openDevice(device);
  }
}
