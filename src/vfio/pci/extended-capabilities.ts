/**
 * The extended capability list, rebuilt for the guest (spec/pci.md section 6): without what a guest
 * must not use, and with a resizable BAR shown at its present size only.
 */

import {
  PCI_EXT_CAP_ID_ARI,
  PCI_EXT_CAP_ID_REBAR,
  PCI_EXT_CAP_ID_SRIOV,
} from "../../abi/pci-ext-regs.ts";
import { hex } from "../../memory/address.ts";
import {
  EXTENDED_START,
  type ExtendedCapabilityEntry,
  walkExtendedCapabilities,
} from "../../pci/capabilities.ts";
import { readLittleEndian } from "../../pci/config-space.ts";
import { ViaductError } from "../../sys/sys-error.ts";
import { emulateField } from "./ids.ts";
import * as trace from "./trace.ts";
import type { VfioPciFunction } from "./vfio-pci.ts";

/** A header that is neither "no list" (0) nor a capability, while the list is being built. */
const STUB_ID = 0xffff;
/** Placeholder of the kernel for a hidden first capability. */
const NULL_ID = 0;
const SIZE_MIN = 8;

export function rebuildExtendedCapabilities(fn: VfioPciFunction): void {
  const { config, bus } = fn;
  if (config.size !== 4096 || !bus.isExpress) return;
  if (config.read(EXTENDED_START, 4) === 0) return;
  // Adding rewrites headers, so the walk is over a copy.
  const original = config.bytes.slice();
  const chain = walkExtendedCapabilities(original);
  const offsets = chain.map(({ offset }) => offset);
  emulateField(config, EXTENDED_START, 4, STUB_ID);
  for (const entry of chain) {
    const { offset } = entry;
    emulateNextPointer(config.emuMask, offset);
    const above = offsets.filter((other) => other > offset);
    const size = Math.min(config.size, ...above) - offset;
    if (isShown(fn, original, entry)) add(fn, entry, size);
    else trace.vfio_add_ext_cap_dropped.emit({ name: fn.name, cap: entry.id, offset });
  }
  // With nothing at 0x100 the ID becomes 0: alone it means "no list", with a next pointer it is an
  // entry to skip.
  if (config.read(EXTENDED_START, 2) === STUB_ID) config.write(EXTENDED_START, 2, 0);
}

/** Bits 31:22 of the header; the two below are reserved. */
function emulateNextPointer(emuMask: Uint8Array, offset: number): void {
  emuMask[offset + 2]! |= 0xc0;
  emuMask[offset + 3] = 0xff;
}

function isShown(
  fn: VfioPciFunction,
  original: Uint8Array,
  { id, offset }: ExtendedCapabilityEntry,
): boolean {
  switch (id) {
    case NULL_ID:
    // Read-only VF BARs confuse the guest's firmware.
    case PCI_EXT_CAP_ID_SRIOV:
    // The next function is not virtualized.
    case PCI_EXT_CAP_ID_ARI:
      return false;
    case PCI_EXT_CAP_ID_REBAR:
      return freezeResizableBars(fn, original, offset);
    default:
      return true;
  }
}

function add(fn: VfioPciFunction, entry: ExtendedCapabilityEntry, size: number): void {
  const { id, version, offset } = entry;
  if (size < SIZE_MIN) {
    throw new ViaductError(
      "DEVICE_UNSUPPORTED",
      `extended capability ${hex(id)} at ${hex(offset)} has ${size} bytes`,
    );
  }
  fn.config.addExtendedCapability(id, version, offset, size);
}

/** BAR index, entry count and size index of a control register. */
const CONTROL_SHOWN = 0x1fe7;
/** Sizes of 1 MiB to 512 GiB: what the capability register can express. */
const SIZES_SHOWN = 0x00ff_fff0;

/** Shows the present size of each BAR as the only one; false when that cannot be said (6.7). */
function freezeResizableBars(fn: VfioPciFunction, original: Uint8Array, offset: number): boolean {
  const read = (at: number) => readLittleEndian(original, at, 4);
  const count = (read(offset + 8) >>> 5) & 7;
  const entries = Array.from({ length: count }, (_, i) => {
    const control = read(offset + 8 + 8 * i);
    const index = (control >>> 8) & 0x1f;
    return { at: offset + 4 + 8 * i, control, sizes: index <= 27 ? (1 << (index + 4)) >>> 0 : 0 };
  });
  if (entries.some(({ sizes }) => (sizes & SIZES_SHOWN) === 0)) return false;
  for (const { at, control, sizes } of entries) {
    emulateField(fn.config, at, 4, sizes);
    emulateField(fn.config, at + 4, 4, control & CONTROL_SHOWN);
  }
  return true;
}
