/** Programs of resets, and of eventfds that write to a device: vfio_pci_core.c, vfio_pci_rdwr.c. */

import { PCI_EXP_DEVCTL, PCI_EXP_DEVCTL_BCR_FLR } from "../../src/abi/pci-express-regs.ts";
import {
  PCI_BASE_ADDRESS_0,
  PCI_CAP_ID_EXP,
  PCI_COMMAND,
  PCI_INTERRUPT_LINE,
} from "../../src/abi/pci-regs.ts";
import {
  VFIO_IRQ_SET_DATA_EVENTFD as EVENTFD,
  VFIO_IRQ_SET_DATA_NONE as NONE,
  VFIO_IRQ_SET_ACTION_TRIGGER as TRIGGER,
  VFIO_DEVICE_GET_PCI_HOT_RESET_INFO,
  VFIO_DEVICE_IOEVENTFD,
  VFIO_DEVICE_PCI_HOT_RESET,
  VFIO_DEVICE_RESET,
  vfio_device_ioeventfd,
  vfio_pci_hot_reset,
  vfio_pci_hot_reset_info,
} from "../../src/abi/vfio.ts";
import { setIrqs } from "./interrupts.ts";
import {
  answer,
  type ConformanceProgram,
  ioctl,
  makeEventfd,
  type ProgramHost,
  signals,
} from "./program.ts";
import { findCapability, readConfig, writeConfig } from "./regions.ts";

const REGION = 2 ** 40;

function resetInfo(argsz: number): (host: ProgramHost) => string {
  return ({ sys, device }) => {
    const bytes = new Uint8Array(Math.max(argsz, vfio_pci_hot_reset_info.size));
    const view = vfio_pci_hot_reset_info.at(bytes);
    view.argsz = argsz;
    const result = ioctl(sys, device, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, bytes);
    return `${result}, flags ${view.flags}, ${view.count} devices`;
  };
}

function hotReset(
  fds: (host: ProgramHost) => readonly number[],
  change: { flags?: number; argsz?: number; count?: number } = {},
): (host: ProgramHost) => string {
  return (host) => {
    const groups = Int32Array.from(fds(host));
    const head = vfio_pci_hot_reset.size;
    const bytes = new Uint8Array(64);
    const fields = { argsz: head + groups.byteLength, flags: 0, count: groups.length, ...change };
    bytes.set(vfio_pci_hot_reset.bytes(fields));
    bytes.set(new Uint8Array(groups.buffer), head);
    return ioctl(host.sys, host.device, VFIO_DEVICE_PCI_HOT_RESET, bytes);
  };
}

interface IoeventfdRequest {
  readonly offset: number;
  readonly flags?: number;
  readonly argsz?: number;
  readonly data?: bigint;
  readonly fd?: number;
}

function ioeventfd(host: ProgramHost, request: IoeventfdRequest): string {
  const { offset, flags = 4, argsz = vfio_device_ioeventfd.size, data = 0n } = request;
  const fd = request.fd ?? makeEventfd(host);
  const fields = { argsz, flags, offset: BigInt(offset), data, fd };
  const bytes = vfio_device_ioeventfd.bytes(fields);
  const result = answer(host.sys.ioctl(host.device, VFIO_DEVICE_IOEVENTFD, bytes));
  if (result === "ok" && fd >= 0) {
    const off = vfio_device_ioeventfd.bytes({ ...fields, fd: -1 });
    host.owner.defer(() => host.sys.ioctl(host.device, VFIO_DEVICE_IOEVENTFD, off));
  }
  return result;
}

const program = (name: string, run: (host: ProgramHost) => string): ConformanceProgram => ({
  name,
  stage: "device",
  run,
});

const reset = ({ sys, device }: ProgramHost): string => ioctl(sys, device, VFIO_DEVICE_RESET, 0);

/** What config space says before and after something that resets the device. */
function around(at: number, length: number, value: number, resets: (host: ProgramHost) => string) {
  return (host: ProgramHost) => {
    writeConfig(host, at, length, value);
    const before = readConfig(host, at, length);
    const result = resets(host);
    const kept = readConfig(host, at, length) === before;
    return `${result}, ${kept ? "kept" : "lost"}`;
  };
}

/** Asks for a reset as a driver does: through Device Control. */
function functionLevelReset(host: ProgramHost): string {
  const express = findCapability(host, PCI_CAP_ID_EXP);
  if (express === undefined) return "absent";
  const at = express + PCI_EXP_DEVCTL;
  return writeConfig(host, at, 2, readConfig(host, at, 2) | PCI_EXP_DEVCTL_BCR_FLR);
}

const DECODE_AND_MASTER = 0x6;
const SOME_ADDRESS = 0xe000_0000;

