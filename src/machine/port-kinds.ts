/**
 * Who answers a port: one byte for each of the 65,536, in shared memory. The main thread keeps it
 * equal to the I/O address space; a vCPU's thread looks a port up and answers or forwards.
 */

import type { AddressSpace, Section } from "../memory/address-space.ts";
import { CONFIG_PORTS } from "../pci/shared-config.ts";
import { ACPI_PM_PORT, COM1_PORT } from "./memory-map.ts";

export const PORT = {
  /** Reads all ones, writes vanish. */
  nothing: 0,
  /** The main thread answers. */
  forward: 1,
  serial: 2,
  pciConfig: 3,
  pmTimer: 4,
  /** A device's file, of which `TrapFiles` knows. */
  file: 5,
} as const;

const PORT_COUNT = 65536;

/** Ports whose state is in shared memory, when a section claims them. */
function sharedKind(port: number): number {
  if (port >= COM1_PORT && port < COM1_PORT + 8) return PORT.serial;
  if (port >= CONFIG_PORTS && port < CONFIG_PORTS + 8) return PORT.pciConfig;
  if (port === ACPI_PM_PORT + 8) return PORT.pmTimer;
  return PORT.forward;
}

/** Follows `io` until disposed. @returns the table, to be shared with the vCPUs' threads */
export function followPorts(io: AddressSpace): { kinds: Uint8Array; listener: Disposable } {
  const kinds = new Uint8Array(new SharedArrayBuffer(PORT_COUNT));
  const mark = (section: Section, kindOf: (port: number) => number) => {
    const first = Number(section.address);
    const last = Math.min(first + Number(section.size), PORT_COUNT);
    for (let port = first; port < last; port++) Atomics.store(kinds, port, kindOf(port));
  };
  const listener = io.listen({
    priority: 0,
    add: (section) => mark(section, section.region.file ? () => PORT.file : sharedKind),
    remove: (section) => mark(section, () => PORT.nothing),
  });
  return { kinds, listener };
}
