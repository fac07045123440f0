/**
 * Ledger: a `Syscalls` that lets every call through to another one, keeps the books of what is held
 * (descriptors, mappings, DMA maps) and can make the n-th call fail. A test that fails every call
 * of an operation in turn, and finds `live()` as it was, has shown that nothing leaks.
 */

import { errnoNumber } from "../abi/errno.ts";
import type { Address, Bytes, Syscalls } from "../sys/syscalls.ts";
import { Holdings } from "./ledger-holdings.ts";

export interface LoggedCall {
  /** The method of `Syscalls`. */
  readonly name: string;
  /** The path, or the descriptor and the request: what tells this call from its neighbours. */
  readonly detail: string;
  /** What the caller was answered. */
  readonly result: number;
}

/** Calls that release something: made even when told to fail, as Linux closes a failing close(). */
const RELEASES: ReadonlySet<string> = new Set(["close", "munmap"]);

const hex = (value: number): string => `0x${value.toString(16)}`;

export class Ledger implements Syscalls {
  readonly #inner: Syscalls;
  readonly #holdings = new Holdings();
  #calls: LoggedCall[] = [];
  #failure: { countdown: number; errno: number } | undefined;

  constructor(inner: Syscalls) {
    this.#inner = inner;
  }

  /** Every call so far, oldest first. */
  get calls(): readonly LoggedCall[] {
    return this.#calls;
  }

  /** Forgets the log; what is held stays on the books. */
  clearCalls(): void {
    this.#calls = [];
  }

  /** Makes the `n`-th call from now (1 = the next) answer `errno`, once. */
  failAt(n: number, errno = "EIO"): void {
    this.#failure = { countdown: n, errno: errnoNumber(errno) };
  }

  /** Withdraws a failure that has not happened; answers whether there was one. */
  stopFailing(): boolean {
    const pending = this.#failure !== undefined;
    this.#failure = undefined;
    return pending;
  }

  /** What is held now, one line each: descriptors, mappings, DMA maps. Empty: nothing leaks. */
  live(): string[] {
    return this.#holdings.list();
  }

  open(path: string, flags: number, mode = 0): number {
    const fd = this.#call("open", path, () => this.#inner.open(path, flags, mode));
    return this.#holdings.opened(fd, path);
  }

  close(fd: number): number {
    const result = this.#call("close", `${fd}`, () => this.#inner.close(fd));
    this.#holdings.closed(fd);
    return result;
  }

  read(fd: number, into: Bytes): number {
    return this.#call("read", `${fd}`, () => this.#inner.read(fd, into));
  }

  write(fd: number, from: Bytes): number {
    return this.#call("write", `${fd}`, () => this.#inner.write(fd, from));
  }

  pread(fd: number, into: Bytes, offset: number): number {
    const detail = `${fd} ${hex(offset)}+${into.byteLength}`;
    return this.#call("pread", detail, () => this.#inner.pread(fd, into, offset));
  }

  pwrite(fd: number, from: Bytes, offset: number): number {
    const detail = `${fd} ${hex(offset)}+${from.byteLength}`;
    return this.#call("pwrite", detail, () => this.#inner.pwrite(fd, from, offset));
  }

  ioctl(fd: number, request: number, arg: number | Bytes): number {
    const detail = `${fd} ${hex(request)}`;
    const before = this.#holdings.beforeIoctl(arg);
    const result = this.#call("ioctl", detail, () => this.#inner.ioctl(fd, request, arg));
    return this.#holdings.ioctlDone(fd, request, before, arg, result);
  }

