/**
 * SharedOverlay: a file's pages under the interior of a SharedArrayBuffer (guest RAM, a vCPU's run
 * page). Every thread then has the same bytes without mapping them again, Atomics.wait works on
 * them, and Node 20's limit of 4 GiB for foreign memory does not apply (docs/decisions/0003).
 */

import {
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_NORESERVE,
  MAP_PRIVATE,
  MAP_SHARED,
  PROT_READ,
  PROT_WRITE,
} from "../abi/mman.ts";
import { layAnonymousPages } from "./mapping.ts";
import { check } from "./sys-error.ts";
import type { Address, Syscalls } from "./syscalls.ts";

export interface SharedOverlayRequest {
  /** -1: pages of the process's own, zeroed. */
  readonly fd: number;
  /** Bytes from the start of `fd`, a multiple of the page size. */
  readonly size: number;
  /** A power of two, at least the page size. */
  readonly align: number;
}

export class SharedOverlay implements Disposable {
  readonly #sys: Syscalls;
  /** The bytes are `buffer` from `byteOffset` on; goes to a Worker as it is. */
  readonly buffer: SharedArrayBuffer;
  readonly byteOffset: number;
  readonly address: Address;
  readonly size: number;
  #mapped = true;

  private constructor(
    sys: Syscalls,
    place: { buffer: SharedArrayBuffer; byteOffset: number; address: Address; size: number },
  ) {
    this.#sys = sys;
    this.buffer = place.buffer;
    this.byteOffset = place.byteOffset;
    this.address = place.address;
    this.size = place.size;
  }

  /** @throws {SysError} `mmap`; {RangeError} when the buffer cannot be reserved */
  static map(sys: Syscalls, { fd, size, align }: SharedOverlayRequest): SharedOverlay {
    const buffer = new SharedArrayBuffer(size + align);
    const start = sys.addressOf(new Uint8Array(buffer, 0, 1));
    const address = Math.ceil(start / align) * align;
    // SAFETY: [address, address + size) lies inside `buffer`, which nothing has touched yet and which
    // never moves; dispose() lays anonymous pages back before the buffer can be collected.
    const flags = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE : MAP_SHARED;
    check(sys.mmap(address, size, PROT_READ | PROT_WRITE, flags | MAP_FIXED, fd, 0), "mmap");
    return new SharedOverlay(sys, { buffer, byteOffset: address - start, address, size });
  }

  /** Lays anonymous pages back; stale views read zeros. Idempotent. */
  [Symbol.dispose](): void {
    if (!this.#mapped) return;
    this.#mapped = false;
    layAnonymousPages(this.#sys, this.address, this.size);
  }
}
