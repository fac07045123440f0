/**
 * Puts a Linux kernel into guest memory and tells the boot CPU's first registers: the 64-bit entry
 * of "The Linux/x86 Boot Protocol" (section "64-bit Boot Protocol"). No firmware runs.
 *
 *   0x5000  GDT (null, null, 64-bit code 0x10, data 0x18)
 *   0x6000  setup_data: a seed for the kernel's random number generator
 *   0x7000  struct boot_params, "the zero page"
 *   0x9000  page tables: the first 4 GiB, identity, 2 MiB pages
 *   0x20000 command line
 */

import { randomFillSync } from "node:crypto";
import { ViaductError } from "../sys/sys-error.ts";
import { type BzImage, SETUP_HEADER_START } from "./bzimage.ts";
import {
  ACPI_TABLES_SIZE,
  ACPI_TABLES_START,
  EBDA_START,
  ECAM_SIZE,
  ECAM_START,
  HIGH_RAM_START,
  MIB,
  ONE_MIB,
  type RamLayout,
} from "./memory-map.ts";

export const GDT = 0x5000;
const RNG_SEED = 0x6000;
export const BOOT_PARAMS = 0x7000;
export const PAGE_TABLES = 0x9000;
const COMMAND_LINE = 0x2_0000;

/** Selectors the boot protocol demands: __BOOT_CS and __BOOT_DS. */
export const BOOT_CS = 0x10;
export const BOOT_DS = 0x18;
const GDT_ENTRIES = [0n, 0n, 0x00af_9b00_0000_ffffn, 0x00cf_9300_0000_ffffn];
export const GDT_LIMIT = GDT_ENTRIES.length * 8 - 1;

/** The 64-bit entry lies this far behind the load address. */
const ENTRY_64_OFFSET = 0x200;

/** Offsets in `struct boot_params` (asm/bootparam.h). */
const PARAM = {
  acpi_rsdp_addr: 0x070,
  e820_entries: 0x1e8,
  type_of_loader: 0x210,
  loadflags: 0x211,
  ramdisk_image: 0x218,
  ramdisk_size: 0x21c,
  cmd_line_ptr: 0x228,
  vid_mode: 0x1fa,
  setup_data: 0x250,
  e820_table: 0x2d0,
} as const;

const LOADER_UNDEFINED = 0xff;
const CAN_USE_HEAP = 1 << 7;
const VID_MODE_NORMAL = 0xffff;
const E820_RAM = 1;
const E820_RESERVED = 2;
const SETUP_RNG_SEED = 9;

/** A file's bytes, read straight to where they go. */
export interface FileSource {
  readonly name: string;
  readonly size: number;
  /** Fills all of `into` from `offset` of the file. */
  read(offset: number, into: Uint8Array): void;
}

export interface BootImage {
  readonly kernel: FileSource;
  readonly image: BzImage;
  readonly initrd: FileSource | undefined;
  readonly commandLine: string;
}

/** Registers of the boot CPU besides what every long-mode start has (cpu-setup.ts). */
export interface LinuxEntry {
  readonly rip: number;
  /** Address of boot_params. */
  readonly rsi: number;
}

interface E820Entry {
  readonly address: number;
  readonly size: number;
  readonly type: number;
}

/** The memory map as the kernel is told it. */
export function e820Map(ram: RamLayout): E820Entry[] {
  const entries: E820Entry[] = [
    { address: 0, size: EBDA_START, type: E820_RAM },
    { address: EBDA_START, size: ONE_MIB - EBDA_START, type: E820_RESERVED },
    { address: ONE_MIB, size: ram.lowSize - ONE_MIB, type: E820_RAM },
    { address: ECAM_START, size: ECAM_SIZE, type: E820_RESERVED },
  ];
  if (ram.highSize > 0) {
    entries.push({ address: HIGH_RAM_START, size: ram.highSize, type: E820_RAM });
  }
  return entries;
}

const alignUp = (value: number, step: number): number => Math.ceil(value / step) * step;

function kernelAddress(boot: BootImage, lowSize: number): number {
  const { image } = boot;
  if (image.loadAddress + image.initSize <= lowSize) return image.loadAddress;
  const lowest = alignUp(ONE_MIB, image.alignment);
  if (image.relocatable && lowest + image.initSize <= lowSize) return lowest;
  const needed = Math.ceil((lowest + image.initSize) / MIB);
  throw new ViaductError(
    "OUT_OF_MEMORY",
    `${boot.kernel.name}: Cannot load the kernel: it needs ${needed} MiB to start and the guest ` +
      `has ${lowSize / MIB} MiB`,
    { nextStep: `Give the guest more memory: --memory ${alignUp(needed + 64, 64)}M or more.` },
  );
}

function initrdAddress(boot: BootImage, kernelEnd: number, lowSize: number): number {
  const size = boot.initrd?.size ?? 0;
  const limit = Math.min(boot.image.initrdAddressMax + 1, lowSize);
  const address = Math.floor((limit - size) / 4096) * 4096;
  if (address >= kernelEnd) return address;
  throw new ViaductError(
    "OUT_OF_MEMORY",
    `${boot.initrd?.name}: Cannot load the initrd: ${size} bytes do not fit between the kernel, ` +
      `which ends at 0x${kernelEnd.toString(16)}, and 0x${limit.toString(16)}`,
    { nextStep: "Give the guest more memory, or use a smaller initrd." },
  );
}

