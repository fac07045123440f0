/**
 * The interrupts of a software PCI device: `VFIO_DEVICE_SET_IRQS` as drivers/vfio/pci/
 * vfio_pci_intrs.c takes it, and the device's side (raise, lower, fire).
 *
 * Eventfds are the user's own; each is duplicated for as long as it is armed, as the kernel keeps a
 * reference, so signalling one that the user has closed is harmless.
 */

import {
  VFIO_IRQ_INFO_AUTOMASKED,
  VFIO_IRQ_INFO_EVENTFD,
  VFIO_IRQ_INFO_MASKABLE,
  VFIO_IRQ_INFO_NORESIZE,
  VFIO_IRQ_SET_ACTION_MASK,
  VFIO_IRQ_SET_ACTION_TRIGGER,
  VFIO_IRQ_SET_ACTION_TYPE_MASK,
  VFIO_IRQ_SET_ACTION_UNMASK,
  VFIO_IRQ_SET_DATA_BOOL,
  VFIO_IRQ_SET_DATA_EVENTFD,
  VFIO_IRQ_SET_DATA_NONE,
  VFIO_IRQ_SET_DATA_TYPE_MASK,
  VFIO_PCI_ERR_IRQ_INDEX,
  VFIO_PCI_INTX_IRQ_INDEX,
  VFIO_PCI_MSI_IRQ_INDEX,
  VFIO_PCI_MSIX_IRQ_INDEX,
  VFIO_PCI_NUM_IRQS,
  VFIO_PCI_REQ_IRQ_INDEX,
  vfio_irq_set,
} from "../abi/vfio.ts";
import type { Syscalls } from "../sys/syscalls.ts";
import { type ArmedEventfd, armEventfd } from "./armed-eventfd.ts";
import { refusal } from "./file.ts";
import type { PciDeviceSpec } from "./pci-spec.ts";

interface IrqRequest {
  readonly index: number;
  readonly start: number;
  readonly count: number;
  readonly data: number;
  /** One per interrupt for DATA_EVENTFD. */
  readonly fds: readonly number[];
  /** One per interrupt for DATA_BOOL. */
  readonly bools: readonly boolean[];
}

export class SoftwareIrqs implements Disposable {
  readonly #sys: Syscalls;
  readonly #spec: PciDeviceSpec;
  /** INTx, MSI or MSI-X: at most one of them is on. */
  #mode: number | undefined;
  /** Eventfds by vector, of the mode that is on. */
  #vectors: Array<ArmedEventfd | undefined> = [];
  #allocated = 0;
  #unmask: { readonly eventfd: ArmedEventfd; readonly watch: Disposable } | undefined;
  #masked = false;
  #line = false;
  readonly #single = new Map<number, ArmedEventfd>();

  constructor(sys: Syscalls, spec: PciDeviceSpec) {
    this.#sys = sys;
    this.#spec = spec;
  }

  /** The index that is on; undefined when none is. */
  get mode(): number | undefined {
    return this.#mode;
  }

  /** Whether INTx is masked, by its user or by itself when it last fired. */
  get masked(): boolean {
    return this.#masked;
  }

