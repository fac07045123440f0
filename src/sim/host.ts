/**
 * SoftwareHost: a `Syscalls` on which `/dev/vfio` exists, whatever machine this is. The VFIO nodes
 * and what is opened through them are answered in software, with Linux's own ioctl numbers, struct
 * bytes and errnos; everything else goes to the kernel underneath, so a VM on the real `/dev/kvm`
 * can use a software device, and eventfds, memory and epoll are real.
 *
 * Reading order: `file.ts`, `group.ts`, `container.ts` with `dma-table.ts`, `pci-spec.ts`,
 * `pci-device.ts`, `irqs.ts`; `devices/` has devices to use.
 */

import { join } from "node:path";
import { F_DUPFD, F_DUPFD_CLOEXEC, F_GETFD } from "../abi/fcntl.ts";
import {
  KVM_DEV_VFIO_GROUP,
  KVM_DEV_VFIO_GROUP_ADD,
  KVM_SET_DEVICE_ATTR,
  kvm_device_attr,
} from "../abi/kvm.ts";
import { MADV_NORMAL, MADV_POPULATE_WRITE, MFD_CLOEXEC } from "../abi/mman.ts";
import { RLIMIT_MEMLOCK, rlimit64 } from "../abi/resource.ts";
import type { Address, Bytes, Syscalls } from "../sys/syscalls.ts";
import { SoftwareContainer } from "./container.ts";
import { IOMMU_DEFAULTS, type IommuOptions } from "./dma-table.ts";
import { argumentBytes, refusal, type SoftwareFile } from "./file.ts";
import { SoftwareGroup } from "./group.ts";
import { SoftwarePciDevice } from "./pci-device.ts";
import type { PciDeviceSpec } from "./pci-spec.ts";
import { SysfsTree } from "./sysfs-tree.ts";

const CONTAINER_PATH = "/dev/vfio/vfio";
const GROUP_PATH = /^\/dev\/vfio\/(\d+)$/;

export class SoftwareHost implements Syscalls, Disposable {
  readonly #real: Syscalls;
  readonly #iommu: IommuOptions;
  /** By descriptor; a duplicate shares its file. */
  readonly #files = new Map<number, SoftwareFile>();
  readonly #groups = new Map<number, SoftwareGroup>();
  readonly #containers = new Set<SoftwareContainer>();
  readonly #devices: SoftwarePciDevice[] = [];
  /** Groups that KVM was told of, with the pseudo-device that was told. */
  readonly #kvmGroups = new Map<SoftwareGroup, number>();
  #tree: SysfsTree | undefined;

  /** @param iommu what differs from `IOMMU_DEFAULTS` */
  constructor(real: Syscalls, iommu: Partial<IommuOptions> = {}) {
    this.#real = real;
    this.#iommu = { ...IOMMU_DEFAULTS, ...iommu };
  }

  get devices(): readonly SoftwarePciDevice[] {
    return this.#devices;
  }

