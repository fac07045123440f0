/**
 * What the doctor works with: an entry of the catalogue (data, and the check that decides it) and a
 * finding (the entry met on a host, with evidence). Families of entries are in the files beside.
 */

import type { Host } from "../host.ts";
import type { KernelLog } from "../kernel-log.ts";
import type { HostDevice } from "../pci-device.ts";
import { isVfioDriver, isWithVfio } from "../viability.ts";

export type Severity = "error" | "warning" | "info";

export interface Evidence {
  /** A file, or `log`. */
  readonly path: string;
  /** What was read there. */
  readonly value: string;
}

export interface Finding {
  readonly code: string;
  readonly severity: Severity;
  readonly device?: string;
  readonly group?: number;
  /** What was found, in one sentence, with the values. */
  readonly detail: string;
  readonly evidence: readonly Evidence[];
  readonly confidence: "proved" | "likely";
  /** Looks like a fault and is none. */
  readonly isHarmless?: boolean;
  readonly fix: readonly string[];
  readonly undo: readonly string[];
}

/** A finding without what its entry already says; its own steps stand in place of the entry's. */
export type Found = Omit<Finding, "code" | "severity" | "confidence" | "fix" | "undo"> &
  Partial<Pick<Finding, "severity" | "confidence" | "fix" | "undo">>;

export interface CheckContext {
  readonly host: Host;
  readonly log: KernelLog;
  /** The devices asked about; empty: the whole host. */
  readonly asked: readonly HostDevice[];
  /** Bytes of guest RAM that will be locked, where the user said. */
  readonly guestMemory?: bigint | undefined;
  /** Option ROMs that were read because the user asked for it, by address. */
  readonly roms?: ReadonlyMap<string, Uint8Array> | undefined;
}

/** A check found things, or could not be made: never "fine" for what was not looked at. */
export interface CheckOutcome {
  readonly found: readonly Found[];
  /** Why it could not be made, or only in part. */
  readonly skipped?: string | undefined;
  /** What looks like a fault there and is none. */
  readonly note?: string | undefined;
}

export interface CatalogueEntry {
  readonly number: number;
  readonly code: string;
  readonly severity: Severity;
  readonly title: string;
  /** Text by which `explain` knows it; matched without regard to case. */
  readonly symptoms: readonly RegExp[];
  readonly cause: string;
  readonly fix: readonly string[];
  readonly undo: readonly string[];
  readonly source: string;
  /** Codes that this one causes: they are told after it, and it is as grave as they are. */
  readonly causes?: readonly string[];
  readonly check?: (context: CheckContext) => CheckOutcome;
  /** Why the host alone does not tell, for an entry without a check. */
  readonly unchecked?: string;
}

export const NOTHING: CheckOutcome = { found: [] };

const chosen = new WeakMap<CheckContext, readonly HostDevice[]>();

/** The devices a user means to assign: those asked about, else those given to VFIO. */
export function candidates(context: CheckContext): readonly HostDevice[] {
  const known = chosen.get(context);
  if (known !== undefined) return known;
  const devices = choose(context);
  chosen.set(context, devices);
  return devices;
}

function choose(context: CheckContext): readonly HostDevice[] {
  if (context.asked.length > 0) return context.asked.filter((device) => !device.isBridge);
  return context.host.devices.filter(
    (device) => !device.isBridge && (isWithVfio(device) || isVfioDriver(device.override)),
  );
}

/** A check that looks for lines of the kernel's log. */
export function logCheck(
  pattern: RegExp,
  describe: (match: RegExpExecArray, line: string) => string,
  more: Partial<Found> = {},
): (context: CheckContext) => CheckOutcome {
  return ({ log, asked }) => {
    const { lines } = log;
    if (lines === undefined) return { found: [], skipped: log.missing };
    const byDevice = new Map<string, { line: string; match: RegExpExecArray; count: number }>();
    for (const line of lines) {
      const match = pattern.exec(line);
      if (match === null) continue;
      const device = addressIn(line) ?? "";
      if (asked.length > 0 && device !== "" && !asked.some((one) => one.address === device)) {
        continue;
      }
      const known = byDevice.get(device);
      if (known === undefined) byDevice.set(device, { line, match, count: 1 });
      else known.count++;
    }
    return {
      found: [...byDevice].map(([device, { line, match, count }]) => ({
        ...more,
        ...(device === "" ? {} : { device }),
        detail: `${describe(match, line)}${count > 1 ? ` (${count} times)` : ""}`,
        evidence: [{ path: "log", value: line }],
      })),
    };
  };
}

/** The PCI address in a line; IOMMU messages leave the domain out. */
export function addressIn(line: string): string | undefined {
  const full = /\b([0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7])\b/i.exec(line)?.[1];
  if (full !== undefined) return full.toLowerCase();
  const short = /\b([0-9a-f]{2}:[0-9a-f]{2}\.[0-7])\b/i.exec(line)?.[1];
  return short === undefined ? undefined : `0000:${short.toLowerCase()}`;
}

/** Several outcomes as one. */
export function together(...outcomes: readonly CheckOutcome[]): CheckOutcome {
  const found = outcomes.flatMap((outcome) => outcome.found);
  return {
    found,
    skipped: joined(outcomes.map(({ skipped }) => skipped)),
    note: joined(outcomes.map(({ note }) => note)),
  };
}

function joined(texts: readonly (string | undefined)[]): string | undefined {
  const said = new Set(texts.filter((text) => text !== undefined));
  return said.size === 0 ? undefined : [...said].join("; ");
}

/** A check that could not be made. */
export function skip(why: string): CheckOutcome {
  return { found: [], skipped: why };
}
