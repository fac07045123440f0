/**
 * A software PCI device: a `PciDeviceSpec` brought to life behind a VFIO device fd, as
 * drivers/vfio/pci/vfio_pci_core.c answers it. Its regions lie in one memfd at `index << 40`, so
 * mmap and pread of what has no behaviour are the real ones.
 */

import { MAP_SHARED, MFD_CLOEXEC } from "../abi/mman.ts";
import {
  PCI_COMMAND,
  PCI_COMMAND_IO,
  PCI_COMMAND_MASTER,
  PCI_COMMAND_MEMORY,
} from "../abi/pci-regs.ts";
import {
  VFIO_PCI_ROM_REGION_INDEX as ROM,
  VFIO_DEVICE_FLAGS_CAPS,
  VFIO_DEVICE_FLAGS_PCI,
  VFIO_DEVICE_FLAGS_RESET,
  VFIO_DEVICE_GET_INFO,
  VFIO_DEVICE_GET_IRQ_INFO,
  VFIO_DEVICE_GET_PCI_HOT_RESET_INFO,
  VFIO_DEVICE_GET_REGION_INFO,
  VFIO_DEVICE_INFO_CAP_PCI_ATOMIC_COMP,
  VFIO_DEVICE_IOEVENTFD,
  VFIO_DEVICE_PCI_HOT_RESET,
  VFIO_DEVICE_RESET,
  VFIO_DEVICE_SET_IRQS,
  VFIO_PCI_CONFIG_REGION_INDEX,
  VFIO_PCI_NUM_IRQS,
  VFIO_PCI_NUM_REGIONS,
  vfio_device_info,
  vfio_device_info_cap_pci_atomic_comp,
  vfio_irq_info,
} from "../abi/vfio.ts";
import { VFIO_DEVICE_FEATURE } from "../abi/vfio-feature.ts";
import { check } from "../sys/sys-error.ts";
import type { Bytes, Syscalls } from "../sys/syscalls.ts";
import { SoftwareDma } from "./dma.ts";
import { answerWithChain, argumentBytes, refusal, type SoftwareFile } from "./file.ts";
import type { SoftwareGroup } from "./group.ts";
import { hotReset, hotResetInfo } from "./hot-reset.ts";
import { SoftwareIoeventfds } from "./ioeventfds.ts";
import { SoftwareIrqs } from "./irqs.ts";
import { buildConfig, type PciConfig, writeConfig } from "./pci-config.ts";
import {
  canMap,
  mappedSize,
  REGION_SHIFT,
  regionCount,
  regionInfo,
  regionSize,
} from "./pci-regions.ts";
import type { BarBehaviour, DeviceBehaviour, PciDeviceSpec } from "./pci-spec.ts";
import { DevicePower } from "./power.ts";

const HARDWARE_CALLS: ReadonlySet<number> = new Set([
  VFIO_DEVICE_IOEVENTFD,
  VFIO_DEVICE_GET_PCI_HOT_RESET_INFO,
  VFIO_DEVICE_PCI_HOT_RESET,
]);
/** Nobody wakes who waits here. */
const NEVER = new Int32Array(new SharedArrayBuffer(4));

/** What a device asks of the host around it. */
export interface DeviceHost {
  readonly devices: readonly SoftwarePciDevice[];
  /** The group behind a descriptor, or a negated errno. */
  groupOf(fd: number): SoftwareGroup | number;
}

