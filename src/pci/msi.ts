/**
 * The MSI capability, all four shapes: 32 or 64-bit address, with or without per-vector mask. PCI
 * Local Bus 3.0 section 6.8.1. All of it is emulated; QSIZE and ENABLE are the writable part of
 * control. A masked vector that fires becomes pending and is delivered when it is unmasked.
 */

import * as pci from "../abi/pci-regs.ts";
import type { PciFunction } from "./function.ts";
import type { MsiMessage } from "./platform.ts";

export interface MsiShape {
  readonly is64Bit: boolean;
  readonly maskable: boolean;
  /** What the device can have: a power of two from 1 to 32. */
  readonly vectors: number;
}

/** Bytes of a capability of this shape: 10, 14, 20 or 24. */
export function msiCapabilitySize({ is64Bit, maskable }: Omit<MsiShape, "vectors">): number {
  return 10 + (is64Bit ? 4 : 0) + (maskable ? 10 : 0);
}

/** The shape that a device's control word declares. */
export function msiShapeOf(control: number): MsiShape {
  return {
    is64Bit: (control & pci.PCI_MSI_FLAGS_64BIT) !== 0,
    maskable: (control & pci.PCI_MSI_FLAGS_MASKBIT) !== 0,
    vectors: 1 << Math.min((control & pci.PCI_MSI_FLAGS_QMASK) >> 1, 5),
  };
}

export class MsiCapability {
  /** Offset in config space. */
  readonly offset: number;
  readonly size: number;
  readonly shape: MsiShape;
  readonly #fn: PciFunction;
  readonly #dataOffset: number;
  readonly #maskOffset: number;

  /**
   * Adds the capability and becomes `fn.msi`.
   *
   * @param offset undefined takes the first gap
   * @throws {ViaductError} CAPABILITY_OVERLAP
   */
  static create(fn: PciFunction, shape: MsiShape, offset?: number): MsiCapability {
    const size = msiCapabilitySize(shape);
    const at = fn.config.addCapability(pci.PCI_CAP_ID_MSI, offset, size);
    const msi = new MsiCapability(fn, shape, at);
    fn.msi = msi;
    return msi;
  }

  private constructor(fn: PciFunction, shape: MsiShape, offset: number) {
    this.#fn = fn;
    this.shape = shape;
    this.offset = offset;
    this.size = msiCapabilitySize(shape);
    const { is64Bit, maskable, vectors } = shape;
    this.#dataOffset = offset + (is64Bit ? pci.PCI_MSI_DATA_64 : pci.PCI_MSI_DATA_32);
    this.#maskOffset = this.#dataOffset + 4;
    const { config } = fn;
    const control =
      (Math.log2(vectors) << 1) |
      (is64Bit ? pci.PCI_MSI_FLAGS_64BIT : 0) |
      (maskable ? pci.PCI_MSI_FLAGS_MASKBIT : 0);
    config.write(offset + pci.PCI_MSI_FLAGS, 2, control);
    const writable = (at: number, length: number, value: number) =>
      config.setMask(config.wmask, at, length, value);
    writable(offset + pci.PCI_MSI_FLAGS, 2, pci.PCI_MSI_FLAGS_QSIZE | pci.PCI_MSI_FLAGS_ENABLE);
    writable(offset + pci.PCI_MSI_ADDRESS_LO, 4, 0xfffffffc);
    if (is64Bit) writable(offset + pci.PCI_MSI_ADDRESS_HI, 4, 0xffffffff);
    writable(this.#dataOffset, 2, 0xffff);
    if (maskable) writable(this.#maskOffset, 4, this.#allVectors);
  }

  get enabled(): boolean {
    return (this.#control & pci.PCI_MSI_FLAGS_ENABLE) !== 0;
  }

  /** How many vectors the guest programmed (QSIZE), never more than the device has. */
  get vectors(): number {
    const log = (this.#control & pci.PCI_MSI_FLAGS_QSIZE) >> 4;
    return Math.min(1 << log, this.shape.vectors);
  }

  /** The write that vector `vector` makes: its number replaces the low bits of the data. */
  message(vector: number): MsiMessage {
    const { config } = this.#fn;
    const low = config.read(this.offset + pci.PCI_MSI_ADDRESS_LO, 4);
    const high = this.shape.is64Bit ? config.read(this.offset + pci.PCI_MSI_ADDRESS_HI, 4) : 0;
    const data = config.read(this.#dataOffset, 2);
    return {
      address: (BigInt(high) << 32n) | BigInt(low),
      data: (data & ~(this.vectors - 1)) | (vector & (this.vectors - 1)),
    };
  }

  isMasked(vector: number): boolean {
    return (
      this.shape.maskable && ((this.#fn.config.read(this.#maskOffset, 4) >>> vector) & 1) !== 0
    );
  }

  isPending(vector: number): boolean {
    return this.shape.maskable && ((this.#pending >>> vector) & 1) !== 0;
  }

  /** The device fires `vector`: delivered, or pending while masked; dropped while MSI is off. */
  notify(vector: number): void {
    if (!this.enabled) return;
    if (this.isMasked(vector)) this.#pending = this.#pending | (1 << vector);
    else this.#fn.deliverMsi(this.message(vector));
  }

  /** After a guest's write to config space: delivers what it unmasked. */
  configWritten(offset: number, length: number): void {
    const hit = offset < this.offset + this.size && this.offset < offset + length;
    if (!hit || !this.enabled) return;
    this.#fn.setIntx(false);
    if (!this.shape.maskable) return;
    // A guest that lowers QSIZE gives up what was pending above it.
    this.#pending &= this.vectors === 32 ? -1 : (1 << this.vectors) - 1;
    for (let vector = 0; vector < this.vectors; vector++) {
      if (!this.isPending(vector) || this.isMasked(vector)) continue;
      this.#pending &= ~(1 << vector);
      this.#fn.deliverMsi(this.message(vector));
    }
  }

  reset(): void {
    const { config } = this.#fn;
    const keep = ~(pci.PCI_MSI_FLAGS_QSIZE | pci.PCI_MSI_FLAGS_ENABLE);
    config.write(this.offset + pci.PCI_MSI_FLAGS, 2, this.#control & keep);
    const bodyAt = this.offset + pci.PCI_MSI_ADDRESS_LO;
    config.update(() => config.bytes.fill(0, bodyAt, this.offset + this.size));
  }

  /** Takes the capability off the function. */
  remove(): void {
    this.#fn.config.removeCapability(pci.PCI_CAP_ID_MSI);
    this.#fn.msi = undefined;
  }

  get #control(): number {
    return this.#fn.config.read(this.offset + pci.PCI_MSI_FLAGS, 2);
  }

  get #allVectors(): number {
    return 0xffffffff >>> (32 - this.shape.vectors);
  }

  get #pending(): number {
    return this.#fn.config.read(this.#maskOffset + 4, 4);
  }

  set #pending(bits: number) {
    this.#fn.config.write(this.#maskOffset + 4, 4, bits);
  }
}
