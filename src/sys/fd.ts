/** OwnedFd: a file descriptor that is closed once, by whoever owns it. */

import { O_CLOEXEC } from "../abi/fcntl.ts";
import { check } from "./sys-error.ts";
import type { Syscalls } from "./syscalls.ts";

export class OwnedFd implements Disposable {
  readonly #sys: Syscalls;
  #fd: number;

  /** Takes charge of an open descriptor. */
  constructor(sys: Syscalls, fd: number) {
    this.#sys = sys;
    this.#fd = fd;
  }

  /**
   * Opens a file; O_CLOEXEC is always set.
   * @throws {SysError} `open <path>` with the errno
   */
  static open(sys: Syscalls, path: string, flags: number): OwnedFd {
    return new OwnedFd(sys, check(sys.open(path, flags | O_CLOEXEC), `open ${path}`));
  }

  /** The descriptor; -1 once closed. */
  get fd(): number {
    return this.#fd;
  }

  [Symbol.dispose](): void {
    if (this.#fd < 0) return;
    const fd = this.#fd;
    this.#fd = -1;
    // Linux closes the descriptor even when close() reports an error, so there is nothing to retry.
    this.#sys.close(fd);
  }
}
