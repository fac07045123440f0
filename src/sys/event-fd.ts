/** EventFd: an eventfd(2): what an interrupt, a doorbell or a wake-up is made of. */

import { EFD_CLOEXEC, EFD_NONBLOCK } from "../abi/eventfd.ts";
import { OwnedFd } from "./fd.ts";
import { check } from "./sys-error.ts";
import type { Syscalls } from "./syscalls.ts";

const ONE = new BigUint64Array([1n]);

/** Signals an eventfd that somebody else owns. */
export function signalEventFd(sys: Pick<Syscalls, "write">, fd: number): void {
  sys.write(fd, ONE);
}

export class EventFd implements Disposable {
  readonly #sys: Syscalls;
  readonly #owned: OwnedFd;
  readonly #counter = new BigUint64Array(1);

  private constructor(sys: Syscalls, owned: OwnedFd) {
    this.#sys = sys;
    this.#owned = owned;
  }

  /**
   * Creates a non-blocking eventfd whose counter is zero. @throws {SysError} EMFILE, ENFILE, ENOMEM
   */
  static create(sys: Syscalls): EventFd {
    const fd = check(sys.eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "eventfd");
    return new EventFd(sys, new OwnedFd(sys, fd));
  }

  get fd(): number {
    return this.#owned.fd;
  }

  /** Adds one. A full counter is already a signal, so EAGAIN needs no answer. */
  signal(): void {
    signalEventFd(this.#sys, this.fd);
  }

  /** Resets the counter; true when it had been signalled. */
  drain(): boolean {
    return this.#sys.read(this.fd, this.#counter) === this.#counter.byteLength;
  }

  [Symbol.dispose](): void {
    this.#owned[Symbol.dispose]();
  }
}
