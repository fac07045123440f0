/**
 * The slot registers of a PCI Express port with native hot-plug: PCI Express Base 5.0 sections
 * 6.7 and 7.5.3.9 to 7.5.3.11. A device that arrives shows as presence and a pressed attention
 * button; the guest then gives the slot power. A device is asked to leave by pressing the button;
 * the guest blinks the power indicator and answers by taking the slot's power and turning the
 * indicator off, or, when it keeps the device, by turning the indicator on again. A device that
 * leaves unasked shows as a change of presence and of the link.
 */

import * as exp from "../abi/pci-express-regs.ts";
import type { ConfigSpace } from "./config-space.ts";

/** Each event's status bit and the bit that enables its interrupt. */
const EVENTS: ReadonlyArray<readonly [status: number, enable: number]> = [
  [exp.PCI_EXP_SLTSTA_ABP, exp.PCI_EXP_SLTCTL_ABPE],
  [exp.PCI_EXP_SLTSTA_PDC, exp.PCI_EXP_SLTCTL_PDCE],
  [exp.PCI_EXP_SLTSTA_CC, exp.PCI_EXP_SLTCTL_CCIE],
  [exp.PCI_EXP_SLTSTA_DLLSC, exp.PCI_EXP_SLTCTL_DLLSCE],
];
const STATUS_CLEARABLE = EVENTS.reduce((bits, [status]) => bits | status, 0);
const CONTROL_WRITABLE =
  EVENTS.reduce((bits, [, enable]) => bits | enable, 0) |
  exp.PCI_EXP_SLTCTL_HPIE |
  exp.PCI_EXP_SLTCTL_AIC |
  exp.PCI_EXP_SLTCTL_PIC |
  exp.PCI_EXP_SLTCTL_PCC |
  exp.PCI_EXP_SLTCTL_EIC;

export interface ExpressSlotOptions {
  readonly config: ConfigSpace;
  /** Offset of the PCI Express capability. */
  readonly offset: number;
  /** Physical slot number, 0 to 8191. */
  readonly number: number;
  readonly hotplug: boolean;
  /** Called with the hot-plug interrupt's level when it changes. */
  readonly interrupt: (level: boolean) => void;
}

/** What a guest's write asked of the slot; `keep`: it will not let go of what it was asked for. */
export type SlotRequest = "none" | "power" | "eject" | "keep";

export class ExpressSlot {
  readonly hotplug: boolean;
  readonly #config: ConfigSpace;
  readonly #offset: number;
  readonly #interrupt: (level: boolean) => void;
  #level = false;
  /** The button was pressed for an unplug, and the guest has not answered. */
  #asked = false;

  constructor(options: ExpressSlotOptions) {
    this.hotplug = options.hotplug;
    this.#config = options.config;
    this.#offset = options.offset;
    this.#interrupt = options.interrupt;
    const { config, offset } = options;
    const flags = config.read(offset + exp.PCI_EXP_FLAGS, 2);
    config.write(offset + exp.PCI_EXP_FLAGS, 2, flags | exp.PCI_EXP_FLAGS_SLOT);
    const hotplugBits = exp.PCI_EXP_SLTCAP_HPS | exp.PCI_EXP_SLTCAP_HPC;
    config.write(
      offset + exp.PCI_EXP_SLTCAP,
      4,
      (options.number << 19) |
        exp.PCI_EXP_SLTCAP_EIP |
        exp.PCI_EXP_SLTCAP_PIP |
        exp.PCI_EXP_SLTCAP_AIP |
        exp.PCI_EXP_SLTCAP_ABP |
        exp.PCI_EXP_SLTCAP_PCP |
        (options.hotplug ? hotplugBits : 0),
    );
    config.setMask(config.wmask, offset + exp.PCI_EXP_SLTCTL, 2, CONTROL_WRITABLE);
    config.setMask(config.w1cmask, offset + exp.PCI_EXP_SLTSTA, 2, STATUS_CLEARABLE);
    this.reset(false);
  }

