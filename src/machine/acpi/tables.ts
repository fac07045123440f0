/**
 * The ACPI tables (ACPI 6.5, 5.2), laid out for one place in guest memory: RSDP first, then what
 * it leads to. `acpiTables` is all that a machine needs; the rest is exported for tests.
 */

import {
  ACPI_PM_PORT,
  ECAM_START,
  IOAPIC_START,
  LAPIC_START,
  type PciWindows,
  RESET_PORT,
  SCI_IRQ,
} from "../memory-map.ts";
import { checksum, concat, text, u8, u16, u32, u64 } from "./bytes.ts";
import { dsdtBlock } from "./dsdt.ts";

const OEM_ID = "VIADCT";
const HEADER_SIZE = 36;

/** 5.2.6: header with length and checksum around `body`. */
export function table(signature: string, revision: number, body: Uint8Array): Uint8Array {
  const bytes = concat([
    text(signature, 4),
    u32(HEADER_SIZE + body.length),
    Uint8Array.of(revision, 0),
    text(OEM_ID, 6),
    text("VIADUCT", 8, 0x20),
    u32(1),
    text("VDCT", 4),
    u32(1),
    body,
  ]);
  bytes[9] = checksum(bytes);
  return bytes;
}

/** 5.2.3.2: a register in I/O space. */
function genericAddress(port: number, bits: number): Uint8Array {
  const SYSTEM_IO = 1;
  const ACCESS_SIZE: Record<number, number> = { 8: 1, 16: 2, 32: 3 };
  return concat([Uint8Array.of(SYSTEM_IO, bits, 0, ACCESS_SIZE[bits] ?? 0), u64(port)]);
}

const NO_ADDRESS = new Uint8Array(12);

/** Fixed feature flags, 5.2.9: what an operating system may rely on. */
const FADT_WBINVD = 1 << 0;
const FADT_PROC_C1 = 1 << 2;
const FADT_SLP_BUTTON_ABSENT = 1 << 5;
const FADT_TMR_VAL_EXT = 1 << 8;
const FADT_RESET_REG_SUP = 1 << 10;

/** IA-PC boot flags, 5.2.9.3. No 8042: an operating system then does not probe for a keyboard. */
const BOOT_LEGACY_DEVICES = 1 << 0;
const BOOT_VGA_NOT_PRESENT = 1 << 2;

/** Written to the reset register: hard reset, as a chipset's port 0xcf9 takes it. */
export const RESET_VALUE = 0x06;

function fadt(addresses: { facs: number; dsdt: number }): Uint8Array {
  const pm = { event: ACPI_PM_PORT, control: ACPI_PM_PORT + 4, timer: ACPI_PM_PORT + 8 };
  const C2_C3_UNSUPPORTED = concat([u16(0xfff), u16(0xfff)]);
  const flags =
    FADT_WBINVD | FADT_PROC_C1 | FADT_SLP_BUTTON_ABSENT | FADT_TMR_VAL_EXT | FADT_RESET_REG_SUP;
  return table(
    "FACP",
    6,
    concat([
      u32(addresses.facs),
      u32(addresses.dsdt),
      Uint8Array.of(0, 0), // reserved; preferred profile unspecified
      u16(SCI_IRQ),
      u32(0), // SMI_CMD: always in ACPI mode
      new Uint8Array(4), // ACPI_ENABLE, ACPI_DISABLE, S4BIOS_REQ, PSTATE_CNT
      concat([u32(pm.event), u32(0), u32(pm.control), u32(0), u32(0), u32(pm.timer)]),
      concat([u32(0), u32(0)]), // no general-purpose event blocks
      Uint8Array.of(4, 2, 0, 4, 0, 0, 0, 0), // block lengths, GPE1_BASE, CST_CNT
      C2_C3_UNSUPPORTED,
      concat([u16(0), u16(0)]), // FLUSH_SIZE, FLUSH_STRIDE: WBINVD works
      Uint8Array.of(0, 0, 0, 0, 0x32), // duty cycle, alarms; CENTURY is CMOS byte 0x32
      u16(BOOT_LEGACY_DEVICES | BOOT_VGA_NOT_PRESENT),
      u8(0),
      u32(flags),
      genericAddress(RESET_PORT, 8),
      u8(RESET_VALUE),
      concat([u16(0), u8(5)]), // ARM boot flags; minor version
      u64(0), // X_FIRMWARE_CTRL: the 32-bit field is used
      u64(addresses.dsdt),
      concat([genericAddress(pm.event, 32), NO_ADDRESS]),
      concat([genericAddress(pm.control, 16), NO_ADDRESS]),
      NO_ADDRESS, // PM2 control
      genericAddress(pm.timer, 32),
      concat([NO_ADDRESS, NO_ADDRESS]), // GPE0, GPE1
      concat([NO_ADDRESS, NO_ADDRESS]), // sleep control and status: hardware-reduced only
      u64(0), // hypervisor vendor identity
    ]),
  );
}

