/**
 * The guest-physical and port map of the machine, drawn once. Everything that places something
 * takes the numbers from here.
 *
 *   0x0000_0000            RAM (low), up to 2 GiB when there is more RAM than fits below the hole
 *     0x0000_7000            boot_params, GDT, page tables, command line (linux-boot.ts)
 *     0x0009_fc00-0x000f_ffff  reserved: where a BIOS would be; the ACPI tables are at 0xe0000
 *     0x0100_0000            the kernel
 *   0x8000_0000-0xafff_ffff  RAM, or PCI memory when low RAM ends at 2 GiB
 *   0xb000_0000-0xbfff_ffff  ECAM, 256 buses
 *   0xc000_0000-0xfebf_ffff  PCI memory, 32 bits
 *   0xfec0_0000            I/O APIC
 *   0xfee0_0000            local APICs and the MSI window
 *   0xfeff_c000            KVM's identity map page and TSS (Intel hosts)
 *   0x1_0000_0000          RAM (high)
 *   32 GiB or above RAM    PCI memory, 64 bits
 */

import type { Window } from "./acpi/resources.ts";

export const KIB = 2 ** 10;
export const MIB = 2 ** 20;
export const GIB = 2 ** 30;

export const EBDA_START = 0x9fc00;
export const ACPI_TABLES_START = 0xe0000;
export const ACPI_TABLES_SIZE = 0x20000;
export const ONE_MIB = 0x10_0000;

/** More RAM than this and low RAM ends at 2 GiB, which leaves a larger PCI window. */
const LOW_RAM_MAX = 0xb000_0000;
const LOW_RAM_SPLIT = 0x8000_0000;
export const HIGH_RAM_START = 4 * GIB;

export const ECAM_START = 0xb000_0000;
export const ECAM_SIZE = 256 * MIB;
const PCI_MEMORY_32_LAST = 0xfebf_ffffn;

export const IOAPIC_START = 0xfec0_0000;
export const LAPIC_START = 0xfee0_0000;
export const KVM_IDENTITY_MAP = 0xfeff_c000;
export const KVM_TSS = 0xfeff_d000;

export const COM1_PORT = 0x3f8;
export const COM1_IRQ = 4;
export const RTC_PORT = 0x70;
export const RTC_IRQ = 8;
export const ACPI_PM_PORT = 0x600;
export const SCI_IRQ = 9;
export const RESET_PORT = 0xcf9;

/** PCI interrupt pins end at these inputs of the I/O APIC. */
export const PCI_GSI_FIRST = 16;
export const PCI_GSI_COUNT = 8;
export const IOAPIC_PINS = 24;

/** The I/O APIC input of a root-bus pin (0 = INTA): spread over eight inputs. */
export function pciGsi(slot: number, pin: number): number {
  return PCI_GSI_FIRST + ((slot + pin) % PCI_GSI_COUNT);
}

export interface RamLayout {
  readonly lowSize: number;
  /** 0 when all RAM lies below the hole. */
  readonly highSize: number;
}

/** @param size bytes of RAM, a multiple of 2 MiB */
export function ramLayout(size: number): RamLayout {
  const lowSize = size > LOW_RAM_MAX ? LOW_RAM_SPLIT : size;
  return { lowSize, highSize: size - lowSize };
}

export interface PciWindows {
  readonly io: readonly Window[];
  readonly memory32: readonly Window[];
  readonly memory64: Window;
}

/**
 * What the host bridge passes on to PCI.
 * @param physicalAddressBits of the guest's CPUs (CPUID 0x80000008)
 */
export function pciWindows(ram: RamLayout, physicalAddressBits: number): PciWindows {
  const memory32: Window[] = [{ start: BigInt(ECAM_START + ECAM_SIZE), last: PCI_MEMORY_32_LAST }];
  if (ram.highSize > 0) {
    memory32.unshift({ start: BigInt(LOW_RAM_SPLIT), last: BigInt(LOW_RAM_MAX) - 1n });
  }
  const step = 32n * BigInt(GIB);
  const ramEnd = BigInt(HIGH_RAM_START) + BigInt(ram.highSize);
  const start = ((ramEnd + step - 1n) / step) * step;
  const limit = 1n << BigInt(physicalAddressBits);
  const end = start + 256n * BigInt(GIB) < limit ? start + 256n * BigInt(GIB) : limit;
  const io = [
    { start: 0x0n, last: 0xcf7n },
    { start: 0xd00n, last: 0xffffn },
  ];
  return { io, memory32, memory64: { start, last: end - 1n } };
}