export class SoftwarePciDevice implements SoftwareFile, Disposable {
  readonly spec: PciDeviceSpec;
  readonly group: SoftwareGroup;
  readonly irqs: SoftwareIrqs;
  readonly ioeventfds: SoftwareIoeventfds;
  readonly dma: SoftwareDma;
  /** The host's descriptor of the regions' memory: what `GET_DEVICE_FD` duplicates. */
  readonly memoryFd: number;
  /** The host driver: rebinding is an assignment. */
  driver: string | undefined;
  /** Set: opening needs `vf_token=` with this value. */
  vfToken: string | undefined;
  /** The device fell off its bus: reads give all ones, writes and resets do nothing. */
  vanished = false;
  isOpen = false;
  /** How long each call and access takes; an impatient user finds out. */
  latencyMs = 0;
  /** How often it was reset, by whichever way. */
  resetCount = 0;
  readonly #sys: Syscalls;
  readonly #host: DeviceHost;
  #config: PciConfig;
  readonly #behaviour: DeviceBehaviour;
  readonly #power: DevicePower;
  readonly #calls: ReadonlyMap<number, (bytes: Uint8Array) => number> = new Map([
    [VFIO_DEVICE_GET_INFO, (bytes) => this.#info(bytes)],
    [VFIO_DEVICE_GET_REGION_INFO, (bytes) => regionInfo(this.spec, bytes)],
    [VFIO_DEVICE_GET_IRQ_INFO, (bytes) => this.#irqInfo(bytes)],
    [VFIO_DEVICE_SET_IRQS, (bytes) => this.irqs.set(bytes)],
    [VFIO_DEVICE_IOEVENTFD, (bytes) => this.ioeventfds.set(bytes)],
    [VFIO_DEVICE_FEATURE, (bytes) => this.#power.feature(bytes)],
    [VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, (bytes) => hotResetInfo(this, this.#host.devices, bytes)],
    [
      VFIO_DEVICE_PCI_HOT_RESET,
      (bytes) => hotReset(this, this.#host.devices, bytes, (fd) => this.#host.groupOf(fd)),
    ],
  ]);

  constructor(sys: Syscalls, spec: PciDeviceSpec, group: SoftwareGroup, host: DeviceHost) {
    this.#sys = sys;
    this.#host = host;
    this.spec = spec;
    this.#power = new DevicePower(sys, () => this.config);
    this.group = group;
    this.driver = spec.driver ?? "vfio-pci";
    this.irqs = new SoftwareIrqs(sys, spec);
    this.ioeventfds = new SoftwareIoeventfds(sys, spec, (position, bytes) => {
      if (this.pwrite(bytes, position) === undefined) sys.pwrite(this.memoryFd, bytes, position);
    });
    this.dma = new SoftwareDma(
      (address, length) => sys.memoryAt(address, length),
      () => (this.canMaster ? group.container?.table : undefined),
    );
    this.memoryFd = check(sys.memfdCreate(`sim ${spec.address}`, MFD_CLOEXEC), "memfd_create");
    check(sys.ftruncate(this.memoryFd, (regionCount(spec) + 1) * REGION_SHIFT), "ftruncate");
    this.#config = buildConfig(spec);
    this.#storeConfig();
    if (spec.rom) sys.pwrite(this.memoryFd, spec.rom, 6 * REGION_SHIFT);
    spec.regions?.forEach(({ bytes }, i) => {
      sys.pwrite(this.memoryFd, bytes, (VFIO_PCI_NUM_REGIONS + i) * REGION_SHIFT);
    });
    this.#behaviour = spec.behaviour?.(this) ?? {};
  }

  /** What `VFIO_GROUP_GET_DEVICE_FD` knows it by: its address, or the UUID of a mediated one. */
  get name(): string {
    return this.spec.mediated ?? this.spec.address;
  }

  /** The configuration space as it is now: bytes a test may look at. */
  get config(): Uint8Array {
    return this.#config.bytes;
  }

  get canMaster(): boolean {
    return (this.config[PCI_COMMAND]! & PCI_COMMAND_MASTER) !== 0;
  }

  /** Sets bytes of the configuration space as the hardware would (a status bit, a capability). */
  setConfig(offset: number, bytes: Uint8Array): void {
    this.#config.bytes.set(bytes, offset);
    this.#storeConfig();
  }

  /** The memory of a BAR that is mapped, seen from the device. */
  barRead(index: number, offset: number, length: number): Uint8Array {
    const into = new Uint8Array(length);
    this.#sys.pread(this.memoryFd, into, index * REGION_SHIFT + offset);
    return into;
  }

  barWrite(index: number, offset: number, from: Uint8Array): void {
    this.#sys.pwrite(this.memoryFd, from, index * REGION_SHIFT + offset);
  }

  /**
   * Resets the function. The kernel saves config space and restores it, so only what the device
   * keeps elsewhere is as at power-on.
   */
  reset(): void {
    if (this.vanished) return;
    this.resetCount++;
    this.#power.restore();
    this.#behaviour.reset?.();
  }

  /** The kernel enables a device for its user: its BARs decode. */
  opened(): void {
    this.isOpen = true;
    this.#setCommand(decodingOf(this.spec));
  }

  closed(): void {
    this.isOpen = false;
    this.#power.restore();
    this.#setCommand(0);
    this.ioeventfds[Symbol.dispose]();
    this.irqs[Symbol.dispose]();
    this.group.deviceClosed();
  }

  ioctl(request: number, arg: number | Bytes): number {
    this.#wait();
    if (request === VFIO_DEVICE_RESET) return this.#resetIoctl();
    const call = this.#calls.get(request);
    // What only hardware on a bus can do.
    const isForHardware = HARDWARE_CALLS.has(request) && this.spec.mediated !== undefined;
    if (call === undefined || isForHardware) return refusal("ENOTTY");
    const bytes = argumentBytes(arg);
    return bytes === undefined ? refusal("EFAULT") : call(bytes);
  }

  /** Private mappings, and what is no BAR that may be mapped (vfio_pci_core_mmap()). */
  refuseMmap(position: number, length: number, flags: number): number | undefined {
    const index = Math.floor(position / REGION_SHIFT);
    const end = (position % REGION_SHIFT) + length;
    const fits = canMap(this.spec.bars?.[index]) && end <= mappedSize(this.spec, index);
    return (flags & MAP_SHARED) !== 0 && fits ? undefined : refusal("EINVAL");
  }

  pread(into: Uint8Array, position: number): number | undefined {
    this.#wait();
    const index = Math.floor(position / REGION_SHIFT);
    const offset = position % REGION_SHIFT;
    const limit = this.#limit(index, offset, into.length);
    if (limit < 0) return limit;
    if (this.vanished) {
      into.fill(0xff, 0, limit);
      return limit;
    }
    if (this.#isMsixTable(index, offset)) {
      into.fill(0xff, 0, limit);
      return limit;
    }
    if (this.#isSilent(index)) return refusal("EIO");
    const behaviour = this.#behaviour.bars?.[index];
    if (behaviour) return readBehaviour(behaviour, into.subarray(0, limit), offset);
    if (limit === into.length) return undefined;
    return this.#sys.pread(this.memoryFd, into.subarray(0, limit), position);
  }

  pwrite(from: Uint8Array, position: number): number | undefined {
    this.#wait();
    const index = Math.floor(position / REGION_SHIFT);
    const offset = position % REGION_SHIFT;
    if (index === 6 || index >= VFIO_PCI_NUM_REGIONS) return refusal("EINVAL");
    const limit = this.#limit(index, offset, from.length);
    if (limit < 0 || this.vanished) return limit;
    const bytes = from.subarray(0, limit);
    if (index === VFIO_PCI_CONFIG_REGION_INDEX) {
      if (writeConfig(this.#config, offset, bytes)) this.reset();
      this.#storeConfig();
      return limit;
    }
    if (this.#isMsixTable(index, offset)) return limit;
    if (this.#isSilent(index)) return refusal("EIO");
    const behaviour = this.#behaviour.bars?.[index];
    if (behaviour) return writeBehaviour(behaviour, bytes, offset);
    return limit === from.length ? undefined : this.#sys.pwrite(this.memoryFd, bytes, position);
  }

  [Symbol.dispose](): void {
    this.ioeventfds[Symbol.dispose]();
    this.irqs[Symbol.dispose]();
    this.#sys.close(this.memoryFd);
  }

  /**
   * How much of an access lies in the region; EINVAL when it begins outside. Config space takes
   * whole accesses only.
   */
  #limit(index: number, offset: number, length: number): number {
    const size = regionSize(this.spec, index);
    if (index === VFIO_PCI_CONFIG_REGION_INDEX && offset + length > size) return refusal("EFAULT");
    return offset >= size ? refusal("EINVAL") : Math.min(length, size - offset);
  }

  /** Reads of the table through the fd give ff, writes are dropped: the host owns it. */
  #isMsixTable(index: number, offset: number): boolean {
    const { msix } = this.spec;
    if (msix === undefined || msix.table.bar !== index) return false;
    return offset >= msix.table.offset && offset < msix.table.offset + 16 * msix.vectors;
  }

  #wait(): void {
    if (this.latencyMs > 0) Atomics.wait(NEVER, 0, 0, this.latencyMs);
  }

  /** A memory BAR or the ROM of a device that does not decode memory. */
  #isSilent(index: number): boolean {
    const isMemory = this.spec.bars?.[index]?.kind.startsWith("mem") ?? index === ROM;
    return isMemory && !this.#power.memoryAnswers;
  }

  #setCommand(command: number): void {
    this.#config.bytes[PCI_COMMAND] = command;
    this.#storeConfig();
  }

  #storeConfig(): void {
    const at = VFIO_PCI_CONFIG_REGION_INDEX * REGION_SHIFT;
    this.#sys.pwrite(this.memoryFd, this.#config.bytes, at);
  }

  #resetIoctl(): number {
    if ((this.spec.reset ?? "flr") === "none") return refusal("EINVAL");
    this.reset();
    return 0;
  }

  #info(bytes: Uint8Array): number {
    if (bytes.length < 16) return refusal("EFAULT");
    const argsz = new Uint32Array(bytes.slice(0, 4).buffer)[0]!;
    if (argsz < 16) return refusal("EINVAL");
    const reset = (this.spec.reset ?? "flr") === "none" ? 0 : VFIO_DEVICE_FLAGS_RESET;
    const { atomics } = this.spec;
    const fixed = vfio_device_info.bytes({
      argsz,
      flags: VFIO_DEVICE_FLAGS_PCI | reset | (atomics ? VFIO_DEVICE_FLAGS_CAPS : 0),
      num_regions: regionCount(this.spec),
      num_irqs: VFIO_PCI_NUM_IRQS,
    });
    if (atomics) {
      const at = vfio_device_info.offsetof("cap_offset");
      const header = { id: VFIO_DEVICE_INFO_CAP_PCI_ATOMIC_COMP, version: 1 };
      const capability = vfio_device_info_cap_pci_atomic_comp.bytes({ header, flags: atomics });
      return answerWithChain(bytes, fixed, at, [capability]);
    }
    bytes.set(fixed.subarray(0, Math.min(bytes.length, argsz)));
    return 0;
  }

  #irqInfo(bytes: Uint8Array): number {
    if (bytes.length < vfio_irq_info.size) return refusal("EFAULT");
    const view = vfio_irq_info.at(bytes);
    const info = this.irqs.info(view.index);
    if (view.argsz < vfio_irq_info.size || info === undefined) return refusal("EINVAL");
    view.flags = info.flags;
    view.count = info.count;
    return 0;
  }
}

/** What enabling the device turns on: decoding of the kinds of BAR that it has. */
function decodingOf({ bars = {} }: PciDeviceSpec): number {
  return Object.values(bars).reduce(
    (command, { kind }) => command | (kind === "io" ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY),
    0,
  );
}

function readBehaviour(behaviour: BarBehaviour, into: Uint8Array, offset: number): number {
  const value = BigInt(behaviour.read(offset, into.length));
  into.forEach((_, i) => {
    into[i] = Number((value >> BigInt(8 * i)) & 0xffn);
  });
  return into.length;
}

function writeBehaviour(behaviour: BarBehaviour, from: Uint8Array, offset: number): number {
  const value = from.reduceRight((sum, byte) => sum * 256 + byte, 0);
  behaviour.write(offset, from.length, value);
  return from.length;
}
