/**
 * A guest that uses its devices as a driver does: BARs, a table of MSI-X, an interrupt, and
 * everything off again. The devices are `MSIX` at 05.0 and `EDU` at 06.0 of the root bus.
 */

import { code } from "../machine/payload.ts";
import { EDU, MSIX } from "./software-run.ts";

export const BUSY_DEVICES = [
  ...["--device", `vfio-pci,host=${MSIX},bus=pcie.0,addr=5`],
  ...["--device", `vfio-pci,host=${EDU},bus=pcie.0,addr=6`],
];

/** BARs of the test: below 2 GiB, where an instruction's 32-bit address reaches them. */
const TABLE_BAR = 0x4000_0000;
const REGISTERS = 0x4001_0000;
const MEMORY = 0x4002_0000;
const EDU_REGISTERS = 0x4010_0000;
const MESSAGE_ADDRESS = 0xfee0_0000;
/** Where the software host puts the capability that follows PM and PCI Express. */
const MESSAGE_CAPABILITY = 0x84;

const config = (slot: number, register: number, value: number) => [
  ...code.outDword(0xcf8, (0x8000_0000 | (slot << 11) | register) >>> 0),
  ...code.outDword(0xcfc, value),
];

const store = (address: number, value: number) => [
  ...code.movEax(value),
  ...code.storeEax(address),
];

export const busyProgram: readonly number[] = [
  ...config(5, 0x10, REGISTERS),
  ...config(5, 0x18, MEMORY),
  ...config(5, 0x1c, 0),
  ...config(5, 0x20, TABLE_BAR),
  ...config(5, 0x04, 6),
  // Vector 1 unmasked, then MSI-X on.
  ...store(TABLE_BAR + 0x1010, MESSAGE_ADDRESS),
  ...store(TABLE_BAR + 0x1014, 0),
  ...store(TABLE_BAR + 0x1018, 0x41),
  ...store(TABLE_BAR + 0x101c, 0),
  ...config(5, MESSAGE_CAPABILITY, 0x8000_0000),
  ...store(MEMORY, 0x1234_5678),
  ...store(REGISTERS + 4, 1),
  ...code.loadEax(REGISTERS + 4),
  // A vector added while it is on, then masked.
  ...store(TABLE_BAR + 0x1020, MESSAGE_ADDRESS),
  ...store(TABLE_BAR + 0x1028, 0x42),
  ...store(TABLE_BAR + 0x102c, 0),
  ...store(TABLE_BAR + 0x102c, 1),
  // INTx of the other: raised, then acknowledged.
  ...config(6, 0x10, EDU_REGISTERS),
  ...config(6, 0x04, 6),
  ...store(EDU_REGISTERS + 0x60, 1),
  ...store(EDU_REGISTERS + 0x64, 1),
  ...config(6, 0x04, 0),
  ...config(5, MESSAGE_CAPABILITY, 0),
  ...config(5, 0x04, 0),
  ...code.powerOff(),
];
