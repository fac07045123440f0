/**
 * From what a user types to devices: a PCI address in any form, virsh's name, a network interface,
 * a disk. And lspci's `-s` and `-d` filters.
 */

import { ViaductError } from "../sys/sys-error.ts";
import { pciOwners } from "./class-device.ts";
import type { Host } from "./host.ts";
import { formatAddress, parseAddress } from "./pci-address.ts";
import type { HostDevice } from "./pci-device.ts";

/**
 * The devices that `text` names: one, or all functions of a slot.
 * @throws {ViaductError} DEVICE_NOT_FOUND, with the closest names in the next step
 */
export function findDevices(host: Host, text: string): HostDevice[] {
  const address = parseAddress(text);
  if (address !== undefined) {
    const full = formatAddress(address);
    const found =
      address.function === undefined
        ? host.devices.filter((device) => device.slot === full)
        : host.devices.filter((device) => device.address === full);
    if (found.length > 0) return found;
    throw notFound(host, text, `no PCI device ${full} on ${host.tree.name}`);
  }
  const owners = ownersOfClassDevice(host, text);
  if (owners.length > 0) return owners;
  throw notFound(host, text, "neither a PCI address nor the name of a PCI device's interface");
}

/** The one device that `text` names. */
export function findDevice(host: Host, text: string): HostDevice {
  const found = findDevices(host, text);
  if (found.length === 1) return found[0]!;
  throw new ViaductError("USAGE", `${text}: names ${found.length} functions`, {
    nextStep: `Write one of: ${found.map((device) => device.address).join(", ")}`,
  });
}

/** The PCI devices that a network interface, disk or other class device belongs to. */
function ownersOfClassDevice(host: Host, text: string): HostDevice[] {
  const name = text.replace(/^\/dev\/(?:dri\/|snd\/)?/, "");
  if (!/^[\w.@:-]+$/.test(name) || name === "." || name === "..") return [];
  for (const folder of ["net", "block", "nvme", "drm", "sound", "infiniband"]) {
    const owners = pciOwners(host.tree, folder, name).map((address) => host.device(address));
    const known = owners.filter((device) => device !== undefined);
    if (known.length > 0) return known;
  }
  return [];
}

function notFound(host: Host, text: string, why: string): ViaductError {
  const digits = text.replace(/^0000:/, "");
  const near = host.devices.filter((device) => device.address.includes(digits.slice(0, 5)));
  const nextStep =
    near.length > 0 && near.length <= 8
      ? `Near it: ${near.map((device) => device.address).join(", ")}`
      : "`viaduct list` shows all devices.";
  return new ViaductError("DEVICE_NOT_FOUND", `${text}: ${why}`, { nextStep });
}

const part = (digits: string) => `(${digits}|\\*)?`;
const HEX = "[0-9a-f]";
const SLOT_FILTER = new RegExp(
  `^(?:(?:${part(`${HEX}{1,8}`)}:)?${part(`${HEX}{1,2}`)}:)?${part(`${HEX}{1,2}`)}(?:\\.${part("[0-7]")})?$`,
  "i",
);
const ID_FILTER = new RegExp(
  `^${part(`${HEX}{1,4}`)}(?::${part(`${HEX}{1,4}`)}(?::${part("[0-9a-fx]{1,4}")}(?::${part(`${HEX}{1,2}`)})?)?)?$`,
  "i",
);

/**
 * lspci's `-s [[[[domain]:]bus]:][device][.[function]]`; each part may be missing or `*`.
 * @returns undefined when it is not such a filter
 */
export function slotFilter(text: string): ((device: HostDevice) => boolean) | undefined {
  const match = SLOT_FILTER.exec(text);
  if (match === null) return undefined;
  const [domain, bus, slot, fn] = match
    .slice(1)
    .map((part) => (part === undefined || part === "*" ? undefined : Number.parseInt(part, 16)));
  return (device) => {
    const at = parseAddress(device.address)!;
    return (
      (domain === undefined || at.domain === domain) &&
      (bus === undefined || at.bus === bus) &&
      (slot === undefined || at.slot === slot) &&
      (fn === undefined || at.function === fn)
    );
  };
}

/** lspci's `-d [vendor]:[device][:class[:prog-if]]`; `x` stands for any hex digit of the class. */
export function idFilter(text: string): ((device: HostDevice) => boolean) | undefined {
  const match = ID_FILTER.exec(text);
  if (match === null || text === "") return undefined;
  const number = (part: string | undefined) =>
    part === undefined || part === "*" ? undefined : Number.parseInt(part, 16);
  const [vendor, id, progIf] = [number(match[1]), number(match[2]), number(match[4])];
  const classText = match[3] === undefined || match[3] === "*" ? undefined : match[3];
  const pattern =
    classText === undefined
      ? undefined
      : new RegExp(`^${classText.padStart(4, "0").replaceAll(/x/gi, ".")}$`, "i");
  return (device) =>
    (vendor === undefined || device.vendor === vendor) &&
    (id === undefined || device.device === id) &&
    (pattern === undefined ||
      pattern.test((device.classCode >> 8).toString(16).padStart(4, "0"))) &&
    (progIf === undefined || (device.classCode & 0xff) === progIf);
}
