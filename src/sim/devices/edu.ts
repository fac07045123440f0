/**
 * The educational device of QEMU (docs/specs/edu.rst): identification, liveness, a factorial, an
 * interrupt to raise and acknowledge, and DMA with 28 address bits.
 */

import { VFIO_PCI_MSI_IRQ_INDEX } from "../../abi/vfio.ts";
import type { SoftwarePciDevice } from "../pci-device.ts";
import type { BarBehaviour, DeviceBehaviour, PciDeviceSpec } from "../pci-spec.ts";

// Registers of BAR 0; those from SOURCE on may also be accessed 8 bytes wide.
const ID = 0x00;
const LIVENESS = 0x04;
const FACTORIAL = 0x08;
const STATUS = 0x20;
const INTERRUPT_STATUS = 0x24;
const INTERRUPT_RAISE = 0x60;
const INTERRUPT_ACK = 0x64;
const DMA_SOURCE = 0x80;
const DMA_DESTINATION = 0x88;
const DMA_COUNT = 0x90;
const DMA_COMMAND = 0x98;

export const EDU_ID = 0x0100_00ed;
const STATUS_INTERRUPT_WHEN_DONE = 0x80;
const DMA_START = 0x1;
const DMA_TO_RAM = 0x2;
const DMA_INTERRUPT = 0x4;
const INTERRUPT_FACTORIAL = 0x1;
const INTERRUPT_DMA = 0x100;
/** Where the device's own 4 KiB lie in its address space. */
export const EDU_BUFFER = 0x40000;
const BUFFER_SIZE = 4096;
const DMA_MASK = 2 ** 28 - 1;

/** The description to plug in; `masking` and more may be spread over it. */
export function eduSpec(address: string): PciDeviceSpec {
  return {
    address,
    vendorId: 0x1234,
    deviceId: 0x11e8,
    classCode: 0xff0000,
    revision: 0x10,
    bars: { 0: { size: 0x10_0000, kind: "mem32", mmap: false } },
    interruptPin: 1,
    msi: { vectors: 1 },
    behaviour: (device) => new Edu(device),
  };
}

class Edu implements DeviceBehaviour {
  readonly bars: Readonly<Record<number, BarBehaviour>>;
  readonly #device: SoftwarePciDevice;
  readonly #buffer = new Uint8Array(BUFFER_SIZE);
  /** The plain registers: liveness, factorial, status, the four of DMA. */
  #registers = new Map<number, number>();
  #interrupts = 0;

  constructor(device: SoftwarePciDevice) {
    this.#device = device;
    this.bars = {
      0: {
        read: (offset, size) => this.#read(offset, size),
        write: (offset, size, value) => this.#write(offset, size, value),
      },
    };
  }

  reset(): void {
    this.#registers = new Map();
    this.#setInterrupts(0);
  }

  #read(offset: number, size: number): number {
    if (!isAllowed(offset, size)) return 2 ** (8 * Math.min(size, 6)) - 1;
    if (offset === ID) return EDU_ID;
    if (offset === INTERRUPT_STATUS) return this.#interrupts;
    return this.#registers.get(offset) ?? 0;
  }

  #write(offset: number, size: number, value: number): void {
    if (!isAllowed(offset, size)) return;
    switch (offset) {
      case LIVENESS:
        this.#registers.set(LIVENESS, ~value >>> 0);
        return;
      case FACTORIAL:
        this.#registers.set(FACTORIAL, factorial(value));
        if (((this.#registers.get(STATUS) ?? 0) & STATUS_INTERRUPT_WHEN_DONE) !== 0) {
          this.#setInterrupts(this.#interrupts | INTERRUPT_FACTORIAL);
        }
        return;
      case STATUS:
        this.#registers.set(STATUS, value & STATUS_INTERRUPT_WHEN_DONE);
        return;
      case INTERRUPT_RAISE:
        this.#setInterrupts((this.#interrupts | value) >>> 0);
        return;
      case INTERRUPT_ACK:
        this.#setInterrupts((this.#interrupts & ~value) >>> 0);
        return;
      case DMA_SOURCE:
      case DMA_DESTINATION:
      case DMA_COUNT:
        this.#registers.set(offset, value);
        return;
      case DMA_COMMAND:
        if ((value & DMA_START) !== 0) this.#transfer(value);
    }
  }

  #transfer(command: number): void {
    const toRam = (command & DMA_TO_RAM) !== 0;
    const source = this.#registers.get(DMA_SOURCE) ?? 0;
    const destination = this.#registers.get(DMA_DESTINATION) ?? 0;
    const count = this.#registers.get(DMA_COUNT) ?? 0;
    const at = (toRam ? source : destination) - EDU_BUFFER;
    // Out of its own buffer the real one stops the machine; here nothing moves.
    if (at < 0 || at + count > BUFFER_SIZE) return;
    const { dma } = this.#device;
    if (toRam) {
      dma.write(BigInt(destination & DMA_MASK), this.#buffer.subarray(at, at + count));
    } else {
      const bytes = dma.read(BigInt(source & DMA_MASK), count);
      if (bytes) this.#buffer.set(bytes, at);
    }
    if ((command & DMA_INTERRUPT) !== 0) this.#setInterrupts(this.#interrupts | INTERRUPT_DMA);
  }

  /** A message for each new interrupt, or the line's level. */
  #setInterrupts(status: number): void {
    const risen = (status & ~this.#interrupts) !== 0;
    this.#interrupts = status;
    const { irqs } = this.#device;
    if (irqs.mode !== VFIO_PCI_MSI_IRQ_INDEX) irqs.setIntx(status !== 0);
    else if (risen) irqs.fire(0);
  }
}

function isAllowed(offset: number, size: number): boolean {
  return size === 4 || (size === 8 && offset >= DMA_SOURCE);
}

function factorial(value: number): number {
  let product = 1;
  for (let i = value; i > 0; i--) {
    product = Math.imul(product, i) >>> 0;
    // Beyond 33! all 32 bits are zero, and stay so.
    if (product === 0) break;
  }
  return product;
}