  mmap(at: Address, length: number, prot: number, flags: number, fd: number, offset: number) {
    const detail = `${fd} ${hex(offset)}+${hex(length)}`;
    const address = this.#call("mmap", detail, () =>
      this.#inner.mmap(at, length, prot, flags, fd, offset),
    );
    return this.#holdings.mapped(address, length, flags, detail);
  }

  munmap(at: Address, length: number): number {
    const detail = `${hex(at)}+${hex(length)}`;
    const result = this.#call("munmap", detail, () => this.#inner.munmap(at, length));
    this.#holdings.unmapped(at, length);
    return result;
  }

  madvise(at: Address, length: number, advice: number): number {
    return this.#call("madvise", hex(at), () => this.#inner.madvise(at, length, advice));
  }

  eventfd(initial: number, flags: number): number {
    const fd = this.#call("eventfd", "", () => this.#inner.eventfd(initial, flags));
    return this.#holdings.opened(fd, "eventfd");
  }

  memfdCreate(name: string, flags: number): number {
    const fd = this.#call("memfdCreate", name, () => this.#inner.memfdCreate(name, flags));
    return this.#holdings.opened(fd, `memfd:${name}`);
  }

  ftruncate(fd: number, length: number): number {
    return this.#call("ftruncate", `${fd}`, () => this.#inner.ftruncate(fd, length));
  }

  fcntl(fd: number, command: number, arg: number): number {
    const detail = `${fd} ${command}`;
    const result = this.#call("fcntl", detail, () => this.#inner.fcntl(fd, command, arg));
    return this.#holdings.fcntlDone(fd, command, result);
  }

  epollCreate(flags: number): number {
    const fd = this.#call("epollCreate", "", () => this.#inner.epollCreate(flags));
    return this.#holdings.opened(fd, "epoll");
  }

  epollCtl(epfd: number, op: number, fd: number, event: Bytes): number {
    return this.#call("epollCtl", `${epfd} ${op} ${fd}`, () =>
      this.#inner.epollCtl(epfd, op, fd, event),
    );
  }

  epollWait(epfd: number, events: Bytes, maxEvents: number, timeoutMs: number): number {
    return this.#call("epollWait", `${epfd}`, () =>
      this.#inner.epollWait(epfd, events, maxEvents, timeoutMs),
    );
  }

  prlimit(pid: number, resource: number, newLimit: Bytes | null, oldLimit: Bytes | null): number {
    return this.#call("prlimit", `${resource}`, () =>
      this.#inner.prlimit(pid, resource, newLimit, oldLimit),
    );
  }

  tgkill(pid: number, tid: number, signal: number): number {
    return this.#call("tgkill", `${tid} ${signal}`, () => this.#inner.tgkill(pid, tid, signal));
  }

  ignoreWithHandler(signal: number): number {
    return this.#call("ignoreWithHandler", `${signal}`, () =>
      this.#inner.ignoreWithHandler(signal),
    );
  }

  schedSetaffinity(tid: number, mask: Bytes): number {
    return this.#call("schedSetaffinity", `${tid}`, () => this.#inner.schedSetaffinity(tid, mask));
  }

  // These cannot fail, so they are not calls.

  getpid(): number {
    return this.#inner.getpid();
  }

  gettid(): number {
    return this.#inner.gettid();
  }

  addressOf(view: Bytes): Address {
    return this.#inner.addressOf(view);
  }

  memoryAt(address: Address, length: number): ArrayBuffer {
    return this.#inner.memoryAt(address, length);
  }

  onReadable(fd: number, ready: () => void): Disposable {
    return this.#inner.onReadable(fd, ready);
  }

  #call(name: string, detail: string, run: () => number): number {
    const failure = this.#failure;
    let result: number;
    if (failure !== undefined && --failure.countdown === 0) {
      this.#failure = undefined;
      if (RELEASES.has(name)) run();
      result = -failure.errno;
    } else {
      result = run();
    }
    this.#calls.push({ name, detail, result });
    return result;
  }
}

/**
 * Runs `operation` once for each of its system calls, with that call failing, until it runs to its
 * end without having met the failure. After each run nothing of what it acquired may be held.
 * @param operation sets itself up on `ledger`, undoes on failure, and throws; the result is
 *   disposed
 * @param onFailure sees each error (to check its wording) and the call that failed
 * @returns how many calls were made to fail
 */
export function failEachCall(
  makeSyscalls: () => Syscalls,
  operation: (ledger: Ledger) => Disposable,
  onFailure: (error: unknown, failed: LoggedCall, ledger: Ledger) => void = () => {},
  errno = "EIO",
): number {
  for (let n = 1; ; n++) {
    const ledger = new Ledger(makeSyscalls());
    ledger.failAt(n, errno);
    try {
      const result = operation(ledger);
      const done = ledger.stopFailing();
      result[Symbol.dispose]();
      refuseLeak(ledger, done ? "a run without failure" : `call ${n}, whose failure was survived`);
      if (done) return n - 1;
    } catch (error) {
      if (error instanceof LeakError) throw error;
      const failed = ledger.calls[n - 1];
      if (failed === undefined) throw error;
      refuseLeak(ledger, `call ${n} (${failed.name} ${failed.detail}) failed with ${errno}`);
      onFailure(error, failed, ledger);
    }
  }
}

/** What `failEachCall` throws: the operation left something behind. */
export class LeakError extends Error {
  override readonly name = "LeakError";
}

function refuseLeak(ledger: Ledger, after: string): void {
  const live = ledger.live();
  if (live.length > 0) throw new LeakError(`still held after ${after}:\n  ${live.join("\n  ")}`);
}
