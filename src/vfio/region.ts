/**
 * VfioRegion: a device region as guest-visible memory: a trapped region of the full size (each
 * access is one pread or pwrite) with the mmapped areas laid over it, so that the guest reaches the
 * device itself (spec/pci.md section 8, spec/container.md section 14).
 */

import assert from "node:assert/strict";
import { MAP_SHARED, PROT_READ, PROT_WRITE } from "../abi/mman.ts";
import {
  VFIO_REGION_INFO_FLAG_MMAP,
  VFIO_REGION_INFO_FLAG_READ,
  VFIO_REGION_INFO_FLAG_WRITE,
} from "../abi/vfio.ts";
import type { AccessGate } from "../memory/access-gates.ts";
import { hex } from "../memory/address.ts";
import { type IoHandler, MemoryRegion, type TrapFile } from "../memory/region.ts";
import { Mapping } from "../sys/mapping.ts";
import { Owner } from "../sys/owner.ts";
import { SysError } from "../sys/sys-error.ts";
import type { Syscalls } from "../sys/syscalls.ts";
import type { RegionInfo, VfioDevice } from "./device.ts";
import { type Report, rateLimited, reportToStderr } from "./report.ts";
import * as trace from "./trace.ts";

const HOST_PAGE = 4096;
/** Largest useful alignment of a mapping: the largest huge page (spec/pci.md 8.6). */
const ALIGN_MAX = 2 ** 30;

export interface RegionArea {
  readonly offset: number;
  readonly size: number;
}

/** One mmapped area. */
export interface RegionMmap extends RegionArea {
  readonly mapping: Mapping;
  /** The overlay, a `ram-device` child of `VfioRegion.region`. */
  readonly region: MemoryRegion;
}

export interface VfioRegionOptions {
  /** What messages and the memory tree call it: `0000:01:00.0 BAR 0`. */
  readonly name: string;
  readonly owner?: object;
  /** Runs after each trapped access (the INTx EOI hook); not after a failed read. */
  readonly afterAccess?: () => void;
  /** While it is open, `afterAccess` does nothing, and any thread may make accesses. */
  readonly gate?: AccessGate | undefined;
  readonly report?: Report;
}

/**
 * The areas of a region that may be mmapped: none without the MMAP flag, those of the sparse
 * capability that are not empty, else everything.
 */
export function mmapAreas(info: RegionInfo): RegionArea[] {
  if ((info.flags & VFIO_REGION_INFO_FLAG_MMAP) === 0 || info.size === 0) return [];
  if (info.sparseAreas) return info.sparseAreas.filter((area) => area.size > 0);
  return [{ offset: 0, size: info.size }];
}

/**
 * Asks what a region is, and traces the answer.
 * @param name what traces call it: `0000:01:00.0 BAR 0`
 * @throws {SysError} VFIO_DEVICE_GET_REGION_INFO
 */
export function askRegion(device: VfioDevice, index: number, name: string): RegionInfo {
  const info = device.regionInfo(index);
  const { flags, fdOffset, size, sparseAreas } = info;
  if (sparseAreas && (flags & VFIO_REGION_INFO_FLAG_MMAP) !== 0) {
    const nr_areas = sparseAreas.length;
    trace.vfio_region_sparse_mmap_header.emit({ name: device.name, index, nr_areas });
    sparseAreas.forEach((area, i) => {
      const end = area.offset + area.size - 1;
      if (area.size > 0) trace.vfio_region_sparse_mmap_entry.emit({ i, start: area.offset, end });
    });
  }
  trace.vfio_region_setup.emit({ dev: device.name, index, name, flags, offset: fdOffset, size });
  return info;
}

