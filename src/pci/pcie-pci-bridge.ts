/**
 * PciePciBridge: a PCI Express to PCI bridge (1b36:000e), for devices that belong on a conventional
 * bus, with its capabilities at the offsets where guests know them: PCI Express 0x48, power
 * management 0x84, MSI 0x8c, AER 0x100. Without the standard hot-plug controller, which would be
 * at 0x40 and in BAR0: what is behind is there from the start.
 */

import * as exp from "../abi/pci-express-regs.ts";
import * as pci from "../abi/pci-regs.ts";
import { PciBridge } from "./bridge.ts";
import type { PciBus } from "./bus.ts";
import { addAer, addExpressCapability, SLOWEST_LINK } from "./express.ts";
import { MsiCapability } from "./msi.ts";
import { identify, VENDOR_REDHAT } from "./root-complex.ts";

const DEVICE_PCIE_PCI_BRIDGE = 0x000e;
const CLASS_BRIDGE_PCI = 0x0604;
const EXPRESS_OFFSET = 0x48;
const PM_OFFSET = 0x84;
const MSI_OFFSET = 0x8c;
const AER_OFFSET = 0x100;
/** A bus of 66 MHz on both sides. */
const FAST_BUS = pci.PCI_STATUS_66MHZ | pci.PCI_STATUS_FAST_BACK;

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
    const { config } = this;
    config.write(pci.PCI_STATUS, 2, config.read(pci.PCI_STATUS, 2) | FAST_BUS);
    config.write(pci.PCI_SEC_STATUS, 2, FAST_BUS);
    addExpressCapability(config, exp.PCI_EXP_TYPE_PCI_BRIDGE, {
      offset: EXPRESS_OFFSET,
      link: SLOWEST_LINK,
    });
    this.addPowerManagement(PM_OFFSET);
    if (options.msi ?? true) {
      MsiCapability.create(this, { is64Bit: true, maskable: true, vectors: 1 }, MSI_OFFSET);
    }
    addAer(config, AER_OFFSET);
  }
}