  /** What is armed, for comparing before and after. */
  describe(): string[] {
    const armed = this.#vectors.flatMap((fd, vector) =>
      fd ? [`irq ${this.#mode}-${vector} armed`] : [],
    );
    const mode = this.#mode === undefined ? [] : [`irq index ${this.#mode} on`];
    return [...mode, ...armed, ...[...this.#single.keys()].map((i) => `irq ${i} armed`)];
  }

  /** `VFIO_DEVICE_GET_IRQ_INFO`; undefined for an index this device does not have. */
  info(index: number): { flags: number; count: number } | undefined {
    const event = VFIO_IRQ_INFO_EVENTFD;
    switch (index) {
      case VFIO_PCI_INTX_IRQ_INDEX: {
        const flags = event | VFIO_IRQ_INFO_MASKABLE | VFIO_IRQ_INFO_AUTOMASKED;
        return { flags, count: this.#spec.interruptPin ? 1 : 0 };
      }
      case VFIO_PCI_MSI_IRQ_INDEX:
        return { flags: event | VFIO_IRQ_INFO_NORESIZE, count: this.#spec.msi?.vectors ?? 0 };
      case VFIO_PCI_MSIX_IRQ_INDEX: {
        const flags = this.#spec.msix?.dynamic ? event : event | VFIO_IRQ_INFO_NORESIZE;
        return { flags, count: this.#spec.msix?.vectors ?? 0 };
      }
      case VFIO_PCI_ERR_IRQ_INDEX: {
        const { reportsErrors, mediated } = this.#spec;
        return reportsErrors !== false && mediated === undefined
          ? { flags: event | VFIO_IRQ_INFO_NORESIZE, count: 1 }
          : undefined;
      }
      case VFIO_PCI_REQ_IRQ_INDEX:
        if (this.#spec.mediated !== undefined) return undefined;
        return { flags: event | VFIO_IRQ_INFO_NORESIZE, count: 1 };
      default:
        return undefined;
    }
  }

  /** `VFIO_DEVICE_SET_IRQS`. */
  set(bytes: Uint8Array): number {
    const request = this.#validated(bytes);
    if (typeof request === "number") return request;
    const action = vfio_irq_set.at(bytes).flags & VFIO_IRQ_SET_ACTION_TYPE_MASK;
    switch (request.index) {
      case VFIO_PCI_INTX_IRQ_INDEX:
        if (action === VFIO_IRQ_SET_ACTION_MASK) return this.#maskIntx(request);
        if (action === VFIO_IRQ_SET_ACTION_UNMASK) return this.#unmaskIntx(request);
        return action === VFIO_IRQ_SET_ACTION_TRIGGER
          ? this.#triggerIntx(request)
          : refusal("ENOTTY");
      case VFIO_PCI_MSI_IRQ_INDEX:
      case VFIO_PCI_MSIX_IRQ_INDEX:
        return action === VFIO_IRQ_SET_ACTION_TRIGGER
          ? this.#triggerMsi(request)
          : refusal("ENOTTY");
      default:
        return action === VFIO_IRQ_SET_ACTION_TRIGGER
          ? this.#triggerSingle(request)
          : refusal("ENOTTY");
    }
  }

  /** The device asserts or drops its INTx line. */
  setIntx(level: boolean): void {
    this.#line = level;
    this.#deliverIntx();
  }

  /** The device sends message `vector` (MSI or MSI-X); false when nobody listens. */
  fire(vector: number): boolean {
    const isMessage = this.#mode !== undefined && this.#mode !== VFIO_PCI_INTX_IRQ_INDEX;
    const armed = isMessage ? this.#vectors[vector] : undefined;
    armed?.signal();
    return armed !== undefined;
  }

  /** Signals an error (`VFIO_PCI_ERR_IRQ_INDEX`) or asks for the device back (REQ). */
  notify(index: typeof VFIO_PCI_ERR_IRQ_INDEX | typeof VFIO_PCI_REQ_IRQ_INDEX): boolean {
    const armed = this.#single.get(index);
    armed?.signal();
    return armed !== undefined;
  }

  /** The user closed a descriptor: an unmask eventfd that is gone is dropped, as by the kernel. */
  descriptorClosed(fd: number): void {
    if (this.#unmask?.eventfd.userFd === fd) this.#dropUnmask();
  }

  /** Everything off, as when the device is closed. */
  [Symbol.dispose](): void {
    this.#disable();
    for (const armed of this.#single.values()) armed[Symbol.dispose]();
    this.#single.clear();
  }

  /** vfio_set_irqs_validate_and_prepare(). */
  #validated(bytes: Uint8Array): IrqRequest | number {
    if (bytes.length < vfio_irq_set.size) return refusal("EFAULT");
    const { argsz, flags, index, start, count } = vfio_irq_set.at(bytes);
    const known = VFIO_IRQ_SET_DATA_TYPE_MASK | VFIO_IRQ_SET_ACTION_TYPE_MASK;
    const info = this.info(index);
    if (argsz < vfio_irq_set.size || index >= VFIO_PCI_NUM_IRQS || info === undefined) {
      return refusal("EINVAL");
    }
    if ((flags & ~known) !== 0 || start >= info.count || start + count > info.count) {
      // An empty index may be disabled all the same: start 0 of nothing is already out of range.
      return refusal("EINVAL");
    }
    const data = flags & VFIO_IRQ_SET_DATA_TYPE_MASK;
    const width = { [VFIO_IRQ_SET_DATA_NONE]: 0, [VFIO_IRQ_SET_DATA_BOOL]: 1 }[data];
    const each = data === VFIO_IRQ_SET_DATA_EVENTFD ? 4 : width;
    if (each === undefined) return refusal("EINVAL");
    const payload = bytes.slice(vfio_irq_set.size, vfio_irq_set.size + each * count);
    if (argsz - vfio_irq_set.size < each * count) return refusal("EINVAL");
    const isEvent = data === VFIO_IRQ_SET_DATA_EVENTFD;
    return {
      index,
      start,
      count,
      data,
      fds: isEvent ? [...new Int32Array(payload.buffer, 0, count)] : [],
      bools: isEvent ? [] : [...payload].map((byte) => byte !== 0),
    };
  }

  #triggerIntx(request: IrqRequest): number {
    const isOn = this.#mode === VFIO_PCI_INTX_IRQ_INDEX;
    if (isOn && request.count === 0 && request.data === VFIO_IRQ_SET_DATA_NONE) {
      this.#disable();
      return 0;
    }
    const isFree = this.#mode === undefined;
    if (!(isOn || isFree) || request.start !== 0 || request.count !== 1) return refusal("EINVAL");
    if (request.data === VFIO_IRQ_SET_DATA_EVENTFD) {
      const armed = armEventfd(this.#sys, request.fds[0]!);
      if (typeof armed === "number") return armed;
      this.#mode = VFIO_PCI_INTX_IRQ_INDEX;
      this.#vectors[0]?.[Symbol.dispose]();
      this.#vectors = [armed];
      if (isFree) this.#masked = false;
      this.#deliverIntx();
      return 0;
    }
    if (!isOn) return refusal("EINVAL");
    if (request.data === VFIO_IRQ_SET_DATA_NONE || request.bools[0]) this.#vectors[0]?.signal();
    return 0;
  }

  #maskIntx(request: IrqRequest): number {
    if (this.#mode !== VFIO_PCI_INTX_IRQ_INDEX || request.count !== 1) return refusal("EINVAL");
    if (request.data === VFIO_IRQ_SET_DATA_EVENTFD) return refusal("ENOTTY");
    if (request.data === VFIO_IRQ_SET_DATA_NONE || request.bools[0]) this.#masked = true;
    return 0;
  }

  #unmaskIntx(request: IrqRequest): number {
    if (this.#mode !== VFIO_PCI_INTX_IRQ_INDEX || request.count !== 1) return refusal("EINVAL");
    if (request.data === VFIO_IRQ_SET_DATA_EVENTFD) {
      if (request.fds[0]! >= 0 && this.#unmask !== undefined) return refusal("EBUSY");
      const eventfd = armEventfd(this.#sys, request.fds[0]!);
      if (typeof eventfd === "number") return eventfd;
      this.#dropUnmask();
      if (eventfd === undefined) return 0;
      const watch = this.#sys.onReadable(eventfd.fd, () => this.poll());
      this.#unmask = { eventfd, watch };
      return 0;
    }
    if (request.data === VFIO_IRQ_SET_DATA_NONE || request.bools[0]) this.#unmaskNow();
    return 0;
  }

  /**
   * Looks whether the unmask eventfd was signalled; runs by itself in the event loop, and at once
   * for a test that does not want to wait.
   */
  poll(): void {
    if (this.#unmask?.eventfd.drain()) this.#unmaskNow();
  }

  #unmaskNow(): void {
    this.#masked = false;
    this.#deliverIntx();
  }

  /** A level: it fires again after every unmask while it is asserted. */
  #deliverIntx(): void {
    if (this.#mode !== VFIO_PCI_INTX_IRQ_INDEX || !this.#line || this.#masked) return;
    this.#masked = true;
    this.#vectors[0]?.signal();
  }

  #triggerMsi(request: IrqRequest): number {
    const { index, start, count, data } = request;
    const isOn = this.#mode === index;
    if (isOn && count === 0 && data === VFIO_IRQ_SET_DATA_NONE) {
      this.#disable();
      return 0;
    }
    if (!isOn && this.#mode !== undefined) return refusal("EINVAL");
    if (data === VFIO_IRQ_SET_DATA_EVENTFD) {
      return isOn ? this.#setBlock(request) : this.#enableMsi(request);
    }
    if (!isOn) return refusal("EINVAL");
    for (let i = 0; i < count; i++) {
      if (data === VFIO_IRQ_SET_DATA_NONE || request.bools[i]) this.#vectors[start + i]?.signal();
    }
    return 0;
  }

  #enableMsi(request: IrqRequest): number {
    const wanted = request.start + request.count;
    if (wanted === 0) return refusal("ERANGE");
    const { msix } = this.#spec;
    const isMsix = request.index === VFIO_PCI_MSIX_IRQ_INDEX;
    const available = isMsix
      ? (msix?.available ?? msix?.vectors ?? 0)
      : (this.#spec.msi?.available ?? this.#spec.msi?.vectors ?? 0);
    if (wanted > available) return available;
    this.#mode = request.index;
    // MSI vectors come in powers of two; MSI-X as many as asked.
    this.#allocated = isMsix ? wanted : 2 ** Math.ceil(Math.log2(wanted));
    const result = this.#setBlock(request);
    if (result < 0) this.#disable();
    return result;
  }

  #setBlock(request: IrqRequest): number {
    const end = request.start + request.count;
    const isDynamic = this.#mode === VFIO_PCI_MSIX_IRQ_INDEX && this.#spec.msix?.dynamic === true;
    if (end > this.#allocated && !isDynamic) return refusal("EINVAL");
    this.#allocated = Math.max(this.#allocated, end);
    for (const [i, fd] of request.fds.entries()) {
      const vector = request.start + i;
      const armed = armEventfd(this.#sys, fd);
      if (typeof armed === "number") return armed;
      this.#vectors[vector]?.[Symbol.dispose]();
      this.#vectors[vector] = armed;
    }
    return 0;
  }

  /** ERR and REQ: one eventfd each. */
  #triggerSingle(request: IrqRequest): number {
    const { index, count, data } = request;
    const present = this.#single.get(index);
    if (data === VFIO_IRQ_SET_DATA_NONE && present === undefined) return refusal("EINVAL");
    if (data !== VFIO_IRQ_SET_DATA_NONE && count === 0) return refusal("EINVAL");
    if (data === VFIO_IRQ_SET_DATA_EVENTFD) {
      const armed = armEventfd(this.#sys, request.fds[0]!);
      if (typeof armed === "number") return armed;
      present?.[Symbol.dispose]();
      if (armed) this.#single.set(index, armed);
      else this.#single.delete(index);
      return 0;
    }
    if (present && count === 0) {
      present[Symbol.dispose]();
      this.#single.delete(index);
    } else if (data === VFIO_IRQ_SET_DATA_NONE || request.bools[0]) {
      present?.signal();
    }
    return 0;
  }

  #dropUnmask(): void {
    this.#unmask?.watch[Symbol.dispose]();
    this.#unmask?.eventfd[Symbol.dispose]();
    this.#unmask = undefined;
  }

  #disable(): void {
    this.#dropUnmask();
    for (const armed of this.#vectors) armed?.[Symbol.dispose]();
    this.#vectors = [];
    this.#allocated = 0;
    this.#mode = undefined;
    this.#masked = false;
  }
}
