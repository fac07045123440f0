/** AMD and ATI graphics (spec/pci-quirks.md section 3): where they show their config space. */

import { PCI_BASE_ADDRESS_4 } from "../../../abi/pci-regs.ts";
import { rateLimited } from "../../report.ts";
import { layMirror, layWindow } from "./config-window.ts";
import type { QuirkSite } from "./quirk.ts";
import * as trace from "./trace.ts";

const PORT = 0x3c3;
const MIRROR_OFFSET = 0x4000;
const MIRROR_SIZE = 256;

/**
 * VGA port 3c3 reads as bits 15:8 of the I/O BAR, by which the card's firmware finds it: the
 * guest's here, whose low byte is 0 as the BAR has 256 bytes and more.
 */
export function atiPort3c3({ fn }: QuirkSite): undefined {
  const report = rateLimited(fn.report);
  fn.vga!.layTrap(PORT, 1, {
    read: (_offset, size) => {
      const data = fn.readConfig(PCI_BASE_ADDRESS_4 + 1, size);
      trace.vfio_quirk_ati_3c3_read.emit({ name: fn.name, data });
      return data;
    },
    write: () => report(`${fn.name}: the guest writes VGA port 3c3, which is ignored`),
  });
  trace.vfio_quirk_ati_3c3_probe.emit({ name: fn.name });
}

export function atiBar4Window(site: QuirkSite): undefined {
  const { config, name } = site.fn;
  layWindow(site, { address: 0, data: 4, matches: [{ match: 0x4000, mask: config.size - 1 }] });
  trace.vfio_quirk_ati_bar4_probe.emit({ name });
}

export function atiBar2Mirror(site: QuirkSite): undefined {
  layMirror(site, { offset: MIRROR_OFFSET, size: MIRROR_SIZE });
  trace.vfio_quirk_ati_bar2_probe.emit({ name: site.fn.name });
}
