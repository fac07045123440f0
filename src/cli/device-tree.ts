/**
 * `viaduct list -t`: buses, bridges and devices as a tree, each with its group and driver.
 */

import { describe, type NumberStyle } from "../host/device-text.ts";
import type { Host } from "../host/host.ts";
import type { HostDevice } from "../host/pci-device.ts";
import type { PciIds } from "../host/pci-ids.ts";

/** The tree of `shown` devices and the bridges above them. */
export function treeText(
  host: Host,
  shown: readonly HostDevice[],
  ids: PciIds,
  style: NumberStyle,
): string {
  const kept = new Set<HostDevice>();
  for (const device of shown) {
    let at: HostDevice | undefined = device;
    while (at !== undefined && !kept.has(at)) {
      kept.add(at);
      at = at.parent === undefined ? undefined : host.device(at.parent);
    }
  }
  const children = new Map<string, HostDevice[]>();
  for (const device of host.devices) {
    if (!kept.has(device)) continue;
    const parent = device.parent;
    const known = parent !== undefined && host.device(parent) !== undefined;
    const key = known ? parent : rootBusOf(device);
    const list = children.get(key);
    if (list === undefined) children.set(key, [device]);
    else list.push(device);
  }
  const lines: string[] = [];
  const draw = (key: string, indent: string) => {
    const list = children.get(key) ?? [];
    list.forEach((device, at) => {
      const isLast = at === list.length - 1;
      const group = device.group === undefined ? "no group" : `group ${device.group}`;
      const what = `${describe(device, ids, style)}  [${group}, ${device.driver ?? "no driver"}]`;
      lines.push(`${indent}${isLast ? "\\-" : "+-"}${device.address} ${what}`);
      draw(device.address, `${indent}${isLast ? "  " : "| "}`);
    });
  };
  for (const bus of [...children.keys()].filter((key) => !key.includes(".")).sort()) {
    lines.push(`-[${bus}]`);
    draw(bus, "  ");
  }
  return lines.join("\n");
}

function rootBusOf(device: HostDevice): string {
  return device.address.slice(0, device.address.lastIndexOf(":"));
}
