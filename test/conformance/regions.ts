/** Programs that read, write and map a device's regions: vfio_pci_rdwr.c, vfio_pci_config.c. */

import { MAP_PRIVATE, MAP_SHARED, PROT_READ, PROT_WRITE } from "../../src/abi/mman.ts";
import {
  PCI_BASE_ADDRESS_0,
  PCI_CACHE_LINE_SIZE,
  PCI_CAPABILITY_LIST,
  PCI_CLASS_REVISION,
  PCI_COMMAND,
  PCI_COMMAND_MEMORY,
  PCI_DEVICE_ID,
  PCI_HEADER_TYPE,
  PCI_INTERRUPT_LINE,
  PCI_INTERRUPT_PIN,
  PCI_MAX_LAT,
  PCI_MIN_GNT,
  PCI_ROM_ADDRESS,
  PCI_STATUS,
  PCI_SUBSYSTEM_ID,
  PCI_SUBSYSTEM_VENDOR_ID,
  PCI_VENDOR_ID,
} from "../../src/abi/pci-regs.ts";
import { VFIO_PCI_CONFIG_REGION_INDEX as CONFIG } from "../../src/abi/vfio.ts";
import { walkCapabilities } from "../../src/pci/capabilities.ts";
import { readLittleEndian } from "../../src/pci/config-space.ts";
import { answer, type ConformanceProgram, hex, type ProgramHost } from "./program.ts";

/** Where region `index` begins in the device's fd. */
const REGION = 2 ** 40;

function read({ sys, device }: ProgramHost, index: number, at: number, length: number): string {
  return answer(sys.pread(device, new Uint8Array(length), index * REGION + at));
}

export function readConfig({ sys, device }: ProgramHost, at: number, length: number): number {
  const bytes = new Uint8Array(4);
  sys.pread(device, bytes.subarray(0, length), CONFIG * REGION + at);
  return readLittleEndian(bytes, 0, 4);
}

export function writeConfig(
  { sys, device }: ProgramHost,
  at: number,
  length: number,
  value: number,
): string {
  const bytes = Uint8Array.from({ length }, (_, i) => value >>> (8 * i));
  return answer(sys.pwrite(device, bytes, CONFIG * REGION + at));
}

/** The header's fields, so that a program leaves them as they were. */
export function saveHeader(host: ProgramHost): () => void {
  const fields: ReadonlyArray<readonly [number, number]> = [
    [PCI_COMMAND, 2],
    [PCI_CACHE_LINE_SIZE, 1],
    [PCI_INTERRUPT_LINE, 1],
    ...[0, 1, 2, 3, 4, 5].map((bar) => [PCI_BASE_ADDRESS_0 + 4 * bar, 4] as const),
    [PCI_ROM_ADDRESS, 4],
  ];
  const values = fields.map(([at, length]) => readConfig(host, at, length));
  return () => {
    fields.forEach(([at, length], i) => {
      if (readConfig(host, at, length) !== values[i]) writeConfig(host, at, length, values[i]!);
    });
  };
}

/** Which bits of a field a write of all ones, and one of zeros, leave set. */
function writable(at: number, length: number): (host: ProgramHost) => string {
  return (host) => {
    const before = readConfig(host, at, length);
    writeConfig(host, at, length, 0xffff_ffff);
    const ones = readConfig(host, at, length);
    writeConfig(host, at, length, 0);
    const zeros = readConfig(host, at, length);
    writeConfig(host, at, length, before);
    return `bits ${hex((ones ^ zeros) >>> 0)} change`;
  };
}

const FIELDS: Readonly<Record<string, readonly [number, number]>> = {
  "the vendor": [PCI_VENDOR_ID, 2],
  "the device": [PCI_DEVICE_ID, 2],
  "the status": [PCI_STATUS, 2],
  "class and revision": [PCI_CLASS_REVISION, 4],
  "the header type": [PCI_HEADER_TYPE, 1],
  "the subsystem's vendor": [PCI_SUBSYSTEM_VENDOR_ID, 2],
  "the subsystem": [PCI_SUBSYSTEM_ID, 2],
  "the capabilities' pointer": [PCI_CAPABILITY_LIST, 1],
  "the interrupt line": [PCI_INTERRUPT_LINE, 1],
  "the interrupt pin": [PCI_INTERRUPT_PIN, 1],
  "the minimal grant": [PCI_MIN_GNT, 1],
  "the maximal latency": [PCI_MAX_LAT, 1],
  "the ROM's address": [PCI_ROM_ADDRESS, 4],
  ...Object.fromEntries(
    [0, 1, 2, 3, 4, 5].map((bar) => [`BAR ${bar}`, [PCI_BASE_ADDRESS_0 + 4 * bar, 4] as const]),
  ),
};

const COMMAND_BITS = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 15];

function commandBit(bit: number): (host: ProgramHost) => string {
  return (host) => {
    const before = readConfig(host, PCI_COMMAND, 2);
    writeConfig(host, PCI_COMMAND, 2, before | (1 << bit));
    const set = (readConfig(host, PCI_COMMAND, 2) >> bit) & 1;
    writeConfig(host, PCI_COMMAND, 2, before & ~(1 << bit));
    const clear = (readConfig(host, PCI_COMMAND, 2) >> bit) & 1;
    return `was ${(before >> bit) & 1}, ${set} when set, ${clear} when cleared`;
  };
}

