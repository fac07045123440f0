/**
 * Does a port isolate what is below it: the Access Control Services capability (PCIe 6.0, 6.12).
 */

import type { HostDevice } from "../pci-device.ts";

const EXT_CAP_ID_ACS = 0x0d;
const FIRST = 0x100;
const STEPS_MAX = 960;

/** Undefined: the extended configuration space could not be read. */
export function hasAcs(port: HostDevice): boolean | undefined {
  const bytes = port.config.value;
  if (bytes === undefined || bytes.length <= FIRST) return undefined;
  const u32 = (at: number) =>
    ((bytes[at] ?? 0) |
      ((bytes[at + 1] ?? 0) << 8) |
      ((bytes[at + 2] ?? 0) << 16) |
      ((bytes[at + 3] ?? 0) << 24)) >>>
    0;
  let at = FIRST;
  for (let steps = 0; at >= FIRST && at + 4 <= bytes.length && steps < STEPS_MAX; steps++) {
    const header = u32(at);
    if ((header & 0xffff) === EXT_CAP_ID_ACS) return true;
    at = (header >>> 20) & 0xffc;
  }
  return false;
}
