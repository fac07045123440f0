/**
 * Values of options as QEMU's users type them: sizes, counts, and `driver,key=value,...` lists.
 */

import type { DeviceOption } from "../machine/device-options.ts";
import { ViaductError } from "../sys/sys-error.ts";

/** A mistake of the person at the keyboard; exit status 2. */
export function usageError(message: string, nextStep: string): ViaductError {
  return new ViaductError("USAGE", message, { nextStep });
}

/** The candidate that differs least from `typed`, when it differs little. */
export function closest(typed: string, candidates: readonly string[]): string | undefined {
  const ranked = candidates
    .map((candidate) => ({ candidate, distance: editDistance(typed, candidate) }))
    .sort((a, b) => a.distance - b.distance);
  const best = ranked[0];
  const limit = Math.max(1, Math.floor(typed.length / 3));
  return best !== undefined && best.distance <= limit ? best.candidate : undefined;
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const substituted = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(substituted, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return row[b.length]!;
}

/**
 * `driver,key=value,flag`; a comma inside a value is written twice.
 * @throws {ViaductError} USAGE: no driver, a property without a name or given twice
 */
export function parseDeviceOption(text: string): DeviceOption {
  const parts = text
    .replaceAll(",,", "\0")
    .split(",")
    .map((part) => part.replaceAll("\0", ","));
  const [driver = "", ...rest] = parts;
  if (driver === "" || driver.includes("=")) {
    throw usageError(
      `--device ${text}: the driver comes first`,
      "For example: --device vfio-pci,host=0000:01:00.0",
    );
  }
  const properties = new Map<string, string>();
  for (const part of rest) {
    const [, key, value] = /^([^=]*)(?:=(.*))?$/s.exec(part)!;
    if (key === undefined || key === "") {
      throw usageError(`--device ${text}: a property has no name`, "Write name=value.");
    }
    if (properties.has(key)) {
      throw usageError(`--device ${text}: property ${key} is given twice`, "Give it once.");
    }
    properties.set(key, value ?? "on");
  }
  return { driver, properties };
}

/**
 * Bytes from `512M`, `6G`, `1.5G`; a plain number counts `unit`s.
 * @throws {ViaductError} USAGE
 */
export function parseSize(option: string, text: string, unit: "M" | "B" = "M"): number {
  const match = /^(\d+(?:\.\d+)?)([BKMGT]?)(?:i?B)?$/i.exec(text);
  const scale = { B: 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 };
  const suffix = (match?.[2] || unit).toUpperCase() as keyof typeof scale;
  const bytes = match === null ? Number.NaN : Number(match[1]) * scale[suffix];
  if (Number.isSafeInteger(bytes)) return bytes;
  throw usageError(`${option} ${text}: not a size`, "Write, for example, 512M or 6G.");
}

/** @throws {ViaductError} USAGE when not a whole number in the range */
export function parseCount(option: string, text: string, min: number, max: number): number {
  const count = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (count >= min && count <= max) return count;
  throw usageError(`${option} ${text}: not a number from ${min} to ${max}`, "Correct it.");
}
