/**
 * MSI-X of an assigned function (spec/pci.md 11.7 to 11.19). Three parties see one vector:
 *
 *   guest      table entry: message, mask bit   (pci/msix.ts, which calls `use` and `release`)
 *   KVM        route: message -> irqfd          (vector.ts)
 *   hardware   eventfd per vector               (`VFIO_DEVICE_SET_IRQS`)
 *
 * Masking a vector moves the hardware to the *user* eventfd and leaves KVM's route alone: guests
 * mask around every interrupt. The PBA is trapped only while a bit of it is ours.
 */

import { VFIO_PCI_MSIX_IRQ_INDEX } from "../../abi/vfio.ts";
import type { MsixCapability } from "../../pci/msix.ts";
import type { MsiMessage } from "../../pci/platform.ts";
import { attempt } from "./interrupts.ts";
import * as trace from "./trace.ts";
import { disposeVectors, Vector, type VectorHost } from "./vector.ts";
import type { VfioPciFunction } from "./vfio-pci.ts";

export class AssignedMsix {
  readonly capability: MsixCapability;
  readonly #fn: VfioPciFunction;
  readonly #host: VectorHost;
  readonly #noresize: boolean;
  #vectors: Array<Vector | undefined> = [];
  /** Highest vector used so far, plus one: what the hardware has allocated. */
  #count = 0;
  /** While enabling: routes are queued and the hardware is programmed once at the end. */
  #deferred = false;
  /** Vectors that fired while masked. */
  readonly #pending = new Set<number>();

  constructor(fn: VfioPciFunction, capability: MsixCapability, noresize: boolean) {
    this.#fn = fn;
    this.capability = capability;
    this.#noresize = noresize;
    this.#host = fn.vectorHost(fn.properties["x-no-kvm-msix"]);
    capability.setPbaTrapEnabled(false);
  }

  /** Vectors the hardware has. */
  get count(): number {
    return this.#count;
  }

