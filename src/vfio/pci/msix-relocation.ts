/**
 * `x-msix-relocation`: the MSI-X table and PBA in another BAR, off a page that also holds busy
 * registers (spec/pci-quirks.md section 9).
 */

import { PCI_MSIX_ENTRY_SIZE } from "../../abi/pci-regs.ts";
import { alignUp } from "../../layout/bits.ts";
import { pbaSize } from "../../pci/msix.ts";
import { ViaductError } from "../../sys/sys-error.ts";
import type { RegionInfo } from "../device.ts";
import type { AddedBar, BarType } from "./bars.ts";
import type { EffectiveIds } from "./ids.ts";
import type { MsixLayout } from "./msix-layout.ts";
import { BAR_COUNT } from "./populate.ts";
import type { MsixRelocation } from "./properties.ts";
import * as trace from "./trace.ts";

/** The largest 32-bit BAR that can be doubled within 2 GiB. */
const BAR32_SIZE_MAX = 2 ** 30;

export interface RelocationQuestion {
  readonly name: string;
  readonly ids: EffectiveIds;
  readonly bars: readonly RegionInfo[];
  typeOf(index: number): BarType | undefined;
  readonly hostPage: number;
}

export interface Relocated {
  /** Where the guest finds the structures. */
  readonly layout: MsixLayout;
  /** The BAR that was made or grown for them. */
  readonly bar: AddedBar;
}

/** @throws {ViaductError} PROPERTY, saying which rule forbids it */
export function relocateMsix(
  question: RelocationQuestion,
  layout: MsixLayout,
  wanted: Exclude<MsixRelocation, "off">,
): Relocated {
  const { name, hostPage } = question;
  const index = chooseBar(question, wanted);
  const tableSize = layout.entries * PCI_MSIX_ENTRY_SIZE;
  const pages = alignUp(tableSize + pbaSize(layout.entries), hostPage);
  const needed = 2 ** Math.ceil(Math.log2(pages));
  const old = question.bars[index]!.size;
  const type = question.typeOf(index) ?? newType(question, index);
  const size = old === 0 ? needed : Math.max(2 * old, 2 * needed);
  const tableOffset = old === 0 ? 0 : size / 2;
  trace.vfio_msix_relo.emit({ name, bar: index, offset: tableOffset });
  const pbaOffset = tableOffset + tableSize;
  return {
    layout: { ...layout, tableBar: index, tableOffset, pbaBar: index, pbaOffset },
    bar: { index, size, ...type },
  };
}

function chooseBar(question: RelocationQuestion, wanted: Exclude<MsixRelocation, "off">): number {
  const { ids, bars } = question;
  if (wanted === "auto") {
    // QEMU's table of devices for which a BAR is known is empty, and so is this one.
    const device = `${ids.vendor.toString(16)}:${ids.device.toString(16)}`;
    refuse(`No automatic MSI-X relocation available for device ${device}`);
  }
  const index = Number(wanted.slice("bar".length));
  const { size } = bars[index]!;
  const type = question.typeOf(index);
  if (type?.kind === "io") refuse(`Invalid MSI-X relocation BAR ${index}, I/O port`);
  if (size === 0 && isUpperHalf(question, index)) {
    refuse(`Invalid MSI-X relocation BAR ${index}, consumed by 64-bit BAR ${index - 1}`);
  }
  if (type?.kind === "mem32" && size > BAR32_SIZE_MAX) {
    refuse(`Invalid MSI-X relocation BAR ${index}, no space to extend 32-bit BAR`);
  }
  return index;
}

function newType(question: RelocationQuestion, index: number): BarType {
  const nextIsFree = index + 1 < BAR_COUNT && question.bars[index + 1]!.size === 0;
  return { kind: nextIsFree ? "mem64" : "mem32", prefetchable: true };
}

function isUpperHalf({ typeOf }: RelocationQuestion, index: number): boolean {
  return index > 0 && typeOf(index - 1)?.kind === "mem64";
}

function refuse(message: string): never {
  throw new ViaductError("PROPERTY", message, {
    nextStep: "Choose another BAR: x-msix-relocation=bar0 to bar5.",
  });
}
