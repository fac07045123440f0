/**
 * RootPort: a PCI Express root port with a hot-plug slot, the device that guests know as
 * 1b36:000c. Capabilities at the offsets where that device has them: subsystem ID 0x40, MSI-X (one
 * vector, BAR0 of 4 KiB) 0x48, PCI Express 0x54, AER 0x100, ACS 0x148.
 *
 * Attaching a function to `secondaryBus` fills the slot. Unlike a link without a partner's
 * emulation, data link layer active is shown whenever the slot is occupied and powered, because a
 * guest's secondary bus reset waits for it.
 */

import * as exp from "../abi/pci-express-regs.ts";
import * as pci from "../abi/pci-regs.ts";
import { MemoryRegion } from "../memory/region.ts";
import { PciBridge } from "./bridge.ts";
import type { PciBus, Plug } from "./bus.ts";
import { addExpressCapability, addPortAcs, addRootPortAer, type Link } from "./express.ts";
import { ExpressSlot } from "./express-slot.ts";
import type { PciFunction } from "./function.ts";
import { MsixCapability } from "./msix.ts";
import { identify, VENDOR_REDHAT } from "./root-complex.ts";

const DEVICE_ROOT_PORT = 0x000c;
const CLASS_BRIDGE_PCI = 0x0604;
const SSVID_OFFSET = 0x40;
const SSVID_SIZE = 8;
const MSIX_OFFSET = 0x48;
const MSIX_BAR_SIZE = 0x1000;
const MSIX_PBA_OFFSET = 0x800;
const EXPRESS_OFFSET = 0x54;
const AER_OFFSET = 0x100;
const ACS_OFFSET = 0x148;
const INTERRUPT_PIN_A = 1;
const HOTPLUG_VECTOR = 0;

export interface RootPortOptions {
  readonly name: string;
  readonly bus: PciBus;
  readonly devfn: number;
  readonly multifunction?: boolean;
  /** Link port number, 0 to 255. */
  readonly port?: number;
  /** Physical slot number, which guests name their slots by. */
  readonly slot?: number;
  /** What the port can do; 16 GT/s and 32 lanes when absent. */
  readonly link?: Link;
  readonly hotplug?: boolean;
}

export class RootPort extends PciBridge {
  /** Offset of the PCI Express capability. */
  readonly expressOffset: number;
  readonly slot: ExpressSlot;
  readonly #link: Link;

  /** Makes a root port and attaches it to its bus. */
  static create(options: RootPortOptions): RootPort {
    const port = new RootPort(options);
    port.bus.attach(port);
    return port;
  }

  private constructor(options: RootPortOptions) {
    super({ ...options, secondaryName: options.name, secondaryIsExpress: true, isPort: true });
    this.#link = options.link ?? { speed: 4, width: 32 };
    const { config } = this;
    const classCode = CLASS_BRIDGE_PCI;
    identify(this, { vendor: VENDOR_REDHAT, device: DEVICE_ROOT_PORT, classCode });
    config.write(pci.PCI_INTERRUPT_PIN, 1, INTERRUPT_PIN_A);
    const ssvid = config.addCapability(pci.PCI_CAP_ID_SSVID, SSVID_OFFSET, SSVID_SIZE);
    config.write(ssvid + pci.PCI_SSVID_VENDOR_ID, 2, VENDOR_REDHAT);
    this.#addMsix();
    this.expressOffset = addExpressCapability(config, exp.PCI_EXP_TYPE_ROOT_PORT, {
      port: options.port ?? 0,
      link: this.#link,
      offset: EXPRESS_OFFSET,
    });
    this.#addPortRegisters();
    this.slot = new ExpressSlot({
      config,
      offset: this.expressOffset,
      number: options.slot ?? 0,
      hotplug: options.hotplug ?? true,
      interrupt: (level) => this.#hotplugInterrupt(level),
    });
    addRootPortAer(config, AER_OFFSET);
    addPortAcs(config, ACS_OFFSET);
    this.#updateLink("cold");
  }

  override get forwards(): boolean {
    // Asked before the slot exists, by the constructor of the class above.
    return super.forwards && (this.slot === undefined || this.slot.powered);
  }

  /**
   * Asks the guest to let go of what is in the slot. Each function's `onUnplugged` is called when
   * and if the guest complies, `onUnplugRefused` when it says that it does not. What the guest
   * cannot see, because the slot has no power or function 0 is not there yet, goes at once.
   *
   * @returns why the guest cannot be asked
   */
  requestUnplug(): "asked" | "unsupported" | "busy" {
    if (!this.slot.hotplug) return "unsupported";
    if (this.slot.busy) return "busy";
    if (this.slot.present && this.slot.powered) this.slot.pressAttentionButton();
    else this.#eject();
    return "asked";
  }

