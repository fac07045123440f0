/**
 * ACPI fixed hardware (ACPI 6.5, 4.8): PM1 event and control blocks and the PM timer, 12 ports that
 * the FADT announces. Always in ACPI mode. Writing SLP_EN with the S5 type powers the machine off;
 * pressing the power button raises the SCI.
 */

import type { IoHandler } from "../memory/region.ts";
import { pmTimer } from "./pm-timer.ts";

export const ACPI_PM_PORTS = 12;
/** SLP_TYP of S5, as `_S5` tells the guest. */
export const SLEEP_TYPE_S5 = 5;
/** Offset of the PM timer in the block. */
export const PM_TIMER_OFFSET = 8;

const STS_POWER_BUTTON = 1 << 8;
/** What the guest can clear by writing ones: timer, bus master, global, buttons, RTC, wake. */
const STS_WRITABLE = 0x8f31;
const EN_WRITABLE = 0x0721;
const CNT_SCI_ENABLE = 1 << 0;
const CNT_WRITABLE = 0x1c06;
const CNT_SLEEP_TYPE_SHIFT = 10;
const CNT_SLEEP_ENABLE = 1 << 13;

export interface AcpiPmSignals {
  setSci(level: boolean): void;
  powerOff(): void;
}

export class AcpiPm implements IoHandler {
  readonly #signals: AcpiPmSignals;
  #status = 0;
  #enable = 0;
  #control = CNT_SCI_ENABLE;

  constructor(signals: AcpiPmSignals) {
    this.#signals = signals;
  }

  /** Asks the guest to shut down, as a person at its power button would. */
  pressPowerButton(): void {
    this.#status |= STS_POWER_BUTTON;
    this.#updateSci();
  }

  reset(): void {
    this.#status = 0;
    this.#enable = 0;
    this.#control = CNT_SCI_ENABLE;
    this.#updateSci();
  }

  read(offset: number, size: 1 | 2 | 4): number {
    if (offset >= PM_TIMER_OFFSET) return this.#cut(pmTimer(), offset - PM_TIMER_OFFSET, size);
    const low = (this.#status | (this.#enable << 16)) >>> 0;
    return offset < 4 ? this.#cut(low, offset, size) : this.#cut(this.#control, offset - 4, size);
  }

  write(offset: number, size: 1 | 2 | 4, value: number): void {
    for (let byte = 0; byte < size; byte++) {
      this.#writeByte(offset + byte, Math.floor(value / 2 ** (8 * byte)) & 0xff);
    }
    this.#updateSci();
    const wide = offset + size > 5 && offset <= 5;
    if (wide && (this.#control & CNT_SLEEP_ENABLE) !== 0) this.#sleep();
  }

  #writeByte(offset: number, value: number): void {
    const high = offset % 2 === 1;
    const bits = high ? value << 8 : value;
    const lane = high ? 0xff00 : 0x00ff;
    const merge = (old: number, writable: number) =>
      (old & ~(lane & writable)) | (bits & lane & writable);
    if (offset < 2) this.#status &= ~(bits & STS_WRITABLE);
    else if (offset < 4) this.#enable = merge(this.#enable, EN_WRITABLE);
    else if (offset < 6) {
      this.#control = merge(this.#control, CNT_WRITABLE | CNT_SLEEP_ENABLE) | CNT_SCI_ENABLE;
    }
  }

  /** SLP_EN always reads zero; types other than S5 are not announced and do nothing. */
  #sleep(): void {
    this.#control &= ~CNT_SLEEP_ENABLE;
    if (((this.#control >> CNT_SLEEP_TYPE_SHIFT) & 7) === SLEEP_TYPE_S5) this.#signals.powerOff();
  }

  #updateSci(): void {
    this.#signals.setSci((this.#status & this.#enable) !== 0);
  }

  #cut(value: number, shiftBytes: number, size: 1 | 2 | 4): number {
    return Math.floor(value / 2 ** (8 * shiftBytes)) % 2 ** (8 * size);
  }
}
