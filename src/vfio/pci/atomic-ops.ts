/**
 * AtomicOps completion shown on the guest's root port, where the host's root complex does it
 * (spec/pci.md section 16).
 */

import {
  PCI_EXP_DEVCAP2,
  PCI_EXP_DEVCAP2_ATOMIC_COMP32,
  PCI_EXP_DEVCAP2_ATOMIC_COMP64,
  PCI_EXP_DEVCAP2_ATOMIC_COMP128,
  PCI_EXP_FLAGS,
  PCI_EXP_FLAGS_TYPE,
  PCI_EXP_FLAGS_VERS,
  PCI_EXP_TYPE_ROOT_PORT,
} from "../../abi/pci-express-regs.ts";
import { PCI_CAP_ID_EXP } from "../../abi/pci-regs.ts";
import {
  VFIO_DEVICE_INFO_CAP_PCI_ATOMIC_COMP,
  VFIO_PCI_ATOMIC_COMP32,
  VFIO_PCI_ATOMIC_COMP64,
  VFIO_PCI_ATOMIC_COMP128,
  vfio_device_info_cap_pci_atomic_comp,
} from "../../abi/vfio.ts";
import { walkCapabilities } from "../../pci/capabilities.ts";
import { readLittleEndian } from "../../pci/config-space.ts";
import type { VfioDevice } from "../device.ts";
import type { VfioPciFunction } from "./vfio-pci.ts";

const VERSION_2 = 2;
const ROOT_PORT_V2 = (PCI_EXP_TYPE_ROOT_PORT << 4) | VERSION_2;

/** Host's capability to the port's bit. */
const WIDTHS = [
  [VFIO_PCI_ATOMIC_COMP32, PCI_EXP_DEVCAP2_ATOMIC_COMP32],
  [VFIO_PCI_ATOMIC_COMP64, PCI_EXP_DEVCAP2_ATOMIC_COMP64],
  [VFIO_PCI_ATOMIC_COMP128, PCI_EXP_DEVCAP2_ATOMIC_COMP128],
] as const;
const ALL_WIDTHS = WIDTHS.reduce((bits, [, bit]) => bits | bit, 0);

/**
 * Sets the bits in the port above, when it has none.
 * @returns what takes them back; undefined when nothing was set
 */
export function showAtomicOps(fn: VfioPciFunction): (() => void) | undefined {
  const bytes = fn.bus.parent?.config.bytes;
  if (!bytes || fn.devfn !== 0 || fn.multifunction) return undefined;
  const offset = walkCapabilities(bytes).find(({ id }) => id === PCI_CAP_ID_EXP)?.offset;
  if (offset === undefined) return undefined;
  const flags = readLittleEndian(bytes, offset + PCI_EXP_FLAGS, 2);
  if ((flags & (PCI_EXP_FLAGS_TYPE | PCI_EXP_FLAGS_VERS)) !== ROOT_PORT_V2) return undefined;
  const at = offset + PCI_EXP_DEVCAP2;
  const before = readLittleEndian(bytes, at, 4);
  const bits = completedByHost(fn.device);
  if (bits === 0 || (before & ALL_WIDTHS) !== 0) return undefined;
  write(bytes, at, before | bits);
  return () => write(bytes, at, readLittleEndian(bytes, at, 4) & ~ALL_WIDTHS);
}

function completedByHost({ info }: VfioDevice): number {
  const capability = info.capabilities.get(VFIO_DEVICE_INFO_CAP_PCI_ATOMIC_COMP);
  if (!capability) return 0;
  const { flags } = vfio_device_info_cap_pci_atomic_comp.at(capability);
  return WIDTHS.reduce((bits, [host, bit]) => bits | ((flags & host) !== 0 ? bit : 0), 0);
}

function write(bytes: Uint8Array, at: number, value: number): void {
  for (let i = 0; i < 4; i++) bytes[at + i] = value >>> (8 * i);
}
