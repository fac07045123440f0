/**
 * AccessGates: shared words by which the main thread takes a device's trapped accesses to itself.
 * While a gate is open, an access to the device's trapped regions is no more than one pread or
 * pwrite of its file, and any thread may make it (`MemoryRegion.file`).
 */

const GATES_MAX = 256;
const OPEN = 0;
const CLOSED = 1;

export class AccessGates {
  readonly buffer = new SharedArrayBuffer(4 * GATES_MAX);
  readonly #words = new Int32Array(this.buffer);
  readonly #free = Array.from({ length: GATES_MAX }, (_, index) => GATES_MAX - 1 - index);

  /** An open gate, the caller's until disposed; undefined when all are given out. */
  allocate(): AccessGate | undefined {
    const index = this.#free.pop();
    if (index === undefined) return undefined;
    Atomics.store(this.#words, index, OPEN);
    return new AccessGate(this.#words, index, () => void this.#free.push(index));
  }
}

export class AccessGate implements Disposable {
  readonly index: number;
  readonly #words: Int32Array;
  readonly #release: () => void;
  #released = false;

  constructor(words: Int32Array, index: number, release: () => void) {
    this.#words = words;
    this.index = index;
    this.#release = release;
  }

  /**
   * Closed: what begins from now on comes to the main thread. An access that another thread has
   * begun counts as made before.
   */
  set closed(closed: boolean) {
    Atomics.store(this.#words, this.index, closed ? CLOSED : OPEN);
  }

  /** No region may name it any more. Idempotent. */
  [Symbol.dispose](): void {
    if (this.#released) return;
    this.#released = true;
    this.#release();
  }
}

/** A thread's side. */
export class AccessGateReader {
  readonly #words: Int32Array;

  constructor(buffer: SharedArrayBuffer) {
    this.#words = new Int32Array(buffer);
  }

  isOpen(index: number): boolean {
    return Atomics.load(this.#words, index) === OPEN;
  }
}
