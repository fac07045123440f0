/**
 * PciFunction: one guest-visible PCI function. A class to extend: an emulated device fills the
 * shadow; an assigned one (vfio/pci/) lowers `emuMask` and overrides `readConfig`, `writeConfig`
 * and `reset`.
 *
 * Life: constructed for a bus and devfn (registers, capabilities and BARs are added now, and the
 * route of its pin can be asked), made visible by `bus.attach(fn)`, gone with dispose.
 */

import * as pci from "../abi/pci-regs.ts";
import type { MemoryRegion } from "../memory/region.ts";
import { type BarOptions, Bars } from "./bar.ts";
import type { PciBus } from "./bus.ts";
import { type ConfigSize, ConfigSpace, mergedRead } from "./config-space.ts";
import { IntxPin } from "./intx.ts";
import type { MsiCapability } from "./msi.ts";
import type { MsixCapability } from "./msix.ts";
import type { IntxRoute, MsiMessage } from "./platform.ts";
import { privateConfigMemory } from "./shared-config.ts";

export interface PciFunctionOptions {
  readonly name: string;
  readonly bus: PciBus;
  readonly devfn: number;
  /** 4096 unless the device has only the conventional 256 bytes. */
  readonly configSize?: ConfigSize;
  /** Header type bit 7: other functions of the slot exist. */
  readonly multifunction?: boolean;
  /** Brings every read to the main thread; by default a vCPU's thread answers what it can. */
  readonly forwardReads?: boolean;
}

const PM_CAPABILITY_SIZE = 8;

export class PciFunction implements Disposable {
  readonly name: string;
  readonly bus: PciBus;
  readonly devfn: number;
  readonly multifunction: boolean;
  readonly config: ConfigSpace;
  readonly bars: Bars;
  readonly intx: IntxPin;
  /** Set by `MsiCapability.create` and `MsixCapability.create`. */
  msi: MsiCapability | undefined;
  msix: MsixCapability | undefined;
  /** Called when the guest has let go of the function and it is off the bus. */
  onUnplugged: (() => void) | undefined;
  /** Called when the guest was asked to let go of the function and says that it keeps it. */
  onUnplugRefused: (() => void) | undefined;
  /** Offset of the power management capability whose state gates the BARs. */
  #pmOffset: number | undefined;
  #configFd = -1;
  #configFdOffset = 0;
  #disposed = false;

  /** The bus behind a bridge. */
  get secondaryBus(): PciBus | undefined {
    return undefined;
  }

  constructor(options: PciFunctionOptions) {
    this.name = options.name;
    this.bus = options.bus;
    this.devfn = options.devfn;
    this.multifunction = options.multifunction ?? false;
    const { sharedConfig } = this.bus.root;
    const memory = options.forwardReads ? privateConfigMemory() : sharedConfig.allocate();
    this.config = new ConfigSpace(this.name, options.configSize ?? 4096, memory);
    this.bars = new Bars(this);
    this.intx = new IntxPin(this);
    if (this.multifunction) {
      this.config.bytes[pci.PCI_HEADER_TYPE]! |= pci.PCI_HEADER_TYPE_MFD;
    }
  }

  /** File that answers what is not emulated, so that a vCPU's thread can read it; -1: none. */
  get configFd(): number {
    return this.#configFd;
  }

  /** Where config space begins in that file. */
  get configFdOffset(): number {
    return this.#configFdOffset;
  }

  /** Names the file; must be -1 again before the fd is closed. */
  setConfigFile(fd: number, offset: number): void {
    this.#configFd = fd;
    this.#configFdOffset = offset;
    this.config.shareDevice(fd, offset);
  }

  /** A guest's read: any offset, 1 to 4 bytes; never throws. */
  readConfig(offset: number, length: number): number {
    return mergedRead(this.config, offset, length, (at, size) => this.readDevice(at, size));
  }

  /** The bits that are not emulated: `length` bytes from the device behind; none here. */
  protected readDevice(offset: number, length: number): number {
    return this.config.read(offset, length);
  }

  /** A guest's write: any offset, 1 to 4 bytes; never throws. */
  writeConfig(offset: number, length: number, value: number): void {
    this.applyConfigWrite(offset, length, value);
  }

  /**
   * "Apply to shadow": masks, then the BAR mappings, then the INTx gate, then MSI and MSI-X, which
   * deliver what the write unmasked. For subclasses that do something before or after.
   */
  applyConfigWrite(offset: number, length: number, value: number): void {
    const touches = (start: number, size: number) =>
      offset < start + size && start < offset + length;
    const powerBefore = this.powerState;
    this.config.applyWrite(offset, length, value);
    const pm = this.#pmOffset;
    const powerTouched = pm !== undefined && touches(pm + pci.PCI_PM_CTRL, 2);
    if (powerTouched) this.#checkPowerTransition(pm, powerBefore);
    if (
      powerTouched ||
      touches(pci.PCI_COMMAND, 1) ||
      touches(pci.PCI_BASE_ADDRESS_0, 24) ||
      touches(pci.PCI_ROM_ADDRESS, 4) ||
      touches(pci.PCI_ROM_ADDRESS1, 4)
    ) {
      this.bars.update();
    }
    if (touches(pci.PCI_COMMAND, 2)) this.intx.refresh();
    this.msi?.configWritten(offset, length);
    this.msix?.configWritten(offset, length);
  }

