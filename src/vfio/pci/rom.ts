/**
 * The option ROM (spec/pci.md section 12): the device's own, read when the guest first looks at it,
 * or a file the user names, or none.
 */

import { readFileSync } from "node:fs";
import { errnoNumber } from "../../abi/errno.ts";
import { PCI_ROM_ADDRESS } from "../../abi/pci-regs.ts";
import { VFIO_PCI_ROM_REGION_INDEX } from "../../abi/vfio.ts";
import { alignUp, allOnes } from "../../layout/bits.ts";
import { hex } from "../../memory/address.ts";
import { MemoryRegion } from "../../memory/region.ts";
import { ROM_BAR } from "../../pci/bar.ts";
import { readLittleEndian } from "../../pci/config-space.ts";
import { ViaductError } from "../../sys/sys-error.ts";
import type { RegionInfo } from "../device.ts";
import type { EffectiveIds } from "./ids.ts";
import { patchIgdVbios } from "./quirks/igd-vbios.ts";
import * as trace from "./trace.ts";
import type { VfioPciFunction } from "./vfio-pci.ts";

const SIZE_MASK = 0xffff_f800;
const ROM_SIGNATURE = 0xaa55;
const PCIR_POINTER = 0x18;
const PCIR_SIGNATURE = 0x5249_4350; // "PCIR", little-endian
const CHECKSUM = 6;
const FILE_ROM_SIZE_MIN = 2048;
/** A read that is worth repeating. */
const TRANSIENT = ["EINTR", "EAGAIN"].map((name) => -errnoNumber(name));

/** Broadcom BCM57810, whose ROM hangs guests (spec/pci-quirks.md 10). */
const DENYLIST = [{ vendor: 0x14e4, device: 0x168e }];

function isDenied({ vendor, device }: EffectiveIds): boolean {
  return DENYLIST.some((entry) => entry.vendor === vendor && entry.device === device);
}

/** Gives the function its ROM BAR, when it is to have one; what fails here is only reported. */
export function registerRom(fn: VfioPciFunction): void {
  const { romfile, rombar } = fn.properties;
  const denied = isDenied(fn.ids);
  if (romfile !== undefined || rombar === 0) {
    if (romfile !== undefined && denied) {
      fn.report(
        `Device at ${fn.name} is known to cause system instability issues during option rom execution. Proceeding anyway since user specified romfile`,
      );
    }
    if (romfile && rombar !== 0) registerBar(fn, new FileRom(fn, romfile));
    return;
  }
  const size = sizeRom(fn);
  if (size === 0) return;
  if (denied) {
    trace.vfio_quirk_rom_in_denylist.emit({
      name: fn.name,
      vid: fn.ids.vendor,
      did: fn.ids.device,
    });
    const known = `Rom loading for device at ${fn.name} is known to cause system instability`;
    if (rombar === undefined) {
      fn.report(`${known}; ROM disabled. Specify rombar=1 or romfile to force`);
      return;
    }
    fn.report(`${known}. Proceeding anyway since user specified non zero value for rombar`);
  }
  trace.vfio_pci_size_rom.emit({ name: fn.name, size });
  registerBar(fn, new DeviceRom(fn, size));
}

interface Rom {
  readonly size: number;
  read(offset: number, size: number): number;
}

function registerBar(fn: VfioPciFunction, rom: Rom): void {
  const handler = {
    read: (offset: number, size: number) => rom.read(offset, size),
    write: () => {},
  };
  const size = BigInt(rom.size);
  const region = new MemoryRegion(`${fn.name} ROM`, "io", size, { handler, owner: fn });
  fn.registerBar(ROM_BAR, region, { kind: "mem32" });
}

/** Sizes the ROM as a guest would, on the device itself (12.2); 0 when there is none. */
function sizeRom(fn: VfioPciFunction): number {
  const { deviceConfig } = fn;
  const original = deviceConfig.read(PCI_ROM_ADDRESS, 4);
  if (original < 0) return 0;
  if (deviceConfig.write(PCI_ROM_ADDRESS, 4, SIZE_MASK) < 0) return 0;
  const sized = deviceConfig.read(PCI_ROM_ADDRESS, 4);
  if (deviceConfig.write(PCI_ROM_ADDRESS, 4, original) < 0 || sized < 0) return 0;
  return (~((sized & SIZE_MASK) - 1) >>> 0) % 2 ** 32;
}

