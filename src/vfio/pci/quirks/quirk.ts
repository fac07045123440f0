/**
 * What every quirk is made of (spec/pci-quirks.md section 1): traps laid over a BAR of the device.
 * A trap is above the BAR's mapping and hides it for its own bytes only; what it forwards goes the
 * BAR's slow path, which is `VfioRegion.read` and `.write`.
 */

import { type IoHandler, MemoryRegion } from "../../../memory/region.ts";
import type { Owner } from "../../../sys/owner.ts";
import type { VfioRegion } from "../../region.ts";
import type { AssignedBar } from "../bars.ts";
import type { VfioPciFunction } from "../vfio-pci.ts";

/** Where a quirk is set up. */
export interface QuirkSite {
  readonly fn: VfioPciFunction;
  /** The BAR that the table names for it. */
  readonly bar: AssignedBar;
  /** That BAR on the device. */
  readonly region: VfioRegion;
  /** Takes back what the quirk lays and holds, when the device leaves. */
  readonly owner: Owner;
}

/** Puts the quirk into its first state at a reset of the device. */
export type QuirkReset = () => void;

/** @returns what to do at a reset; undefined: nothing */
export type QuirkSetUp = (site: QuirkSite) => QuirkReset | undefined;

/** Above the mapping of the BAR. */
const TRAP_PRIORITY = 1;

export interface TrapPlace {
  readonly name: string;
  /** In the BAR. */
  readonly offset: number;
  readonly size: number;
}

/** Lays a trap over `place` of the site's BAR. */
export function layTrap(site: QuirkSite, place: TrapPlace, handler: IoHandler): MemoryRegion {
  const { fn, region, owner } = site;
  const name = `${region.region.name} ${place.name}`;
  const trap = new MemoryRegion(name, "io", BigInt(place.size), { handler, owner: fn });
  region.region.add(trap, BigInt(place.offset), TRAP_PRIORITY);
  owner.defer(() => region.region.remove(trap));
  return trap;
}
