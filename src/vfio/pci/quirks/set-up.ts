/** Gives a device the quirks that match it (spec/pci-quirks.md section 1). */

import type { Owner } from "../../../sys/owner.ts";
import type { VfioPciFunction } from "../vfio-pci.ts";
import type { QuirkReset } from "./quirk.ts";
import { DEVICE_RESETS, QUIRKS, type QuirkRow } from "./quirk-table.ts";

/** Step 19 of realize: traps. They go with `owner`. */
export function setUpQuirks(fn: VfioPciFunction, owner: Owner): void {
  const resets: QuirkReset[] = [];
  for (const row of QUIRKS) {
    const bar = fn.assignedBars.get(row.bar);
    if (!bar?.region || !matches(fn, row)) continue;
    const reset = row.setUp({ fn, bar, region: bar.region, owner });
    if (reset) resets.push(reset);
  }
  fn.resetQuirks = () => {
    for (const reset of resets) reset();
  };
}

function matches(fn: VfioPciFunction, row: QuirkRow): boolean {
  const { vendor, device, isVga } = fn.ids;
  if (row.vendor !== vendor || (row.device ?? device) !== device) return false;
  if (row.geforce && fn.properties["x-no-geforce-quirks"]) return false;
  if (row.vga === "ranges" && !fn.vga) return false;
  if (row.vga === "class" && !isVga) return false;
  if (row.kind !== undefined && fn.assignedBars.type(row.bar)?.kind !== row.kind) return false;
  return fn.facts.bars[row.bar]!.size >= (row.sizeMin ?? 1);
}

/** The last step of realize: a reset that only this kind of device has. */
export function chooseDeviceReset(fn: VfioPciFunction): void {
  const { vendor, device } = fn.ids;
  const row = DEVICE_RESETS.find(
    (candidate) => candidate.vendor === vendor && candidate.devices.includes(device),
  );
  if (row) fn.deviceSpecificReset = () => row.reset(fn);
}
