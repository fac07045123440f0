/**
 * A PciPlatform without a CPU: it keeps what functions ask of the machine. For the machine that
 * runs no guest, and for tests.
 */

import type { IntxRoute, MsiMessage, MsiRoutes, PciPlatform } from "./platform.ts";

export interface DeliveredMsi {
  readonly message: MsiMessage;
  readonly requesterId: number;
}

/** The route table as KVM would hold it; `commits` counts updates of the kernel's copy. */
export class RecordingMsiRoutes implements MsiRoutes {
  /** GSI to message. */
  readonly routes = new Map<number, MsiMessage>();
  /** GSI to the fds that raise it. */
  readonly irqfds = new Map<number, { readonly fd: number; readonly resampleFd?: number }>();
  commits = 0;
  /** Further `add`s fail when this many routes exist. */
  capacity = 4096;
  readonly #firstGsi: number;
  #batchDepth = 0;

  constructor(firstGsi = 24) {
    this.#firstGsi = firstGsi;
  }

  add(message: MsiMessage, _requesterId: number): number | undefined {
    if (this.routes.size >= this.capacity) return undefined;
    let gsi = this.#firstGsi;
    while (this.routes.has(gsi)) gsi++;
    this.routes.set(gsi, message);
    this.#changed();
    return gsi;
  }

  update(gsi: number, message: MsiMessage): void {
    this.routes.set(gsi, message);
    this.#changed();
  }

  release(gsi: number): void {
    this.routes.delete(gsi);
    this.#changed();
  }

  batch<T>(change: () => T): T {
    this.#batchDepth++;
    try {
      return change();
    } finally {
      this.#batchDepth--;
      this.#changed();
    }
  }

  assignIrqfd(gsi: number, fd: number, resampleFd?: number): void {
    this.irqfds.set(gsi, resampleFd === undefined ? { fd } : { fd, resampleFd });
  }

  deassignIrqfd(gsi: number, _fd: number): void {
    this.irqfds.delete(gsi);
  }

  #changed(): void {
    if (this.#batchDepth === 0) this.commits++;
  }
}

export class RecordingPlatform implements PciPlatform {
  readonly msiRoutes: RecordingMsiRoutes | undefined;
  readonly hasResampleFd: boolean;
  readonly delivered: DeliveredMsi[] = [];
  /** GSIs that are high. */
  readonly lines = new Set<number>();
  /** Every edge, in order. */
  readonly edges: Array<readonly [gsi: number, level: boolean]> = [];
  readonly #listeners = new Set<() => void>();
  #route: (slot: number, pin: number) => IntxRoute;

  /** @param options.routes false: no in-kernel irqchip */
  constructor(options: { routes?: boolean; hasResampleFd?: boolean } = {}) {
    this.msiRoutes = options.routes === false ? undefined : new RecordingMsiRoutes();
    this.hasResampleFd = options.hasResampleFd ?? this.msiRoutes !== undefined;
    this.#route = (slot, pin) => ({ mode: "enabled", gsi: 16 + ((slot + pin) % 8) });
  }

  deliverMsi(message: MsiMessage, requesterId: number): void {
    this.delivered.push({ message, requesterId });
  }

  setIrqLine(gsi: number, level: boolean): void {
    if (level) this.lines.add(gsi);
    else this.lines.delete(gsi);
    this.edges.push([gsi, level]);
  }

  intxRoute(slot: number, pin: number): IntxRoute {
    return this.#route(slot, pin);
  }

  onIntxRouteChange(changed: () => void): Disposable {
    this.#listeners.add(changed);
    return { [Symbol.dispose]: () => void this.#listeners.delete(changed) };
  }

  /** Routes pins anew, as a guest does that programs the irq router. */
  reroute(route: (slot: number, pin: number) => IntxRoute): void {
    this.#route = route;
    for (const changed of [...this.#listeners]) changed();
  }
}