/** The device's ROM, read on first use. */
class DeviceRom implements Rom {
  readonly size: number;
  readonly #fn: VfioPciFunction;
  #image: Uint8Array | undefined;

  constructor(fn: VfioPciFunction, size: number) {
    this.#fn = fn;
    this.size = size;
  }

  read(offset: number, size: number): number {
    if (this.#image === undefined && !this.#fn.romUnreadable) this.#load();
    const image = this.#image;
    const value = image ? readLittleEndian(image, offset, size) : allOnes(size);
    const point = trace.vfio_rom_read;
    if (point.enabled) point.emit({ name: this.#fn.name, addr: offset, size, data: value });
    return value;
  }

  #load(): void {
    const fn = this.#fn;
    let info: RegionInfo;
    try {
      info = fn.device.regionInfo(VFIO_PCI_ROM_REGION_INDEX);
    } catch (error) {
      fn.romUnreadable = true;
      fn.report(`vfio-pci: Error getting ROM info of ${fn.name}: ${String(error)}`);
      return;
    }
    const { size, fdOffset, flags } = info;
    trace.vfio_pci_load_rom.emit({ name: fn.name, size, offset: fdOffset, flags });
    if (size === 0) {
      fn.romUnreadable = true;
      fn.report(
        `vfio-pci: Cannot read device rom at ${fn.name}. Device option ROM contents are ` +
          "probably invalid (check dmesg). Skip option ROM probe with rombar=0, " +
          "or load from file with romfile=",
      );
      return;
    }
    this.#image = readImage(fn, info);
    patchIds(this.#image, fn.ids);
    patchIgdVbios(fn, this.#image);
  }
}

function readImage(fn: VfioPciFunction, info: RegionInfo): Uint8Array {
  const image = new Uint8Array(info.size).fill(0xff);
  let done = 0;
  // An endless EINTR would keep the guest waiting; no kernel does that a hundred times.
  for (let interrupted = 0; done < image.length && interrupted < 100; ) {
    const result = fn.device.readRegion(info, done, image.subarray(done));
    if (TRANSIENT.includes(result)) {
      interrupted++;
    } else if (result <= 0) {
      if (result < 0) fn.report(`vfio-pci: Error reading device ROM of ${fn.name}: ${-result}`);
      break;
    } else {
      done += result;
    }
  }
  return image;
}

/** Gives the image the effective device ID, keeping its byte sum at 0 (12.7). */
export function patchIds(image: Uint8Array, ids: EffectiveIds): void {
  const word = (at: number) => readLittleEndian(image, at, 2);
  if (image.length <= PCIR_POINTER + 2 || word(0) !== ROM_SIGNATURE) return;
  const pcir = word(PCIR_POINTER);
  if (pcir + 8 >= image.length || readLittleEndian(image, pcir, 4) !== PCIR_SIGNATURE) return;
  if (word(pcir + 4) !== ids.vendor || word(pcir + 6) === ids.device) return;
  image[pcir + 6] = ids.device & 0xff;
  image[pcir + 7] = ids.device >>> 8;
  image[CHECKSUM] = 0;
  image[CHECKSUM] = -image.reduce((sum, byte) => sum + byte, 0);
}

/** A file as the ROM, as it is (12.9). */
class FileRom implements Rom {
  readonly size: number;
  readonly #image: Uint8Array;

  /** @throws {ViaductError} PROPERTY */
  constructor(fn: VfioPciFunction, path: string) {
    this.#image = readRomFile(path);
    const needed = Math.max(this.#image.length, FILE_ROM_SIZE_MIN);
    const size = fn.properties.romsize ?? alignUp(needed, 2 ** Math.ceil(Math.log2(needed)));
    if (size < this.#image.length) {
      const held = hex(this.#image.length);
      throw new ViaductError(
        "PROPERTY",
        `romfile "${path}" (${held} bytes) is too large for romsize ${hex(size)}`,
      );
    }
    this.size = size;
  }

  read(offset: number, size: number): number {
    return readLittleEndian(this.#image, offset, size);
  }
}

function readRomFile(path: string): Uint8Array {
  let image: Uint8Array;
  try {
    image = readFileSync(path);
  } catch (cause) {
    const why = cause instanceof Error ? `: ${cause.message}` : "";
    throw new ViaductError("PROPERTY", `failed to find romfile "${path}"${why}`, { cause });
  }
  if (image.length > 0) return image;
  throw new ViaductError("PROPERTY", `romfile "${path}" is empty`);
}