  /** Power is on unless the guest turned it off. */
  get powered(): boolean {
    return (this.#control & exp.PCI_EXP_SLTCTL_PCC) === 0;
  }

  get present(): boolean {
    return (this.#status & exp.PCI_EXP_SLTSTA_PDS) !== 0;
  }

  /** The guest is in the middle of an earlier request: its power indicator blinks. */
  get busy(): boolean {
    return indicatorOf(this.#control) === exp.PCI_EXP_SLTCTL_PWR_IND_BLINK;
  }

  /** State after power-on; an occupied slot has power. */
  reset(occupied: boolean): void {
    const off = exp.PCI_EXP_SLTCTL_PCC | exp.PCI_EXP_SLTCTL_PWR_IND_OFF;
    const power = occupied ? exp.PCI_EXP_SLTCTL_PWR_IND_ON : off;
    this.#control = exp.PCI_EXP_SLTCTL_ATTN_IND_OFF | power;
    this.#status = occupied ? exp.PCI_EXP_SLTSTA_PDS : 0;
    this.#asked = false;
    this.#updateInterrupt();
  }

  /** A device sits in the slot, or no longer does; `announce` tells a running guest. */
  setPresent(present: boolean, announce: boolean): void {
    if (this.present === present) return;
    this.#asked = false;
    const status = this.#status ^ exp.PCI_EXP_SLTSTA_PDS;
    const button = present ? exp.PCI_EXP_SLTSTA_ABP : 0;
    this.#status = status | (announce ? exp.PCI_EXP_SLTSTA_PDC | button : 0);
    this.#updateInterrupt();
  }

  /** Asks the guest to let go of the device. */
  pressAttentionButton(): void {
    this.#asked = true;
    this.#status |= exp.PCI_EXP_SLTSTA_ABP;
    this.#updateInterrupt();
  }

  /** The link below came up or went down while the guest runs. */
  linkChanged(): void {
    this.#status |= exp.PCI_EXP_SLTSTA_DLLSC;
    this.#updateInterrupt();
  }

  /**
   * After a guest's write.
   *
   * @param before the slot control register before the write
   */
  configWritten(offset: number, length: number, before: number): SlotRequest {
    const touches = (register: number) => {
      const at = this.#offset + register;
      return offset < at + 2 && at < offset + length;
    };
    let request: SlotRequest = "none";
    if (touches(exp.PCI_EXP_SLTCTL)) request = this.#controlWritten(before);
    if (touches(exp.PCI_EXP_SLTCTL) || touches(exp.PCI_EXP_SLTSTA)) this.#updateInterrupt();
    return request;
  }

  get control(): number {
    return this.#control;
  }

  #controlWritten(before: number): SlotRequest {
    if ((this.#control & exp.PCI_EXP_SLTCTL_EIC) !== 0) {
      // The interlock toggles; the bit itself always reads 0.
      this.#control &= ~exp.PCI_EXP_SLTCTL_EIC;
      this.#status ^= exp.PCI_EXP_SLTSTA_EIS;
    }
    this.#status |= exp.PCI_EXP_SLTSTA_CC;
    const control = this.#control;
    if (this.present && isOff(control) && !isOff(before)) return "eject";
    if (((control ^ before) & exp.PCI_EXP_SLTCTL_PCC) !== 0) return "power";
    const blinked = indicatorOf(before) === exp.PCI_EXP_SLTCTL_PWR_IND_BLINK;
    const kept = blinked && indicatorOf(control) === exp.PCI_EXP_SLTCTL_PWR_IND_ON;
    if (!this.#asked || !kept) return "none";
    this.#asked = false;
    return "keep";
  }

  #updateInterrupt(): void {
    const [control, status] = [this.#control, this.#status];
    const enabled = (control & exp.PCI_EXP_SLTCTL_HPIE) !== 0;
    const pending = EVENTS.some(
      ([bit, enable]) => (status & bit) !== 0 && (control & enable) !== 0,
    );
    const level = enabled && pending;
    if (level === this.#level) return;
    this.#level = level;
    this.#interrupt(level);
  }

  get #control(): number {
    return this.#config.read(this.#offset + exp.PCI_EXP_SLTCTL, 2);
  }

  set #control(value: number) {
    this.#config.write(this.#offset + exp.PCI_EXP_SLTCTL, 2, value);
  }

  get #status(): number {
    return this.#config.read(this.#offset + exp.PCI_EXP_SLTSTA, 2);
  }

  set #status(value: number) {
    this.#config.write(this.#offset + exp.PCI_EXP_SLTSTA, 2, value);
  }
}

const indicatorOf = (control: number): number => control & exp.PCI_EXP_SLTCTL_PIC;

function isOff(control: number): boolean {
  const unpowered = (control & exp.PCI_EXP_SLTCTL_PCC) !== 0;
  return unpowered && indicatorOf(control) === exp.PCI_EXP_SLTCTL_PWR_IND_OFF;
}
