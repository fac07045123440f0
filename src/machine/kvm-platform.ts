/**
 * KvmPlatform: what PCI functions ask of the machine, answered by KVM. INTx pins of the root bus
 * lead to fixed I/O APIC inputs, as the DSDT's `_PRT` tells the guest, so routes never change.
 */

import type { Vm } from "../kvm/vm.ts";
import type { IntxRoute, MsiMessage, MsiRoutes, PciPlatform } from "../pci/platform.ts";
import { ViaductError } from "../sys/sys-error.ts";
import { pciGsi } from "./memory-map.ts";
import { SplitIoapic } from "./split-ioapic.ts";

export class KvmPlatform implements PciPlatform {
  readonly #vm: Vm;
  readonly #failed: (error: ViaductError) => void;
  /** Present when the irqchip is split. */
  readonly ioapic: SplitIoapic | undefined;
  /** Of KVM when the irqchip is full, of `IrqRoutes` when it is split. */
  readonly hasResampleFd = true;

  /**
   * @param vm has its irqchip already; borrowed
   * @param failed told when KVM refuses an interrupt: the guest would wait for it for ever
   */
  constructor(vm: Vm, failed: (error: ViaductError) => void) {
    this.#vm = vm;
    this.#failed = failed;
    if (vm.irqchip?.mode === "split") {
      this.ioapic = new SplitIoapic({
        deliver: (message) => void vm.signalMsi(message),
        routeChanged: (pin, message) => vm.routes.setPin(pin, message),
        ended: (pin) => vm.routes.endOfInterrupt(pin),
      });
    }
  }

  get msiRoutes(): MsiRoutes {
    return this.#vm.routes;
  }

  deliverMsi(message: MsiMessage): void {
    this.#vm.signalMsi(message);
  }

  setIrqLine(gsi: number, level: boolean): void {
    if (this.ioapic !== undefined) {
      this.ioapic.setLine(gsi, level);
      return;
    }
    try {
      this.#vm.setIrqLine(gsi, level);
    } catch (cause) {
      const why = (cause as Error).message;
      const message = `KVM: Cannot set interrupt line ${gsi} to ${level ? 1 : 0}: ${why}`;
      this.#failed(new ViaductError("KVM_FAILED", message, { cause }));
    }
  }

  intxRoute(slot: number, pin: number): IntxRoute {
    return { mode: "enabled", gsi: pciGsi(slot, pin) };
  }

  onIntxRouteChange(): Disposable {
    return { [Symbol.dispose]: () => {} };
  }
}
