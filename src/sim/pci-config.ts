/**
 * The configuration space of a software PCI device as vfio-pci shows it
 * (drivers/vfio/pci/vfio_pci_config.c): its first contents, and which bits a write changes.
 * BARs are virtual: they start with the host's addresses and size themselves.
 */

import {
  PCI_BASE_ADDRESS_0,
  PCI_BASE_ADDRESS_MEM_PREFETCH,
  PCI_BASE_ADDRESS_MEM_TYPE_64,
  PCI_BASE_ADDRESS_SPACE_IO,
  PCI_CAP_ID_EXP,
  PCI_CAP_ID_MSI,
  PCI_CAP_ID_MSIX,
  PCI_CAP_ID_PM,
  PCI_CAPABILITY_LIST,
  PCI_COMMAND,
  PCI_INTERRUPT_LINE,
  PCI_INTERRUPT_PIN,
  PCI_MSI_FLAGS_64BIT,
  PCI_MSI_FLAGS_MASKBIT,
  PCI_MSI_FLAGS_QSIZE,
  PCI_ROM_ADDRESS,
  PCI_STATUS,
  PCI_STATUS_CAP_LIST,
  PCI_STD_HEADER_SIZEOF,
} from "../abi/pci-regs.ts";
import type { CapabilitySpec, PciDeviceSpec } from "./pci-spec.ts";

/** IO, MEMORY, MASTER, SERR, INTX_DISABLE; emulated hardware has no parity. */
const COMMAND_WRITABLE = 0x0507;
/** `PCI_EXP_DEVCAP_FLR`, in the Device Capabilities register. */
const DEVCAP_FLR = 1 << 28;
const DEVCTL_FLR = 0x8000;
const DEVCTL_BODY = 6;
const PM_NO_SOFT_RESET = 0x8;
/** As many as fit between the header and the end of 256 bytes. */
const CAPABILITIES_MAX = 48;

export interface PciConfig {
  readonly bytes: Uint8Array;
  /** Bits a write changes. */
  readonly writable: Uint8Array;
  /** Where the PCIe capability's Device Control is; undefined for conventional PCI. */
  readonly deviceControl: number | undefined;
  /** Where MSI's Message Control is, and how many vectors the device has (a power of two). */
  readonly msiControl: number | undefined;
  readonly msiVectors: number;
}

/** The guest asks for no more messages than the device has. */
function limitVectors({ bytes, msiControl, msiVectors }: PciConfig): void {
  const at = msiControl!;
  const most = Math.log2(msiVectors);
  const wanted = (bytes[at]! & PCI_MSI_FLAGS_QSIZE) >> 4;
  if (wanted > most) bytes[at] = (bytes[at]! & ~PCI_MSI_FLAGS_QSIZE) | (most << 4);
}

export function buildConfig(spec: PciDeviceSpec): PciConfig {
  const size = spec.configSize ?? 4096;
  const bytes = new Uint8Array(size);
  const writable = new Uint8Array(size);
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const masks = new DataView(writable.buffer, writable.byteOffset);
  view.setUint16(0x00, spec.vendorId, true);
  view.setUint16(0x02, spec.deviceId, true);
  view.setUint32(0x08, (((spec.classCode ?? 0xff0000) << 8) | (spec.revision ?? 0)) >>> 0, true);
  view.setUint16(0x2c, spec.subsystemVendorId ?? 0x1af4, true);
  view.setUint16(0x2e, spec.subsystemId ?? 0x1100, true);
  view.setUint8(PCI_INTERRUPT_PIN, spec.interruptPin ?? 0);
  masks.setUint16(PCI_COMMAND, COMMAND_WRITABLE, true);
  masks.setUint8(PCI_INTERRUPT_LINE, 0xff);
  buildBars(spec, view, masks);
  let at = PCI_STD_HEADER_SIZEOF;
  let link = PCI_CAPABILITY_LIST;
  let deviceControl: number | undefined;
  let msiControl: number | undefined;
  for (const capability of capabilitiesOf(spec)) {
    const offset = capability.offset ?? at;
    bytes[link] = offset;
    bytes[offset] = capability.id;
    bytes.set(capability.body, offset + 2);
    if (capability.writable) writable.set(capability.writable, offset + 2);
    if (capability.id === PCI_CAP_ID_EXP) deviceControl = offset + 2 + DEVCTL_BODY;
    if (capability.id === PCI_CAP_ID_MSI) msiControl = offset + 2;
    link = offset + 1;
    at = Math.ceil((offset + 2 + capability.body.length) / 4) * 4;
  }
  if (link !== PCI_CAPABILITY_LIST) view.setUint16(PCI_STATUS, PCI_STATUS_CAP_LIST, true);
  for (const extended of spec.extended ?? []) bytes.set(extended.bytes, extended.offset);
  const msiVectors = spec.msi?.vectors ?? 1;
  return { bytes, writable, deviceControl, msiControl, msiVectors };
}

