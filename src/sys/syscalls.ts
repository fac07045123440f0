/**
 * The one seam to the kernel. Each method is one system call and answers as the kernel does: a
 * result of zero or more, or an errno negated. Nothing above this file loads native code.
 * `native.ts` is the real kernel; `sim/` answers the same numbers and bytes in software;
 * `sim/ledger.ts` makes the n-th call fail. Turn a negative answer into an exception with `check()`
 * of `sys-error.ts`.
 */

/** A user-space address. Linux gives 47 bits (56 with five-level paging on request only). */
export type Address = number;

/** Bytes a system call reads or fills: a typed array keeps its address for as long as it lives. */
export type Bytes = Uint8Array | Uint16Array | Int32Array | Uint32Array | BigUint64Array | DataView;

export interface Syscalls {
  open(path: string, flags: number, mode?: number): number;
  close(fd: number): number;
  read(fd: number, into: Bytes): number;
  write(fd: number, from: Bytes): number;
  /** @param offset up to 2^53: VFIO region offsets (index << 40) fit. */
  pread(fd: number, into: Bytes, offset: number): number;
  pwrite(fd: number, from: Bytes, offset: number): number;
  /**
   * @param arg an integer, or the argument struct itself. Pointers inside it come from `addressOf`.
   */
  ioctl(fd: number, request: number, arg: number | Bytes): number;
  /** @returns the address of the mapping, or an errno negated. */
  mmap(
    at: Address,
    length: number,
    prot: number,
    flags: number,
    fd: number,
    offset: number,
  ): number;
  munmap(at: Address, length: number): number;
  madvise(at: Address, length: number, advice: number): number;
  eventfd(initial: number, flags: number): number;
  memfdCreate(name: string, flags: number): number;
  ftruncate(fd: number, length: number): number;
  fcntl(fd: number, command: number, arg: number): number;
  epollCreate(flags: number): number;
  /** @param event `struct epoll_event`, packed on x86-64. */
  epollCtl(epfd: number, op: number, fd: number, event: Bytes): number;
  epollWait(epfd: number, events: Bytes, maxEvents: number, timeoutMs: number): number;
  prlimit(pid: number, resource: number, newLimit: Bytes | null, oldLimit: Bytes | null): number;
  getpid(): number;
  gettid(): number;
  tgkill(pid: number, tid: number, signal: number): number;
  /**
   * Gives `signal` a handler that does nothing, without SA_RESTART: the signal then only interrupts
   * a blocking system call of the thread it is sent to.
   */
  ignoreWithHandler(signal: number): number;
  /** Restricts the calling thread to the CPUs of `mask`. */
  schedSetaffinity(tid: number, mask: Bytes): number;

  /**
   * The address of a view's first byte, for a pointer inside an ioctl struct. Valid while the view
   * lives.
   */
  addressOf(view: Bytes): Address;
  /**
   * The bytes at an address as an ArrayBuffer, without a copy; at most 4 GiB. The caller owns the
   * lifetime: see `mapping.ts`, the only user outside `sim/`.
   */
  memoryAt(address: Address, length: number): ArrayBuffer;
  /** Calls `ready` in the event loop whenever `fd` is readable, until the result is disposed. */
  onReadable(fd: number, ready: () => void): Disposable;
}
