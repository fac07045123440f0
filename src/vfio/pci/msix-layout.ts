/**
 * Where the MSI-X table and PBA of the physical device are, before any BAR is mapped: the table's
 * page may not be mappable (spec/pci.md 11.2 to 11.5).
 */

import {
  PCI_MSIX_ENTRY_SIZE,
  PCI_MSIX_FLAGS,
  PCI_MSIX_FLAGS_QSIZE,
  PCI_MSIX_PBA,
  PCI_MSIX_TABLE,
  PCI_MSIX_TABLE_BIR,
} from "../../abi/pci-regs.ts";
import { VFIO_IRQ_INFO_NORESIZE, VFIO_PCI_MSIX_IRQ_INDEX } from "../../abi/vfio.ts";
import { alignDown, alignUp } from "../../layout/bits.ts";
import { hex } from "../../memory/address.ts";
import { errnoOf, ViaductError } from "../../sys/sys-error.ts";
import type { RegionInfo, VfioDevice } from "../device.ts";
import type { RegionArea } from "../region.ts";
import type { DeviceConfig } from "./device-config.ts";
import type { EffectiveIds } from "./ids.ts";
import { BAR_COUNT } from "./populate.ts";
import type { MsixRelocation } from "./properties.ts";
import * as trace from "./trace.ts";

export interface MsixLayout {
  /** Of the capability in config space. */
  readonly offset: number;
  readonly entries: number;
  readonly tableBar: number;
  readonly tableOffset: number;
  readonly pbaBar: number;
  readonly pbaOffset: number;
  /** The host cannot add vectors to those allocated: growing means starting over. */
  readonly noresize: boolean;
}

const VENDOR_CHELSIO = 0x1425;
const VENDOR_BAIDU = 0x1d22;
const DEVICE_BAIDU_KUNLUN_VF = 0x3685;

/** Devices that report their PBA outside its BAR, and where it is (spec/pci-quirks.md 10). */
function knownPbaOffset({ vendor, device }: EffectiveIds): number | undefined {
  if (vendor === VENDOR_CHELSIO && (device & 0xff00) === 0x5800) return 0x1000;
  if (vendor === VENDOR_BAIDU && device === DEVICE_BAIDU_KUNLUN_VF) return 0xb400;
  return undefined;
}

export interface MsixQuestion {
  readonly device: VfioDevice;
  readonly config: DeviceConfig;
  readonly bars: readonly RegionInfo[];
  readonly ids: EffectiveIds;
  readonly relocation: MsixRelocation;
}

/**
 * Reads the capability at `offset` from the device, not from the shadow.
 * @throws {ViaductError} DEVICE_UNSUPPORTED for a capability that cannot be right, IRQ_FAILED
 */
export function readMsixLayout(question: MsixQuestion, offset: number): MsixLayout {
  const { device, config } = question;
  const control = config.read(offset + PCI_MSIX_FLAGS, 2);
  const table = config.read(offset + PCI_MSIX_TABLE, 4);
  const pba = config.read(offset + PCI_MSIX_PBA, 4);
  if (control < 0 || table < 0 || pba < 0) {
    throw new ViaductError("REGION_FAILED", "failed to read PCI MSIX CAP");
  }
  const tableBar = table & PCI_MSIX_TABLE_BIR;
  const pbaBar = pba & PCI_MSIX_TABLE_BIR;
  if (tableBar >= BAR_COUNT || pbaBar >= BAR_COUNT) {
    const message = `MSI-X table in BAR ${tableBar}, PBA in BAR ${pbaBar}: no such BAR`;
    throw new ViaductError("DEVICE_UNSUPPORTED", message);
  }
  const entries = (control & PCI_MSIX_FLAGS_QSIZE) + 1;
  const tableOffset = (table & ~PCI_MSIX_TABLE_BIR) >>> 0;
  const pbaOffset = checkedPba(question, pbaBar, (pba & ~PCI_MSIX_TABLE_BIR) >>> 0);
  const noresize = asksNoresize(device);
  trace.vfio_msix_early_setup.emit({
    name: device.name,
    pos: offset,
    table_bar: tableBar,
    offset: tableOffset,
    entries,
  });
  return { offset, entries, tableBar, tableOffset, pbaBar, pbaOffset, noresize };
}

function checkedPba(question: MsixQuestion, bar: number, offset: number): number {
  const { size } = question.bars[bar]!;
  if (offset < size || question.relocation !== "off") return offset;
  const known = knownPbaOffset(question.ids);
  if (known !== undefined) return known;
  throw new ViaductError(
    "DEVICE_UNSUPPORTED",
    `hardware reports invalid configuration, MSIX PBA outside of specified BAR` +
      ` (${hex(offset)} of BAR ${bar}, which has ${hex(size)} bytes)`,
    { nextStep: "Try x-msix-relocation=barN, which puts the table and the PBA elsewhere." },
  );
}

function asksNoresize(device: VfioDevice): boolean {
  try {
    return (device.irqInfo(VFIO_PCI_MSIX_IRQ_INDEX).flags & VFIO_IRQ_INFO_NORESIZE) !== 0;
  } catch (cause) {
    const message = `failed to get MSI-X irq info: ${errnoOf(cause) ?? "no answer"}`;
    throw new ViaductError("IRQ_FAILED", message, { cause });
  }
}

/**
 * The areas of the table's BAR that may be mmapped: the table's host pages left out, where the host
 * does not let them be mapped.
 *
 * @param areas what the region offers
 */
export function carveOutTable(
  info: RegionInfo,
  areas: readonly RegionArea[],
  layout: MsixLayout,
  host: { readonly name: string; readonly page: number },
): RegionArea[] {
  const whole = areas.length === 1 && areas[0]!.offset === 0 && areas[0]!.size === info.size;
  if (info.msixMappable || !whole) return [...areas];
  const start = alignDown(layout.tableOffset, host.page);
  const tableEnd = layout.tableOffset + layout.entries * PCI_MSIX_ENTRY_SIZE;
  const end = alignUp(tableEnd, host.page);
  trace.vfio_msix_fixup.emit({ name: host.name, bar: layout.tableBar, start, end });
  const before = { offset: 0, size: Math.min(start, info.size) };
  const after = { offset: end, size: info.size - end };
  return [before, after].filter((area) => area.size > 0);
}
