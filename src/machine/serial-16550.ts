/**
 * A 16550A UART (National Semiconductor PC16550D data sheet) whose state lies in shared memory, so
 * that a vCPU's Worker answers its registers itself. Transmission takes no time; bytes go to a ring
 * that the main thread drains (serial-host.ts). The interrupt output is edge-signalled: `raise` is
 * called when it goes from inactive to active, as ISA interrupt 4 wants it.
 */

import { ByteRing } from "./byte-ring.ts";
import { withLock } from "./shared-lock.ts";

const OUTPUT_CAPACITY = 65536;
const INPUT_CAPACITY = 4096;

/** Words of the shared state. */
const WORD = {
  lock: 0,
  ier: 1,
  lcr: 2,
  mcr: 3,
  msr: 4,
  scratch: 5,
  divisor: 6,
  fifoEnabled: 7,
  thrEmptyPending: 8,
  overrun: 9,
  active: 10,
  notifyOutput: 11,
  notifyInput: 12,
  dropped: 13,
} as const;
const WORDS = 16;

const IER_RX = 0x01;
const IER_THR_EMPTY = 0x02;
const IER_LINE_STATUS = 0x04;
const IER_MODEM_STATUS = 0x08;
const IIR_NONE = 0x01;
const IIR_THR_EMPTY = 0x02;
const IIR_RX = 0x04;
const IIR_LINE_STATUS = 0x06;
const IIR_MODEM_STATUS = 0x00;
const IIR_FIFO_ENABLED = 0xc0;
const FCR_ENABLE = 0x01;
const FCR_CLEAR_RX = 0x02;
const LCR_DIVISOR_LATCH = 0x80;
const MCR_LOOPBACK = 0x10;
const LSR_DATA_READY = 0x01;
const LSR_OVERRUN = 0x02;
const LSR_THR_EMPTY = 0x20;
const LSR_IDLE = 0x40;
/** Carrier detect, data set ready, clear to send: a cable that is always plugged in. */
const MSR_CONNECTED = 0xb0;
const MSR_DELTAS = 0x0f;

/** Called after the lock was released, so that they may use the port. */
export interface SerialSignals {
  /** The interrupt output became active. */
  raise(): void;
  /** Output waits and the main thread asked to be told. */
  outputReady(): void;
  /** There is room for input and the main thread asked to be told. */
  inputWanted(): void;
}

export class Serial16550 {
  readonly memory: SharedArrayBuffer;
  readonly #words: Int32Array;
  readonly #output: ByteRing;
  readonly #input: ByteRing;
  readonly #signals: SerialSignals;
  #due = { raise: false, outputReady: false, inputWanted: false };

  /** The state of a UART after power-on, to be shared between threads. */
  static createMemory(): SharedArrayBuffer {
    const size = WORDS * 4 + ByteRing.byteLength(OUTPUT_CAPACITY);
    const memory = new SharedArrayBuffer(size + ByteRing.byteLength(INPUT_CAPACITY));
    const words = new Int32Array(memory, 0, WORDS);
    words[WORD.notifyOutput] = 1;
    words[WORD.divisor] = 12;
    words[WORD.msr] = MSR_CONNECTED;
    return memory;
  }

  constructor(memory: SharedArrayBuffer, signals: SerialSignals) {
    this.memory = memory;
    this.#words = new Int32Array(memory, 0, WORDS);
    const outputAt = WORDS * 4;
    this.#output = new ByteRing(memory, outputAt, OUTPUT_CAPACITY);
    const inputAt = outputAt + ByteRing.byteLength(OUTPUT_CAPACITY);
    this.#input = new ByteRing(memory, inputAt, INPUT_CAPACITY);
    this.#signals = signals;
  }

  /** @param offset register, 0 to 7 */
  read(offset: number): number {
    return this.#locked(() => this.#read(offset));
  }

  write(offset: number, value: number): void {
    this.#locked(() => this.#write(offset, value & 0xff));
  }

