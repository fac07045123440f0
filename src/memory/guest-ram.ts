/**
 * GuestRam: the memory behind one memory slot. A memfd is mapped over the interior of a
 * SharedArrayBuffer, so that every thread shares the bytes without mapping them again, Atomics.wait
 * works on them, no view is over Node 20's limit of 4 GiB, and the fd can be handed to another
 * process (a vfio-user server). docs/decisions/0003 has the measurements.
 */

import { freemem, totalmem } from "node:os";
import { MADV_DONTDUMP, MADV_DONTFORK, MADV_HUGEPAGE, MFD_CLOEXEC } from "../abi/mman.ts";
import { OwnedFd } from "../sys/fd.ts";
import { Owner } from "../sys/owner.ts";
import { SharedOverlay } from "../sys/shared-overlay.ts";
import { check, ViaductError } from "../sys/sys-error.ts";
import type { Address, Syscalls } from "../sys/syscalls.ts";
import { type IoHandler, MemoryRegion } from "./region.ts";

/** Guest RAM begins on a huge page of the host, so that both MMUs can use huge pages. */
const ALIGNMENT = 2 * 1024 * 1024;

export interface GuestRamOptions {
  /** For messages and /proc/PID/maps: `pc.ram`. */
  readonly name: string;
  /** Bytes, a multiple of 4096. */
  readonly size: number;
  /**
   * `memfd` (the default) can be handed to another process. `anonymous` gets huge pages where the
   * host gives them to those who ask; most hosts give none to a memfd, and a guest then takes a
   * nested page fault for each 4 KiB it touches.
   */
  readonly backing?: "memfd" | "anonymous";
}

export class GuestRam implements Disposable {
  readonly name: string;
  readonly size: number;
  /** The bytes are `buffer` from `byteOffset` on; goes to a Worker as it is. */
  readonly buffer: SharedArrayBuffer;
  readonly byteOffset: number;
  readonly hva: Address;
  readonly #owner: Owner;
  readonly #memfd: OwnedFd | undefined;

  private constructor(
    options: GuestRamOptions,
    overlay: SharedOverlay,
    memfd: OwnedFd | undefined,
    owner: Owner,
  ) {
    this.name = options.name;
    this.size = options.size;
    this.buffer = overlay.buffer;
    this.byteOffset = overlay.byteOffset;
    this.hva = overlay.address;
    this.#memfd = memfd;
    this.#owner = owner;
  }

  /**
   * Reserves guest RAM; pages are taken from the host when first touched.
   * @throws {ViaductError} OUT_OF_MEMORY when the host has not that much
   */
  static create(sys: Syscalls, options: GuestRamOptions): GuestRam {
    const { size } = options;
    checkHostHas(options);
    using owner = new Owner();
    try {
      const memfd =
        options.backing === "anonymous" ? undefined : owner.own(openMemfd(sys, options));
      const fd = memfd?.fd ?? -1;
      const overlay = owner.own(SharedOverlay.map(sys, { fd, size, align: ALIGNMENT }));
      // Advice: a kernel without one of them runs the guest as well.
      for (const advice of [MADV_HUGEPAGE, MADV_DONTDUMP, MADV_DONTFORK]) {
        sys.madvise(overlay.address, size, advice);
      }
      return new GuestRam(options, overlay, memfd, owner.move());
    } catch (error) {
      throw outOfMemory(options, error);
    }
  }

  /** The memfd, whose byte 0 is byte 0 of the RAM; -1 when there is none. */
  get fd(): number {
    return this.#memfd?.fd ?? -1;
  }

  /** A window for copying; at most 4 GiB. @throws {RangeError} outside */
  bytes(offset: number, length: number): Uint8Array {
    if (offset < 0 || length < 0 || offset + length > this.size) {
      throw new RangeError(`${this.name}: ${length} bytes at ${offset} of ${this.size}`);
    }
    return new Uint8Array(this.buffer, this.byteOffset + offset, length);
  }

  /** The region to place in a tree. The RAM must outlive the address spaces that contain it. */
  region(kind: "ram" | "rom" = "ram"): MemoryRegion {
    return new MemoryRegion(this.name, kind, BigInt(this.size), {
      memory: { hva: this.hva, ...(this.#memfd && { fd: this.fd, fdOffset: 0 }) },
      handler: new RamAccess(this, kind === "rom"),
    });
  }

  /** Gives the memory back; views stay valid and read zeros. Idempotent. */
  [Symbol.dispose](): void {
    this.#owner[Symbol.dispose]();
  }
}

function openMemfd(sys: Syscalls, { name, size }: GuestRamOptions): OwnedFd {
  using owner = new Owner();
  const memfd = owner.own(new OwnedFd(sys, check(sys.memfdCreate(name, MFD_CLOEXEC), "memfd")));
  check(sys.ftruncate(memfd.fd, size), `ftruncate to ${size}`);
  owner.move();
  return memfd;
}

/** The rare access that no memory slot served: a DMA of an emulated device, a write to ROM. */
class RamAccess implements IoHandler {
  readonly #ram: GuestRam;
  readonly #readOnly: boolean;

  constructor(ram: GuestRam, readOnly: boolean) {
    this.#ram = ram;
    this.#readOnly = readOnly;
  }

  read(offset: number, size: 1 | 2 | 4): number {
    const bytes = this.#ram.bytes(offset, size);
    if (size === 1) return Atomics.load(bytes, 0);
    const { buffer, byteOffset } = bytes;
    if (byteOffset % size !== 0) return this.read(offset, half(size)) + this.#upper(offset, size);
    return Atomics.load(
      size === 2 ? new Uint16Array(buffer, byteOffset, 1) : new Uint32Array(buffer, byteOffset, 1),
      0,
    );
  }

  write(offset: number, size: 1 | 2 | 4, value: number): void {
    if (this.#readOnly) return;
    const { buffer, byteOffset } = this.#ram.bytes(offset, size);
    if (size === 1) new Uint8Array(buffer, byteOffset, 1)[0] = value;
    else if (byteOffset % size !== 0) {
      const lower = half(size);
      this.write(offset, lower, value);
      this.write(offset + lower, lower, value >>> (lower * 8));
    } else if (size === 2) new Uint16Array(buffer, byteOffset, 1)[0] = value;
    else new Uint32Array(buffer, byteOffset, 1)[0] = value;
  }

  /** The upper half of an unaligned read, in its place. */
  #upper(offset: number, size: 2 | 4): number {
    const lower = half(size);
    return this.read(offset + lower, lower) * 2 ** (lower * 8);
  }
}

function half(size: 2 | 4): 1 | 2 {
  return size === 4 ? 2 : 1;
}

/**
 * Refuses RAM that no host like this one can give, before any of it is reserved.
 * @throws {ViaductError} OUT_OF_MEMORY
 */
export function checkHostHas(ram: Pick<GuestRamOptions, "name" | "size">): void {
  if (ram.size > totalmem()) throw outOfMemory(ram);
}

function outOfMemory(
  { name, size }: Pick<GuestRamOptions, "name" | "size">,
  cause?: unknown,
): ViaductError {
  const mib = (bytes: number) => `${Math.floor(bytes / 2 ** 20)} MiB`;
  const why = cause === undefined ? "" : ` (${(cause as Error).message})`;
  return new ViaductError(
    "OUT_OF_MEMORY",
    `${name}: Cannot reserve ${mib(size)} of guest RAM: the host has ${mib(totalmem())}, ` +
      `${mib(freemem())} of it free${why}`,
    { cause, nextStep: "Give the guest less memory (--memory), or free some on the host." },
  );
}
