/**
 * The quirks of assigned devices, as the table of spec/pci-quirks.md: which device, which of its
 * BARs, under which conditions, and what is set up. IDs are those the guest sees, overrides
 * included. Rows are in the order of set-up (1.2).
 */

import type { BarKind } from "../../../pci/bar.ts";
import type { VfioPciFunction } from "../vfio-pci.ts";
import { atiBar2Mirror, atiBar4Window, atiPort3c3 } from "./ati.ts";
import { resetBonaire } from "./bonaire-reset.ts";
import { igdBar0Mirrors } from "./igd.ts";
import { igdLegacyMode } from "./igd-compat.ts";
import { nvidiaBar5Window, nvidiaPorts3d0 } from "./nvidia.ts";
import { nvidiaBar0Mirrors } from "./nvidia-mirror.ts";
import type { QuirkSetUp } from "./quirk.ts";
import { rtl8168Window } from "./rtl8168.ts";

const ATI = 0x1002;
const INTEL = 0x8086;
const NVIDIA = 0x10de;
const REALTEK = 0x10ec;

export interface QuirkRow {
  readonly name: string;
  readonly vendor: number;
  /** Any of the vendor's when absent. */
  readonly device?: number;
  /** The BAR that must be there, and that traps are laid in. */
  readonly bar: number;
  readonly kind?: BarKind;
  /** Of the BAR, in bytes. */
  readonly sizeMin?: number;
  /** `ranges`: the device has the legacy VGA ranges; `class`: it is a VGA controller. */
  readonly vga?: "ranges" | "class";
  /** Switched off by `x-no-geforce-quirks`. */
  readonly geforce?: true;
  readonly setUp: QuirkSetUp;
}

export const QUIRKS: readonly QuirkRow[] = [
  // In the VGA ranges.
  {
    name: "ATI port 3c3",
    vendor: ATI,
    bar: 4,
    kind: "io",
    sizeMin: 256,
    vga: "ranges",
    setUp: atiPort3c3,
  },
  {
    name: "NVIDIA ports 3d0",
    vendor: NVIDIA,
    bar: 1,
    vga: "ranges",
    geforce: true,
    setUp: nvidiaPorts3d0,
  },
  // In BARs: per BAR in this order; no device has two that would come in another.
  {
    name: "NVIDIA BAR 0 mirrors",
    vendor: NVIDIA,
    bar: 0,
    vga: "class",
    geforce: true,
    setUp: nvidiaBar0Mirrors,
  },
  {
    name: "ATI BAR 2 mirror",
    vendor: ATI,
    bar: 2,
    kind: "mem64",
    vga: "ranges",
    setUp: atiBar2Mirror,
  },
  {
    name: "RTL8168 BAR 2 window",
    vendor: REALTEK,
    device: 0x8168,
    bar: 2,
    setUp: rtl8168Window,
  },
  {
    name: "ATI BAR 4 window",
    vendor: ATI,
    bar: 4,
    kind: "io",
    vga: "ranges",
    setUp: atiBar4Window,
  },
  { name: "Intel legacy mode of 9.0", vendor: INTEL, bar: 4, vga: "class", setUp: igdLegacyMode },
  {
    name: "NVIDIA BAR 5 window",
    vendor: NVIDIA,
    bar: 5,
    kind: "io",
    vga: "ranges",
    geforce: true,
    setUp: nvidiaBar5Window,
  },
  { name: "Intel BAR 0 mirrors", vendor: INTEL, bar: 0, vga: "class", setUp: igdBar0Mirrors },
];

export interface DeviceResetRow {
  readonly name: string;
  readonly vendor: number;
  readonly devices: readonly number[];
  /** @returns whether the device was reset */
  readonly reset: (fn: VfioPciFunction) => boolean;
}

export const DEVICE_RESETS: readonly DeviceResetRow[] = [
  {
    name: "AMD Bonaire",
    vendor: ATI,
    devices: [0x6649, 0x6650, 0x6651, 0x6658, 0x665c, 0x665d],
    reset: resetBonaire,
  },
  {
    name: "AMD Hawaii",
    vendor: ATI,
    devices: [
      0x67a0, 0x67a1, 0x67a2, 0x67a8, 0x67a9, 0x67aa, 0x67b0, 0x67b1, 0x67b8, 0x67b9, 0x67ba,
      0x67be,
    ],
    reset: resetBonaire,
  },
];