  reset(): void {
    this.#locked(() => {
      for (const word of [WORD.ier, WORD.lcr, WORD.mcr, WORD.fifoEnabled, WORD.thrEmptyPending]) {
        this.#words[word] = 0;
      }
      this.#words[WORD.divisor] = 12;
      this.#words[WORD.msr] = MSR_CONNECTED;
      this.#words[WORD.overrun] = 0;
      this.#updateInterrupt();
    });
  }

  /** Bytes that the guest wrote while the output ring was full. */
  get dropped(): number {
    return this.#words[WORD.dropped]!;
  }

  /** Main thread: takes what the guest sent. `rearm` asks for a signal at the next byte. */
  takeOutput(rearm: boolean): Uint8Array<ArrayBuffer> {
    return this.#locked(() => {
      const wasFull = this.#output.free === 0;
      const bytes = this.#output.drain();
      this.#words[WORD.notifyOutput] = rearm ? 1 : 0;
      if (wasFull) this.#transmitterEmptied();
      return bytes;
    });
  }

  /** Main thread: gives the guest input. Answers how many bytes were taken. */
  offerInput(bytes: Uint8Array): number {
    return this.#locked(() => {
      let taken = 0;
      while (taken < bytes.length && this.#input.push(bytes[taken]!)) taken++;
      this.#words[WORD.notifyInput] = taken < bytes.length ? 1 : 0;
      this.#updateInterrupt();
      return taken;
    });
  }

  #locked<T>(section: () => T): T {
    const result = withLock(this.#words, WORD.lock, section);
    const due = this.#due;
    if (due.raise || due.outputReady || due.inputWanted) {
      this.#due = { raise: false, outputReady: false, inputWanted: false };
      if (due.raise) this.#signals.raise();
      if (due.outputReady) this.#signals.outputReady();
      if (due.inputWanted) this.#signals.inputWanted();
    }
    return result;
  }

  #read(offset: number): number {
    const words = this.#words;
    const latch = (words[WORD.lcr]! & LCR_DIVISOR_LATCH) !== 0;
    switch (offset) {
      case 0:
        return latch ? words[WORD.divisor]! & 0xff : this.#receive();
      case 1:
        return latch ? words[WORD.divisor]! >> 8 : words[WORD.ier]!;
      case 2:
        return this.#identifyInterrupt();
      case 3:
        return words[WORD.lcr]!;
      case 4:
        return words[WORD.mcr]!;
      case 5:
        return this.#lineStatus();
      case 6:
        return this.#modemStatus();
      default:
        return words[WORD.scratch]!;
    }
  }

  #write(offset: number, value: number): void {
    const words = this.#words;
    const latch = (words[WORD.lcr]! & LCR_DIVISOR_LATCH) !== 0;
    switch (offset) {
      case 0:
        if (latch) words[WORD.divisor] = (words[WORD.divisor]! & 0xff00) | value;
        else this.#transmit(value);
        break;
      case 1:
        if (latch) words[WORD.divisor] = (words[WORD.divisor]! & 0xff) | (value << 8);
        else this.#enableInterrupts(value & 0x0f);
        break;
      case 2:
        words[WORD.fifoEnabled] = value & FCR_ENABLE;
        if ((value & FCR_CLEAR_RX) !== 0) this.#input.drain();
        break;
      case 3:
        words[WORD.lcr] = value;
        break;
      case 4:
        this.#modemControl(value & 0x1f);
        break;
      case 7:
        words[WORD.scratch] = value;
        break;
      default: // Line and modem status: writes are for factory tests.
        break;
    }
    this.#updateInterrupt();
  }

  #receive(): number {
    const byte = this.#input.shift() ?? 0;
    if (this.#words[WORD.notifyInput] === 1 && this.#input.free > INPUT_CAPACITY / 2) {
      this.#words[WORD.notifyInput] = 0;
      this.#due.inputWanted = true;
    }
    this.#updateInterrupt();
    return byte;
  }

  #transmit(byte: number): void {
    const words = this.#words;
    if ((words[WORD.mcr]! & MCR_LOOPBACK) !== 0) {
      if (!this.#input.push(byte)) words[WORD.overrun] = 1;
    } else {
      if (!this.#output.push(byte)) words[WORD.dropped]!++;
      if (words[WORD.notifyOutput] === 1) {
        words[WORD.notifyOutput] = 0;
        this.#due.outputReady = true;
      }
    }
    if (this.#output.free > 0) words[WORD.thrEmptyPending] = 1;
  }

  /** Enabling the THR-empty interrupt while THR is empty requests it at once. */
  #enableInterrupts(value: number): void {
    const before = this.#words[WORD.ier]!;
    this.#words[WORD.ier] = value;
    if ((value & ~before & IER_THR_EMPTY) !== 0 && this.#output.free > 0) {
      this.#words[WORD.thrEmptyPending] = 1;
    }
  }

  #transmitterEmptied(): void {
    this.#words[WORD.thrEmptyPending] = 1;
    this.#updateInterrupt();
  }

  /** In loopback the four modem outputs appear as the four modem inputs. */
  #modemControl(value: number): void {
    const words = this.#words;
    const before = words[WORD.msr]!;
    words[WORD.mcr] = value;
    let lines = MSR_CONNECTED;
    if ((value & MCR_LOOPBACK) !== 0) {
      const [dtr, rts, out1, out2] = [value & 1, (value >> 1) & 1, (value >> 2) & 1, value >> 3];
      lines = (rts << 4) | (dtr << 5) | (out1 << 6) | ((out2 & 1) << 7);
    }
    const changed = ((before ^ lines) >> 4) & MSR_DELTAS;
    words[WORD.msr] = lines | (before & MSR_DELTAS) | changed;
  }

  #modemStatus(): number {
    const value = this.#words[WORD.msr]!;
    this.#words[WORD.msr] = value & ~MSR_DELTAS;
    this.#updateInterrupt();
    return value;
  }

  #lineStatus(): number {
    const words = this.#words;
    let value = this.#output.free > 0 ? LSR_THR_EMPTY | LSR_IDLE : 0;
    if (this.#input.length > 0) value |= LSR_DATA_READY;
    if (words[WORD.overrun] !== 0) value |= LSR_OVERRUN;
    words[WORD.overrun] = 0;
    return value;
  }

  /** The most urgent reason; reading it withdraws a THR-empty request. */
  #identifyInterrupt(): number {
    const reason = this.#reason();
    if (reason === IIR_THR_EMPTY) {
      this.#words[WORD.thrEmptyPending] = 0;
      this.#updateInterrupt();
    }
    return reason | (this.#words[WORD.fifoEnabled] !== 0 ? IIR_FIFO_ENABLED : 0);
  }

  #reason(): number {
    const words = this.#words;
    const enabled = words[WORD.ier]!;
    if ((enabled & IER_LINE_STATUS) !== 0 && words[WORD.overrun] !== 0) return IIR_LINE_STATUS;
    if ((enabled & IER_RX) !== 0 && this.#input.length > 0) return IIR_RX;
    if ((enabled & IER_THR_EMPTY) !== 0 && words[WORD.thrEmptyPending] !== 0) return IIR_THR_EMPTY;
    if ((enabled & IER_MODEM_STATUS) !== 0 && (words[WORD.msr]! & MSR_DELTAS) !== 0) {
      return IIR_MODEM_STATUS;
    }
    return IIR_NONE;
  }

  #updateInterrupt(): void {
    const active = this.#reason() !== IIR_NONE ? 1 : 0;
    const before = this.#words[WORD.active];
    this.#words[WORD.active] = active;
    if (active === 1 && before === 0) this.#due.raise = true;
  }
}
