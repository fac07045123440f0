/**
 * Realtek RTL8168 (spec/pci-quirks.md section 6). The chip shows its MSI-X table through a pair of
 * registers of BAR 2 as well: data at 0x70, a command at 0x74. A command that names the table is
 * carried out on the guest's table.
 *
 *   0x74   31 write / done   30:16 what (1 = MSI-X table)   15:12 byte mask   11:0 offset
 */

import { allOnes } from "../../../layout/bits.ts";
import type { IoHandler } from "../../../memory/region.ts";
import { layTrap, type QuirkSite } from "./quirk.ts";
import * as trace from "./trace.ts";

const DATA = 0x70;
const COMMAND = 0x74;
const COMMAND_WRITE = 0x8000_0000;
const COMMAND_WHAT = 0x7fff_0000;
const WHAT_MSIX_TABLE = 0x1_0000;
const COMMAND_OFFSET = 0xfff;

export function rtl8168Window(site: QuirkSite): undefined {
  const { fn, region } = site;
  /** The last command, while it is one for the table. */
  let command: number | undefined;
  let data = 0;
  // The guest's table answers through its own trap, which knows where it ends.
  const table = () => fn.msix?.tableRegion.handler;
  layTrap(
    site,
    { name: "rtl8168 command", offset: COMMAND, size: 4 },
    wholeRegister({
      read: () => {
        const fromDevice = region.read(COMMAND, 4);
        if (command === undefined) return fromDevice;
        // A read has latched, a write is done, as soon as it is asked.
        const val = (command ^ COMMAND_WRITE) >>> 0;
        trace.vfio_quirk_rtl8168_fake_latch.emit({ name: fn.name, val });
        return val;
      },
      write: (_offset, _size, value) => {
        command = undefined;
        if ((value & COMMAND_WHAT) === WHAT_MSIX_TABLE) {
          command = value;
          if ((value & COMMAND_WRITE) !== 0) {
            const offset = value & COMMAND_OFFSET;
            trace.vfio_quirk_rtl8168_msix_write.emit({ name: fn.name, offset, val: data });
            table()?.write(offset, 4, data);
            return;
          }
        }
        region.write(COMMAND, 4, value);
      },
    }),
  );
  layTrap(
    site,
    { name: "rtl8168 data", offset: DATA, size: 4 },
    wholeRegister({
      read: () => {
        const fromDevice = region.read(DATA, 4);
        const handler = table();
        if (command === undefined || !handler) return fromDevice;
        const offset = command & COMMAND_OFFSET;
        const val = handler.read(offset, 4);
        trace.vfio_quirk_rtl8168_msix_read.emit({ name: fn.name, offset, val });
        return val;
      },
      write: (_offset, _size, value) => {
        data = value;
        region.write(DATA, 4, value);
      },
    }),
  );
  trace.vfio_quirk_rtl8168_probe.emit({ name: fn.name });
}

/** Only an aligned access of 4 bytes reaches `register`; others read ones and write nothing. */
function wholeRegister(register: IoHandler): IoHandler {
  return {
    read: (offset, size) => (size === 4 ? register.read(offset, size) : allOnes(size)),
    write: (offset, size, value) => {
      if (size === 4) register.write(offset, size, value);
    },
  };
}
