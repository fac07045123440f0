/**
 * Config space of one function: the shadow and its masks. Per bit, `emuMask` says whether a guest
 * reads the shadow or the device; `wmask` and `w1cmask` what a guest's write changes; `cmask` what
 * migration compares. The shadow and `emuMask` lie in shared memory behind a small header, so that
 * a vCPU's own thread can answer reads (shared-config.ts); only the main thread writes.
 *
 * Read in this order: `mergedRead`, `ConfigSpace.applyWrite`, the default masks below.
 */

import * as pci from "../abi/pci-regs.ts";
import { CapabilityLists } from "./capabilities.ts";

export type ConfigSize = 256 | 4096;

/** What an access to nothing reads. */
export function allOnes(length: number): number {
  return length >= 4 ? 0xffffffff : 2 ** (8 * length) - 1;
}

/** Where a ConfigSpace keeps what it shares: `SHARED_BYTES` bytes, 8-byte aligned. */
export interface ConfigMemory {
  readonly buffer: SharedArrayBuffer;
  readonly byteOffset: number;
}

/**
 * A shared slot: words of 4 bytes, then the shadow, then `emuMask`.
 * `VERSION` is odd while the main thread is changing the shadow.
 */
export const SHARED_WORDS = { VERSION: 0, FD: 1, FD_OFFSET_LOW: 2, FD_OFFSET_HIGH: 3, SIZE: 4 };
export const SHARED_HEADER = 64;
export const SHARED_EMU_MASK = SHARED_HEADER + 4096;
export const SHARED_BYTES = SHARED_EMU_MASK + 4096;

/**
 * Combines shadow and device by bit. A fully emulated read never calls `deviceRead`; any other
 * calls it exactly once, with the same length.
 *
 * @param offset any; @param length 1 to 4. Bytes past the end of the config space read as ones.
 * @param deviceRead answers as an unsigned number
 */
export function mergedRead(
  view: { readonly bytes: Uint8Array; readonly emuMask: Uint8Array },
  offset: number,
  length: number,
  deviceRead: (offset: number, length: number) => number,
): number {
  const inside = Math.min(length, view.bytes.length - offset);
  if (inside <= 0) return allOnes(length);
  let mask = 0;
  let shadow = 0;
  for (let i = 0; i < inside; i++) {
    mask |= view.emuMask[offset + i]! << (8 * i);
    shadow |= view.bytes[offset + i]! << (8 * i);
  }
  const full = allOnes(inside);
  mask >>>= 0;
  if (mask !== full) shadow = (shadow & mask) | (deviceRead(offset, inside) & ~mask & full);
  if (inside < length) shadow |= allOnes(length) & ~full;
  return shadow >>> 0;
}

export class ConfigSpace {
  /** The device's name, for messages. */
  readonly name: string;
  readonly size: ConfigSize;
  /** The shadow. Little-endian. */
  readonly bytes: Uint8Array;
  /** 1 = a guest reads the bit from the shadow. All ones until a device stands behind it. */
  readonly emuMask: Uint8Array;
  /** 1 = a guest may write the bit of the shadow. */
  readonly wmask: Uint8Array;
  /** 1 = a guest clears the bit of the shadow by writing 1. */
  readonly w1cmask: Uint8Array;
  /** 1 = the bit must agree between source and destination of a migration. */
  readonly cmask: Uint8Array;
  readonly memory: ConfigMemory;
  readonly #words: Int32Array;
  readonly #capabilities: CapabilityLists;

  constructor(name: string, size: ConfigSize, memory: ConfigMemory = ownMemory()) {
    this.name = name;
    this.size = size;
    this.memory = memory;
    const { buffer, byteOffset } = memory;
    this.#words = new Int32Array(buffer, byteOffset, SHARED_HEADER / 4);
    this.bytes = new Uint8Array(buffer, byteOffset + SHARED_HEADER, size).fill(0);
    this.emuMask = new Uint8Array(buffer, byteOffset + SHARED_EMU_MASK, size).fill(0xff);
    this.wmask = new Uint8Array(size);
    this.w1cmask = new Uint8Array(size);
    this.cmask = new Uint8Array(size);
    this.#words[SHARED_WORDS.SIZE] = size;
    this.shareDevice(-1, 0);
    this.#capabilities = new CapabilityLists(this);
    setDefaultMasks(this);
  }

  /** Reads the shadow alone: 1, 2 or 4 bytes, anywhere; bytes past the end read as ones. */
  read(offset: number, length: number): number {
    return readLittleEndian(this.bytes, offset, length);
  }

  /** Stores into the shadow, whatever the masks say; bytes past the end are dropped. */
  write(offset: number, length: number, value: number): void {
    this.update(() => {
      for (let i = 0; i < length && offset + i < this.size; i++) {
        this.bytes[offset + i] = value >>> (8 * i);
      }
    });
  }

