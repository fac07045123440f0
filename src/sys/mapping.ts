/**
 * Mapping: a piece of this process's address space, mapped from a file descriptor (a BAR, guest
 * RAM, a KVM run page) or anonymous.
 *
 * Touching an unmapped view kills the process. So the views of a mapping that goes away are
 * detached; Node 20 cannot detach an ArrayBuffer that koffi made, and there the mapping is overlaid
 * with anonymous pages instead: a stale view then reads zeros.
 */

import {
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_NORESERVE,
  MAP_PRIVATE,
  PROT_NONE,
  PROT_READ,
  PROT_WRITE,
} from "../abi/mman.ts";
import { Mmio } from "./mmio.ts";
import { Owner } from "./owner.ts";
import { check } from "./sys-error.ts";
import type { Address, Syscalls } from "./syscalls.ts";

/** Makes every view of `buffer` empty; false where the platform cannot (before Node 22). */
function detach(buffer: ArrayBuffer): boolean {
  const { transfer } = ArrayBuffer.prototype as { transfer?: (length: number) => ArrayBuffer };
  if (transfer === undefined) return false;
  transfer.call(buffer, 0);
  return true;
}

/** Node 20 aborts the process on a larger external view. */
export const VIEW_LENGTH_MAX = 2 ** 32;

export interface MappingRequest {
  readonly fd: number;
  /** Where in `fd`, a multiple of the page size. */
  readonly offset: number;
  /** Bytes, rounded up to pages by the kernel. */
  readonly length: number;
  /** `PROT_READ | PROT_WRITE`, as allowed. */
  readonly prot: number;
  /** `MAP_SHARED`, `MAP_PRIVATE | MAP_ANONYMOUS`. */
  readonly flags: number;
  /** Wanted alignment, a power of two: huge pages need it (spec/pci.md 8.6). */
  readonly align?: number;
}

export class Mapping implements Disposable {
  readonly #sys: Syscalls;
  readonly address: Address;
  readonly length: number;
  #memory: Mmio | undefined;
  #buffer: ArrayBuffer | undefined;
  #mapped = true;

  private constructor(sys: Syscalls, address: Address, length: number) {
    this.#sys = sys;
    this.address = address;
    this.length = length;
  }

  /** @throws {SysError} `mmap` with EINVAL, ENODEV, EACCES, ENOMEM */
  static map(sys: Syscalls, request: MappingRequest): Mapping {
    const { fd, offset, length, prot, flags, align } = request;
    if (align === undefined) {
      return new Mapping(sys, check(sys.mmap(0, length, prot, flags, fd, offset), "mmap"), length);
    }
    using owner = new Owner();
    const reserved = length + align;
    const reserve = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    const base = check(sys.mmap(0, reserved, PROT_NONE, reserve, -1, 0), "mmap");
    owner.defer(() => sys.munmap(base, reserved));
    const start = Math.ceil(base / align) * align;
    check(sys.mmap(start, length, prot, flags | MAP_FIXED, fd, offset), "mmap");
    owner.move();
    const pages = Math.ceil(length / 4096) * 4096;
    if (start > base) sys.munmap(base, start - base);
    const slack = base + reserved - (start + pages);
    if (slack > 0) sys.munmap(start + pages, slack);
    return new Mapping(sys, start, length);
  }

  /** The mapping's bytes. @throws {RangeError} over 4 GiB, or after dispose */
  get buffer(): ArrayBuffer {
    if (!this.#mapped) throw new RangeError("the mapping is gone");
    if (this.length > VIEW_LENGTH_MAX) {
      throw new RangeError(`a view of ${this.length} bytes is over the limit of 4 GiB`);
    }
    this.#buffer ??= this.#sys.memoryAt(this.address, this.length);
    return this.#buffer;
  }

  /** Access to the mapping, one bus access a call. */
  get memory(): Mmio {
    this.#memory ??= new Mmio(this.buffer);
    return this.#memory;
  }

  /** Unmaps; when a view was handed out, leaves anonymous pages under it instead. Idempotent. */
  [Symbol.dispose](): void {
    if (!this.#mapped) return;
    this.#mapped = false;
    if (this.#buffer === undefined) {
      this.#sys.munmap(this.address, this.length);
      return;
    }
    if (detach(this.#buffer)) {
      this.#sys.munmap(this.address, this.length);
      return;
    }
    layAnonymousPages(this.#sys, this.address, this.length);
  }
}

/**
 * Takes what is mapped away and leaves zeros in its place. The kernel can refuse it for want of
 * memory, and then the old pages would stay for as long as the process lives: it is asked twice.
 */
export function layAnonymousPages(sys: Syscalls, address: Address, length: number): void {
  const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;
  const lay = () => sys.mmap(address, length, PROT_READ | PROT_WRITE, flags, -1, 0);
  if (lay() < 0) lay();
}
