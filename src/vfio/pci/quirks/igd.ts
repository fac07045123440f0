/**
 * Intel integrated graphics (spec/igd.md, set B). Its driver and firmware need more than the
 * device: an OpRegion, stolen memory, the IDs of two bridges. What the guest's firmware must place
 * (the OpRegion, stolen memory) it finds as firmware files, and the registers that say where are
 * the guest's own. Legacy mode is all of this for the primary display of a guest.
 *
 * Read `igd-generation.ts` first, then `igd-bridges.ts` and `igd-vbios.ts`.
 */

import {
  VFIO_PCI_ROM_REGION_INDEX,
  VFIO_REGION_SUBTYPE_INTEL_IGD_HOST_CFG,
  VFIO_REGION_SUBTYPE_INTEL_IGD_LPC_CFG,
  VFIO_REGION_SUBTYPE_INTEL_IGD_OPREGION,
  VFIO_REGION_TYPE_PCI_VENDOR_TYPE,
} from "../../../abi/vfio.ts";
import { hex } from "../../../memory/address.ts";
import { devfnOf } from "../../../pci/bus.ts";
import type { Owner } from "../../../sys/owner.ts";
import { ViaductError } from "../../../sys/sys-error.ts";
import type { RegionInfo } from "../../device.ts";
import { findRegion } from "../../kernel-device.ts";
import { emulateField } from "../ids.ts";
import { legacyVgaRegion } from "../populate.ts";
import type { VfioPciFunction } from "../vfio-pci.ts";
import { LegacyVga } from "../vga.ts";
import { layMirror } from "./config-window.ts";
import { copyHostIds, copyLpcIds, IgdLpcBridge, LPC_DEVFN } from "./igd-bridges.ts";
import {
  GGC_VGA_DISABLE,
  gmsField,
  IGD_GGC,
  igdGeneration,
  stolenBaseRegister,
  stolenMemoryMiB,
} from "./igd-generation.ts";
import type { QuirkSite } from "./quirk.ts";
import * as trace from "./trace.ts";

const VENDOR_INTEL = 0x8086;
const REGION_TYPE = (VFIO_REGION_TYPE_PCI_VENDOR_TYPE | VENDOR_INTEL) >>> 0;
/** Where firmware writes the OpRegion's address (ASLS). */
const OPREGION_ADDRESS = 0xfc;
const LEGACY_DEVFN = devfnOf(2);
const HOST_BRIDGE_DEVFN = devfnOf(0);
const MEBIBYTE = 1n << 20n;

const OPREGION_FILE = "etc/igd-opregion";
const STOLEN_SIZE_FILE = "etc/igd-bdsm-size";

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
    if (legacy) prepareLegacyMode(fn, ggc, owner);
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

/** 7.11: some drivers read these registers through BAR 0. */
export function igdBar0Mirrors(site: QuirkSite): undefined {
  const generation = igdGeneration(site.fn.ids.device);
  if (generation === undefined) return;
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

function prepareLegacyMode(fn: VfioPciFunction, ggc: number, owner: Owner): void {
  if (fn.properties.romfile === undefined && !hasRom(fn)) {
    throw new ViaductError("DEVICE_UNSUPPORTED", "Device has no ROM", {
      nextStep: "Give its video BIOS with romfile=PATH.",
    });
  }
  if ((ggc & GGC_VGA_DISABLE) !== 0 || fn.facts.vga) return;
  fn.vga = owner.own(new LegacyVga(fn, legacyVgaRegion(fn.device)));
}

function hasRom({ device }: VfioPciFunction): boolean {
  try {
    return device.regionInfo(VFIO_PCI_ROM_REGION_INDEX).size > 0;
  } catch {
    return false;
  }
}

/** Section 3. */
function loadOpRegion(fn: VfioPciFunction): void {
  if (fn.hotplugged) refuse("OpRegion is not supported on hotplugged device");
  const info = needRegion(fn, VFIO_REGION_SUBTYPE_INTEL_IGD_OPREGION, "OpRegion");
  const { addFirmwareFile } = fn.env;
  if (!addFirmwareFile) refuse("OpRegion needs firmware to place it, and the guest has none");
  const bytes = new Uint8Array(info.size);
  if (fn.device.readRegion(info, 0, bytes) !== bytes.length) {
    throw new ViaductError("REGION_FAILED", "failed to read IGD OpRegion");
  }
  addFirmwareFile(OPREGION_FILE, bytes);
  trace.vfio_pci_igd_opregion_enabled.emit({ name: fn.name });
  giveToGuest(fn, OPREGION_ADDRESS, 4);
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
  const hostBridge = root.get(HOST_BRIDGE_DEVFN);
  if (!hostBridge) refuse("x-igd-lpc is not possible: there is no host bridge");
  const host = needRegion(fn, VFIO_REGION_SUBTYPE_INTEL_IGD_HOST_CFG, "host bridge");
  const lpc = needRegion(fn, VFIO_REGION_SUBTYPE_INTEL_IGD_LPC_CFG, "LPC bridge");
  const bridge = present ?? owner.own(IgdLpcBridge.create(root, LPC_DEVFN));
  copyLpcIds(fn, lpc, bridge);
  trace.vfio_pci_igd_lpc_bridge_enabled.emit({ name: fn.name });
  copyHostIds(fn, host, hostBridge);
  trace.vfio_pci_igd_host_bridge_enabled.emit({ name: fn.name });
}

/** 7.7 to 7.10: how much, and where the guest's firmware put it. */
function offerStolenMemory(fn: VfioPciFunction, generation: number, hostGgc: number): void {
  const ggc = withWantedSize(fn, generation, hostGgc);
  const size = stolenMemoryMiB(generation, ggc);
  fn.env.addFirmwareFile?.(STOLEN_SIZE_FILE, littleEndian(BigInt(size) * MEBIBYTE));
  emulateField(fn.config, IGD_GGC, 4, ggc);
  const register = stolenBaseRegister(generation);
  giveToGuest(fn, register.offset, register.size);
  trace.vfio_pci_igd_bdsm_enabled.emit({ name: fn.name, size });
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

/** A register that begins as 0 and holds what the guest writes; the device keeps the host's. */
function giveToGuest({ config }: VfioPciFunction, offset: number, size: number): void {
  config.bytes.fill(0, offset, offset + size);
  config.wmask.fill(0xff, offset, offset + size);
  config.emuMask.fill(0xff, offset, offset + size);
}

function needRegion(fn: VfioPciFunction, subtype: number, what: string): RegionInfo {
  const info = findRegion(fn.device, { type: REGION_TYPE, subtype });
  if (info) return info;
  return refuse(`Device does not support IGD ${what} feature`);
}

function refuse(message: string): never {
  throw new ViaductError("DEVICE_UNSUPPORTED", message);
}

function littleEndian(value: bigint): Uint8Array {
  return Uint8Array.from({ length: 8 }, (_, i) => Number((value >> BigInt(8 * i)) & 0xffn));
}
