/**
 * `VFIO_DEVICE_IOEVENTFD` of a software PCI device, as vfio_pci_ioeventfd() of
 * drivers/vfio/pci/vfio_pci_rdwr.c: an eventfd whose signal writes a value to a BAR.
 */

import {
  VFIO_DEVICE_IOEVENTFD_SIZE_MASK,
  VFIO_PCI_ROM_REGION_INDEX,
  vfio_device_ioeventfd,
} from "../abi/vfio.ts";
import type { Syscalls } from "../sys/syscalls.ts";
import { type ArmedEventfd, armEventfd } from "./armed-eventfd.ts";
import { refusal } from "./file.ts";
import { REGION_SHIFT, regionSize } from "./pci-regions.ts";
import type { PciDeviceSpec } from "./pci-spec.ts";

/** What the kernel allows a device. */
const COUNT_MAX = 1000;

interface Ioeventfd {
  readonly position: number;
  readonly size: number;
  readonly data: bigint;
  readonly eventfd: ArmedEventfd;
  readonly watch: Disposable;
}

export class SoftwareIoeventfds implements Disposable {
  readonly #sys: Syscalls;
  readonly #spec: PciDeviceSpec;
  readonly #write: (position: number, bytes: Uint8Array) => void;
  #armed: Ioeventfd[] = [];

  /** @param write writes to the device, at a place in its fd */
  constructor(
    sys: Syscalls,
    spec: PciDeviceSpec,
    write: (position: number, bytes: Uint8Array) => void,
  ) {
    this.#sys = sys;
    this.#spec = spec;
    this.#write = write;
  }

  /** The ioctl. */
  set(bytes: Uint8Array): number {
    if (bytes.length < vfio_device_ioeventfd.size) return refusal("EFAULT");
    const { argsz, flags, offset, data, fd } = vfio_device_ioeventfd.at(bytes);
    const size = flags & VFIO_DEVICE_IOEVENTFD_SIZE_MASK;
    if (argsz < vfio_device_ioeventfd.offsetof("reserved") || flags !== size) {
      return refusal("EINVAL");
    }
    if (![1, 2, 4, 8].includes(size) || fd < -1) return refusal("EINVAL");
    const position = Number(offset);
    if (!this.#isAllowed(position, size)) return refusal("EINVAL");
    const known = this.#armed.find(
      (other) => other.position === position && other.size === size && other.data === data,
    );
    if (fd === -1) return known ? this.#disarm(known) : refusal("ENODEV");
    if (known) return refusal("EEXIST");
    if (this.#armed.length >= COUNT_MAX) return refusal("ENOSPC");
    return this.#arm({ position, size, data }, fd);
  }

  /** Looks whether one was signalled; runs by itself in the event loop. */
  poll(): void {
    for (const { eventfd, position, size, data } of this.#armed) {
      if (!eventfd.drain()) continue;
      this.#write(position, new Uint8Array(new BigUint64Array([data]).buffer, 0, size));
    }
  }

  describe(): string[] {
    return this.#armed.map(({ position, size, data }) => {
      const bar = Math.floor(position / REGION_SHIFT);
      const offset = (position % REGION_SHIFT).toString(16);
      return `ioeventfd BAR ${bar} 0x${offset}+${size}=0x${data.toString(16)}`;
    });
  }

  [Symbol.dispose](): void {
    for (const one of [...this.#armed]) this.#disarm(one);
  }

  #isAllowed(position: number, size: number): boolean {
    const bar = Math.floor(position / REGION_SHIFT);
    const offset = position % REGION_SHIFT;
    if (bar >= VFIO_PCI_ROM_REGION_INDEX) return false;
    if (offset + size > regionSize(this.#spec, bar)) return false;
    const { msix } = this.#spec;
    if (msix?.table.bar !== bar) return true;
    const start = msix.table.offset;
    return offset >= start + 16 * msix.vectors || offset + size <= start;
  }

  #arm(write: Pick<Ioeventfd, "position" | "size" | "data">, userFd: number): number {
    const eventfd = armEventfd(this.#sys, userFd);
    if (eventfd === undefined) return refusal("EINVAL");
    if (typeof eventfd === "number") return eventfd;
    const watch = this.#sys.onReadable(eventfd.fd, () => this.poll());
    this.#armed.push({ ...write, eventfd, watch });
    return 0;
  }

  #disarm(one: Ioeventfd): number {
    this.#armed = this.#armed.filter((other) => other !== one);
    one.watch[Symbol.dispose]();
    one.eventfd[Symbol.dispose]();
    return 0;
  }
}
