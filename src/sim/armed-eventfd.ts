/** An eventfd of the user's that a software device signals, or waits for. */

import { readlinkSync } from "node:fs";
import { F_DUPFD_CLOEXEC } from "../abi/fcntl.ts";
import type { Syscalls } from "../sys/syscalls.ts";
import { refusal } from "./file.ts";

const ONE = new BigUint64Array([1n]);

export class ArmedEventfd implements Disposable {
  readonly #sys: Syscalls;
  /** Our own descriptor: the user may close theirs. */
  readonly fd: number;
  readonly userFd: number;

  /** @param fd a duplicate of `userFd`; owned from here on */
  constructor(sys: Syscalls, fd: number, userFd: number) {
    this.#sys = sys;
    this.fd = fd;
    this.userFd = userFd;
  }

  signal(): void {
    this.#sys.write(this.fd, ONE);
  }

  /** Whether it was signalled since it was last asked. */
  drain(): boolean {
    return this.#sys.read(this.fd, new BigUint64Array(1)) === 8;
  }

  [Symbol.dispose](): void {
    this.#sys.close(this.fd);
  }
}

/** Undefined for a negative number; a negated errno when `userFd` is no eventfd. */
export function armEventfd(sys: Syscalls, userFd: number): ArmedEventfd | number | undefined {
  if (userFd < 0) return undefined;
  const fd = sys.fcntl(userFd, F_DUPFD_CLOEXEC, 0);
  if (fd < 0) return fd;
  if (readlinkSync(`/proc/self/fd/${fd}`) === "anon_inode:[eventfd]") {
    return new ArmedEventfd(sys, fd, userFd);
  }
  sys.close(fd);
  return refusal("EINVAL");
}