function commandLineBytes(boot: BootImage): Uint8Array {
  const bytes = new TextEncoder().encode(`${boot.commandLine}\0`);
  if (bytes.length - 1 <= boot.image.commandLineMax) return bytes;
  throw new ViaductError(
    "USAGE",
    `${boot.kernel.name}: The command line is ${bytes.length - 1} bytes long; this kernel takes ` +
      `${boot.image.commandLineMax}`,
    { nextStep: "Shorten --append." },
  );
}

/** First 4 GiB, identity-mapped by 2 MiB pages: one PML4, one PDPT, four page directories. */
function writePageTables(low: Uint8Array): void {
  const PRESENT_WRITABLE = 0x3n;
  const LARGE = 0x80n;
  const PAGE = 4096;
  const at = new DataView(low.buffer, low.byteOffset + PAGE_TABLES, 6 * PAGE);
  at.setBigUint64(0, BigInt(PAGE_TABLES + PAGE) | PRESENT_WRITABLE, true);
  for (let directory = 0; directory < 4; directory++) {
    const table = PAGE_TABLES + (2 + directory) * PAGE;
    at.setBigUint64(PAGE + directory * 8, BigInt(table) | PRESENT_WRITABLE, true);
  }
  for (let page = 0; page < 4 * 512; page++) {
    const entry = BigInt(page) * BigInt(2 * MIB);
    at.setBigUint64(2 * PAGE + page * 8, entry | PRESENT_WRITABLE | LARGE, true);
  }
}

/** `struct setup_data` with 32 random bytes: the guest need not wait for entropy. */
function writeRngSeed(low: Uint8Array): void {
  const SEED_SIZE = 32;
  const at = new DataView(low.buffer, low.byteOffset + RNG_SEED, 16);
  at.setBigUint64(0, 0n, true);
  at.setUint32(8, SETUP_RNG_SEED, true);
  at.setUint32(12, SEED_SIZE, true);
  low.set(randomFillSync(new Uint8Array(SEED_SIZE)), RNG_SEED + 16);
}

function writeBootParams(
  low: Uint8Array,
  boot: BootImage,
  ram: RamLayout,
  initrd: { address: number; size: number },
): void {
  const at = new DataView(low.buffer, low.byteOffset + BOOT_PARAMS, 4096);
  low.fill(0, BOOT_PARAMS, BOOT_PARAMS + 4096);
  low.set(boot.image.setupHeader, BOOT_PARAMS + SETUP_HEADER_START);
  at.setUint16(PARAM.vid_mode, VID_MODE_NORMAL, true);
  at.setUint8(PARAM.type_of_loader, LOADER_UNDEFINED);
  at.setUint8(PARAM.loadflags, at.getUint8(PARAM.loadflags) | CAN_USE_HEAP);
  at.setUint32(PARAM.ramdisk_image, initrd.address, true);
  at.setUint32(PARAM.ramdisk_size, initrd.size, true);
  at.setUint32(PARAM.cmd_line_ptr, COMMAND_LINE, true);
  at.setBigUint64(PARAM.acpi_rsdp_addr, BigInt(ACPI_TABLES_START), true);
  at.setBigUint64(PARAM.setup_data, BigInt(RNG_SEED), true);
  const entries = e820Map(ram);
  at.setUint8(PARAM.e820_entries, entries.length);
  entries.forEach((entry, index) => {
    const offset = PARAM.e820_table + index * 20;
    at.setBigUint64(offset, BigInt(entry.address), true);
    at.setBigUint64(offset + 8, BigInt(entry.size), true);
    at.setUint32(offset + 16, entry.type, true);
  });
}

/**
 * Loads kernel, initrd, command line, ACPI tables and boot structures. Done again at every reset.
 * @param low the guest's RAM from address 0, `ram.lowSize` bytes
 * @param acpi the block made for `ACPI_TABLES_START`
 * @throws {ViaductError} OUT_OF_MEMORY when they do not fit, USAGE for a long command line
 */
export function loadLinux(
  low: Uint8Array,
  ram: RamLayout,
  boot: BootImage,
  acpi: Uint8Array,
): LinuxEntry {
  const commandLine = commandLineBytes(boot);
  const kernel = kernelAddress(boot, ram.lowSize);
  const kernelEnd = kernel + boot.image.initSize;
  const initrd = boot.initrd ? initrdAddress(boot, kernelEnd, ram.lowSize) : 0;
  const { payloadOffset, payloadSize } = boot.image;
  boot.kernel.read(payloadOffset, low.subarray(kernel, kernel + payloadSize));
  boot.initrd?.read(0, low.subarray(initrd, initrd + boot.initrd.size));
  low.set(commandLine, COMMAND_LINE);
  if (acpi.length > ACPI_TABLES_SIZE) throw new RangeError("ACPI tables outgrew their place");
  low.set(acpi, ACPI_TABLES_START);
  GDT_ENTRIES.forEach((entry, index) => {
    const bytes = new BigUint64Array([entry]);
    low.set(new Uint8Array(bytes.buffer), GDT + index * 8);
  });
  writePageTables(low);
  writeRngSeed(low);
  writeBootParams(low, boot, ram, { address: initrd, size: boot.initrd?.size ?? 0 });
  return { rip: kernel + ENTRY_64_OFFSET, rsi: BOOT_PARAMS };
}
