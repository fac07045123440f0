/**
 * An I/O APIC in user space (Intel 82093AA data sheet; EOI register of the later ICH parts), for a
 * split irqchip: the local APICs are in the kernel, and a pin's redirection entry becomes an MSI.
 * The machine keeps KVM's routes of GSI 0 to 23 equal to the entries, so that irqfds work and KVM
 * reports end-of-interrupt of level-triggered vectors.
 */

import type { IoHandler } from "../memory/region.ts";
import type { MsiMessage } from "../pci/platform.ts";
import { IOAPIC_PINS, LAPIC_START } from "./memory-map.ts";

export const IOAPIC_SIZE = 0x1000;

const REG_SELECT = 0x00;
const REG_WINDOW = 0x10;
const REG_EOI = 0x40;
const INDEX_ID = 0;
const INDEX_VERSION = 1;
const INDEX_ARBITRATION = 2;
const INDEX_REDIRECTION = 0x10;
const VERSION = 0x20 | ((IOAPIC_PINS - 1) << 16);

/** Redirection entry, low half. */
const LEVEL = 1 << 15;
const REMOTE_IRR = 1 << 14;
const MASKED = 1 << 16;
const LOW_WRITABLE = 0x1_afff;
/** Redirection entry, high half: destination. */
const HIGH_WRITABLE = 0xff00_0000;

export interface IoapicSignals {
  /** Sends an interrupt now. */
  deliver(message: MsiMessage): void;
  /** A pin's message changed; undefined while the pin is masked. */
  routeChanged(pin: number, message: MsiMessage | undefined): void;
  /** The guest acknowledged a level-triggered pin: whoever holds the line up may fire again. */
  ended(pin: number): void;
}

interface Pin {
  low: number;
  high: number;
  line: boolean;
}

export class SplitIoapic implements IoHandler {
  readonly #signals: IoapicSignals;
  readonly #pins: Pin[] = [];
  #select = 0;
  #id = 0;

  constructor(signals: IoapicSignals) {
    this.#signals = signals;
    for (let i = 0; i < IOAPIC_PINS; i++) this.#pins.push({ low: MASKED, high: 0, line: false });
  }

  reset(): void {
    this.#select = 0;
    this.#id = 0;
    this.#pins.forEach((pin, index) => {
      pin.low = MASKED;
      pin.high = 0;
      this.#signals.routeChanged(index, undefined);
    });
  }

  /** A level on an input pin. */
  setLine(index: number, level: boolean): void {
    const pin = this.#pins[index];
    if (pin === undefined) return;
    const rises = level && !pin.line;
    pin.line = level;
    if ((pin.low & LEVEL) !== 0) this.#serviceLevel(pin);
    else if (rises && (pin.low & MASKED) === 0) this.#signals.deliver(messageOf(pin));
  }

  /** The guest ended an interrupt: a level-triggered pin that is still high fires again. */
  endOfInterrupt(vector: number): void {
    this.#pins.forEach((pin, index) => {
      if ((pin.low & 0xff) !== vector || (pin.low & LEVEL) === 0) return;
      pin.low &= ~REMOTE_IRR;
      this.#signals.ended(index);
      this.#serviceLevel(pin);
    });
  }

  read(offset: number): number {
    if (offset === REG_SELECT) return this.#select;
    if (offset !== REG_WINDOW) return 0;
    if (this.#select === INDEX_ID || this.#select === INDEX_ARBITRATION) return this.#id;
    if (this.#select === INDEX_VERSION) return VERSION;
    const pin = this.#pins[(this.#select - INDEX_REDIRECTION) >> 1];
    if (pin === undefined || this.#select < INDEX_REDIRECTION) return 0;
    return (this.#select & 1) === 0 ? pin.low : pin.high;
  }

  write(offset: number, _size: 1 | 2 | 4, value: number): void {
    if (offset === REG_SELECT) this.#select = value & 0xff;
    if (offset === REG_EOI) this.endOfInterrupt(value & 0xff);
    if (offset === REG_WINDOW) this.#writeWindow(value);
  }

  #writeWindow(value: number): void {
    if (this.#select === INDEX_ID) this.#id = value & 0x0f00_0000;
    const index = (this.#select - INDEX_REDIRECTION) >> 1;
    const pin = this.#pins[index];
    if (pin === undefined || this.#select < INDEX_REDIRECTION) return;
    const before = { ...pin };
    if ((this.#select & 1) === 1) {
      pin.high = (value & HIGH_WRITABLE) >>> 0;
    } else {
      pin.low = (value & LOW_WRITABLE) | (pin.low & REMOTE_IRR);
      // Linux clears a stuck remote IRR by switching the pin to edge and back.
      if ((pin.low & LEVEL) === 0) pin.low &= ~REMOTE_IRR;
    }
    this.#signals.routeChanged(index, (pin.low & MASKED) === 0 ? messageOf(pin) : undefined);
    // An irqfd that fired while the pin was masked is lost, and so is the acknowledgement of a
    // vector that the pin no longer has: a line that is still up must get the chance to say so.
    const changed = pin.low !== before.low || pin.high !== before.high;
    if (changed && (pin.low & (LEVEL | MASKED)) === LEVEL) this.#signals.ended(index);
    this.#serviceLevel(pin);
  }

  #serviceLevel(pin: Pin): void {
    if ((pin.low & LEVEL) === 0 || (pin.low & (MASKED | REMOTE_IRR)) !== 0 || !pin.line) return;
    pin.low |= REMOTE_IRR;
    this.#signals.deliver(messageOf(pin));
  }
}

/** A redirection entry as the message that a PCI device would send (Intel SDM 3, 11.11). */
function messageOf(pin: Pin): MsiMessage {
  const ASSERT = 1 << 14;
  const destination = pin.high >>> 24;
  const logical = (pin.low >> 11) & 1;
  const level = (pin.low & LEVEL) !== 0 ? LEVEL | ASSERT : 0;
  return {
    address: BigInt(LAPIC_START + destination * 0x1000 + logical * 4),
    data: (pin.low & 0x7ff) | level,
  };
}