  /**
   * A guest's write: per byte, `wmask` bits are replaced, then written ones of `w1cmask` cleared.
   */
  applyWrite(offset: number, length: number, value: number): void {
    this.update(() => {
      for (let i = 0; i < length && offset + i < this.size; i++) {
        const at = offset + i;
        const byte = (value >>> (8 * i)) & 0xff;
        const wmask = this.wmask[at]!;
        const next = (this.bytes[at]! & ~wmask) | (byte & wmask);
        this.bytes[at] = next & ~(byte & this.w1cmask[at]!);
      }
    });
  }

  /** Clears what a guest could have set: what most resets do to a register. */
  clearWritable(offset: number, length: number): void {
    this.update(() => {
      for (let at = offset; at < offset + length; at++) {
        this.bytes[at]! &= ~(this.wmask[at]! | this.w1cmask[at]!);
      }
    });
  }

  /** Changes several bytes of shadow or masks so that another thread sees all of it or none. */
  update(change: () => void): void {
    Atomics.add(this.#words, SHARED_WORDS.VERSION, 1);
    try {
      change();
    } finally {
      Atomics.add(this.#words, SHARED_WORDS.VERSION, 1);
    }
  }

  /** Sets bits of one of the masks, or of any byte array of this size, little-endian. */
  setMask(mask: Uint8Array, offset: number, length: number, value: number): void {
    for (let i = 0; i < length; i++) mask[offset + i] = value >>> (8 * i);
  }

  /**
   * Names the file that answers the bits that are not emulated: config space begins at `fdOffset`
   * of `fd`. With -1, such reads are answered by the main thread alone.
   */
  shareDevice(fd: number, fdOffset: number): void {
    this.update(() => {
      this.#words[SHARED_WORDS.FD] = fd;
      this.#words[SHARED_WORDS.FD_OFFSET_LOW] = (fdOffset % 2 ** 32) | 0;
      this.#words[SHARED_WORDS.FD_OFFSET_HIGH] = Math.floor(fdOffset / 2 ** 32);
    });
  }

  /** See `CapabilityLists.add`. */
  addCapability(id: number, offset: number | undefined, size: number): number {
    return this.#capabilities.add(id, offset, size);
  }

  /** See `CapabilityLists.addExtended`. */
  addExtendedCapability(
    id: number,
    version: number,
    offset: number | undefined,
    size: number,
  ): number {
    return this.#capabilities.addExtended(id, version, offset, size);
  }

  removeCapability(id: number): void {
    this.#capabilities.remove(id);
  }

  /** Offset of a standard capability in the shadow's list. */
  findCapability(id: number): number | undefined {
    return this.#capabilities.find(id);
  }

  /** Offset of an extended capability in the shadow's list. */
  findExtendedCapability(id: number): number | undefined {
    return this.#capabilities.findExtended(id);
  }
}

/** 1 to 4 bytes of an array, little-endian; bytes outside read as ones. */
export function readLittleEndian(bytes: Uint8Array, offset: number, length: number): number {
  let value = 0;
  for (let i = 0; i < length; i++) value |= (bytes[offset + i] ?? 0xff) << (8 * i);
  return value >>> 0;
}

function ownMemory(): ConfigMemory {
  return { buffer: new SharedArrayBuffer(SHARED_BYTES), byteOffset: 0 };
}

const COMMAND_WRITABLE =
  pci.PCI_COMMAND_IO |
  pci.PCI_COMMAND_MEMORY |
  pci.PCI_COMMAND_MASTER |
  pci.PCI_COMMAND_SERR |
  pci.PCI_COMMAND_INTX_DISABLE;

const STATUS_ERRORS =
  pci.PCI_STATUS_PARITY |
  pci.PCI_STATUS_SIG_TARGET_ABORT |
  pci.PCI_STATUS_REC_TARGET_ABORT |
  pci.PCI_STATUS_REC_MASTER_ABORT |
  pci.PCI_STATUS_SIG_SYSTEM_ERROR |
  pci.PCI_STATUS_DETECTED_PARITY;

/** The masks that every function starts with; a bridge adds its own (bridge.ts). */
function setDefaultMasks(config: ConfigSpace): void {
  const { wmask, w1cmask, cmask } = config;
  wmask[pci.PCI_CACHE_LINE_SIZE] = 0xff;
  wmask[pci.PCI_INTERRUPT_LINE] = 0xff;
  config.setMask(wmask, pci.PCI_COMMAND, 2, COMMAND_WRITABLE);
  wmask.fill(0xff, pci.PCI_STD_HEADER_SIZEOF);
  config.setMask(w1cmask, pci.PCI_STATUS, 2, STATUS_ERRORS);
  cmask.fill(0xff, pci.PCI_VENDOR_ID, pci.PCI_DEVICE_ID + 2);
  cmask[pci.PCI_STATUS] = pci.PCI_STATUS_CAP_LIST;
  cmask.fill(0xff, pci.PCI_REVISION_ID, pci.PCI_CLASS_DEVICE + 2);
  cmask[pci.PCI_HEADER_TYPE] = 0xff;
  cmask[pci.PCI_CAPABILITY_LIST] = 0xff;
}
