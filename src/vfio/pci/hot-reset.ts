/** Hot reset of a slot or bus with all its functions (spec/pci.md 14B). */

import type { VfioPciFunction } from "./vfio-pci.ts";

export function hotReset(_fn: VfioPciFunction, _flavour: "single" | "multi"): boolean {
  return false;
}
