/**
 * KvmPlatform: what PCI functions ask of the machine, answered by KVM. INTx pins of the root bus
 * lead to fixed I/O APIC inputs, as the DSDT's `_PRT` tells the guest, so routes never change.
 */

import type { Vm } from "../kvm/vm.ts";
import type { IntxRoute, MsiMessage, MsiRoutes, PciPlatform } from "../pci/platform.ts";
import { pciGsi } from "./memory-map.ts";
import { SplitIoapic } from "./split-ioapic.ts";

export class KvmPlatform implements PciPlatform {
  readonly #vm: Vm;
  /** Present when the irqchip is split. */
  readonly ioapic: SplitIoapic | undefined;

  /** @param vm has its irqchip already; borrowed */
  constructor(vm: Vm) {
    this.#vm = vm;
    if (vm.irqchip?.mode === "split") {
      this.ioapic = new SplitIoapic({
        deliver: (message) => void vm.signalMsi(message),
        routeChanged: (pin, message) => vm.routes.setPin(pin, message),
      });
    }
  }

  get msiRoutes(): MsiRoutes {
    return this.#vm.routes;
  }

  get hasResampleFd(): boolean {
    return this.ioapic === undefined;
  }

  deliverMsi(message: MsiMessage): void {
    this.#vm.signalMsi(message);
  }

  setIrqLine(gsi: number, level: boolean): void {
    if (this.ioapic !== undefined) this.ioapic.setLine(gsi, level);
    else this.#vm.setIrqLine(gsi, level);
  }

  intxRoute(slot: number, pin: number): IntxRoute {
    return { mode: "enabled", gsi: pciGsi(slot, pin) };
  }

  onIntxRouteChange(): Disposable {
    return { [Symbol.dispose]: () => {} };
  }
}
