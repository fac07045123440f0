/**
 * The MSI-X capability with its table and pending bit array. PCI Local Bus 3.0 section 6.8.2. Both
 * are trapped regions laid over a BAR's region. A vector's effective mask is: not ENABLE, or
 * MASKALL, or its own mask bit; the callbacks follow the effective mask.
 *
 * Two steps look odd and are the rule: turning ENABLE off calls nothing (who installed the
 * callbacks sees that write first), and rewriting the message of an unmasked entry calls nothing
 * (it takes effect at the next unmask).
 */

import * as pci from "../abi/pci-regs.ts";
import { hex } from "../memory/address.ts";
import { type IoHandler, MemoryRegion } from "../memory/region.ts";
import { ViaductError } from "../sys/sys-error.ts";
import { readLittleEndian } from "./config-space.ts";
import type { PciFunction } from "./function.ts";
import type { MsiMessage } from "./platform.ts";

const ENTRIES_MAX = 2048;
export const MSIX_ENTRY_SIZE = 16;
export const MSIX_CAPABILITY_SIZE = 12;
/** Above what a device model lays into its BAR. */
const OVERLAY_PRIORITY = 2;
/** ENABLE and MASKALL are in the upper byte of control. */
const CONTROL_HIGH = pci.PCI_MSIX_FLAGS + 1;
const ENABLE = pci.PCI_MSIX_FLAGS_ENABLE >> 8;
const MASKALL = pci.PCI_MSIX_FLAGS_MASKALL >> 8;

/** A place inside a BAR. */
export interface MsixPlace {
  readonly bar: number;
  readonly offset: number;
  /** The BAR's region, into which the trap is laid. */
  readonly container: MemoryRegion;
}

export interface MsixOptions {
  /** 1 to 2048. */
  readonly entries: number;
  readonly table: MsixPlace;
  readonly pba: MsixPlace;
  /** Of the capability in config space; undefined takes the first gap. */
  readonly offset?: number;
}

/** What the owner of the hardware vectors wants to know. */
export interface MsixVectorCallbacks {
  /** The guest unmasked the vector. Called before a pending one is delivered. */
  use(vector: number, message: MsiMessage): void;
  /** The guest masked the vector. */
  release(vector: number): void;
}

/** Bytes of the pending bit array: whole 64-bit words. */
export function pbaSize(entries: number): number {
  return Math.ceil(entries / 64) * 8;
}

export class MsixCapability implements Disposable {
  readonly offset: number;
  readonly entries: number;
  /** 16 bytes a vector: address low, address high, data, control. */
  readonly table: Uint8Array;
  readonly pba: Uint8Array;
  readonly tableRegion: MemoryRegion;
  readonly pbaRegion: MemoryRegion;
  readonly #fn: PciFunction;
  readonly #places: { readonly table: MsixPlace; readonly pba: MsixPlace };
  #callbacks: MsixVectorCallbacks | undefined;
  #functionMasked = true;

  /**
   * Adds the capability, lays the traps and becomes `fn.msix`. All entries start masked.
   *
   * @throws {ViaductError} DEVICE_UNSUPPORTED when table or PBA do not fit; CAPABILITY_OVERLAP
   */
  static create(fn: PciFunction, options: MsixOptions): MsixCapability {
    checkPlaces(fn.name, options);
    const id = pci.PCI_CAP_ID_MSIX;
    const offset = fn.config.addCapability(id, options.offset, MSIX_CAPABILITY_SIZE);
    const msix = new MsixCapability(fn, options, offset);
    fn.msix = msix;
    return msix;
  }

  private constructor(fn: PciFunction, options: MsixOptions, offset: number) {
    const { entries, table, pba } = options;
    this.#fn = fn;
    this.#places = { table, pba };
    this.offset = offset;
    this.entries = entries;
    this.table = new Uint8Array(entries * MSIX_ENTRY_SIZE);
    this.pba = new Uint8Array(pbaSize(entries));
    this.#maskAllEntries();
    const { config } = fn;
    config.write(offset + pci.PCI_MSIX_FLAGS, 2, entries - 1);
    config.write(offset + pci.PCI_MSIX_TABLE, 4, (table.offset | table.bar) >>> 0);
    config.write(offset + pci.PCI_MSIX_PBA, 4, (pba.offset | pba.bar) >>> 0);
    config.wmask[offset + CONTROL_HIGH] = ENABLE | MASKALL;
    this.tableRegion = overlay(`${fn.name} MSI-X table`, fn, this.table, (at, value) =>
      this.#writeTable(at, value),
    );
    this.pbaRegion = overlay(`${fn.name} MSI-X PBA`, fn, this.pba, () => {});
    table.container.add(this.tableRegion, BigInt(table.offset), OVERLAY_PRIORITY);
    pba.container.add(this.pbaRegion, BigInt(pba.offset), OVERLAY_PRIORITY);
  }