/** 5.2.10. It has no checksum and must lie on a 64-byte boundary. */
function facs(): Uint8Array {
  const bytes = new Uint8Array(64);
  bytes.set(text("FACS", 4));
  bytes.set(u32(64), 4);
  bytes[32] = 2;
  return bytes;
}

/** MPS INTI flags, table 5.26: level-triggered, active high. */
const LEVEL_ACTIVE_HIGH = 0x0d;

function sourceOverride(isaIrq: number, gsi: number, flags: number): Uint8Array {
  return concat([Uint8Array.of(2, 10, 0, isaIrq), u32(gsi), u16(flags)]);
}

/** 5.2.12. APIC ids above 254 need the x2APIC form. */
export function madt(apicIds: readonly number[]): Uint8Array {
  const ENABLED = 1;
  const PCAT_COMPAT = 1;
  const processors = apicIds.map((id, uid) =>
    id < 255
      ? concat([Uint8Array.of(0, 8, uid, id), u32(ENABLED)])
      : concat([Uint8Array.of(9, 16, 0, 0), u32(id), u32(ENABLED), u32(uid)]),
  );
  const IOAPIC_ID = 0;
  return table(
    "APIC",
    5,
    concat([
      u32(LAPIC_START),
      u32(PCAT_COMPAT),
      ...processors,
      concat([Uint8Array.of(1, 12, IOAPIC_ID, 0), u32(IOAPIC_START), u32(0)]),
      sourceOverride(0, 2, 0),
      sourceOverride(SCI_IRQ, SCI_IRQ, LEVEL_ACTIVE_HIGH),
      concat([Uint8Array.of(4, 6, 0xff), u16(0), u8(1)]), // NMI on LINT1 of every processor
    ]),
  );
}

/** PCI Firmware 3.3, 4.1.2. */
function mcfg(busCount: number): Uint8Array {
  const segmentAndBuses = concat([u16(0), Uint8Array.of(0, busCount - 1), u32(0)]);
  return table("MCFG", 1, concat([new Uint8Array(8), u64(ECAM_START), segmentAndBuses]));
}

/** 5.2.5.3, ACPI 2.0 form with both checksums. */
function rsdp(xsdt: number): Uint8Array {
  const bytes = concat([
    text("RSD PTR ", 8),
    u8(0),
    text(OEM_ID, 6),
    u8(2),
    u32(0),
    u32(36),
    u64(xsdt),
    new Uint8Array(4),
  ]);
  bytes[8] = checksum(bytes.subarray(0, 20));
  bytes[32] = checksum(bytes);
  return bytes;
}

export interface AcpiTables {
  /** The whole block, to be copied to the address it was made for. */
  readonly bytes: Uint8Array;
  readonly rsdpAddress: number;
  /** Signature -> the table's bytes, for checking. */
  readonly bySignature: ReadonlyMap<string, Uint8Array>;
}

/** @param options.address where the block will lie; a multiple of 64 below 4 GiB */
export function acpiTables(options: {
  address: number;
  apicIds: readonly number[];
  windows: PciWindows;
  /** How many bus numbers the guest may give out; Linux probes each of them when it boots. */
  busCount: number;
  serial: boolean;
}): AcpiTables {
  const RSDP_SPACE = 64;
  const pieces: Array<{ at: number; bytes: Uint8Array }> = [];
  let end = RSDP_SPACE;
  const place = (bytes: Uint8Array): number => {
    const at = Math.ceil(end / 64) * 64;
    pieces.push({ at, bytes });
    end = at + bytes.length;
    return options.address + at;
  };
  const dsdt = table("DSDT", 2, dsdtBlock(options));
  const fadtBytes = fadt({ facs: place(facs()), dsdt: place(dsdt) });
  const madtBytes = madt(options.apicIds);
  const mcfgBytes = mcfg(options.busCount);
  const entries = [fadtBytes, madtBytes, mcfgBytes].map(place);
  const xsdtBytes = table("XSDT", 1, concat(entries.map(u64)));
  const xsdt = place(xsdtBytes);
  pieces.push({ at: 0, bytes: rsdp(xsdt) });
  const bytes = new Uint8Array(end);
  for (const piece of pieces) bytes.set(piece.bytes, piece.at);
  const bySignature = new Map([
    ["DSDT", dsdt],
    ["FACP", fadtBytes],
    ["APIC", madtBytes],
    ["MCFG", mcfgBytes],
    ["XSDT", xsdtBytes],
  ]);
  return { bytes, rsdpAddress: options.address, bySignature };
}