export class VfioRegion implements Disposable {
  readonly info: RegionInfo;
  /** The whole region for the memory tree; its size may be raised (sub-page BARs). */
  readonly region: MemoryRegion;
  readonly device: VfioDevice;
  readonly #afterAccess: () => void;
  readonly #report: Report;
  readonly #name: string;
  readonly #buffer = new Uint8Array(8);
  readonly #view = new DataView(this.#buffer.buffer, this.#buffer.byteOffset);
  /** By width, so that an access makes no new view. */
  readonly #slices = [1, 2, 4, 8].map((width) => this.#buffer.subarray(0, width));
  #mmaps: RegionMmap[] = [];
  #mapped = new Owner();
  #finalized = false;

  constructor(device: VfioDevice, info: RegionInfo, options: VfioRegionOptions) {
    this.device = device;
    this.info = info;
    this.#name = options.name;
    this.#afterAccess = options.afterAccess ?? (() => {});
    this.#report = rateLimited(options.report ?? reportToStderr);
    const owner = options.owner === undefined ? {} : { owner: options.owner };
    const handler = this.#handler(0);
    const file = this.#trapFile(options.gate);
    this.region = new MemoryRegion(options.name, "io", BigInt(info.size), {
      ...{ handler, file, ...owner },
    });
  }

  /** The mmapped areas, in the order given to `mapAreas`. */
  get mmaps(): readonly RegionMmap[] {
    return this.#mmaps;
  }