function buildBars(spec: PciDeviceSpec, view: DataView, masks: DataView): void {
  // Some host address that is naturally aligned, as firmware would choose it.
  let next = 0xc000_0000n;
  for (const [index, bar] of Object.entries(spec.bars ?? {})) {
    const at = PCI_BASE_ADDRESS_0 + 4 * Number(index);
    const size = BigInt(bar.size);
    next = ((next + size - 1n) / size) * size;
    const address = bar.hostAddress ?? (bar.kind === "io" ? 0xc000n : next);
    next += size;
    const type =
      bar.kind === "io"
        ? PCI_BASE_ADDRESS_SPACE_IO
        : (bar.kind === "mem64" ? PCI_BASE_ADDRESS_MEM_TYPE_64 : 0) |
          (bar.prefetchable ? PCI_BASE_ADDRESS_MEM_PREFETCH : 0);
    const mask = BigInt.asUintN(64, -size);
    view.setUint32(at, Number((address & 0xffffffffn) | BigInt(type)), true);
    masks.setUint32(at, Number(mask & 0xfffffff0n) | (bar.kind === "io" ? 0xc : 0), true);
    if (bar.kind === "io") masks.setUint32(at, Number(mask & 0xfffffffcn), true);
    if (bar.kind !== "mem64") continue;
    view.setUint32(at + 4, Number(address >> 32n), true);
    masks.setUint32(at + 4, Number(mask >> 32n), true);
  }
  const romSize = romBarSize(spec);
  if (romSize > 0) masks.setUint32(PCI_ROM_ADDRESS, ((-romSize & 0xfffff800) | 1) >>> 0, true);
}

/** The ROM BAR's size: the image rounded up to a power of two, 2 KiB at least. */
export function romBarSize(spec: PciDeviceSpec): number {
  if (spec.rom === undefined) return 0;
  return Math.max(2048, 2 ** Math.ceil(Math.log2(spec.rom.length)));
}

function capabilitiesOf(spec: PciDeviceSpec): CapabilitySpec[] {
  const capabilities = spec.powerManagement === false ? [] : [powerManagement(spec)];
  if ((spec.configSize ?? 4096) > 256) capabilities.push(pciExpress(spec));
  if (spec.msi) capabilities.push(msi(spec.msi));
  if (spec.msix) capabilities.push(msix(spec.msix));
  return [...capabilities, ...(spec.capabilities ?? [])];
}

function powerManagement(spec: PciDeviceSpec): CapabilitySpec {
  const body = new Uint8Array(6);
  const view = new DataView(body.buffer, body.byteOffset);
  view.setUint16(0, 0x0003, true);
  // A device without "no soft reset" loses its state in D3hot: that is the PM reset.
  view.setUint16(2, spec.reset === "pm" ? 0 : PM_NO_SOFT_RESET, true);
  const writable = new Uint8Array(6);
  writable[2] = 0x03;
  return { id: PCI_CAP_ID_PM, body, writable };
}

function pciExpress(spec: PciDeviceSpec): CapabilitySpec {
  const body = new Uint8Array(58);
  const view = new DataView(body.buffer, body.byteOffset);
  view.setUint16(0, 0x0002, true); // Version 2, endpoint.
  const flr = (spec.reset ?? "flr") === "flr";
  view.setUint32(2, flr ? 0x8000 | DEVCAP_FLR : 0x8000, true);
  view.setUint32(10, 0x0000_0411, true); // x1, 2.5 GT/s.
  view.setUint16(16, 0x0011, true);
  const writable = new Uint8Array(58);
  new DataView(writable.buffer, writable.byteOffset).setUint16(6, 0x7fff, true);
  return { id: PCI_CAP_ID_EXP, body, writable };
}

function msi(spec: { vectors: number; masking?: boolean }): CapabilitySpec {
  const masking = spec.masking ?? false;
  const body = new Uint8Array(masking ? 22 : 12);
  const flags =
    (Math.log2(spec.vectors) << 1) | PCI_MSI_FLAGS_64BIT | (masking ? PCI_MSI_FLAGS_MASKBIT : 0);
  new DataView(body.buffer, body.byteOffset).setUint16(0, flags, true);
  // The enable bit is ignored: MSI is switched by SET_IRQS. The rest is virtual, the number of
  // vectors and the width of the address too, so a user may spoil its own copy.
  const writable = new Uint8Array(body.length).fill(0xff, 2);
  writable[0] = 0xfe;
  return { id: PCI_CAP_ID_MSI, body, writable };
}

function msix(spec: NonNullable<PciDeviceSpec["msix"]>): CapabilitySpec {
  const body = new Uint8Array(10);
  const view = new DataView(body.buffer, body.byteOffset);
  view.setUint16(0, spec.vectors - 1, true);
  view.setUint32(2, (spec.table.offset | spec.table.bar) >>> 0, true);
  view.setUint32(6, (spec.pba.offset | spec.pba.bar) >>> 0, true);
  return { id: PCI_CAP_ID_MSIX, body };
}

/** Where a capability is; undefined when there is none. */
export function findCapability(bytes: Uint8Array, id: number): number | undefined {
  let at = bytes[PCI_CAPABILITY_LIST]!;
  for (let i = 0; i < CAPABILITIES_MAX && at >= PCI_STD_HEADER_SIZEOF; i++) {
    if (bytes[at] === id) return at;
    at = bytes[at + 1]!;
  }
  return undefined;
}

/**
 * A write as vfio-pci takes it.
 * @returns whether it asked for a function level reset
 */
export function writeConfig(config: PciConfig, offset: number, from: Uint8Array): boolean {
  let flr = false;
  from.forEach((value, i) => {
    const at = offset + i;
    if (at >= config.bytes.length) return;
    const mask = config.writable[at]!;
    config.bytes[at] = (config.bytes[at]! & ~mask) | (value & mask);
    if (at === config.msiControl) limitVectors(config);
    if (at - 1 === config.deviceControl && (value & (DEVCTL_FLR >> 8)) !== 0) flr = true;
  });
  return flr;
}