  /** ENABLE went up. */
  enable(): void {
    const fn = this.#fn;
    const { routes, report } = this.#host;
    fn.interrupts.disable();
    this.#vectors = new Array(this.capability.entries).fill(undefined);
    fn.interrupts.mode = "msix";
    this.#deferred = true;
    const install = () =>
      this.capability.setVectorCallbacks({
        use: (vector, message) => this.#use(vector, message),
        release: (vector) => this.#release(vector),
      });
    if (routes) attempt(report, `${fn.name}: MSI-X routes`, () => routes.batch(install));
    else install();
    this.#deferred = false;
    for (const vector of this.#vectors) vector?.connect();
    // With all vectors masked the hardware must still be enabled: some firmware looks at the bit.
    const armed = this.#count > 0 ? this.#programAll() : this.#enableWithoutVector();
    if (!armed) report(`${fn.name}: MSI-X enabled by the guest, but not on the device`);
    this.#adoptPending();
    trace.vfio_msix_enable.emit({ name: fn.name });
  }

  /** ENABLE went down. */
  disable(): void {
    const fn = this.#fn;
    this.capability.setVectorCallbacks(undefined);
    this.#vectors.forEach((vector, index) => {
      if (vector) this.#release(index);
    });
    // Also with no vector in use: see `enable`.
    this.#disableIndex();
    this.#tearDown();
    attempt(fn.guestReport, fn.name, () => fn.interrupts.intx.enable());
    this.#pending.clear();
    if (this.capability.pbaRegion.enabled) this.#setPbaTrap(false);
    trace.vfio_msix_disable.emit({ name: fn.name });
  }

  /** The guest unmasked `index`, or had it unmasked when ENABLE went up. */
  #use(index: number, message: MsiMessage): void {
    trace.vfio_msix_vector_do_use.emit({ name: this.#fn.name, index });
    const vector = this.#vectors[index] ?? this.#createVector(index);
    if (!vector) return;
    if (vector.isRouted) {
      vector.updateRoute(message);
    } else {
      vector.addRoute(message);
      if (!this.#deferred) vector.connect();
    }
    if (this.#deferred) {
      this.#count = Math.max(this.#count, index + 1);
    } else if (index >= this.#count) {
      this.#count = index + 1;
      if (this.#noresize) {
        this.#disableIndex();
        this.#programAll();
      } else {
        this.#arm(index, vector.fd);
      }
    } else {
      this.#arm(index, vector.fd);
    }
    this.#pending.delete(index);
    if (this.#pending.size === 0) this.#setPbaTrap(false);
  }

  /** The guest masked `index`. */
  #release(index: number): void {
    trace.vfio_msix_vector_release.emit({ name: this.#fn.name, index });
    const vector = this.#vectors[index];
    if (vector?.isRouted) this.#arm(index, vector.userFd);
  }

  /** Bits that were set before: of a loaded state, or of the last time MSI-X was on. */
  #adoptPending(): void {
    for (let index = 0; index < this.capability.entries; index++) {
      if (this.capability.isPending(index)) this.#pending.add(index);
    }
    if (this.#pending.size > 0) this.#setPbaTrap(true);
  }

  #createVector(index: number): Vector | undefined {
    const { report, name } = this.#host;
    attempt(report, `${name}: MSI-X vector ${index}`, () => {
      this.#vectors[index] = Vector.create(this.#host, index, () => this.#interrupt(index));
    });
    return this.#vectors[index];
  }

  /** The user eventfd of a vector was signalled: masked, or without a route. */
  #interrupt(index: number): void {
    const { capability } = this;
    if (capability.isMasked(index)) {
      this.#pending.add(index);
      this.#setPbaTrap(true);
    }
    const point = trace.vfio_msi_interrupt;
    if (point.enabled) {
      const { address, data } = capability.message(index);
      point.emit({ name: this.#fn.name, index, addr: address, data });
    }
    capability.notify(index);
  }

  #setPbaTrap(enabled: boolean): void {
    this.capability.setPbaTrapEnabled(enabled);
    const point = enabled ? trace.vfio_msix_pba_enable : trace.vfio_msix_pba_disable;
    point.emit({ name: this.#fn.name });
  }

  /** All vectors up to the highest used one, in one call. */
  #programAll(): boolean {
    // A host that can add vectors later is first enabled with none, so that it does not allocate
    // the unused ones below the highest.
    if (!this.#noresize && !this.#enableWithoutVector()) return false;
    const fds = Array.from({ length: this.#count }, (_, index) => {
      const vector = this.#vectors[index];
      if (!vector) return -1;
      return this.capability.isMasked(index) ? vector.userFd : vector.fd;
    });
    return this.#setEventfds(0, fds);
  }

  #enableWithoutVector(): boolean {
    return this.#setEventfds(0, [-1]);
  }

  #arm(index: number, fd: number): void {
    this.#setEventfds(index, [fd]);
  }

  #setEventfds(start: number, fds: readonly number[]): boolean {
    const fn = this.#fn;
    let fewer = 0;
    const done = attempt(fn.guestReport, `${fn.name}: failed to enable MSI-X`, () => {
      fewer = fn.device.setIrqEventfds(VFIO_PCI_MSIX_IRQ_INDEX, "trigger", start, fds);
    });
    if (fewer > 0)
      fn.guestReport(`${fn.name}: the host has ${fewer} MSI-X vectors, not ${fds.length}`);
    return done && fewer === 0;
  }

  #disableIndex(): void {
    const fn = this.#fn;
    attempt(fn.guestReport, `${fn.name}: MSI-X`, () =>
      fn.device.setIrqNone(VFIO_PCI_MSIX_IRQ_INDEX, "trigger", 0, 0),
    );
  }

  #tearDown(): void {
    disposeVectors(this.#host, this.#vectors);
    this.#vectors = [];
    this.#count = 0;
    this.#fn.interrupts.mode = "none";
  }
}