  /**
   * Maps `areas` of the device into this process and lays them over the trapped region. All or
   * none: when one fails, those before it are unmapped again.
   * @throws {SysError} mmap
   */
  mapAreas(sys: Syscalls, areas: readonly RegionArea[] = mmapAreas(this.info)): void {
    assert(this.#mmaps.length === 0, `${this.#name} is mapped already`);
    using owner = new Owner();
    const { flags, fdOffset } = this.info;
    const readable = (flags & VFIO_REGION_INFO_FLAG_READ) !== 0 ? PROT_READ : 0;
    const writable = (flags & VFIO_REGION_INFO_FLAG_WRITE) !== 0 ? PROT_WRITE : 0;
    const mmaps = areas.map((area, i): RegionMmap => {
      const name = `${this.#name} mmap ${i}`;
      const offset = fdOffset + area.offset;
      const mapping = owner.own(this.#mapArea(sys, area, i, readable | writable));
      const traced = { name, offset: area.offset, end: area.offset + area.size - 1 };
      trace.vfio_region_mmap.emit(traced);
      owner.defer(() => trace.vfio_region_unmap.emit(traced));
      const region = new MemoryRegion(name, "ram-device", BigInt(area.size), {
        ...this.#memoryOptions(mapping, offset),
        handler: this.#handler(area.offset),
      });
      return { ...area, mapping, region };
    });
    for (const { region, offset } of mmaps) {
      this.region.add(region, BigInt(offset));
      owner.defer(() => this.region.remove(region));
    }
    this.#mmaps = mmaps;
    this.#mapped = owner.move();
  }

  /** Lets guest accesses reach the mapped areas, or traps all of them (INTx). Mappings stay. */
  setMmapsEnabled(enabled: boolean): void {
    trace.vfio_region_mmaps_set_enabled.emit({ name: this.#name, enabled });
    for (const { region } of this.#mmaps) region.setEnabled(enabled);
  }

  /** One trapped read; what cannot be read is all ones. */
  read(offset: number, size: 1 | 2 | 4): number {
    if (!this.#transfer("read", offset, size)) return size === 4 ? 0xffffffff : 2 ** (8 * size) - 1;
    // Little-endian on the wire, whatever the host is.
    const view = this.#view;
    let data = view.getUint8(0);
    if (size === 4) data = view.getUint32(0, true);
    else if (size === 2) data = view.getUint16(0, true);
    if (trace.vfio_region_read.enabled) this.#traceRead(offset, size, data);
    return data;
  }

  write(offset: number, size: 1 | 2 | 4, value: number): void {
    if (size === 4) this.#view.setUint32(0, value, true);
    else if (size === 2) this.#view.setUint16(0, value, true);
    else this.#view.setUint8(0, value);
    this.#transfer("write", offset, size);
    if (trace.vfio_region_write.enabled) this.#traceWrite(offset, size, value);
  }

  read64(offset: number): bigint {
    if (!this.#transfer("read", offset, 8)) return 0xffff_ffff_ffff_ffffn;
    const data = this.#view.getBigUint64(0, true);
    if (trace.vfio_region_read.enabled) this.#traceRead(offset, 8, data);
    return data;
  }

  write64(offset: number, value: bigint): void {
    this.#view.setBigUint64(0, value, true);
    this.#transfer("write", offset, 8);
    if (trace.vfio_region_write.enabled) this.#traceWrite(offset, 8, value);
  }

  /** Takes the overlays out of the memory tree and unmaps them. Idempotent. */
  [Symbol.dispose](): void {
    if (this.#finalized) return;
    this.#finalized = true;
    const traced = { name: this.device.name, index: this.info.index };
    trace.vfio_region_exit.emit(traced);
    this.#mapped[Symbol.dispose]();
    this.#mmaps = [];
    trace.vfio_region_finalize.emit(traced);
  }

  /** Not where the region is one-way, nor when somebody wants to hear of each access. */
  #trapFile(gate: AccessGate | undefined): TrapFile | undefined {
    const { flags, fdOffset } = this.info;
    const both = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
    const traced = trace.vfio_region_read.enabled || trace.vfio_region_write.enabled;
    if (gate === undefined || this.device.fd < 0 || (flags & both) !== both || traced) {
      return undefined;
    }
    return { fd: this.device.fd, offset: fdOffset, gate: gate.index };
  }

  #traceRead(addr: number, size: number, data: number | bigint): void {
    const { name } = this.device;
    trace.vfio_region_read.emit({ name, index: this.info.index, addr, size, data });
  }

  #traceWrite(addr: number, size: number, data: number | bigint): void {
    const { name } = this.device;
    trace.vfio_region_write.emit({ name, index: this.info.index, addr, data, size });
  }

  #mapArea(sys: Syscalls, { offset, size }: RegionArea, index: number, prot: number): Mapping {
    const align = alignmentOf(size);
    try {
      return Mapping.map(sys, {
        fd: this.device.fd,
        offset: this.info.fdOffset + offset,
        length: size,
        prot,
        flags: MAP_SHARED,
        ...(align > HOST_PAGE && { align }),
      });
    } catch (error) {
      const fault = error instanceof SysError ? -error.errno : 0;
      trace.vfio_region_mmap_fault.emit({ name: this.#name, index, offset, size, fault });
      throw error;
    }
  }

  /** Accesses from `base` on; over a mapped area, those that this process makes itself. */
  #handler(base: number): IoHandler {
    return {
      read: (offset, size) => this.read(base + offset, size),
      write: (offset, size, value) => this.write(base + offset, size, value),
      read64: (offset) => this.read64(base + offset),
      write64: (offset, value) => this.write64(base + offset, value),
    };
  }

  #transfer(action: "read" | "write", offset: number, size: 1 | 2 | 4 | 8): boolean {
    const slice = this.#slices[Math.log2(size)]!;
    const result =
      action === "read"
        ? this.device.readRegion(this.info, offset, slice)
        : this.device.writeRegion(this.info, offset, slice);
    const done = result === size;
    if (!done) {
      const why = result < 0 ? `errno ${-result}` : `${result} bytes`;
      this.#report(`${this.#name}: ${action} of ${size} bytes at ${hex(offset)} failed: ${why}`);
      if (action === "read") return false;
    }
    this.#afterAccess();
    return done;
  }

  #memoryOptions(mapping: Mapping, fdOffset: number) {
    const memory = { hva: mapping.address, fd: this.device.fd, fdOffset };
    const owner = this.region.owner;
    return owner === undefined ? { memory } : { memory, owner };
  }
}

/** The largest power of two that divides `size`, at most 1 GiB. */
export function alignmentOf(size: number): number {
  let align = 1;
  while (align < ALIGN_MAX && size % (align * 2) === 0) align *= 2;
  return align;
}