  /** See `Bars.register`; index 6 is the ROM. */
  registerBar(index: number, region: MemoryRegion, options: BarOptions): void {
    this.bars.register(index, region, options);
  }

  /** Where BAR `index` is mapped now; undefined = not mapped. */
  barAddress(index: number): bigint | undefined {
    return this.bars.address(index);
  }

  /** Asserts or releases the function's INTx pin. */
  setIntx(level: boolean): void {
    this.intx.set(level);
  }

  /** Where the function's pin ends now. */
  intxRoute(): IntxRoute {
    return this.intx.route();
  }

  /** Calls `changed` after the guest re-routed interrupts, until the result is disposed. */
  onIntxRouteChange(changed: () => void): Disposable {
    return this.bus.root.intx.onRouteChange(changed);
  }

  /** Bus, device and function as its requests carry them. */
  get requesterId(): number {
    // A PCIe-to-PCI bridge puts its secondary bus number and devfn 0 on what passes through it.
    const devfn = this.bus.isExpress || !this.bus.parent?.bus.isExpress ? this.devfn : 0;
    return (this.bus.number << 8) | devfn;
  }

  get isAttached(): boolean {
    return this.bus.get(this.devfn) === this;
  }

  /** Sends a message as the device's own write would go: only as a bus master. */
  deliverMsi(message: MsiMessage): void {
    if ((this.config.read(pci.PCI_COMMAND, 2) & pci.PCI_COMMAND_MASTER) === 0) return;
    this.bus.root.platform.deliverMsi(message, this.requesterId);
  }

  /** True when BARs may be mapped: powered, on a bus that is not in reset, in D0. */
  get decodes(): boolean {
    return this.powerState === 0 && this.bus.reachable;
  }

  /** 0 to 3 for D0 to D3hot. */
  get powerState(): number {
    if (this.#pmOffset === undefined) return 0;
    return this.config.bytes[this.#pmOffset + pci.PCI_PM_CTRL]! & pci.PCI_PM_CTRL_STATE_MASK;
  }

  /**
   * Declares the power management capability at `offset`: the power state becomes writable in the
   * shadow, and BARs are unmapped outside D0.
   */
  registerPowerManagement(offset: number): void {
    this.#pmOffset = offset;
    this.config.wmask[offset + pci.PCI_PM_CTRL]! |= pci.PCI_PM_CTRL_STATE_MASK;
  }

  /** Adds a power management capability of 8 bytes. @returns its offset */
  addPowerManagement(offset?: number): number {
    const at = this.config.addCapability(pci.PCI_CAP_ID_PM, offset, PM_CAPABILITY_SIZE);
    this.config.write(at + pci.PCI_PM_PMC, 2, 3);
    this.registerPowerManagement(at);
    return at;
  }

  /**
   * What a conventional reset does to the shadow: pin released, COMMAND, STATUS, line and BARs
   * cleared, D0, MSI and MSI-X off, all vectors masked.
   */
  reset(): void {
    const { config } = this;
    this.setIntx(false);
    config.clearWritable(pci.PCI_COMMAND, 4);
    config.clearWritable(pci.PCI_CACHE_LINE_SIZE, 1);
    config.clearWritable(pci.PCI_INTERRUPT_LINE, 1);
    if (this.#pmOffset !== undefined) config.clearWritable(this.#pmOffset + pci.PCI_PM_CTRL, 2);
    this.bars.clearRegisters();
    this.bars.update();
    this.msi?.reset();
    this.msix?.reset();
  }

  /** Takes the function off its bus and gives its shared config slot back. Idempotent. */
  [Symbol.dispose](): void {
    this.bus.detach(this);
    if (this.#disposed) return;
    this.#disposed = true;
    this.setConfigFile(-1, 0);
    this.bus.root.sharedConfig.free(this.config.memory);
  }

  /** D0 is entered from anywhere, else only a deeper state; an unsupported one is not entered. */
  #checkPowerTransition(pm: number, before: number): void {
    const after = this.powerState;
    if (after === before || after === 0) return;
    const capabilities = this.config.read(pm + pci.PCI_PM_PMC, 2);
    const supported =
      after === 3 || (capabilities & (after === 1 ? pci.PCI_PM_CAP_D1 : pci.PCI_PM_CAP_D2)) !== 0;
    if (supported && after > before) return;
    const at = pm + pci.PCI_PM_CTRL;
    this.config.write(at, 1, (this.config.bytes[at]! & ~pci.PCI_PM_CTRL_STATE_MASK) | before);
  }
}
