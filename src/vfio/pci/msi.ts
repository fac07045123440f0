/**
 * MSI of an assigned function (spec/pci.md section 10): a guest that sets ENABLE makes us ask the
 * host for as many vectors as it programmed, each an irqfd where KVM has a route for it. The kernel
 * ignores the enable bit in config space; only `VFIO_DEVICE_SET_IRQS` turns MSI on.
 */

import { VFIO_PCI_MSI_IRQ_INDEX } from "../../abi/vfio.ts";
import type { MsiCapability } from "../../pci/msi.ts";
import { attempt } from "./interrupts.ts";
import * as trace from "./trace.ts";
import { disposeVectors, Vector, type VectorHost } from "./vector.ts";
import type { VfioPciFunction } from "./vfio-pci.ts";

export class AssignedMsi {
  readonly capability: MsiCapability;
  readonly #fn: VfioPciFunction;
  readonly #host: VectorHost;
  #vectors: Vector[] = [];

  constructor(fn: VfioPciFunction, capability: MsiCapability) {
    this.#fn = fn;
    this.capability = capability;
    this.#host = fn.vectorHost(fn.properties["x-no-kvm-msi"]);
  }

  /** Vectors in use. */
  get count(): number {
    return this.#vectors.length;
  }

  /** ENABLE went up. What the host refuses leaves interrupts off: the guest may fall back. */
  enable(): void {
    const fn = this.#fn;
    fn.interrupts.disable();
    let wanted = this.capability.vectors;
    while (wanted > 0) {
      const available = this.#tryEnable(wanted);
      if (available === undefined) return;
      fn.guestReport(`${fn.name}: Failed to enable ${wanted} MSI vectors, retry with ${available}`);
      // A host that offers what it has just refused would keep us here.
      wanted = available < wanted ? available : 0;
    }
  }

  /** ENABLE went down. */
  disable(): void {
    const fn = this.#fn;
    attempt(fn.guestReport, `${fn.name}: MSI`, () =>
      fn.device.setIrqNone(VFIO_PCI_MSI_IRQ_INDEX, "trigger", 0, 0),
    );
    this.#tearDown();
    trace.vfio_msi_disable.emit({ name: fn.name });
    attempt(fn.guestReport, fn.name, () => fn.interrupts.intx.enable());
  }

  /** The guest rewrote the capability while MSI is on. */
  update(): void {
    const { routes, report, name } = this.#host;
    attempt(report, `${name}: MSI routes`, () =>
      routes?.batch(() => {
        for (const vector of this.#vectors) {
          if (vector.isRouted) vector.updateRoute(this.capability.message(vector.index));
        }
      }),
    );
  }

  /** @returns how many vectors the host has when it has fewer than `count`, else undefined */
  #tryEnable(count: number): number | undefined {
    const fn = this.#fn;
    const { report, routes } = this.#host;
    let fewer: number | undefined;
    const enabled = attempt(report, `${fn.name}: failed to setup MSI fds`, () => {
      const create = () => {
        for (let index = 0; index < count; index++) {
          const vector = Vector.create(this.#host, index, () => this.#interrupt(index));
          this.#vectors.push(vector);
          vector.addRoute(this.capability.message(index));
        }
      };
      if (routes) routes.batch(create);
      else create();
      for (const vector of this.#vectors) vector.connect();
      fn.interrupts.mode = "msi";
      const fds = this.#vectors.map((vector) => vector.fd);
      const answer = fn.device.setIrqEventfds(VFIO_PCI_MSI_IRQ_INDEX, "trigger", 0, fds);
      if (answer > 0) fewer = answer;
    });
    if (!enabled || fewer !== undefined) this.#tearDown();
    else trace.vfio_msi_enable.emit({ name: fn.name, nr_vectors: count });
    return fewer;
  }

  #tearDown(): void {
    disposeVectors(this.#host, this.#vectors);
    this.#vectors = [];
    this.#fn.interrupts.mode = "none";
  }

  #interrupt(index: number): void {
    const point = trace.vfio_msi_interrupt;
    if (point.enabled) {
      const { address, data } = this.capability.message(index);
      point.emit({ name: this.#fn.name, index, addr: address, data });
    }
    this.capability.notify(index);
  }
}
