/**
 * The flat view of a region tree: which region answers at each address, as ascending sections that
 * do not overlap. Children are clipped to their parents and lie on top of them; among children the
 * higher priority hides the lower. `address-space.ts` compares two views and tells its listeners.
 */

import { gpa } from "./address.ts";
import type { Section } from "./address-space.ts";
import type { MemoryRegion } from "./region.ts";

/** Addresses are 64 bits: a region of size 2^64 covers them all. */
const ADDRESS_END = 1n << 64n;

/** Flattens the tree below `root`, whose own offset is 0. */
export function flatten(root: MemoryRegion): Section[] {
  const sections: Section[] = [];
  render(root, 0n, 0n, ADDRESS_END, sections);
  return mergeNeighbours(sections);
}

/** Lays `region` under what is there already: what is rendered first stays visible. */
function render(
  region: MemoryRegion,
  base: bigint,
  clipStart: bigint,
  clipEnd: bigint,
  into: Section[],
): void {
  if (!region.enabled) return;
  const start = base > clipStart ? base : clipStart;
  const end = base + region.size < clipEnd ? base + region.size : clipEnd;
  if (start >= end) return;
  for (const child of region.placed) render(child.region, base + child.offset, start, end, into);
  if (region.kind !== "container") fillGaps(region, base, start, end, into);
}

/** Gives `region` every address of [start, end) that no section of `into` has taken. */
function fillGaps(
  region: MemoryRegion,
  base: bigint,
  start: bigint,
  end: bigint,
  into: Section[],
): void {
  let at = firstEndingAfter(into, start);
  let cursor = start;
  while (cursor < end) {
    const next = into[at];
    const gapEnd = next === undefined || next.address > end ? end : (next.address as bigint);
    if (cursor < gapEnd) {
      into.splice(at, 0, section(region, base, cursor, gapEnd));
      at += 1;
    }
    if (next === undefined) return;
    cursor = next.address + next.size;
    at += 1;
  }
}

function section(region: MemoryRegion, base: bigint, start: bigint, end: bigint): Section {
  return {
    region,
    offsetInRegion: start - base,
    address: gpa(start),
    size: end - start,
    readOnly: region.kind === "rom",
  };
}

/** The index of the first section whose end lies above `address`. */
export function firstEndingAfter(sections: readonly Section[], address: bigint): number {
  let low = 0;
  let high = sections.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const { address: start, size } = sections[middle]!;
    if (start + size > address) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** One region placed twice, back to back, is one section. */
function mergeNeighbours(sections: readonly Section[]): Section[] {
  const merged: Section[] = [];
  for (const next of sections) {
    const last = merged.at(-1);
    if (last !== undefined && continues(last, next)) {
      merged[merged.length - 1] = { ...last, size: last.size + next.size };
    } else {
      merged.push(next);
    }
  }
  return merged;
}

function continues(last: Section, next: Section): boolean {
  return (
    last.region === next.region &&
    last.address + last.size === next.address &&
    last.offsetInRegion + last.size === next.offsetInRegion
  );
}

export function sameSection(a: Section, b: Section): boolean {
  return (
    a.region === b.region &&
    a.address === b.address &&
    a.size === b.size &&
    a.offsetInRegion === b.offsetInRegion
  );
}
