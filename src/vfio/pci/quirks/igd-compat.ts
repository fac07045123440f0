/**
 * Intel graphics as QEMU had it up to 9.0 (`x-igd-compat=9.0`; spec/igd.md, set A): legacy mode is
 * attempted for the display at 00:02.0, and is given up with a line where something is missing.
 * Stolen memory is no more than the page tables need and the user adds; `igd-gtt.ts` moves the
 * tables' entries there.
 */

import {
  VFIO_REGION_SUBTYPE_INTEL_IGD_HOST_CFG,
  VFIO_REGION_SUBTYPE_INTEL_IGD_LPC_CFG,
  VFIO_REGION_SUBTYPE_INTEL_IGD_OPREGION,
} from "../../../abi/vfio.ts";
import { hex } from "../../../memory/address.ts";
import { ViaductError } from "../../../sys/sys-error.ts";
import { emulateField } from "../ids.ts";
import type { VfioPciFunction } from "../vfio-pci.ts";
import { IgdLpcBridge, LPC_DEVFN, showBridgeIds } from "./igd-bridges.ts";
import {
  gmsField,
  gttSizeMiB,
  IGD_BDSM,
  IGD_GGC,
  igdGenerationUpTo90,
  LEGACY_DEVFN,
} from "./igd-generation.ts";
import { clearGtt, layGttTraps } from "./igd-gtt.ts";
import {
  claimVga,
  giveToGuest,
  hasOpRegion,
  loadOpRegion,
  needRegion,
  needRom,
  offerStolenSize,
  refuse,
} from "./igd-opregion.ts";
import type { QuirkSite } from "./quirk.ts";

const GMS_MAX = 0x10;

/** Step 20 of realize: `x-igd-opregion`, of any device, when legacy mode has not done it. */
export function setUpIgdCompat(fn: VfioPciFunction): void {
  const { properties } = fn;
  if (properties["x-igd-compat"] !== "9.0") return;
  if (properties["x-igd-opregion"] && !hasOpRegion(fn)) loadOpRegion(fn);
}

/** While BAR 4 is set up. Whatever fails is told, and what was done before it remains. */
export function igdLegacyMode(site: QuirkSite): undefined {
  const { fn } = site;
  if (fn.properties["x-igd-compat"] !== "9.0") return;
  if (!fn.bus.isRoot || fn.devfn !== LEGACY_DEVFN) return;
  try {
    enableLegacyMode(site);
  } catch (error) {
    if (!(error instanceof ViaductError)) throw error;
    fn.report(`${fn.name}: IGD legacy mode disabled: ${error.message}`);
  }
}

/** The rows of 4.2. @throws {ViaductError} where one of them ends it */
function enableLegacyMode(site: QuirkSite): void {
  const { fn, owner } = site;
  const present = fn.bus.get(LPC_DEVFN);
  if (present && !(present instanceof IgdLpcBridge)) {
    refuse(`${present.name} is at 00:1f.0, and only a dummy bridge may be there`);
  }
  const generation = igdGenerationUpTo90(fn.ids.device);
  if (generation === undefined) {
    const id = fn.ids.device.toString(16);
    refuse(`the generation of device ${id} is unsupported, try SandyBridge or newer`);
  }
  needRom(fn);
  if (fn.hotplugged) {
    fn.romUnreadable = true;
    refuse("a hot-plugged device cannot have it; its ROM is disabled");
  }
  needRegion(fn, VFIO_REGION_SUBTYPE_INTEL_IGD_OPREGION, "OpRegion");
  const host = needRegion(fn, VFIO_REGION_SUBTYPE_INTEL_IGD_HOST_CFG, "host bridge");
  const lpc = needRegion(fn, VFIO_REGION_SUBTYPE_INTEL_IGD_LPC_CFG, "LPC bridge");
  const ggc = fn.guestRead(IGD_GGC, 4);
  const hostBase = fn.guestRead(IGD_BDSM, 4);
  if (ggc < 0 || hostBase < 0) refuse("its graphics control cannot be read");
  claimVga(fn, ggc, owner);
  showBridgeIds(fn, { host, lpc }, owner);
  loadOpRegion(fn);
  layGttTraps(site, { generation, hostBase });
  reserveStolenMemory(fn, generation, ggc);
  clearGtt(site, generation);
}

/** 4.3 to 4.6: the page tables' share and what the user adds; graphics memory itself is "none". */
function reserveStolenMemory(fn: VfioPciFunction, generation: 6 | 8, ggc: number): void {
  const { mask, shift } = gmsField(generation);
  let gms = fn.properties["x-igd-gms"];
  if (gms > GMS_MAX) {
    fn.report(`${fn.name}: x-igd-gms ${hex(gms)} is out of range (${hex(GMS_MAX)}): ignored`);
    gms = 0;
  }
  emulateField(fn.config, IGD_GGC, 4, ((ggc & ~mask) | (gms << shift)) >>> 0);
  giveToGuest(fn, IGD_BDSM, 4);
  offerStolenSize(fn, gttSizeMiB(generation, ggc) + 32 * gms);
}
