/**
 * The ports by which a PC resets itself: 0xcf9 (chipset reset control, which the FADT announces),
 * the keyboard controller's output port pulse (command 0xfe at 0x64), and port 0x92. There is no
 * keyboard: port 0x64 reads as an idle controller so that nothing waits for it.
 */

import type { IoHandler } from "../memory/region.ts";

const RESET_CPU = 1 << 2;
const PULSE_OUTPUT_RESET = 0xfe;
const FAST_RESET = 1 << 0;
const A20_ENABLED = 1 << 1;

/** One byte at 0xcf9: a reset happens when RST_CPU goes from 0 to 1. */
export class ResetControl implements IoHandler {
  readonly #reset: () => void;
  #value = 0;

  constructor(reset: () => void) {
    this.#reset = reset;
  }

  read(): number {
    return this.#value;
  }

  write(_offset: number, _size: 1 | 2 | 4, value: number): void {
    const rises = (value & ~this.#value & RESET_CPU) !== 0;
    this.#value = rises ? 0 : value & 0x0e;
    if (rises) this.#reset();
  }
}

/** One byte at 0x64. */
export class KeyboardReset implements IoHandler {
  readonly #reset: () => void;

  constructor(reset: () => void) {
    this.#reset = reset;
  }

  read(): number {
    return 0;
  }

  write(_offset: number, _size: 1 | 2 | 4, value: number): void {
    if ((value & 0xff) === PULSE_OUTPUT_RESET) this.#reset();
  }
}

/** One byte at 0x92. A20 is always open; the bit reads back as it was written. */
export class FastReset implements IoHandler {
  readonly #reset: () => void;
  #value = A20_ENABLED;

  constructor(reset: () => void) {
    this.#reset = reset;
  }

  read(): number {
    return this.#value;
  }

  write(_offset: number, _size: 1 | 2 | 4, value: number): void {
    this.#value = value & A20_ENABLED;
    if ((value & FAST_RESET) !== 0) this.#reset();
  }
}
