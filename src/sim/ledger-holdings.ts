/**
 * What a process holds, as `Ledger` sees it go by: descriptors (also those that an ioctl hands
 * out), mappings, and the DMA maps of type 1 containers.
 */

import type { Bytes } from "../sys/syscalls.ts";

/** `MAP_FIXED | MAP_ANONYMOUS`: pages laid over a mapping that goes away (sys/mapping.ts). */
const MAP_FIXED = 0x10;
const MAP_ANONYMOUS = 0x20;
const F_DUPFD = 0;
const F_DUPFD_CLOEXEC = 1030;

/** The number and type letter of an ioctl, without the direction and size bits. */
const numberOf = (request: number): number => request & 0xffff;

/** ioctls whose result is a new descriptor. */
const GIVES_FD: ReadonlyMap<number, string> = new Map([
  [0x3b6a, "VFIO_GROUP_GET_DEVICE_FD"],
  [0xae01, "KVM_CREATE_VM"],
  [0xae41, "KVM_CREATE_VCPU"],
]);

/** `KVM_CREATE_DEVICE`: the descriptor is in `struct kvm_create_device`, at offset 4. */
const KVM_CREATE_DEVICE = 0xaee0;
const KVM_CREATE_DEVICE_TEST = 1;
const VFIO_IOMMU_MAP_DMA = 0x3b71;
const VFIO_IOMMU_UNMAP_DMA = 0x3b72;
const VFIO_DMA_UNMAP_FLAG_ALL = 2;
const VFIO_DMA_UNMAP_FLAG_VADDR = 4;
const VFIO_DMA_MAP_FLAG_VADDR = 4;
const CONTAINER_PATH = "/dev/vfio/vfio";

interface Range {
  readonly start: number;
  readonly end: number;
  readonly what: string;
}

interface DmaMap {
  readonly iova: bigint;
  readonly size: bigint;
}

export class Holdings {
  readonly #fds = new Map<number, string>();
  readonly #dma = new Map<number, DmaMap[]>();
  #ranges: Range[] = [];

  /** Books a descriptor when `fd` is one; answers it. */
  opened(fd: number, what: string): number {
    if (fd >= 0) this.#fds.set(fd, what);
    return fd;
  }

  closed(fd: number): void {
    this.#fds.delete(fd);
    this.#dma.delete(fd);
  }

  fcntlDone(fd: number, command: number, result: number): number {
    const duplicates = command === F_DUPFD || command === F_DUPFD_CLOEXEC;
    return duplicates ? this.opened(result, `dup of ${this.#fds.get(fd) ?? fd}`) : result;
  }

  /** The argument as it goes in: a driver may write over it. */
  beforeIoctl(arg: number | Bytes): DataView | undefined {
    if (typeof arg === "number") return undefined;
    const copy = new Uint8Array(arg.byteLength);
    copy.set(new Uint8Array(arg.buffer, arg.byteOffset, arg.byteLength));
    return new DataView(copy.buffer, copy.byteOffset);
  }

  ioctlDone(
    fd: number,
    request: number,
    before: DataView | undefined,
    arg: number | Bytes,
    result: number,
  ): number {
    if (result < 0) return result;
    const number = numberOf(request);
    const gives = GIVES_FD.get(number);
    if (gives !== undefined) return this.opened(result, gives);
    if (before === undefined || typeof arg === "number") return result;
    if (number === KVM_CREATE_DEVICE) this.#kvmDevice(arg);
    if (this.#fds.get(fd) === CONTAINER_PATH) this.#dmaCall(fd, number, before);
    return result;
  }

  mapped(address: number, length: number, flags: number, what: string): number {
    if (address < 0) return address;
    const covers = this.#ranges.some((r) => r.start < address + length && address < r.end);
    const fixed = (flags & MAP_FIXED) !== 0;
    if (fixed) this.unmapped(address, length);
    // Anonymous pages laid over what was mapped are how a mapping is given up.
    if (!(fixed && (flags & MAP_ANONYMOUS) !== 0 && covers)) {
      this.#ranges.push({ start: address, end: pageEnd(address + length), what });
    }
    return address;
  }

  unmapped(address: number, length: number): void {
    const end = pageEnd(address + length);
    this.#ranges = this.#ranges.flatMap((range) => {
      if (range.end <= address || end <= range.start) return [range];
      const rest = [];
      if (range.start < address) rest.push({ ...range, end: address });
      if (end < range.end) rest.push({ ...range, start: end });
      return rest;
    });
  }

  list(): string[] {
    const fds = [...this.#fds].map(([fd, what]) => `fd ${fd} ${what}`);
    const maps = this.#ranges.map(
      ({ start, end, what }) => `mapping 0x${start.toString(16)}-0x${end.toString(16)} of ${what}`,
    );
    const dma = [...this.#dma].flatMap(([fd, entries]) =>
      entries.map((e) => `DMA map 0x${e.iova.toString(16)}+0x${e.size.toString(16)} of fd ${fd}`),
    );
    return [...fds, ...maps, ...dma];
  }

  #kvmDevice(arg: Bytes): void {
    const bytes = new DataView(arg.buffer, arg.byteOffset, arg.byteLength);
    const test = (bytes.getUint32(8, HOST_LITTLE) & KVM_CREATE_DEVICE_TEST) !== 0;
    if (!test) this.opened(bytes.getUint32(4, HOST_LITTLE), "KVM_CREATE_DEVICE");
  }

  #dmaCall(fd: number, number: number, before: DataView): void {
    const flags = before.getUint32(4, HOST_LITTLE);
    const entries = this.#dma.get(fd) ?? [];
    if (number === VFIO_IOMMU_MAP_DMA && (flags & VFIO_DMA_MAP_FLAG_VADDR) === 0) {
      entries.push({
        iova: before.getBigUint64(16, HOST_LITTLE),
        size: before.getBigUint64(24, HOST_LITTLE),
      });
      this.#dma.set(fd, entries);
    } else if (number === VFIO_IOMMU_UNMAP_DMA && (flags & VFIO_DMA_UNMAP_FLAG_VADDR) === 0) {
      const all = (flags & VFIO_DMA_UNMAP_FLAG_ALL) !== 0;
      const iova = before.getBigUint64(8, HOST_LITTLE);
      const end = iova + before.getBigUint64(16, HOST_LITTLE);
      const kept = entries.filter((e) => !all && !(iova <= e.iova && e.iova + e.size <= end));
      this.#dma.set(fd, kept);
    }
  }
}

const HOST_LITTLE = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;

function pageEnd(address: number): number {
  return Math.ceil(address / 4096) * 4096;
}