/** Offset and length, inside and outside of 256 bytes. */
const CONFIG_READS = [
  [0, 1],
  [0, 2],
  [0, 3],
  [0, 4],
  [0, 5],
  [0, 8],
  [0, 64],
  [0, 256],
  [1, 1],
  [1, 2],
  [1, 4],
  [3, 4],
  [0xfc, 4],
  [0xfe, 4],
  [0xff, 1],
  [0xff, 2],
  [0x1000, 1],
  [0x1000, 4],
  [0x1_0000, 4],
] as const;

const CAPABILITIES: Readonly<Record<number, string>> = {
  1: "PM",
  5: "MSI",
  16: "PCIe",
  17: "MSI-X",
};

/** The words of the capabilities that every device here has, and which of their bits change. */
function capabilityWord(id: number, at: number, length: number): (host: ProgramHost) => string {
  return (host) => {
    const offset = findCapability(host, id);
    return offset === undefined ? "absent" : writable(offset + at, length)(host);
  };
}

export function findCapability({ sys, device }: ProgramHost, id: number): number | undefined {
  const bytes = new Uint8Array(256);
  sys.pread(device, bytes, CONFIG * REGION);
  return walkCapabilities(bytes).find((entry) => entry.id === id)?.offset;
}

const program = (name: string, run: (host: ProgramHost) => string): ConformanceProgram => ({
  name,
  stage: "device",
  run,
});

export const configPrograms: readonly ConformanceProgram[] = [
  ...CONFIG_READS.map(([at, length]) =>
    program(`config read ${hex(at)}+${length}`, (host) => read(host, CONFIG, at, length)),
  ),
  ...CONFIG_READS.map(([at, length]) =>
    program(`config write of what was read ${hex(at)}+${length}`, ({ sys, device }) => {
      const bytes = new Uint8Array(length);
      sys.pread(device, bytes, CONFIG * REGION + at);
      return answer(sys.pwrite(device, bytes, CONFIG * REGION + at));
    }),
  ),
  ...Object.entries(FIELDS).map(([what, [at, length]]) =>
    program(`config write to ${what}`, writable(at, length)),
  ),
  ...COMMAND_BITS.map((bit) => program(`bit ${bit} of the command`, commandBit(bit))),
  ...Object.entries(CAPABILITIES).flatMap(([id, what]) => [
    program(`config write to ${what}'s id and pointer`, capabilityWord(Number(id), 0, 2)),
  ]),
  program("config write to MSI's control", capabilityWord(5, 2, 2)),
  program("config write to MSI's address", capabilityWord(5, 4, 4)),
  program("config write to MSI-X's control", capabilityWord(0x11, 2, 2)),
  program("config write to MSI-X's table offset", capabilityWord(0x11, 4, 4)),
];

function map(
  { sys, device, owner }: ProgramHost,
  offset: number,
  change: { length?: number; prot?: number; flags?: number } = {},
): string {
  const { length = 0x1000, prot = PROT_READ | PROT_WRITE, flags = MAP_SHARED } = change;
  const address = sys.mmap(0, length, prot, flags, device, offset);
  if (address < 0) return answer(address);
  owner.defer(() => sys.munmap(address, length));
  return "a mapping";
}

/** Runs with memory decoding off. */
function withoutMemory(host: ProgramHost, run: () => string): string {
  const command = readConfig(host, PCI_COMMAND, 2);
  writeConfig(host, PCI_COMMAND, 2, command & ~PCI_COMMAND_MEMORY);
  const result = run();
  writeConfig(host, PCI_COMMAND, 2, command | PCI_COMMAND_MEMORY);
  return `${result}, with memory ${run()}`;
}

const LENGTHS = [1, 2, 3, 4, 8, 16];

/** @param bar a memory BAR; its size in bytes */
export function regionPrograms(bar: number, size: number): readonly ConformanceProgram[] {
  return [
    ...LENGTHS.flatMap((length) => [
      program(`BAR read 0x0+${length}`, (host) => read(host, bar, 0, length)),
      program(`BAR read 0x1+${length}`, (host) => read(host, bar, 1, length)),
    ]),
    program("BAR read over its end", (host) => read(host, bar, size - 2, 4)),
    program("BAR read at its end", (host) => read(host, bar, size, 4)),
    program("BAR read far behind its end", (host) => read(host, bar, 2 * size, 4)),
    program("BAR write at its end", ({ sys, device }) =>
      answer(sys.pwrite(device, new Uint8Array(4), bar * REGION + size)),
    ),
    program("BAR read without memory", (host) => withoutMemory(host, () => read(host, bar, 0, 4))),
    program("BAR write without memory", (host) =>
      withoutMemory(host, () =>
        answer(host.sys.pwrite(host.device, new Uint8Array(4), bar * REGION + 4)),
      ),
    ),
    ...[1, 2, 3, 4, 5, 8, 9, 200].map((index) =>
      program(`read of region ${index}`, (host) => read(host, index, 0, 4)),
    ),
    ...[6, 8, 9, 200].map((index) =>
      program(`write to region ${index}`, ({ sys, device }) =>
        answer(sys.pwrite(device, new Uint8Array(4), index * REGION)),
      ),
    ),
    program("mmap of the BAR", (host) => map(host, bar * REGION)),
    program("mmap of the BAR, private", (host) => map(host, bar * REGION, { flags: MAP_PRIVATE })),
    program("mmap of more than the BAR", (host) =>
      map(host, bar * REGION, { length: size + 0x1000 }),
    ),
    program("mmap behind the BAR", (host) => map(host, bar * REGION + size)),
    program("mmap off a page", (host) => map(host, bar * REGION + 0x10)),
    ...[5, 6, 7, 8, 9, 200].map((index) =>
      program(`mmap of region ${index}`, (host) => map(host, index * REGION)),
    ),
  ];
}
