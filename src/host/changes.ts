/**
 * Changes to a host: the exact writes that a binding verb makes, in order, as data. Planning is
 * pure; only `apply` touches the host, through a `HostWriter`.
 */

import { execFile } from "node:child_process";
import { constants } from "node:fs";
import { open, rm, writeFile } from "node:fs/promises";
import { promisify } from "node:util";
import { ViaductError } from "../sys/sys-error.ts";

export type Change =
  | { readonly kind: "write"; readonly path: string; readonly value: string }
  /** A file of ours: a udev rule. */
  | { readonly kind: "create"; readonly path: string; readonly value: string }
  | { readonly kind: "remove"; readonly path: string }
  | { readonly kind: "modprobe"; readonly module: string };

/** What changes a host. Errors carry an errno `code`. */
export interface HostWriter {
  apply(change: Change): void | Promise<void>;
}

/** The running host. A reset or an unbind can take a minute, so nothing here blocks. */
export class LiveWriter implements HostWriter {
  apply(change: Change): Promise<void> {
    switch (change.kind) {
      case "write":
        return writeAttribute(change.path, change.value);
      case "create":
        return writeFile(change.path, change.value);
      case "remove":
        return rm(change.path, { force: true });
      case "modprobe":
        return loadModule(change.module);
    }
  }
}

/** A sysfs attribute takes its value in one write and is never created. */
async function writeAttribute(path: string, value: string): Promise<void> {
  const file = await open(path, constants.O_WRONLY);
  try {
    await file.write(`${value}\n`);
  } finally {
    await file.close();
  }
}

async function loadModule(module: string): Promise<void> {
  try {
    await promisify(execFile)("modprobe", [module]);
  } catch (cause) {
    const { stderr = "", message } = cause as Error & { stderr?: string };
    throw new ViaductError("VFIO_MISSING", `modprobe ${module}: ${stderr.trim() || message}`, {
      cause,
      nextStep: "`viaduct doctor` says whether this kernel has VFIO.",
    });
  }
}

/** The change as a line that a person can type. */
export function changeText(change: Change): string {
  switch (change.kind) {
    case "write":
      return `echo '${change.value}' > ${change.path}`;
    case "create":
      return `echo '${change.value.trimEnd()}' > ${change.path}`;
    case "remove":
      return `rm ${change.path}`;
    case "modprobe":
      return `modprobe ${change.module}`;
  }
}

/**
 * Makes the changes in order.
 * @param atLast made after them, also when one of them failed; not when the first one did, as then
 *   there is nothing to put back
 * @throws {ViaductError} NO_PERMISSION, DEVICE_NOT_FOUND (gone meanwhile), DEVICE_BUSY, REFUSED
 *   codes, with the change that failed
 */
export async function applyChanges(
  writer: HostWriter,
  changes: readonly Change[],
  atLast: readonly Change[] = [],
): Promise<void> {
  await applyAll(writer, changes.slice(0, 1));
  try {
    await applyAll(writer, changes.slice(1));
  } catch (error) {
    try {
      await applyAll(writer, atLast);
    } catch {
      // What failed first is what the user has to know.
    }
    throw error;
  }
  await applyAll(writer, atLast);
}

async function applyAll(writer: HostWriter, changes: readonly Change[]): Promise<void> {
  for (const change of changes) {
    try {
      await writer.apply(change);
    } catch (cause) {
      if (cause instanceof ViaductError) throw cause;
      throw refusal(change, cause as NodeJS.ErrnoException);
    }
  }
}

function refusal(change: Change, cause: NodeJS.ErrnoException): ViaductError {
  const message = `${changeText(change)}: ${cause.code ?? cause.message}`;
  switch (cause.code) {
    case "EACCES":
    case "EPERM":
    case "EROFS":
      return new ViaductError("NO_PERMISSION", message, { cause, nextStep: "Run it as root." });
    case "ENOENT":
      return new ViaductError("DEVICE_NOT_FOUND", message, {
        cause,
        nextStep: "The device or the driver is gone: `viaduct list`.",
      });
    case "EBUSY":
      return new ViaductError("DEVICE_BUSY", message, {
        cause,
        nextStep: "`viaduct doctor DEVICE` names who uses it.",
      });
    default:
      return new ViaductError("DEVICE_UNSUPPORTED", message, {
        cause,
        nextStep: `viaduct explain "${message.replaceAll('"', "'")}"`,
      });
  }
}
