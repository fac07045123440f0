/**
 * KernelDevice: a `VfioDevice` over a device fd of Linux (linux/vfio.h, "IOCTLs for DEVICE file
 * descriptors"), whichever way the fd was got: from a group, or as a character device.
 */

import {
  VFIO_DEVICE_FLAGS_CAPS,
  VFIO_DEVICE_FLAGS_PCI,
  VFIO_DEVICE_GET_INFO,
  VFIO_DEVICE_GET_IRQ_INFO,
  VFIO_DEVICE_GET_REGION_INFO,
  VFIO_DEVICE_RESET,
  VFIO_DEVICE_SET_IRQS,
  VFIO_IRQ_SET_ACTION_MASK,
  VFIO_IRQ_SET_ACTION_TRIGGER,
  VFIO_IRQ_SET_ACTION_UNMASK,
  VFIO_IRQ_SET_DATA_EVENTFD,
  VFIO_IRQ_SET_DATA_NONE,
  VFIO_REGION_INFO_CAP_MSIX_MAPPABLE,
  VFIO_REGION_INFO_CAP_SPARSE_MMAP,
  VFIO_REGION_INFO_CAP_TYPE,
  VFIO_REGION_INFO_FLAG_CAPS,
  vfio_device_info,
  vfio_irq_info,
  vfio_irq_set,
  vfio_region_info,
  vfio_region_info_cap_sparse_mmap,
  vfio_region_info_cap_type,
  vfio_region_sparse_mmap_area,
} from "../abi/vfio.ts";
import { askWithArgsz, capabilityChain } from "../sys/argsz.ts";
import { OwnedFd } from "../sys/fd.ts";
import { Owner } from "../sys/owner.ts";
import { check, SysError } from "../sys/sys-error.ts";
import type { Syscalls } from "../sys/syscalls.ts";
import type { DeviceInfo, IrqAction, IrqInfo, RegionInfo, VfioDevice } from "./device.ts";
import * as trace from "./trace.ts";

const ACTIONS: Readonly<Record<IrqAction, number>> = {
  mask: VFIO_IRQ_SET_ACTION_MASK,
  unmask: VFIO_IRQ_SET_ACTION_UNMASK,
  trigger: VFIO_IRQ_SET_ACTION_TRIGGER,
};

/** `VFIO_PCI_*_IRQ_INDEX`, by index, as messages name them. */
const PCI_IRQ_NAMES = ["INTX", "MSI", "MSIX", "ERR", "REQ"];

export class KernelDevice implements VfioDevice {
  readonly name: string;
  readonly info: DeviceInfo;
  readonly #sys: Syscalls;
  readonly #owner: Owner;
  readonly #fd: OwnedFd;

  private constructor(sys: Syscalls, name: string, fd: OwnedFd, info: DeviceInfo, owner: Owner) {
    this.#sys = sys;
    this.#fd = fd;
    this.#owner = owner;
    this.name = name;
    this.info = info;
  }

  /**
   * Takes charge of a device fd and asks what the device is.
   * @param release runs after the fd was closed (leave the group); also when this fails
   * @throws {SysError} VFIO_DEVICE_GET_INFO
   */
  static open(
    sys: Syscalls,
    name: string,
    fd: number,
    release: () => void = () => {},
  ): KernelDevice {
    using owner = new Owner();
    owner.defer(release);
    const owned = owner.own(new OwnedFd(sys, fd));
    const info = deviceInfo(sys, fd);
    const { flags, numRegions, numIrqs } = info;
    const counts = { num_regions: numRegions, num_irqs: numIrqs };
    trace.vfio_get_device.emit({ name, flags, ...counts });
    owner.defer(() => trace.vfio_put_base_device.emit({ fd }));
    return new KernelDevice(sys, name, owned, info, owner.move());
  }

  get fd(): number {
    return this.#fd.fd;
  }

  regionInfo(index: number): RegionInfo {
    const answer = askWithArgsz(
      (arg) => this.ioctl(VFIO_DEVICE_GET_REGION_INFO, arg),
      vfio_region_info.bytes({ argsz: vfio_region_info.size, index }),
      `VFIO_DEVICE_GET_REGION_INFO ${index}`,
    );
    return decodeRegionInfo(answer);
  }

  irqInfo(index: number): IrqInfo {
    const arg = vfio_irq_info.bytes({ argsz: vfio_irq_info.size, index });
    check(this.ioctl(VFIO_DEVICE_GET_IRQ_INFO, arg), `VFIO_DEVICE_GET_IRQ_INFO ${index}`);
    const { flags, count } = vfio_irq_info.at(arg);
    return { index, flags, count };
  }

  readRegion(region: RegionInfo, offset: number, into: Uint8Array): number {
    return this.#sys.pread(this.fd, into, region.fdOffset + offset);
  }

  writeRegion(region: RegionInfo, offset: number, from: Uint8Array): number {
    return this.#sys.pwrite(this.fd, from, region.fdOffset + offset);
  }

