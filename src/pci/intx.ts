/**
 * INTx: four shared level-triggered pins per bus, rotated at every bridge on the way up (PCI-to-PCI
 * Bridge 1.2 section 9.1), ending in GSIs of the machine's choice. Levels are ORed per GSI here,
 * and follow when the guest re-routes.
 */

import * as pci from "../abi/pci-regs.ts";
import { type PciBus, slotOf } from "./bus.ts";
import type { ConfigSpace } from "./config-space.ts";
import type { IntxRoute, PciPlatform } from "./platform.ts";

/** A pin of the root bus: `pin` 0 is INTA. */
export interface RootPin {
  readonly slot: number;
  readonly pin: number;
}

/** Follows pin `pin` (0 = INTA) of `devfn` up to the root bus. */
export function rootPinOf(bus: PciBus, devfn: number, pin: number): RootPin {
  let at = { bus, slot: slotOf(devfn), pin };
  while (at.bus.parent) {
    const bridge = at.bus.parent;
    at = { bus: bridge.bus, slot: slotOf(bridge.devfn), pin: (at.pin + at.slot) % 4 };
  }
  return { slot: at.slot, pin: at.pin };
}

/** The GSIs' side: which sources hold which line. */
export class IntxLines implements Disposable {
  readonly #platform: PciPlatform;
  readonly #asserted = new Map<object, { readonly pin: RootPin; gsi: number | undefined }>();
  readonly #holders = new Map<number, number>();
  readonly #listeners = new Set<() => void>();
  readonly #subscription: Disposable;

  constructor(platform: PciPlatform) {
    this.#platform = platform;
    this.#subscription = platform.onIntxRouteChange(() => this.#rerouted());
  }

  route(pin: RootPin): IntxRoute {
    return this.#platform.intxRoute(pin.slot, pin.pin);
  }

  set(source: object, pin: RootPin, level: boolean): void {
    const present = this.#asserted.get(source);
    if (level === (present !== undefined)) return;
    if (present) {
      this.#asserted.delete(source);
      this.#release(present.gsi);
    } else {
      const gsi = this.#gsiOf(pin);
      this.#asserted.set(source, { pin, gsi });
      this.#hold(gsi);
    }
  }

  /** Calls `changed` after the guest re-routed interrupts, until the result is disposed. */
  onRouteChange(changed: () => void): Disposable {
    this.#listeners.add(changed);
    return { [Symbol.dispose]: () => void this.#listeners.delete(changed) };
  }

  [Symbol.dispose](): void {
    this.#subscription[Symbol.dispose]();
  }

  #rerouted(): void {
    for (const source of this.#asserted.values()) {
      const gsi = this.#gsiOf(source.pin);
      if (gsi === source.gsi) continue;
      // The new line rises before the old one falls: no moment without the interrupt.
      this.#hold(gsi);
      this.#release(source.gsi);
      source.gsi = gsi;
    }
    for (const changed of [...this.#listeners]) changed();
  }

  #gsiOf(pin: RootPin): number | undefined {
    const route = this.route(pin);
    return route.mode === "disabled" ? undefined : route.gsi;
  }

  #hold(gsi: number | undefined): void {
    if (gsi === undefined) return;
    const holders = (this.#holders.get(gsi) ?? 0) + 1;
    this.#holders.set(gsi, holders);
    if (holders === 1) this.#platform.setIrqLine(gsi, true);
  }

  #release(gsi: number | undefined): void {
    if (gsi === undefined) return;
    const holders = (this.#holders.get(gsi) ?? 0) - 1;
    this.#holders.set(gsi, holders);
    if (holders === 0) this.#platform.setIrqLine(gsi, false);
  }
}

/** The function's side: its pin, gated by INTX_DISABLE, mirrored in STATUS. */
export class IntxPin {
  readonly #owner: {
    readonly config: ConfigSpace;
    readonly bus: PciBus;
    readonly devfn: number;
  };
  #level = false;
  #routeAtRoot: RootPin | undefined;

  constructor(owner: { config: ConfigSpace; bus: PciBus; devfn: number }) {
    this.#owner = owner;
  }

  get level(): boolean {
    return this.#level;
  }

  /** 0 = INTA; undefined when the function has no pin. */
  get pin(): number | undefined {
    const pin = this.#owner.config.bytes[pci.PCI_INTERRUPT_PIN]!;
    return pin >= 1 && pin <= 4 ? pin - 1 : undefined;
  }

  /** Asserts or releases the pin. Does nothing for a function without one. */
  set(level: boolean): void {
    if (this.pin === undefined && !this.#level) return;
    this.#level = level;
    const { config } = this.#owner;
    const status = config.bytes[pci.PCI_STATUS]! & ~pci.PCI_STATUS_INTERRUPT;
    config.write(pci.PCI_STATUS, 1, status | (level ? pci.PCI_STATUS_INTERRUPT : 0));
    this.refresh();
  }

  /** Drives the line again from level, COMMAND and pin: after a write to COMMAND. */
  refresh(): void {
    const { config, bus, devfn } = this.#owner;
    const { pin } = this;
    const disabled = (config.read(pci.PCI_COMMAND, 2) & pci.PCI_COMMAND_INTX_DISABLE) !== 0;
    const drive = this.#level && !disabled;
    if (pin !== undefined) this.#routeAtRoot = rootPinOf(bus, devfn, pin);
    if (this.#routeAtRoot) bus.root.intx.set(this, this.#routeAtRoot, drive);
  }

  /** Where the pin ends now. */
  route(): IntxRoute {
    const { pin } = this;
    if (pin === undefined) return { mode: "disabled", gsi: -1 };
    const { bus, devfn } = this.#owner;
    return bus.root.intx.route(rootPinOf(bus, devfn, pin));
  }
}
