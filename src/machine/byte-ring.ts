/**
 * A byte queue in shared memory, one side producing and the other consuming. Positions only grow
 * (modulo 2^32), so that full and empty differ. The caller holds whatever lock the two sides need.
 */

const HEAD = 0;
const TAIL = 1;
const POSITION_WORDS = 2;

export class ByteRing {
  readonly #positions: Int32Array;
  readonly #bytes: Uint8Array;

  /** @param capacity a power of two */
  static byteLength(capacity: number): number {
    return POSITION_WORDS * 4 + capacity;
  }

  constructor(memory: SharedArrayBuffer, offset: number, capacity: number) {
    this.#positions = new Int32Array(memory, offset, POSITION_WORDS);
    this.#bytes = new Uint8Array(memory, offset + POSITION_WORDS * 4, capacity);
  }

  get length(): number {
    return (Atomics.load(this.#positions, TAIL) - Atomics.load(this.#positions, HEAD)) >>> 0;
  }

  get free(): number {
    return this.#bytes.length - this.length;
  }

  /** False when full. */
  push(byte: number): boolean {
    if (this.free === 0) return false;
    const tail = Atomics.load(this.#positions, TAIL);
    this.#bytes[tail & (this.#bytes.length - 1)] = byte;
    Atomics.store(this.#positions, TAIL, (tail + 1) | 0);
    return true;
  }

  shift(): number | undefined {
    if (this.length === 0) return undefined;
    const head = Atomics.load(this.#positions, HEAD);
    const byte = this.#bytes[head & (this.#bytes.length - 1)];
    Atomics.store(this.#positions, HEAD, (head + 1) | 0);
    return byte;
  }

  /** Takes all there is. */
  drain(): Uint8Array<ArrayBuffer> {
    const out = new Uint8Array(this.length);
    const head = Atomics.load(this.#positions, HEAD);
    const mask = this.#bytes.length - 1;
    for (let i = 0; i < out.length; i++) out[i] = this.#bytes[(head + i) & mask]!;
    Atomics.store(this.#positions, HEAD, (head + out.length) | 0);
    return out;
  }
}