  override applyConfigWrite(offset: number, length: number, value: number): void {
    const control = this.slot.control;
    // Without power the bridge no longer forwards: what is below is reset and vanishes.
    super.applyConfigWrite(offset, length, value);
    const request = this.slot.configWritten(offset, length, control);
    if (request === "none") return;
    if (request === "eject") this.#eject();
    if (request === "keep") for (const fn of this.secondaryBus.functions) fn.onUnplugRefused?.();
    this.#updateLink("hot");
  }

  override childAttached(_fn: PciFunction, how: Plug): void {
    // A device of several functions is there once function 0 is.
    if (!this.secondaryBus.get(0)) return;
    if (how === "cold") this.slot.reset(true);
    else this.slot.setPresent(true, true);
    this.#updateLink(how);
    this.forwardingChanged();
  }

  override childDetached(_fn: PciFunction): void {
    if (this.secondaryBus.functions.length > 0) return;
    this.slot.setPresent(false, true);
    this.#updateLink("hot");
  }

  override reset(): void {
    super.reset();
    const { config } = this;
    config.clearWritable(this.expressOffset + exp.PCI_EXP_DEVCTL, 4);
    config.clearWritable(this.expressOffset + exp.PCI_EXP_RTCTL, 2);
    config.clearWritable(this.expressOffset + exp.PCI_EXP_DEVCTL2, 2);
    config.clearWritable(ACS_OFFSET, 8);
    this.slot.reset(this.secondaryBus.get(0) !== undefined);
    this.#updateLink("cold");
    this.forwardingChanged();
  }

  #addMsix(): void {
    const container = new MemoryRegion(`${this.name} MSI-X`, "container", BigInt(MSIX_BAR_SIZE));
    MsixCapability.create(this, {
      entries: 1,
      table: { bar: 0, offset: 0, container },
      pba: { bar: 0, offset: MSIX_PBA_OFFSET, container },
      offset: MSIX_OFFSET,
    });
    this.registerBar(0, container, { kind: "mem32" });
  }

  #addPortRegisters(): void {
    const { config, expressOffset: at } = this;
    const errors = exp.PCI_EXP_RTCTL_SECEE | exp.PCI_EXP_RTCTL_SENFEE | exp.PCI_EXP_RTCTL_SEFEE;
    config.setMask(config.wmask, at + exp.PCI_EXP_RTCTL, 2, errors);
    const devcap2 = config.read(at + exp.PCI_EXP_DEVCAP2, 4);
    config.write(at + exp.PCI_EXP_DEVCAP2, 4, devcap2 | exp.PCI_EXP_DEVCAP2_ARI);
    config.setMask(config.wmask, at + exp.PCI_EXP_DEVCTL2, 2, exp.PCI_EXP_DEVCTL2_ARI);
  }

  /** The guest took the power away: what was in the slot is gone. */
  #eject(): void {
    for (const fn of this.secondaryBus.functions.reverse()) {
      this.secondaryBus.detach(fn);
      fn.onUnplugged?.();
    }
  }

  /**
   * Link status: what both ends can do, and active while there is another end with power.
   * @param how `hot`: a running guest is told when it came up or went down
   */
  #updateLink(how: Plug): void {
    const { config, expressOffset: at } = this;
    const active = this.slot.present && this.slot.powered;
    const partner = active ? linkOf(this.secondaryBus.get(0)) : undefined;
    const speed = Math.min(partner?.speed || this.#link.speed, this.#link.speed);
    const width = Math.min(partner?.width || this.#link.width, this.#link.width);
    const encoded = (width << exp.PCI_EXP_LNKSTA_NLW_SHIFT) | speed;
    const activeBit = active ? exp.PCI_EXP_LNKSTA_DLLLA : 0;
    const before = config.read(at + exp.PCI_EXP_LNKSTA, 2);
    config.write(at + exp.PCI_EXP_LNKSTA, 2, encoded | activeBit);
    const changed = ((before ^ activeBit) & exp.PCI_EXP_LNKSTA_DLLLA) !== 0;
    if (changed && how === "hot") this.slot.linkChanged();
  }

  #hotplugInterrupt(level: boolean): void {
    if (this.msix?.enabled) {
      if (level) this.msix.notify(HOTPLUG_VECTOR);
    } else {
      this.setIntx(level);
    }
  }
}

/** The link status that a function shows, if it has one. */
function linkOf(fn: PciFunction | undefined): Link | undefined {
  const at = fn?.config.findCapability(pci.PCI_CAP_ID_EXP);
  if (!fn || at === undefined) return undefined;
  const status = fn.readConfig(at + exp.PCI_EXP_LNKSTA, 2);
  return {
    speed: status & exp.PCI_EXP_LNKSTA_CLS,
    width: (status & exp.PCI_EXP_LNKSTA_NLW) >> exp.PCI_EXP_LNKSTA_NLW_SHIFT,
  };
}
