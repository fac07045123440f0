/**
 * EventLoop: file descriptors in Node's event loop. All of them sit in one epoll fd, and libuv
 * polls that one (native.md measured: the libuv pool would take one of its four threads for each).
 * Node stays alive while something is watched.
 */

import { EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLLIN, epoll_event } from "../abi/epoll.ts";
import { OwnedFd } from "./fd.ts";
import { check } from "./sys-error.ts";
import type { Syscalls } from "./syscalls.ts";

/** Events taken from the kernel at a time; more are taken on the next turn. */
const BATCH = 64;

export class EventLoop implements Disposable {
  readonly #sys: Syscalls;
  readonly #epoll: OwnedFd;
  readonly #callbacks = new Map<number, () => void>();
  readonly #events = new Uint8Array(BATCH * epoll_event.size);
  #readiness: Disposable | undefined;

  private constructor(sys: Syscalls, epoll: OwnedFd) {
    this.#sys = sys;
    this.#epoll = epoll;
  }

  /** @throws {SysError} EMFILE, ENFILE, ENOMEM */
  static create(sys: Syscalls): EventLoop {
    const epoll = new OwnedFd(sys, check(sys.epollCreate(EPOLL_CLOEXEC), "epoll_create1"));
    return new EventLoop(sys, epoll);
  }

  /**
   * Calls `callback` in the event loop while `fd` is readable (level-triggered: the callback drains
   * it), until the result is disposed. Dispose before closing `fd`.
   */
  watch(fd: number, callback: () => void): Disposable {
    const event = epoll_event.bytes({ events: EPOLLIN, data: BigInt(fd) });
    check(this.#sys.epollCtl(this.#epoll.fd, EPOLL_CTL_ADD, fd, event), "epoll_ctl");
    this.#callbacks.set(fd, callback);
    this.#readiness ??= this.#sys.onReadable(this.#epoll.fd, () => this.dispatch());
    let watched = true;
    return {
      [Symbol.dispose]: () => {
        if (!watched) return;
        watched = false;
        this.#unwatch(fd, event);
      },
    };
  }

  /** Runs the callbacks of everything that is ready now, without waiting; returns how many. */
  dispatch(): number {
    if (this.#epoll.fd < 0) return 0;
    const ready = this.#sys.epollWait(this.#epoll.fd, this.#events, BATCH, 0);
    for (let i = 0; i < ready; i++) {
      const fd = Number(epoll_event.at(this.#events, i * epoll_event.size).data);
      // An earlier callback of this batch may have stopped watching this one.
      this.#callbacks.get(fd)?.();
    }
    return Math.max(ready, 0);
  }

  [Symbol.dispose](): void {
    this.#readiness?.[Symbol.dispose]();
    this.#readiness = undefined;
    this.#callbacks.clear();
    this.#epoll[Symbol.dispose]();
  }

  #unwatch(fd: number, event: Uint8Array): void {
    this.#callbacks.delete(fd);
    if (this.#epoll.fd >= 0) this.#sys.epollCtl(this.#epoll.fd, EPOLL_CTL_DEL, fd, event);
    if (this.#callbacks.size > 0) return;
    this.#readiness?.[Symbol.dispose]();
    this.#readiness = undefined;
  }
}
