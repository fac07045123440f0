/**
 * The OpRegion of Intel graphics (spec/igd.md section 3): a block of memory with its video BIOS
 * table. The guest's firmware gets the host's as a file and says in config space where it put it.
 * And what the other parts of the set-up share with this one.
 */

import {
  VFIO_PCI_ROM_REGION_INDEX,
  VFIO_REGION_SUBTYPE_INTEL_IGD_OPREGION,
  VFIO_REGION_TYPE_PCI_VENDOR_TYPE,
} from "../../../abi/vfio.ts";
import type { Owner } from "../../../sys/owner.ts";
import { ViaductError } from "../../../sys/sys-error.ts";
import type { RegionInfo } from "../../device.ts";
import { findRegion } from "../../kernel-device.ts";
import { legacyVgaRegion } from "../populate.ts";
import type { VfioPciFunction } from "../vfio-pci.ts";
import { LegacyVga } from "../vga.ts";
import { GGC_VGA_DISABLE } from "./igd-generation.ts";
import * as trace from "./trace.ts";

const VENDOR_INTEL = 0x8086;
const REGION_TYPE = (VFIO_REGION_TYPE_PCI_VENDOR_TYPE | VENDOR_INTEL) >>> 0;
/** Where firmware writes the OpRegion's address (ASLS). */
const OPREGION_ADDRESS = 0xfc;
const OPREGION_FILE = "etc/igd-opregion";
const STOLEN_SIZE_FILE = "etc/igd-bdsm-size";
const MEBIBYTE = 1n << 20n;

const loaded = new WeakSet<VfioPciFunction>();

export function hasOpRegion(fn: VfioPciFunction): boolean {
  return loaded.has(fn);
}

/**
 * Hands the OpRegion over.
 * @throws {ViaductError} DEVICE_UNSUPPORTED, REGION_FAILED
 */
export function loadOpRegion(fn: VfioPciFunction): void {
  if (fn.hotplugged) refuse("OpRegion is not supported on hotplugged device");
  const info = needRegion(fn, VFIO_REGION_SUBTYPE_INTEL_IGD_OPREGION, "OpRegion");
  const { addFirmwareFile } = fn.env;
  if (!addFirmwareFile) refuse("OpRegion needs firmware to place it, and the guest has none");
  const bytes = new Uint8Array(info.size);
  if (fn.device.readRegion(info, 0, bytes) !== bytes.length) {
    throw new ViaductError("REGION_FAILED", "failed to read IGD OpRegion");
  }
  addFirmwareFile(OPREGION_FILE, bytes);
  loaded.add(fn);
  trace.vfio_pci_igd_opregion_enabled.emit({ name: fn.name });
  giveToGuest(fn, OPREGION_ADDRESS, 4);
}

/** Tells the guest's firmware how much memory to reserve. */
export function offerStolenSize(fn: VfioPciFunction, sizeMiB: number): void {
  fn.env.addFirmwareFile?.(STOLEN_SIZE_FILE, littleEndian(BigInt(sizeMiB) * MEBIBYTE));
  trace.vfio_pci_igd_bdsm_enabled.emit({ name: fn.name, size: sizeMiB });
}

/** A register that begins as 0 and holds what the guest writes; the device keeps the host's. */
export function giveToGuest({ config }: VfioPciFunction, offset: number, size: number): void {
  config.bytes.fill(0, offset, offset + size);
  config.wmask.fill(0xff, offset, offset + size);
  config.emuMask.fill(0xff, offset, offset + size);
}

export function needRegion(fn: VfioPciFunction, subtype: number, what: string): RegionInfo {
  const info = findRegion(fn.device, { type: REGION_TYPE, subtype });
  if (info) return info;
  return refuse(`Device does not support IGD ${what} feature`);
}

/** Legacy mode runs the video BIOS. @throws {ViaductError} DEVICE_UNSUPPORTED */
export function needRom({ device, properties }: VfioPciFunction): void {
  if (properties.romfile !== undefined) return;
  try {
    if (device.regionInfo(VFIO_PCI_ROM_REGION_INDEX).size > 0) return;
  } catch {
    // A device without the region has no ROM.
  }
  throw new ViaductError("DEVICE_UNSUPPORTED", "Device has no ROM", {
    nextStep: "Give its video BIOS with romfile=PATH.",
  });
}

/**
 * Claims the VGA ranges, unless graphics control says that the device has none.
 * @throws {ViaductError} DEVICE_UNSUPPORTED
 */
export function claimVga(fn: VfioPciFunction, ggc: number, owner: Owner): void {
  if ((ggc & GGC_VGA_DISABLE) !== 0 || fn.vga || fn.facts.vga) return;
  fn.vga = owner.own(new LegacyVga(fn, legacyVgaRegion(fn.device)));
}

export function refuse(message: string): never {
  throw new ViaductError("DEVICE_UNSUPPORTED", message);
}

function littleEndian(value: bigint): Uint8Array {
  return Uint8Array.from({ length: 8 }, (_, i) => Number((value >> BigInt(8 * i)) & 0xffn));
}
