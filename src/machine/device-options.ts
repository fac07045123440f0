/**
 * `-device` options: a driver's name and its properties, as QEMU spells them. What a machine is
 * told; the command line's text becomes this in cli/options.ts.
 */

import { parseDevfn } from "../pci/bus.ts";
import { ViaductError } from "../sys/sys-error.ts";

export interface DeviceOption {
  readonly driver: string;
  readonly properties: ReadonlyMap<string, string>;
}

/** The option as it was typed. */
export function deviceText({ driver, properties }: DeviceOption): string {
  const values = [...properties].map(([name, value]) => `,${name}=${value.replaceAll(",", ",,")}`);
  return `-device ${driver}${values.join("")}`;
}

/** A property that a driver of ours reads; what is left at the end is unknown. */
export class PropertyReader {
  readonly #device: DeviceOption;
  readonly #left: Map<string, string>;

  constructor(device: DeviceOption) {
    this.#device = device;
    this.#left = new Map(device.properties);
  }

  take(name: string): string | undefined {
    const value = this.#left.get(name);
    this.#left.delete(name);
    return value;
  }

  /** @throws {ViaductError} PROPERTY when not a number in the range */
  takeNumber(name: string, max: number): number | undefined {
    const text = this.take(name);
    if (text === undefined) return undefined;
    const value = /^(?:0x[\da-f]+|\d+)$/i.test(text) ? Number(text) : Number.NaN;
    if (value <= max) return value;
    throw this.refuse(name, text, `Give a number from 0 to ${max}.`);
  }

  /** @throws {ViaductError} PROPERTY */
  takeSwitch(name: string): boolean | undefined {
    const text = this.take(name);
    if (text === undefined || text === "on") return text === undefined ? undefined : true;
    if (text === "off") return false;
    throw this.refuse(name, text, "Write on or off.");
  }

  /** @throws {ViaductError} PROPERTY */
  takeOneOf<T>(name: string, values: ReadonlyMap<string, T>): T | undefined {
    const text = this.take(name);
    if (text === undefined) return undefined;
    const value = values.get(text);
    if (value !== undefined) return value;
    throw this.refuse(name, text, `Choose one of: ${[...values.keys()].join(", ")}.`);
  }

  /** @throws {ViaductError} PROPERTY: something was given that nobody asked for */
  finish(known: readonly string[]): void {
    for (const [name] of this.#left) {
      const message = `Property '${this.#device.driver}.${name}' not found`;
      throw new ViaductError("PROPERTY", message, {
        nextStep: `${this.#device.driver} has: ${known.join(", ")}.`,
      });
    }
  }

  refuse(name: string, text: string, nextStep: string): ViaductError {
    const message = `Property '${this.#device.driver}.${name}' doesn't take value '${text}'`;
    return new ViaductError("PROPERTY", message, { nextStep });
  }
}

/** Where on its bus the device is wanted, as devfn. @throws {ViaductError} PROPERTY */
export function parseGuestSlot(reader: PropertyReader): number | undefined {
  const text = reader.take("addr");
  if (text === undefined) return undefined;
  const devfn = parseDevfn(text);
  if (devfn !== undefined) return devfn;
  throw reader.refuse("addr", text, "Write slot.function, for example 05.0");
}
