/**
 * The guest of hot-plug tests: what an operating system does with one root port and what is in its
 * slot (PCI Express Base 5.0, 6.7), through configuration space and memory alone. `serve` is its
 * interrupt handler and driver core in one.
 */

import type { AddressSpace } from "../../../src/memory/address-space.ts";
import { devfnOf } from "../../../src/pci/bus.ts";
import type { RootComplex } from "../../../src/pci/root-complex.ts";

const EXPRESS = 0x54;
const SLTCTL = EXPRESS + 0x18;
const SLTSTA = EXPRESS + 0x1a;
const PORT_MSIX = 0x48;
const [BUTTON, PRESENT] = [0x0001, 0x0040];
const EVENTS = 0x0119;
/** Button, link and hot-plug interrupts enabled, as Linux has them where there is a button. */
const ENABLES = 0x1021;
const [POWER_ON, BLINK, POWER_OFF] = [0x0100, 0x0200, 0x0700];
const MEMORY_AND_MASTER = 6;
const CAP_MSIX = 0x11;
const MSIX_ENABLE = 0x8000;
const MESSAGE_ADDRESS = 0xfee0_0000;

/** Where the bridge's window begins; devices get addresses from here on. */
const WINDOW = 0xe000_0000;
const PORT_BAR = 0xdf00_0000;

/** A guest that cancels what it is asked for: it blinks, and keeps the device. */
export type Temper = "complies" | "keeps" | "silent";

export class PciehpGuest {
  readonly #root: RootComplex;
  readonly #memory: AddressSpace;
  readonly #port: number;
  readonly #bus: number;
  #powered = false;
  temper: Temper = "complies";

  /** @param slot of the root port on the root bus */
  constructor(root: RootComplex, memory: AddressSpace, slot: number) {
    this.#root = root;
    this.#memory = memory;
    this.#port = devfnOf(slot);
    this.#bus = slot;
  }

  /** Numbers the bus, opens the window, enables the port's interrupt: a message. */
  boot(): void {
    const bar = PORT_BAR + this.#bus * 0x1000;
    const window = this.#window;
    this.#set(0x10, 4, bar);
    this.#set(0x18, 4, (this.#bus << 8) | (this.#bus << 16));
    this.#set(0x20, 4, ((window + 0xff_ffff) & 0xfff0_0000) + (window >>> 16));
    this.#set(0x04, 2, MEMORY_AND_MASTER);
    this.#writeEntry(bar, 0x40 + this.#bus);
    this.#set(PORT_MSIX + 2, 2, MSIX_ENABLE);
    this.#powered = (this.#get(SLTSTA, 2) & PRESENT) !== 0;
    this.#control(this.#powered ? POWER_ON : POWER_OFF);
    this.#set(SLTSTA, 2, EVENTS);
    if (this.#powered) this.#bind();
  }

  /** Takes the port's events and does what follows from them. */
  serve(): void {
    const status = this.#get(SLTSTA, 2);
    this.#set(SLTSTA, 2, status & EVENTS);
    if (this.temper === "silent") return;
    const present = (status & PRESENT) !== 0;
    if (!this.#powered && present) this.#powerUp();
    else if (this.#powered && !present) this.#control(POWER_OFF);
    else if (this.#powered && (status & BUTTON) !== 0) this.#leave();
    this.#powered = present && (this.#get(SLTCTL, 2) & 0x0400) === 0;
    this.#set(SLTSTA, 2, EVENTS);
  }

  /** Vendor and device of function `fn` of the slot; all ones: nothing answers. */
  id(fn = 0): number {
    return this.#root.readConfig((this.#bus << 8) | fn, 0, 4);
  }

  /** A read of the function's BAR as it was placed by `bind`. */
  readBar(index: number): bigint {
    const child = this.#bus << 8;
    const low = this.#root.readConfig(child, 0x10 + 4 * index, 4) & ~0xf;
    return this.#memory.read(BigInt(low >>> 0), 4);
  }

  get #window(): number {
    return WINDOW + this.#bus * 0x100_0000;
  }

  #powerUp(): void {
    this.#control(BLINK);
    this.#control(POWER_ON);
    this.#bind();
  }

  #leave(): void {
    this.#control(BLINK);
    if (this.temper === "keeps") {
      this.#control(POWER_ON);
      return;
    }
    this.#unbind();
    this.#control(POWER_OFF);
  }

  /** What a driver does: BARs placed, decoding and DMA on, every vector of MSI-X unmasked. */
  #bind(): void {
    const child = this.#bus << 8;
    let next = this.#window;
    for (let at = 0x10; at < 0x28; at += 4) {
      this.#root.writeConfig(child, at, 4, 0xffff_ffff);
      const mask = this.#root.readConfig(child, at, 4);
      if (mask === 0) continue;
      const size = (~(mask & ~0xf) >>> 0) + 1;
      next = Math.ceil(next / size) * size;
      this.#root.writeConfig(child, at, 4, next);
      next += size;
      // The upper half of a 64-bit BAR.
      if ((mask & 6) === 4) {
        at += 4;
        this.#root.writeConfig(child, at, 4, 0);
      }
    }
    this.#root.writeConfig(child, 4, 2, MEMORY_AND_MASTER);
    this.#enableMsix(child);
  }

  #unbind(): void {
    const child = this.#bus << 8;
    const msix = this.#findMsix(child);
    if (msix !== 0) this.#root.writeConfig(child, msix + 2, 2, 0);
    this.#root.writeConfig(child, 4, 2, 0);
  }

  #enableMsix(child: number): void {
    const at = this.#findMsix(child);
    if (at === 0) return;
    const vectors = (this.#root.readConfig(child, at + 2, 2) & 0x7ff) + 1;
    const place = this.#root.readConfig(child, at + 4, 4);
    const bar = this.#root.readConfig(child, 0x10 + 4 * (place & 7), 4) & ~0xf;
    const table = (bar >>> 0) + (place & ~7);
    this.#root.writeConfig(child, at + 2, 2, MSIX_ENABLE);
    for (let vector = 0; vector < vectors; vector++) {
      this.#writeEntry(table + 16 * vector, 0x80 + vector);
    }
  }

  /** A message and no mask. */
  #writeEntry(at: number, data: number): void {
    for (const [index, word] of [MESSAGE_ADDRESS, 0, data, 0].entries()) {
      this.#memory.write(BigInt(at + 4 * index), 4, BigInt(word));
    }
  }

  #findMsix(child: number): number {
    let at = this.#root.readConfig(child, 0x34, 1);
    while (at !== 0 && this.#root.readConfig(child, at, 1) !== CAP_MSIX) {
      at = this.#root.readConfig(child, at + 1, 1);
    }
    return at;
  }

  #control(state: number): void {
    this.#set(SLTCTL, 2, ENABLES | 0x00c0 | state);
  }

  #get(offset: number, length: number): number {
    return this.#root.readConfig(this.#port, offset, length);
  }

  #set(offset: number, length: number, value: number): void {
    this.#root.writeConfig(this.#port, offset, length, value);
  }
}
