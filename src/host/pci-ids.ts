/**
 * Names of PCI vendors, devices, subsystems and classes from the system's `pci.ids`. The file is
 * 1.4 MB and a host needs a few dozen names, so it is not parsed: a vendor's block is found by a
 * string search, and kept.
 */

import { readFileSync } from "node:fs";

const PLACES = [
  "/usr/share/misc/pci.ids",
  "/usr/share/hwdata/pci.ids",
  "/var/lib/pciutils/pci.ids",
];

export class PciIds {
  private readonly text: string;
  private readonly blocks = new Map<string, string>();

  /** @param text the whole file; "" knows no names */
  constructor(text: string) {
    this.text = `\n${text}`;
  }

  /** The system's own list, or one without names where the system has none. */
  static system(): PciIds {
    for (const path of PLACES) {
      try {
        return new PciIds(readFileSync(path, "utf8"));
      } catch {
        // The next place; distributions differ.
      }
    }
    return new PciIds("");
  }

  vendor(vendor: number): string | undefined {
    return nameIn(this.block(hex(vendor, 4)), "");
  }

  device(vendor: number, device: number): string | undefined {
    return nameIn(this.block(hex(vendor, 4)), `\n\t${hex(device, 4)}  `);
  }

  /** The name of a subsystem under its device; a vendor's own subsystem has the device's name. */
  subsystem(vendor: number, device: number, subVendor: number, subDevice: number) {
    const block = this.block(hex(vendor, 4));
    const start = block.indexOf(`\n\t${hex(device, 4)}  `);
    if (start < 0) return undefined;
    const end = nextLineStarting(block, start + 1, /\n\t[0-9a-f]/g);
    return nameIn(block.slice(start + 1, end), `\n\t\t${hex(subVendor, 4)} ${hex(subDevice, 4)}  `);
  }

  /** The name of a class code 0xCCSS (lspci prints the subclass, else the class). */
  classOf(code: number): string | undefined {
    const block = this.block(`C ${hex(code >> 8, 2)}`);
    return nameIn(block, `\n\t${hex(code & 0xff, 2)}  `) ?? nameIn(block, "");
  }

  /** The name of a programming interface (0xCCSSPP). */
  interfaceOf(code: number): string | undefined {
    const block = this.block(`C ${hex(code >> 16, 2)}`);
    const start = block.indexOf(`\n\t${hex((code >> 8) & 0xff, 2)}  `);
    if (start < 0) return undefined;
    const end = nextLineStarting(block, start + 1, /\n\t[0-9a-f]/g);
    return nameIn(block.slice(start + 1, end), `\n\t\t${hex(code & 0xff, 2)}  `);
  }

  private block(key: string): string {
    let block = this.blocks.get(key);
    if (block === undefined) {
      const start = this.text.indexOf(`\n${key}  `);
      block = "";
      if (start >= 0) {
        const end = nextLineStarting(this.text, start + 1, /\n[0-9a-fC]/g);
        block = this.text.slice(start + 1 + key.length + 2, end);
      }
      this.blocks.set(key, block);
    }
    return block;
  }
}

function nextLineStarting(text: string, from: number, pattern: RegExp): number {
  pattern.lastIndex = from;
  return pattern.exec(text)?.index ?? text.length;
}

/** The rest of the line after `key`; "" is the start of the block. */
function nameIn(block: string, key: string): string | undefined {
  const at = block.indexOf(key);
  if (at < 0 || block === "") return undefined;
  const start = at + key.length;
  const end = block.indexOf("\n", start);
  return block.slice(start, end < 0 ? undefined : end);
}

function hex(value: number, width: number): string {
  return value.toString(16).padStart(width, "0");
}
