/**
 * Intel integrated graphics, as QEMU has had it since 10.0 (spec/igd.md, set B; `igd-compat.ts` is
 * set A). Its driver and firmware need more than the device: an OpRegion, stolen memory, the IDs of
 * two bridges. What the guest's firmware must place (the OpRegion, stolen memory) it finds as
 * firmware files, and the registers that say where are the guest's own. Legacy mode is all of this
 * for the primary display of a guest.
 *
 * Read `igd-generation.ts` first, then `igd-opregion.ts`, `igd-bridges.ts` and `igd-vbios.ts`.
 */

import {
  VFIO_REGION_SUBTYPE_INTEL_IGD_HOST_CFG,
  VFIO_REGION_SUBTYPE_INTEL_IGD_LPC_CFG,
} from "../../../abi/vfio.ts";
import { hex } from "../../../memory/address.ts";
import type { Owner } from "../../../sys/owner.ts";
import { ViaductError } from "../../../sys/sys-error.ts";
import { emulateField } from "../ids.ts";
import type { VfioPciFunction } from "../vfio-pci.ts";
import { layMirror } from "./config-window.ts";
import { IgdLpcBridge, LPC_DEVFN, showBridgeIds } from "./igd-bridges.ts";
import {
  gmsField,
  IGD_GGC,
  igdGeneration,
  LEGACY_DEVFN,
  stolenBaseRegister,
  stolenMemoryMiB,
} from "./igd-generation.ts";
import {
  claimVga,
  giveToGuest,
  loadOpRegion,
  needRegion,
  needRom,
  offerStolenSize,
  refuse,
} from "./igd-opregion.ts";
import type { QuirkSite } from "./quirk.ts";

const VENDOR_INTEL = 0x8086;

/** Where BAR 0 shows registers of config space. */
const GGC_MIRROR = 0x10_8040;
const GGC_MIRROR_SIZE = 2;
const STOLEN_BASE_MIRROR = 0x10_80c0;

const MEDIATED = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/**
 * After the capabilities, before VGA and BAR quirks.
 * @throws {ViaductError} for what was asked for and is not there
 */
export function setUpIgd(fn: VfioPciFunction, owner: Owner): void {
  const { properties, ids } = fn;
  if (properties["x-igd-compat"] !== "10.0") {
    refuseLater(fn);
    return;
  }
  if (MEDIATED.test(fn.device.name)) {
    if (properties["x-igd-opregion"]) loadOpRegion(fn);
    return;
  }
  if (ids.vendor !== VENDOR_INTEL || !ids.isVga) return;
  const generation = igdGeneration(ids.device);
  if (generation === undefined) {
    fn.report(`${fn.name}: IGD device ${ids.device.toString(16)} is unsupported: no IGD set-up`);
    return;
  }
  const ggc = fn.guestRead(IGD_GGC, 4);
  if (ggc < 0) throw new ViaductError("REGION_FAILED", "failed to read IGD graphics control");
  const legacy = wantsLegacyMode(fn);
  try {
    if (legacy) {
      needRom(fn);
      claimVga(fn, ggc, owner);
    }
    if (legacy || properties["x-igd-opregion"]) loadOpRegion(fn);
    if (legacy || properties["x-igd-lpc"]) showBridges(fn, owner);
  } catch (error) {
    if (!legacy || properties["x-igd-legacy-mode"] === "on") throw error;
    if (!(error instanceof ViaductError)) throw error;
    fn.report(`${fn.name}: IGD legacy mode disabled: ${error.message}`);
    return;
  }
  offerStolenMemory(fn, generation, ggc);
}

/** What QEMU 9.0 did not have must not be passed over in silence. */
function refuseLater({ properties }: VfioPciFunction): void {
  if (!properties["x-igd-lpc"] && properties["x-igd-legacy-mode"] === "auto") return;
  const message = "x-igd-lpc and x-igd-legacy-mode do not go with x-igd-compat=9.0";
  throw new ViaductError("PROPERTY", message, {
    nextStep: "Leave them out, or leave out x-igd-compat.",
  });
}

/** 7.11: some drivers read these registers through BAR 0. */
export function igdBar0Mirrors(site: QuirkSite): undefined {
  const { ids, properties } = site.fn;
  const generation = igdGeneration(ids.device);
  if (generation === undefined || properties["x-igd-compat"] !== "10.0") return;
  layMirror(site, { offset: GGC_MIRROR, size: GGC_MIRROR_SIZE, configOffset: IGD_GGC });
  const { offset, size } = stolenBaseRegister(generation);
  layMirror(site, { offset: STOLEN_BASE_MIRROR, size, configOffset: offset });
}

/** 7.4. @throws {ViaductError} PROPERTY when it is forced and cannot be */
function wantsLegacyMode(fn: VfioPciFunction): boolean {
  const { env, bus, devfn, properties } = fn;
  const mode = properties["x-igd-legacy-mode"];
  if (mode === "off") return false;
  const unmet: string[] = [];
  if (env.machineFamily !== "i440fx") unmet.push("the machine is no i440fx");
  if (!bus.isRoot || devfn !== LEGACY_DEVFN) unmet.push("the device is not at 00:02.0");
  if (unmet.length > 0) {
    if (mode === "auto") return false;
    const message = `IGD legacy mode is not possible: ${unmet.join(", and ")}`;
    throw new ViaductError("PROPERTY", message, { nextStep: "Leave x-igd-legacy-mode off." });
  }
  if (mode === "auto") {
    fn.report(`${fn.name}: IGD legacy mode enabled, use x-igd-legacy-mode=off to disable it`);
  }
  return true;
}

/** Section 6. */
function showBridges(fn: VfioPciFunction, owner: Owner): void {
  const root = fn.bus;
  if (fn.hotplugged) refuse("LPC bridge is not supported on hotplugged device");
  if (!root.isRoot || fn.env.machineFamily !== "i440fx") {
    refuse("x-igd-lpc is not possible: the machine has an LPC bridge of its own");
  }
  const present = root.get(LPC_DEVFN);
  if (present && !(present instanceof IgdLpcBridge)) {
    refuse(`x-igd-lpc is not possible: ${present.name} is at 00:1f.0`);
  }
  const host = needRegion(fn, VFIO_REGION_SUBTYPE_INTEL_IGD_HOST_CFG, "host bridge");
  const lpc = needRegion(fn, VFIO_REGION_SUBTYPE_INTEL_IGD_LPC_CFG, "LPC bridge");
  showBridgeIds(fn, { host, lpc }, owner);
}

/** 7.7 to 7.10: how much, and where the guest's firmware put it. */
function offerStolenMemory(fn: VfioPciFunction, generation: number, hostGgc: number): void {
  const ggc = withWantedSize(fn, generation, hostGgc);
  emulateField(fn.config, IGD_GGC, 4, ggc);
  const register = stolenBaseRegister(generation);
  giveToGuest(fn, register.offset, register.size);
  offerStolenSize(fn, stolenMemoryMiB(generation, ggc));
}

function withWantedSize(fn: VfioPciFunction, generation: number, ggc: number): number {
  const wanted = fn.properties["x-igd-gms"];
  if (wanted === 0) return ggc;
  const max = generation < 8 ? 0x10 : 0x40;
  if (wanted > max) {
    fn.report(`${fn.name}: x-igd-gms ${hex(wanted)} is out of range (${hex(max)}): ignored`);
    return ggc;
  }
  const { mask, shift } = gmsField(generation);
  return ((ggc & ~mask) | (wanted << shift)) >>> 0;
}
