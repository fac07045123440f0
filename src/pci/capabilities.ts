/**
 * The two capability lists of a function: the standard one (pointer at 0x34, entries in
 * 0x40..0xff) and the extended one (first header at 0x100). PCI Local Bus 3.0 section 6.7, PCI
 * Express Base 5.0 section 7.6. Every walk is bounded, because a physical device's chain may loop,
 * and the bytes of a chain are a guest's or a device's word, never trusted.
 */

import {
  PCI_CAPABILITY_LIST,
  PCI_CFG_SPACE_SIZE,
  PCI_STATUS,
  PCI_STATUS_CAP_LIST,
  PCI_STD_HEADER_SIZEOF,
} from "../abi/pci-regs.ts";
import { hex } from "../memory/address.ts";
import { ViaductError } from "../sys/sys-error.ts";

/** First extended capability header. */
export const EXTENDED_START = 0x100;
const EXTENDED_HEADER_SIZE = 4;
const STANDARD_HOPS_MAX = (PCI_CFG_SPACE_SIZE - PCI_STD_HEADER_SIZEOF) / 4;
const EXTENDED_HOPS_MAX = (4096 - EXTENDED_START) / 8;

/** What the lists are kept in. */
export interface CapabilityBytes {
  /** Begins every message: the device's name. */
  readonly name: string;
  readonly size: number;
  readonly bytes: Uint8Array;
  readonly wmask: Uint8Array;
  readonly w1cmask: Uint8Array;
  readonly cmask: Uint8Array;
}

export interface CapabilityEntry {
  readonly id: number;
  readonly offset: number;
}

export interface ExtendedCapabilityEntry extends CapabilityEntry {
  readonly version: number;
  /** Offset of the next header, 0 at the end. */
  readonly next: number;
}

interface Claim {
  readonly id: number;
  readonly extended: boolean;
  readonly offset: number;
  readonly size: number;
}

/** The standard chain in list order; stops at the first pointer that leads nowhere or back. */
export function walkCapabilities(bytes: Uint8Array): CapabilityEntry[] {
  if ((bytes[PCI_STATUS]! & PCI_STATUS_CAP_LIST) === 0) return [];
  const seen = new Set<number>();
  const found: CapabilityEntry[] = [];
  let offset = bytes[PCI_CAPABILITY_LIST]! & ~3;
  while (offset >= PCI_STD_HEADER_SIZEOF && !seen.has(offset) && seen.size < STANDARD_HOPS_MAX) {
    seen.add(offset);
    found.push({ id: bytes[offset]!, offset });
    offset = bytes[offset + 1]! & ~3;
  }
  return found;
}

/**
 * The extended chain in list order, null entries (ID 0) and stubs included; empty when the first
 * dword is 0.
 */
export function walkExtendedCapabilities(bytes: Uint8Array): ExtendedCapabilityEntry[] {
  const found: ExtendedCapabilityEntry[] = [];
  const seen = new Set<number>();
  let offset = EXTENDED_START;
  while (
    offset >= EXTENDED_START &&
    offset + EXTENDED_HEADER_SIZE <= bytes.length &&
    !seen.has(offset) &&
    seen.size < EXTENDED_HOPS_MAX
  ) {
    const header = readHeader(bytes, offset);
    if (header === 0) break;
    seen.add(offset);
    const next = (header >>> 20) & ~3;
    found.push({ id: header & 0xffff, version: (header >>> 16) & 0xf, offset, next });
    offset = next;
  }
  return found;
}

/** Adds to and searches both lists, and knows which capability owns which byte. */
export class CapabilityLists {
  readonly #config: CapabilityBytes;
  #claims: Claim[] = [];

  constructor(config: CapabilityBytes) {
    this.#config = config;
  }

  /**
   * Puts a standard capability at the head of the list: its bytes become read-only (wmask 0) and
   * checked on migration (cmask 0xff); the caller then fills the body and opens what is writable.
   *
   * @param offset undefined takes the first gap
   * @returns the offset
   * @throws {ViaductError} CAPABILITY_OVERLAP, naming both capabilities, or when it does not fit
   */
  add(id: number, offset: number | undefined, size: number): number {
    const at = offset ?? this.#findGap(PCI_STD_HEADER_SIZEOF, PCI_CFG_SPACE_SIZE, size);
    const claim = { id, extended: false, offset: at ?? 0, size };
    if (at === undefined || at < PCI_STD_HEADER_SIZEOF || at + size > PCI_CFG_SPACE_SIZE) {
      throw this.#doesNotFit(claim);
    }
    this.#claim(claim);
    const { bytes } = this.#config;
    bytes[at] = id;
    bytes[at + 1] = bytes[PCI_CAPABILITY_LIST]!;
    bytes[PCI_CAPABILITY_LIST] = at;
    bytes[PCI_STATUS]! |= PCI_STATUS_CAP_LIST;
    return at;
  }

