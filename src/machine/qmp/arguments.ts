/** The arguments of commands: which a command takes, and how they are read. */

import type { DeviceOption } from "../device-options.ts";
import { QmpError } from "./qmp-error.ts";

export type JsonObject = Readonly<Record<string, unknown>>;

export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** @throws {QmpError} an argument that is not in `known` */
export function refuseUnexpected(args: JsonObject, known: readonly string[]): void {
  const unexpected = Object.keys(args).find((name) => !known.includes(name));
  if (unexpected !== undefined) throw new QmpError(`Parameter '${unexpected}' is unexpected`);
}

/** @throws {QmpError} missing, or no string */
export function stringArgument(args: JsonObject, name: string): string {
  const value = args[name];
  if (value === undefined) throw new QmpError(`Parameter '${name}' is missing`);
  if (typeof value === "string") return value;
  throw new QmpError(`Invalid parameter type for '${name}', expected: string`);
}

/** Letters, digits, `-`, `.` and `_`, a letter first, as QEMU's identifiers are. */
const IDENTIFIER = /^[A-Za-z][\w.-]*$/;

/**
 * The arguments of `device_add`: the driver and its properties, as `-device` has them.
 * @throws {QmpError} no driver, a bad id, or a value that no property has
 */
export function deviceOptionOf(args: JsonObject): DeviceOption {
  const driver = stringArgument(args, "driver");
  if (args["id"] !== undefined && !IDENTIFIER.test(stringArgument(args, "id"))) {
    throw new QmpError("Parameter 'id' expects an identifier");
  }
  const properties = new Map<string, string>();
  for (const [name, value] of Object.entries(args)) {
    if (name !== "driver") properties.set(name, propertyText(name, value));
  }
  return { driver, properties };
}

/** A JSON value as it is typed on a command line. */
function propertyText(name: string, value: unknown): string {
  if (typeof value === "string") return value;
  if (typeof value === "boolean") return value ? "on" : "off";
  if (typeof value === "number" && Number.isSafeInteger(value)) {
    // As a number, a place on a bus is slot and function in one: devfn.
    if (name === "addr") return `${(value >> 3).toString(16)}.${value & 7}`;
    return `${value}`;
  }
  throw new QmpError(`Invalid parameter type for '${name}', expected: string`);
}