  get enabled(): boolean {
    return (this.#controlHigh & ENABLE) !== 0;
  }

  get maskAll(): boolean {
    return (this.#controlHigh & MASKALL) !== 0;
  }

  /** The write that the entry describes. */
  message(vector: number): MsiMessage {
    const at = vector * MSIX_ENTRY_SIZE;
    const low = readLittleEndian(this.table, at + pci.PCI_MSIX_ENTRY_LOWER_ADDR, 4);
    const high = readLittleEndian(this.table, at + pci.PCI_MSIX_ENTRY_UPPER_ADDR, 4);
    const data = readLittleEndian(this.table, at + pci.PCI_MSIX_ENTRY_DATA, 4);
    return { address: (BigInt(high) << 32n) | BigInt(low), data };
  }

  /** The effective mask. */
  isMasked(vector: number): boolean {
    return this.#functionMasked || this.#entryMasked(vector);
  }

  isPending(vector: number): boolean {
    return ((this.pba[vector >> 3]! >> (vector & 7)) & 1) !== 0;
  }

  setPending(vector: number): void {
    this.pba[vector >> 3]! |= 1 << (vector & 7);
  }

  clearPending(vector: number): void {
    this.pba[vector >> 3]! &= ~(1 << (vector & 7));
  }

  /** The device fires `vector`: delivered, or pending while masked. */
  notify(vector: number): void {
    if (this.isMasked(vector)) this.setPending(vector);
    else this.#fn.deliverMsi(this.message(vector));
  }

  /**
   * Follows the vectors' effective masks from now on. Installing calls `use` at once for every
   * vector that is unmasked; removing (undefined) calls `release` for those.
   */
  setVectorCallbacks(callbacks: MsixVectorCallbacks | undefined): void {
    const previous = this.#callbacks;
    this.#callbacks = callbacks;
    for (let vector = 0; vector < this.entries; vector++) {
      if (this.isMasked(vector)) continue;
      previous?.release(vector);
      callbacks?.use(vector, this.message(vector));
    }
  }

  /** The trap over the table; off on machines whose firmware owns the messages. */
  setTableTrapEnabled(enabled: boolean): void {
    this.tableRegion.setEnabled(enabled);
  }

  /** The trap over the PBA; while off, guests read the device's own. */
  setPbaTrapEnabled(enabled: boolean): void {
    this.pbaRegion.setEnabled(enabled);
  }

  /** After a guest's write to config space. */
  configWritten(offset: number, length: number): void {
    const at = this.offset + CONTROL_HIGH;
    if (offset > at || offset + length <= at) return;
    const wasFunctionMasked = this.#functionMasked;
    this.#functionMasked = !this.enabled || this.maskAll;
    if (!this.enabled) return;
    this.#fn.setIntx(false);
    if (wasFunctionMasked === this.#functionMasked) return;
    for (let vector = 0; vector < this.entries; vector++) {
      this.#maskChanged(vector, wasFunctionMasked || this.#entryMasked(vector));
    }
  }

  /** ENABLE and MASKALL off, table and PBA zero, every entry masked; no callbacks. */
  reset(): void {
    const { config } = this.#fn;
    const at = this.offset + CONTROL_HIGH;
    config.write(at, 1, this.#controlHigh & ~(ENABLE | MASKALL));
    this.#functionMasked = true;
    this.table.fill(0);
    this.pba.fill(0);
    this.#maskAllEntries();
  }

  /** After ENABLE, MASKALL, table and PBA were loaded from elsewhere; no callbacks. */
  reload(): void {
    this.#functionMasked = !this.enabled || this.maskAll;
  }

  /** Takes the traps out of the BARs and the capability off the function. Idempotent. */
  [Symbol.dispose](): void {
    if (this.#fn.msix !== this) return;
    this.#places.table.container.remove(this.tableRegion);
    this.#places.pba.container.remove(this.pbaRegion);
    this.#fn.config.removeCapability(pci.PCI_CAP_ID_MSIX);
    this.#fn.msix = undefined;
  }

  get #controlHigh(): number {
    return this.#fn.config.bytes[this.offset + CONTROL_HIGH]!;
  }

  #entryMasked(vector: number): boolean {
    const control = vector * MSIX_ENTRY_SIZE + pci.PCI_MSIX_ENTRY_VECTOR_CTRL;
    return (this.table[control]! & pci.PCI_MSIX_ENTRY_CTRL_MASKBIT) !== 0;
  }

  #maskAllEntries(): void {
    for (let vector = 0; vector < this.entries; vector++) {
      const control = vector * MSIX_ENTRY_SIZE + pci.PCI_MSIX_ENTRY_VECTOR_CTRL;
      this.table[control]! |= pci.PCI_MSIX_ENTRY_CTRL_MASKBIT;
    }
  }

  #writeTable(offset: number, value: number): void {
    const vector = Math.floor(offset / MSIX_ENTRY_SIZE);
    const wasMasked = this.isMasked(vector);
    for (let i = 0; i < 4; i++) this.table[offset + i] = value >>> (8 * i);
    this.#maskChanged(vector, wasMasked);
  }

  #maskChanged(vector: number, wasMasked: boolean): void {
    const masked = this.isMasked(vector);
    if (masked === wasMasked) return;
    if (masked) {
      this.#callbacks?.release(vector);
      return;
    }
    this.#callbacks?.use(vector, this.message(vector));
    if (!this.isPending(vector)) return;
    this.clearPending(vector);
    this.#fn.deliverMsi(this.message(vector));
  }
}