  /** Unlinks a standard capability and gives its bytes back; nothing when it is not there. */
  remove(id: number): void {
    const { bytes, wmask, w1cmask, cmask } = this.#config;
    const chain = walkCapabilities(bytes);
    const at = chain.findIndex((entry) => entry.id === id);
    const entry = chain[at];
    if (!entry) return;
    const link = at === 0 ? PCI_CAPABILITY_LIST : chain[at - 1]!.offset + 1;
    bytes[link] = bytes[entry.offset + 1]!;
    const claim = this.#claims.find((other) => !other.extended && other.offset === entry.offset);
    if (claim) {
      wmask.fill(0xff, claim.offset, claim.offset + claim.size);
      w1cmask.fill(0, claim.offset, claim.offset + claim.size);
      cmask.fill(0, claim.offset, claim.offset + claim.size);
      this.#claims = this.#claims.filter((other) => other !== claim);
    }
    if (bytes[PCI_CAPABILITY_LIST] === 0) bytes[PCI_STATUS]! &= ~PCI_STATUS_CAP_LIST;
  }

  /**
   * Adds an extended capability at the tail. At 0x100 it replaces a stub or null header there and
   * keeps what that one linked to; elsewhere the tail's next pointer is patched. With no list yet
   * and another offset than 0x100, a null header at 0x100 leads to it.
   *
   * @param offset undefined takes the first gap; else a multiple of 4
   * @returns the offset
   * @throws {ViaductError} CAPABILITY_OVERLAP; also for a size under 4 or past the end
   */
  addExtended(id: number, version: number, offset: number | undefined, size: number): number {
    const { bytes } = this.#config;
    const at = offset ?? this.#findGap(EXTENDED_START, this.#config.size, size);
    const claim = { id, extended: true, offset: at ?? 0, size };
    if (
      at === undefined ||
      at < EXTENDED_START ||
      at % 4 !== 0 ||
      size < EXTENDED_HEADER_SIZE ||
      at + size > this.#config.size
    ) {
      throw this.#doesNotFit(claim);
    }
    const chain = walkExtendedCapabilities(bytes);
    this.#claim(claim);
    if (at === EXTENDED_START) {
      const next = readHeader(bytes, EXTENDED_START) >>> 20;
      writeHeader(bytes, at, id, version, next);
      return at;
    }
    const tail = chain.at(-1) ?? { id: 0, version: 0, offset: EXTENDED_START };
    writeHeader(bytes, tail.offset, tail.id, tail.version, at);
    writeHeader(bytes, at, id, version, 0);
    return at;
  }

  find(id: number): number | undefined {
    return walkCapabilities(this.#config.bytes).find((entry) => entry.id === id)?.offset;
  }

  findExtended(id: number): number | undefined {
    return walkExtendedCapabilities(this.#config.bytes).find((entry) => entry.id === id)?.offset;
  }

  #claim(claim: Claim): void {
    const end = claim.offset + claim.size;
    const owner = this.#claims.find(
      (other) => claim.offset < other.offset + other.size && other.offset < end,
    );
    if (owner) {
      const { name } = this.#config;
      throw new ViaductError(
        "CAPABILITY_OVERLAP",
        `${name}: Cannot add ${describe(claim)}: it overlaps ${describe(owner)}`,
      );
    }
    this.#claims.push(claim);
    this.#config.wmask.fill(0, claim.offset, end);
    this.#config.w1cmask.fill(0, claim.offset, end);
    this.#config.cmask.fill(0xff, claim.offset, end);
  }

  #findGap(start: number, end: number, size: number): number | undefined {
    let at = start;
    for (;;) {
      const blocker = this.#claims.find(
        (claim) => at < claim.offset + claim.size && claim.offset < at + size,
      );
      if (!blocker) return at + size <= end ? at : undefined;
      at = (blocker.offset + blocker.size + 3) & ~3;
    }
  }

  #doesNotFit(claim: Claim): ViaductError {
    return new ViaductError(
      "CAPABILITY_OVERLAP",
      `${this.#config.name}: Cannot add ${describe(claim)}: ` +
        `it does not fit into ${this.#config.size} bytes of config space`,
    );
  }
}

function describe(claim: Claim): string {
  const kind = claim.extended ? "extended capability" : "capability";
  return `${kind} ${hex(claim.id)} (${hex(claim.size)} bytes at ${hex(claim.offset)})`;
}

function readHeader(bytes: Uint8Array, at: number): number {
  return (
    (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0
  );
}

function writeHeader(
  bytes: Uint8Array,
  at: number,
  id: number,
  version: number,
  next: number,
): void {
  const header = (id | (version << 16) | (next << 20)) >>> 0;
  for (let i = 0; i < 4; i++) bytes[at + i] = header >>> (8 * i);
}
