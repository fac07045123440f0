/**
 * The whole catalogue in order of number.
 */

import { BARS } from "./bars.ts";
import { BINDING } from "./binding.ts";
import { DMA } from "./dma.ts";
import type { CatalogueEntry } from "./finding.ts";
import { PLATFORM } from "./platform.ts";
import { RESET } from "./reset.ts";
import { USE } from "./use.ts";
import { VIRTUAL } from "./virtual.ts";

export const CATALOGUE: readonly CatalogueEntry[] = [
  ...PLATFORM,
  ...BINDING,
  ...USE,
  ...RESET,
  ...BARS,
  ...DMA,
  ...VIRTUAL,
];

export function entryOf(code: string): CatalogueEntry | undefined {
  const wanted = code.toUpperCase();
  return CATALOGUE.find((entry) => entry.code === wanted || String(entry.number) === code);
}