/**
 * A trap over `bytes`. Reads of any size give the bytes; a write takes effect as an aligned dword,
 * or two of them: the specification allows nothing else.
 */
function overlay(
  name: string,
  owner: object,
  bytes: Uint8Array,
  write: (offset: number, value: number) => void,
): MemoryRegion {
  const store = (offset: number, size: number, value: number): void => {
    if (size === 4 && offset % 4 === 0 && offset + 4 <= bytes.length) write(offset, value);
  };
  const load = (offset: number, size: number) => readLittleEndian(bytes, offset, size);
  const handler: IoHandler = {
    read: load,
    write: store,
    read64: (offset) => BigInt(load(offset, 4)) | (BigInt(load(offset + 4, 4)) << 32n),
    write64: (offset, value) => {
      if (offset % 8 !== 0) return;
      store(offset, 4, Number(value & 0xffffffffn));
      store(offset + 4, 4, Number(BigInt.asUintN(64, value) >> 32n));
    },
  };
  return new MemoryRegion(name, "io", BigInt(bytes.length), { handler, owner });
}

function checkPlaces(name: string, { entries, table, pba }: MsixOptions): void {
  const tableEnd = table.offset + entries * MSIX_ENTRY_SIZE;
  const pbaEnd = pba.offset + pbaSize(entries);
  const fail = (why: string): never => {
    throw new ViaductError(
      "DEVICE_UNSUPPORTED",
      `${name}: Cannot add MSI-X of ${entries} vectors, ` +
        `table at ${hex(table.offset)} of BAR ${table.bar}, ` +
        `PBA at ${hex(pba.offset)} of BAR ${pba.bar}: ${why}`,
    );
  };
  if (!Number.isInteger(entries) || entries < 1 || entries > ENTRIES_MAX) {
    fail(`the number of vectors is not from 1 to ${ENTRIES_MAX}`);
  }
  if (table.bar > 5 || pba.bar > 5) fail("there is no such BAR");
  if (table.offset % 8 !== 0 || pba.offset % 8 !== 0) fail("an offset is not a multiple of 8");
  if (BigInt(tableEnd) > table.container.size) fail("the table ends outside its BAR");
  if (BigInt(pbaEnd) > pba.container.size) fail("the PBA ends outside its BAR");
  if (table.bar === pba.bar && table.offset < pbaEnd && pba.offset < tableEnd) {
    fail("table and PBA overlap");
  }
}