  /** The containers that are open, oldest first. */
  get containers(): readonly SoftwareContainer[] {
    return [...this.#containers];
  }

  /** Where this host's sysfs and proc are: a folder, written at the first question. */
  get roots(): { readonly sysfs: string; readonly proc: string } {
    if (this.#tree === undefined) {
      this.#tree = new SysfsTree();
      for (const device of this.#devices) this.#tree.addDevice(device);
    }
    return { sysfs: join(this.#tree.root, "sys"), proc: join(this.#tree.root, "proc") };
  }

  /** Plugs a device in. @param group its IOMMU group's number */
  addDevice(spec: PciDeviceSpec, group: number): SoftwarePciDevice {
    const inGroup = this.#groups.get(group) ?? this.#makeGroup(group);
    const device = new SoftwarePciDevice(this.#real, spec, inGroup, {
      devices: this.#devices,
      groupOf: (fd) => {
        const file = this.#files.get(fd);
        if (file instanceof SoftwareGroup) return file;
        return refusal(this.#real.fcntl(fd, F_GETFD, 0) < 0 ? "EBADF" : "EINVAL");
      },
    });
    this.#devices.push(device);
    inGroup.devices.push(device);
    this.#tree?.addDevice(device);
    return device;
  }

  /** Binds a device to another host driver, or to none. */
  bindDriver(device: SoftwarePciDevice, driver: string | undefined): void {
    device.driver = driver;
    this.#tree?.setDriver(device);
  }

  /** What is open, attached, mapped and armed: empty on a host at rest. */
  describe(): string[] {
    const groups = [...this.#groups.values()].filter(({ isOpen }) => isOpen);
    const containers = [...this.#containers];
    return [
      ...groups.map((group) => `${group.name} open`),
      ...[...this.#kvmGroups.keys()].map((group) => `${group.name} known to KVM`),
      ...containers.flatMap(({ members, table }) => [
        `container open with groups ${members.map(({ number }) => number).join(" ")}`,
        ...(table?.mappings ?? []).map(({ iova, size }) => `DMA map ${iova}+${size}`),
      ]),
      ...this.#devices.flatMap((device) => [
        ...(device.isOpen ? [`${device.name} open`] : []),
        ...[...device.irqs.describe(), ...device.ioeventfds.describe()].map(
          (line) => `${device.name} ${line}`,
        ),
      ]),
    ];
  }

  /** Ends the host: devices, and the sysfs folder. */
  [Symbol.dispose](): void {
    for (const device of this.#devices) device[Symbol.dispose]();
    this.#devices.length = 0;
    this.#tree?.[Symbol.dispose]();
    this.#tree = undefined;
  }

  open(path: string, flags: number, mode = 0): number {
    if (path === CONTAINER_PATH) return this.#openContainer();
    const number = GROUP_PATH.exec(path)?.[1];
    if (number === undefined) return this.#real.open(path, flags, mode);
    const group = this.#groups.get(Number(number));
    const result = group?.opened() ?? refusal("ENOENT");
    return result < 0 ? result : this.#file(group!);
  }

  close(fd: number): number {
    const file = this.#files.get(fd);
    this.#files.delete(fd);
    const result = this.#real.close(fd);
    if (file && ![...this.#files.values()].includes(file)) file.closed();
    if (file === undefined) for (const { irqs } of this.#devices) irqs.descriptorClosed(fd);
    // KVM lets go of the groups when its pseudo-device is closed.
    for (const [group, device] of this.#kvmGroups) {
      if (device === fd) this.#kvmGroups.delete(group);
    }
    return result;
  }

  ioctl(fd: number, request: number, arg: number | Bytes): number {
    const file = this.#files.get(fd);
    if (file) return file.ioctl(request, arg);
    const answer = request === KVM_SET_DEVICE_ATTR ? this.#kvmGroup(fd, arg) : undefined;
    return answer ?? this.#real.ioctl(fd, request, arg);
  }

  pread(fd: number, into: Bytes, offset: number): number {
    const file = this.#files.get(fd);
    const bytes = argumentBytes(into)!;
    return file?.pread?.(bytes, offset) ?? this.#real.pread(fd, into, offset);
  }

  pwrite(fd: number, from: Bytes, offset: number): number {
    const file = this.#files.get(fd);
    const bytes = argumentBytes(from)!;
    return file?.pwrite?.(bytes, offset) ?? this.#real.pwrite(fd, from, offset);
  }

  fcntl(fd: number, command: number, arg: number): number {
    const result = this.#real.fcntl(fd, command, arg);
    const file = this.#files.get(fd);
    const duplicates = command === F_DUPFD || command === F_DUPFD_CLOEXEC;
    if (file && duplicates && result >= 0) this.#files.set(result, file);
    return result;
  }

  prlimit(pid: number, resource: number, newLimit: Bytes | null, oldLimit: Bytes | null): number {
    const { memlock } = this.#iommu;
    if (resource !== RLIMIT_MEMLOCK || memlock === undefined || oldLimit === null) {
      return this.#real.prlimit(pid, resource, newLimit, oldLimit);
    }
    const limit = rlimit64.at(argumentBytes(oldLimit)!);
    limit.rlim_cur = memlock;
    limit.rlim_max = memlock;
    return 0;
  }

  // The rest is the kernel's.

  read(fd: number, into: Bytes): number {
    return this.#real.read(fd, into);
  }

  write(fd: number, from: Bytes): number {
    return this.#real.write(fd, from);
  }

  mmap(at: Address, length: number, prot: number, flags: number, fd: number, offset: number) {
    const refused = this.#files.get(fd)?.refuseMmap?.(offset, length, flags);
    return refused ?? this.#real.mmap(at, length, prot, flags, fd, offset);
  }

  munmap(at: Address, length: number): number {
    return this.#real.munmap(at, length);
  }

  madvise(at: Address, length: number, advice: number): number {
    // No device of software needs the pages to be there.
    if (advice === MADV_POPULATE_WRITE) return 0;
    return this.#real.madvise(at, length, advice);
  }

  eventfd(initial: number, flags: number): number {
    return this.#real.eventfd(initial, flags);
  }

  memfdCreate(name: string, flags: number): number {
    return this.#real.memfdCreate(name, flags);
  }

  ftruncate(fd: number, length: number): number {
    return this.#real.ftruncate(fd, length);
  }

  epollCreate(flags: number): number {
    return this.#real.epollCreate(flags);
  }

  epollCtl(epfd: number, op: number, fd: number, event: Bytes): number {
    return this.#real.epollCtl(epfd, op, fd, event);
  }

  epollWait(epfd: number, events: Bytes, maxEvents: number, timeoutMs: number): number {
    return this.#real.epollWait(epfd, events, maxEvents, timeoutMs);
  }

  getpid(): number {
    return this.#real.getpid();
  }

  gettid(): number {
    return this.#real.gettid();
  }

  tgkill(pid: number, tid: number, signal: number): number {
    return this.#real.tgkill(pid, tid, signal);
  }

  ignoreWithHandler(signal: number): number {
    return this.#real.ignoreWithHandler(signal);
  }

  schedSetaffinity(tid: number, mask: Bytes): number {
    return this.#real.schedSetaffinity(tid, mask);
  }

  addressOf(view: Bytes): Address {
    return this.#real.addressOf(view);
  }

  memoryAt(address: Address, length: number): ArrayBuffer {
    return this.#real.memoryAt(address, length);
  }

  onReadable(fd: number, ready: () => void): Disposable {
    return this.#real.onReadable(fd, ready);
  }

  #makeGroup(number: number): SoftwareGroup {
    const group = new SoftwareGroup(number, {
      containerOf: (fd) => {
        const file = this.#files.get(fd);
        if (file instanceof SoftwareContainer) return file;
        return refusal(this.#real.fcntl(fd, F_GETFD, 0) < 0 ? "EBADF" : "EBADFD");
      },
      openDevice: (device) => {
        const fd = this.#real.fcntl(device.memoryFd, F_DUPFD_CLOEXEC, 0);
        if (fd < 0) return fd;
        device.opened();
        this.#files.set(fd, device);
        return fd;
      },
    });
    this.#groups.set(number, group);
    return group;
  }

  /**
   * KVM's VFIO pseudo-device is the real one and does not know our groups; it is answered for them
   * here. Undefined when the call is not about one.
   */
  #kvmGroup(device: number, arg: number | Bytes): number | undefined {
    const bytes = argumentBytes(arg);
    if (bytes === undefined || bytes.length < kvm_device_attr.size) return undefined;
    const { group, attr, addr } = kvm_device_attr.at(bytes);
    if (group !== KVM_DEV_VFIO_GROUP) return undefined;
    // SAFETY: the attribute's address points at an int32, in this process, for the call.
    const fd = new Int32Array(this.#real.memoryAt(Number(addr), 4))[0]!;
    const file = this.#files.get(fd);
    if (!(file instanceof SoftwareGroup)) return undefined;
    const isKnown = this.#kvmGroups.has(file);
    if (attr === BigInt(KVM_DEV_VFIO_GROUP_ADD)) {
      if (isKnown) return refusal("EEXIST");
      this.#kvmGroups.set(file, device);
      return 0;
    }
    return this.#kvmGroups.delete(file) ? 0 : refusal("ENOENT");
  }

  #openContainer(): number {
    const container: SoftwareContainer = new SoftwareContainer(
      this.#iommu,
      {
        at: (address, length) => this.#real.memoryAt(address, length),
        isThere: (address, length) => this.#real.madvise(address, length, MADV_NORMAL) === 0,
      },
      () => this.#containers.delete(container),
    );
    this.#containers.add(container);
    return this.#file(container);
  }

  /** A real descriptor that stands for `file`. */
  #file(file: SoftwareFile): number {
    const fd = this.#real.memfdCreate(`sim ${file.name}`, MFD_CLOEXEC);
    if (fd < 0) file.closed();
    else this.#files.set(fd, file);
    return fd;
  }
}