export const resetPrograms: readonly ConformanceProgram[] = [
  program("RESET", reset),
  program("RESET, and the command", around(PCI_COMMAND, 2, DECODE_AND_MASTER, reset)),
  program("RESET, and BAR 0", around(PCI_BASE_ADDRESS_0, 4, SOME_ADDRESS, reset)),
  program("RESET, and the interrupt line", around(PCI_INTERRUPT_LINE, 1, 0x5a, reset)),
  program(
    "FLR by config space, and the command",
    around(PCI_COMMAND, 2, DECODE_AND_MASTER, functionLevelReset),
  ),
  program("RESET with INTx armed", (host) => {
    const fd = makeEventfd(host);
    const armed = setIrqs(host, { index: 0, flags: EVENTFD | TRIGGER, fds: [fd] });
    const result = reset(host);
    const fired = setIrqs(host, { index: 0, flags: NONE | TRIGGER, count: 1 });
    return [armed, result, fired, signals(host.sys, fd)].join(", ");
  }),
  ...[0, 11, 12, 19, 20, 64].map((argsz) =>
    program(`GET_PCI_HOT_RESET_INFO of ${argsz} bytes`, resetInfo(argsz)),
  ),
  program(
    "PCI_HOT_RESET without a group",
    hotReset(() => []),
  ),
  program(
    "PCI_HOT_RESET with no descriptor",
    hotReset(() => [-1]),
  ),
  program(
    "PCI_HOT_RESET with a closed descriptor",
    hotReset(() => [9999]),
  ),
  program(
    "PCI_HOT_RESET with the container",
    hotReset(({ container }) => [container]),
  ),
  program(
    "PCI_HOT_RESET with an eventfd",
    hotReset((host) => [makeEventfd(host)]),
  ),
  program(
    "PCI_HOT_RESET with the group twice",
    hotReset(({ group }) => [group, group]),
  ),
  program(
    "PCI_HOT_RESET with a flag",
    hotReset(({ group }) => [group], { flags: 1 }),
  ),
  program(
    "PCI_HOT_RESET with argsz 0",
    hotReset(({ group }) => [group], { argsz: 0 }),
  ),
  program(
    "PCI_HOT_RESET with argsz 11",
    hotReset(({ group }) => [group], { argsz: 11 }),
  ),
  program(
    "PCI_HOT_RESET of 2^31 groups",
    hotReset(({ group }) => [group], { count: 2 ** 31 }),
  ),
  program(
    "PCI_HOT_RESET with the group",
    hotReset(({ group }) => [group]),
  ),
];

/** @param bar a memory BAR; its size in bytes */
export function ioeventfdPrograms(bar: number, size: number): readonly ConformanceProgram[] {
  const start = bar * REGION;
  const requests: Readonly<Record<string, IoeventfdRequest>> = {
    "of 1 byte": { offset: start + 8, flags: 1 },
    "of 2 bytes": { offset: start + 8, flags: 2 },
    "of 4 bytes": { offset: start + 8 },
    "of 8 bytes": { offset: start + 8, flags: 8 },
    "of no size": { offset: start + 8, flags: 0 },
    "of two sizes": { offset: start + 8, flags: 6 },
    "with an unknown flag": { offset: start + 8, flags: 0x14 },
    "with argsz 0": { offset: start + 8, argsz: 0 },
    "with argsz 31": { offset: start + 8, argsz: 31 },
    "with argsz 27": { offset: start + 8, argsz: 27 },
    "with argsz 28": { offset: start + 8, argsz: 28 },
    "off its size": { offset: start + 9 },
    "at the BAR's last dword": { offset: start + size - 4 },
    "over the BAR's end": { offset: start + size - 2 },
    "at the BAR's end": { offset: start + size },
    "of BAR 5": { offset: 5 * REGION },
    "of the ROM": { offset: 6 * REGION },
    "of config space": { offset: 7 * REGION + 4 },
    "of region 9": { offset: 9 * REGION },
    "of descriptor -2": { offset: start + 8, fd: -2 },
    "of a closed descriptor": { offset: start + 8, fd: 9999 },
    "removal of none": { offset: start + 8, fd: -1 },
  };
  const twice = (change: Partial<IoeventfdRequest>) => (host: ProgramHost) =>
    [{ offset: start + 8 }, { offset: start + 8, ...change }]
      .map((request) => ioeventfd(host, request))
      .join(", ");
  return [
    ...Object.entries(requests).map(([what, request]) =>
      program(`IOEVENTFD ${what}`, (host) => ioeventfd(host, request)),
    ),
    program("IOEVENTFD twice", twice({})),
    program("IOEVENTFD, then of another value", twice({ data: 1n })),
    program("IOEVENTFD, then of another size", twice({ flags: 2 })),
    program("IOEVENTFD, then its removal", twice({ fd: -1 })),
    program("IOEVENTFD, then removal of another value", twice({ data: 1n, fd: -1 })),
  ];
}
