/**
 * Does a port isolate what is below it: the Access Control Services capability (PCIe 6.0, 6.12).
 */

import type { HostDevice } from "../pci-device.ts";

const EXT_CAP_ID_ACS = 0x0d;
const FIRST = 0x100;
const STEPS_MAX = 960;
const ACS_CONTROL = 6;
/** What the kernel asks of a port for groups of their own below it: SV, RR, CR, UF. */
const ISOLATING = 0x1d;

/** Undefined: the extended configuration space could not be read. */
export function acsOf(port: HostDevice): "on" | "off" | "absent" | undefined {
  const bytes = port.config.value;
  if (bytes === undefined || bytes.length <= FIRST) return undefined;
  const u16 = (at: number) => (bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8);
  let at = FIRST;
  for (let steps = 0; at >= FIRST && at + 8 <= bytes.length && steps < STEPS_MAX; steps++) {
    if (u16(at) === EXT_CAP_ID_ACS) {
      return (u16(at + ACS_CONTROL) & ISOLATING) === ISOLATING ? "on" : "off";
    }
    at = (u16(at + 2) >> 4) & 0xffc;
  }
  return "absent";
}
