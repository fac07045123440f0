/**
 * Two ways in which devices show their config space in a BAR (spec/pci-quirks.md section 2): a
 * window (an address register and a data register), and a mirror (a range). Both lead to the
 * guest's view of config space here, as if the guest had used ECAM.
 */

import type { IoHandler, MemoryRegion } from "../../../memory/region.ts";
import { layTrap, type QuirkSite } from "./quirk.ts";
import * as trace from "./trace.ts";

/** An address selects config space when it equals `match` in the bits outside `mask`. */
export interface WindowMatch {
  readonly match: number;
  /** The bits that are the config offset. */
  readonly mask: number;
}

export interface WindowRegisters {
  /** Offsets in the BAR. */
  readonly address: number;
  readonly data: number;
  readonly matches: readonly WindowMatch[];
}

const REGISTER_SIZE = 4;

/** Lays a config window. @returns switches its traps on and off; they start on */
export function layWindow(site: QuirkSite, registers: WindowRegisters): (enabled: boolean) => void {
  const { fn, region } = site;
  const window: { offset: number | undefined } = { offset: undefined };
  const address = layTrap(
    site,
    { name: "window address", offset: registers.address, size: REGISTER_SIZE },
    {
      read: (offset, size) => region.read(registers.address + offset, size),
      write: (offset, size, value) => {
        window.offset = undefined;
        region.write(registers.address + offset, size, value);
        const hit = registers.matches.find(({ match, mask }) => (value & ~mask) >>> 0 === match);
        if (!hit) return;
        window.offset = value & hit.mask;
        trace.vfio_quirk_generic_window_address_write.emit({
          name: fn.name,
          region_name: region.region.name,
          data: value,
        });
      },
    },
  );
  const data = layTrap(
    site,
    { name: "window data", offset: registers.data, size: REGISTER_SIZE },
    dataHandler(site, registers.data, window),
  );
  return (enabled) => {
    for (const trap of [address, data]) trap.setEnabled(enabled);
  };
}

function dataHandler(
  { fn, region }: QuirkSite,
  register: number,
  window: { readonly offset: number | undefined },
): IoHandler {
  const named = { name: fn.name, region_name: region.region.name };
  // The offset inside the data register does not move the config offset; as in QEMU.
  return {
    read: (offset, size) => {
      // The device sees the read even when another answers it.
      const fromDevice = region.read(register + offset, size);
      if (window.offset === undefined) return fromDevice;
      const data = fn.readConfig(window.offset, size);
      trace.vfio_quirk_generic_window_data_read.emit({ ...named, data });
      return data;
    },
    write: (offset, size, value) => {
      if (window.offset === undefined) {
        region.write(register + offset, size, value);
        return;
      }
      fn.writeConfig(window.offset, size, value);
      trace.vfio_quirk_generic_window_data_write.emit({ ...named, data: value });
    },
  };
}

export interface MirrorPlace {
  /** In the BAR. */
  readonly offset: number;
  readonly size: number;
  /** The config offset that the mirror begins with; default 0. */
  readonly configOffset?: number;
}

/**
 * Lays a config mirror.
 * @param written runs after each write, with the config offset
 * @returns the trap
 */
export function layMirror(
  site: QuirkSite,
  place: MirrorPlace,
  written?: (offset: number, size: 1 | 2 | 4, value: number) => void,
): MemoryRegion {
  const { fn, region } = site;
  const base = place.configOffset ?? 0;
  const named = { name: fn.name, region_name: region.region.name };
  return layTrap(
    site,
    { name: "config mirror", ...place },
    {
      read: (offset, size) => {
        // Some devices care that the register was read.
        region.read(place.offset + offset, size);
        const data = fn.readConfig(base + offset, size);
        const point = trace.vfio_quirk_generic_mirror_read;
        if (point.enabled) point.emit({ ...named, addr: base + offset, data });
        return data;
      },
      write: (offset, size, value) => {
        fn.writeConfig(base + offset, size, value);
        const point = trace.vfio_quirk_generic_mirror_write;
        if (point.enabled) point.emit({ ...named, addr: base + offset, data: value });
        written?.(base + offset, size, value);
      },
    },
  );
}