  setIrqEventfds(index: number, action: IrqAction, start: number, fds: readonly number[]): number {
    const flags = VFIO_IRQ_SET_DATA_EVENTFD | ACTIONS[action];
    const argsz = vfio_irq_set.size + 4 * fds.length;
    const arg = new Uint8Array(argsz);
    arg.set(vfio_irq_set.bytes({ argsz, flags, index, start, count: fds.length }));
    new Int32Array(arg.buffer, vfio_irq_set.size, fds.length).set(fds);
    const result = this.ioctl(VFIO_DEVICE_SET_IRQS, arg);
    if (result >= 0) return result;
    const what = fds.every((fd) => fd < 0) ? "tear down" : "set up";
    throw this.#irqError(result, index, action, start, `${what} of ${fds.length} eventfds`);
  }

  setIrqNone(index: number, action: IrqAction, start: number, count: number): void {
    const flags = VFIO_IRQ_SET_DATA_NONE | ACTIONS[action];
    const arg = vfio_irq_set.bytes({ argsz: vfio_irq_set.size, flags, index, start, count });
    const result = this.ioctl(VFIO_DEVICE_SET_IRQS, arg);
    if (result >= 0) return;
    const what = count === 0 ? "disable" : `${count} interrupts`;
    throw this.#irqError(result, index, action, start, what);
  }

  reset(): void {
    check(this.ioctl(VFIO_DEVICE_RESET, 0), "VFIO_DEVICE_RESET");
  }

  ioctl(request: number, arg: Uint8Array | number): number {
    return this.#sys.ioctl(this.fd, request, arg);
  }

  /** Closes the device, then leaves its group. Idempotent. */
  [Symbol.dispose](): void {
    this.#owner[Symbol.dispose]();
  }

  /** Put together only when it is needed: a guest masks and unmasks a vector often. */
  #irqError(result: number, index: number, action: IrqAction, start: number, what: string) {
    const isPci = (this.info.flags & VFIO_DEVICE_FLAGS_PCI) !== 0;
    const name = (isPci ? PCI_IRQ_NAMES[index] : undefined) ?? `index ${index}`;
    const call = `VFIO_DEVICE_SET_IRQS ${name}-${start} ${action.toUpperCase()} (${what})`;
    return new SysError(-result, call);
  }
}

function deviceInfo(sys: Syscalls, fd: number): DeviceInfo {
  const answer = askWithArgsz(
    (arg) => sys.ioctl(fd, VFIO_DEVICE_GET_INFO, arg),
    vfio_device_info.bytes({ argsz: vfio_device_info.size }),
    "VFIO_DEVICE_GET_INFO",
  );
  const info = vfio_device_info.at(answer);
  const hasCapabilities = (info.flags & VFIO_DEVICE_FLAGS_CAPS) !== 0;
  return {
    flags: info.flags,
    numRegions: info.num_regions,
    numIrqs: info.num_irqs,
    capabilities: capabilityChain(answer, hasCapabilities ? info.cap_offset : 0),
  };
}

/** Decodes a `struct vfio_region_info` with the capabilities behind it. */
export function decodeRegionInfo(answer: Uint8Array): RegionInfo {
  const info = vfio_region_info.at(answer);
  const hasCapabilities = (info.flags & VFIO_REGION_INFO_FLAG_CAPS) !== 0;
  const capabilities = capabilityChain(answer, hasCapabilities ? info.cap_offset : 0);
  const sparse = capabilities.get(VFIO_REGION_INFO_CAP_SPARSE_MMAP);
  const type = capabilities.get(VFIO_REGION_INFO_CAP_TYPE);
  return {
    index: info.index,
    flags: info.flags,
    size: Number(info.size),
    fdOffset: Number(info.offset),
    sparseAreas: sparse && decodeSparseAreas(sparse),
    type: type && decodeType(type),
    msixMappable: capabilities.has(VFIO_REGION_INFO_CAP_MSIX_MAPPABLE),
    capabilities,
  };
}

function decodeSparseAreas(capability: Uint8Array): Array<{ offset: number; size: number }> {
  const { nr_areas } = vfio_region_info_cap_sparse_mmap.at(capability);
  const areas = [];
  for (let i = 0; i < nr_areas; i++) {
    const at = vfio_region_info_cap_sparse_mmap.size + i * vfio_region_sparse_mmap_area.size;
    // A count that leaves the answer is the host's mistake; what is there still counts.
    if (at + vfio_region_sparse_mmap_area.size > capability.length) break;
    const area = vfio_region_sparse_mmap_area.at(capability, at);
    areas.push({ offset: Number(area.offset), size: Number(area.size) });
  }
  return areas;
}

function decodeType(capability: Uint8Array): { type: number; subtype: number } {
  const { type, subtype } = vfio_region_info_cap_type.at(capability);
  return { type, subtype };
}

/**
 * Finds a device-specific region by type and subtype among all regions; regions whose info fails
 * are passed over (spec/pci.md 3.5). Undefined when there is none.
 */
export function findRegion(
  device: VfioDevice,
  wanted: { type: number; subtype: number },
): RegionInfo | undefined {
  for (let index = 0; index < device.info.numRegions; index++) {
    let info: RegionInfo;
    try {
      info = device.regionInfo(index);
    } catch {
      continue;
    }
    if (!info.type) continue;
    const { type, subtype } = info.type;
    trace.vfio_get_dev_region.emit({ name: device.name, index, type, subtype });
    if (type === wanted.type && subtype === wanted.subtype) return info;
  }
  return undefined;
}
