/**
 * PciePciBridge: a PCI Express to PCI bridge (1b36:000e), for devices that belong on a conventional
 * bus. Without the standard hot-plug controller: what is behind is there from the start.
 */

import * as exp from "../abi/pci-express-regs.ts";
import { PciBridge } from "./bridge.ts";
import type { PciBus } from "./bus.ts";
import { addExpressCapability } from "./express.ts";
import { MsiCapability } from "./msi.ts";
import { identify, VENDOR_REDHAT } from "./root-complex.ts";

const DEVICE_PCIE_PCI_BRIDGE = 0x000e;
const CLASS_BRIDGE_PCI = 0x0604;

export interface PciePciBridgeOptions {
  readonly name: string;
  readonly bus: PciBus;
  readonly devfn: number;
  readonly multifunction?: boolean;
  /** Whether it has MSI; it does when absent. */
  readonly msi?: boolean;
}

export class PciePciBridge extends PciBridge {
  /** Makes a bridge and attaches it to its bus. */
  static create(options: PciePciBridgeOptions): PciePciBridge {
    const bridge = new PciePciBridge(options);
    bridge.bus.attach(bridge);
    return bridge;
  }

  private constructor(options: PciePciBridgeOptions) {
    super({ ...options, secondaryName: options.name, secondaryIsExpress: false, isPort: false });
    const classCode = CLASS_BRIDGE_PCI;
    identify(this, { vendor: VENDOR_REDHAT, device: DEVICE_PCIE_PCI_BRIDGE, classCode });
    addExpressCapability(this.config, exp.PCI_EXP_TYPE_PCI_BRIDGE, {});
    this.addPowerManagement();
    if (options.msi ?? true) {
      MsiCapability.create(this, { is64Bit: true, maskable: true, vectors: 1 });
    }
  }
}
