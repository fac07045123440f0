/**
 * Resource descriptors for `_CRS` (ACPI 6.5, 6.4): what a device decodes. `resourceTemplate`
 * closes them with an end tag and makes the buffer.
 */

import { buffer, type Term } from "./aml.ts";
import { concat, u8, u16, u32, u64 } from "./bytes.ts";

/** An address window, both ends inclusive. */
export interface Window {
  readonly start: bigint;
  readonly last: bigint;
}

const sizeOf = (window: Window): bigint => window.last - window.start + 1n;

/** Resource type and flag bytes of the address space descriptors, 6.4.3.5. */
const TYPE_MEMORY = 0;
const TYPE_IO = 1;
const TYPE_BUS = 2;
/** Producer, positive decode, minimum and maximum address fixed. */
const FIXED_PRODUCER = 0x0c;
const MEMORY_READ_WRITE = 0x01;
const MEMORY_CACHEABLE = 0x02;
const IO_ENTIRE_RANGE = 0x03;

export function resourceTemplate(...descriptors: Uint8Array[]): Term {
  const END_TAG = Uint8Array.of(0x79, 0x00);
  return buffer(concat([...descriptors, END_TAG]));
}

function wordSpace(type: number, typeFlags: number, window: Window): Uint8Array {
  return concat([
    Uint8Array.of(0x88, 0x0d, 0x00, type, FIXED_PRODUCER, typeFlags),
    u16(0),
    u16(Number(window.start)),
    u16(Number(window.last)),
    u16(0),
    u16(Number(sizeOf(window))),
  ]);
}

export const busNumbers = (first: number, last: number): Uint8Array =>
  wordSpace(TYPE_BUS, 0, { start: BigInt(first), last: BigInt(last) });

export const ioWindow = (window: Window): Uint8Array => wordSpace(TYPE_IO, IO_ENTIRE_RANGE, window);

/** A 32-bit memory window that a host bridge passes on. */
export function memoryWindow32(window: Window): Uint8Array {
  return concat([
    Uint8Array.of(0x87, 0x17, 0x00, TYPE_MEMORY, FIXED_PRODUCER, MEMORY_READ_WRITE),
    u32(0),
    u32(Number(window.start)),
    u32(Number(window.last)),
    u32(0),
    u32(Number(sizeOf(window))),
  ]);
}

/** A 64-bit memory window; cacheable means prefetchable for a PCI host bridge. */
export function memoryWindow64(window: Window): Uint8Array {
  const flags = MEMORY_READ_WRITE | MEMORY_CACHEABLE;
  return concat([
    Uint8Array.of(0x8a, 0x2b, 0x00, TYPE_MEMORY, FIXED_PRODUCER, flags),
    u64(0),
    u64(window.start),
    u64(window.last),
    u64(0),
    u64(sizeOf(window)),
  ]);
}

/** Ports that the device itself decodes (16-bit decode). */
export const ioPorts = (start: number, count: number): Uint8Array =>
  concat([Uint8Array.of(0x47, 0x01), u16(start), u16(start), u8(1), u8(count)]);

/** An ISA interrupt: edge, active high. */
export const isaIrq = (irq: number): Uint8Array => concat([u8(0x22), u16(1 << irq)]);

/** Memory that the device itself decodes. */
export const fixedMemory32 = (start: number, size: number): Uint8Array =>
  concat([Uint8Array.of(0x86, 0x09, 0x00, MEMORY_READ_WRITE), u32(start), u32(size)]);
