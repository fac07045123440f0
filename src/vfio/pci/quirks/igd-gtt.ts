/**
 * The page tables of Intel graphics (GTT) as its video BIOS writes them, through an index and a
 * data register of I/O BAR 4 (spec/igd.md section 5A). The BIOS enters the host's stolen memory;
 * each entry is moved into the memory that the guest's firmware has reserved.
 */

import { PCI_COMMAND, PCI_COMMAND_IO } from "../../../abi/pci-regs.ts";
import { hex } from "../../../memory/address.ts";
import { ViaductError } from "../../../sys/sys-error.ts";
import type { VfioPciFunction } from "../vfio-pci.ts";
import { gttSizeMiB, IGD_BDSM, IGD_GGC } from "./igd-generation.ts";
import { layTrap, type QuirkSite } from "./quirk.ts";
import * as trace from "./trace.ts";

const INDEX = 0;
const DATA = 4;
const REGISTER_SIZE = 4;
const NO_INDEX = 0xffff_ffff;
const PAGES_PER_MIB = 256;
/** Bit 0 of an index stands for the table, above are bytes in it: entries begin at 1. */
const FIRST_INDEX = 1;
const INDEX_STEP = 4;
const BASE_MASK = 0xfff0_0000;

export interface HostStolenMemory {
  readonly generation: 6 | 8;
  /** The register of config space that says where it begins, as the host's. */
  readonly hostBase: number;
}

/** Indexes from this one on are past the table, whose size graphics control says. */
function indexLimit(fn: VfioPciFunction, generation: 6 | 8): number {
  const pages = gttSizeMiB(generation, fn.readConfig(IGD_GGC, 4)) * PAGES_PER_MIB;
  return pages * (generation === 6 ? 4 : 8);
}

export function layGttTraps(site: QuirkSite, { generation, hostBase }: HostStolenMemory): void {
  const { fn, region } = site;
  const base = (hostBase & BASE_MASK) >>> 0;
  let index = NO_INDEX;
  layTrap(
    site,
    { name: "GTT index", offset: INDEX, size: REGISTER_SIZE },
    {
      read: (offset, size) => {
        index = NO_INDEX;
        return region.read(INDEX + offset, size);
      },
      write: (offset, size, value) => {
        index = value;
        region.write(INDEX + offset, size, value);
      },
    },
  );
  layTrap(
    site,
    { name: "GTT data", offset: DATA, size: REGISTER_SIZE },
    {
      read: (offset, size) => {
        index = NO_INDEX;
        return region.read(DATA + offset, size);
      },
      write: (offset, size, value) => {
        const isEntry = index % 4 === 1 && index < indexLimit(fn, generation);
        const moved = isEntry ? moveEntry(fn, { generation, index, value, base }) : value;
        index = NO_INDEX;
        if (moved !== undefined) region.write(DATA + offset, size, moved);
      },
    },
  );
}

interface EntryWrite {
  readonly generation: 6 | 8;
  readonly index: number;
  readonly value: number;
  /** Of the host's stolen memory. */
  readonly base: number;
}

/** @returns undefined when the guest's firmware has reserved nothing: the VM ends */
function moveEntry(fn: VfioPciFunction, entry: EntryWrite): number | undefined {
  const { generation, index, value, base } = entry;
  // From generation 8 on an entry has 64 bits: the upper half is 0.
  if (generation !== 6 && index % 8 !== 1) return 0;
  const guestBase = fn.config.read(IGD_BDSM, 4);
  trace.vfio_pci_igd_bar4_write.emit({ name: fn.name, index, data: value, base: guestBase });
  if (guestBase !== 0) return (value - base + guestBase) >>> 0;
  const message = `${fn.name}: the guest's firmware has reserved no stolen memory for IGD`;
  fn.env.vfio.onFatal(
    new ViaductError("DEVICE_UNSUPPORTED", `${message} (GTT index ${hex(index)})`, {
      nextStep: "Use firmware that reads etc/igd-bdsm-size, or another guest address than 00:02.0.",
    }),
  );
  return undefined;
}

/** Takes the host's entries out, which would make stray DMA faults (4.7). */
export function clearGtt({ fn, region }: QuirkSite, generation: 6 | 8): void {
  // A failure is reported by the access itself.
  const command = Math.max(0, fn.deviceConfig.read(PCI_COMMAND, 2));
  fn.deviceConfig.write(PCI_COMMAND, 2, command | PCI_COMMAND_IO);
  const limit = indexLimit(fn, generation);
  for (let index = FIRST_INDEX; index < limit; index += INDEX_STEP) {
    region.write(INDEX, 4, index);
    region.write(DATA, 4, 0);
  }
  fn.deviceConfig.write(PCI_COMMAND, 2, command);
}
