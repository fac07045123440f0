/**
 * Capabilities that the device does not have and a guest's driver needs (spec/pci-quirks.md section
 * 8): which NVIDIA GPUs reach each other, and where the host placed the BARs of an Intel VMD.
 */

import { PCI_BASE_ADDRESS_2, PCI_CAP_ID_VNDR, PCI_CLASS_DEVICE } from "../../abi/pci-regs.ts";
import { hex } from "../../memory/address.ts";
import { ViaductError } from "../../sys/sys-error.ts";
import type { VfioPciFunction } from "./vfio-pci.ts";

const VENDOR_NVIDIA = 0x10de;
const BASE_CLASS_DISPLAY = 0x03;
/** Turing and newer have MSI-X at the first of them. */
const CLIQUE_OFFSETS = [0xc8, 0xd4];
const CLIQUE_SIZE = 8;

const VENDOR_INTEL = 0x8086;
/** 28c0 has the registers itself, in BAR 4. */
const VMD_DEVICES = [0x201d, 0x467f, 0x4c3d, 0x9a0b];
const VMD_OFFSET = 0xe8;
const VMD_SIZE = 24;
/** BAR 2 to 5. */
const VMD_SHADOW_SIZE = 16;

/**
 * @param physical offsets of the device's own capabilities
 * @throws {ViaductError} PROPERTY for a clique on what is no NVIDIA GPU or has no room for it,
 *   REGION_FAILED
 */
export function addVirtualCapabilities(fn: VfioPciFunction, physical: readonly number[]): void {
  addGpuDirectClique(fn, physical);
  addVmdShadow(fn);
}

function addGpuDirectClique(fn: VfioPciFunction, physical: readonly number[]): void {
  const clique = fn.properties["x-nv-gpudirect-clique"];
  if (clique === undefined) return;
  if (fn.ids.vendor !== VENDOR_NVIDIA) refuseClique("invalid device vendor");
  if (fn.config.read(PCI_CLASS_DEVICE + 1, 1) !== BASE_CLASS_DISPLAY) {
    refuseClique("unsupported PCI class");
  }
  const offset = CLIQUE_OFFSETS.find((at) => !physical.includes(at));
  if (offset === undefined) refuseClique("no space for the capability");
  addVendorCapability(fn, offset, [CLIQUE_SIZE, ...Buffer.from("P2P"), clique << 3, 0]);
}

function refuseClique(why: string): never {
  throw new ViaductError("PROPERTY", `NVIDIA GPUDirect Clique ID: ${why}`);
}

function addVmdShadow(fn: VfioPciFunction): void {
  const { vendor, device } = fn.ids;
  if (vendor !== VENDOR_INTEL || !VMD_DEVICES.includes(device)) return;
  // Host addresses: nothing may have written the kernel's virtual BARs before.
  const bars = new Uint8Array(VMD_SHADOW_SIZE);
  const result = fn.deviceConfig.readBytes(PCI_BASE_ADDRESS_2, bars);
  if (result !== bars.length) {
    const message = `failed to read the VMD's BARs at config offset ${hex(PCI_BASE_ADDRESS_2)}`;
    throw new ViaductError("REGION_FAILED", message);
  }
  addVendorCapability(fn, VMD_OFFSET, [VMD_SIZE, 1, ...Buffer.from("SHDW").reverse(), ...bars]);
}

/** @param body what follows the ID and the next pointer */
function addVendorCapability(fn: VfioPciFunction, offset: number, body: readonly number[]): void {
  const { config } = fn;
  const size = body.length + 2;
  config.addCapability(PCI_CAP_ID_VNDR, offset, size);
  config.bytes.set(body, offset + 2);
  config.emuMask.fill(0xff, offset, offset + size);
}
