/** `query-pci`: the PCI hierarchy as the guest has set it up, in the shape of QEMU's `PciInfo`. */

import * as pci from "../../abi/pci-regs.ts";
import { ROM_BAR } from "../../pci/bar.ts";
import { type AddressRange, PciBridge } from "../../pci/bridge.ts";
import { functionOf, type PciBus, slotOf } from "../../pci/bus.ts";
import type { PciFunction } from "../../pci/function.ts";
import type { JsonObject } from "./arguments.ts";

/** Class and subclass -> words; what is not here has none. */
const CLASS_NAMES: ReadonlyMap<number, string> = new Map([
  [0x0100, "SCSI controller"],
  [0x0101, "IDE controller"],
  [0x0106, "SATA controller"],
  [0x0108, "NVMe controller"],
  [0x0200, "Ethernet controller"],
  [0x0300, "VGA controller"],
  [0x0302, "3D controller"],
  [0x0403, "Audio controller"],
  [0x0600, "Host bridge"],
  [0x0604, "PCI bridge"],
  [0x0c03, "USB controller"],
]);

/** Ids of `-device` and `device_add`, by function. */
export type DeviceIds = ReadonlyMap<PciFunction, string>;

export function queryPci(root: PciBus, ids: DeviceIds): JsonObject[] {
  return [{ bus: 0, devices: devicesOn(root, ids) }];
}

function devicesOn(bus: PciBus, ids: DeviceIds): JsonObject[] {
  return bus.functions.map((fn) => describe(fn, ids));
}

function describe(fn: PciFunction, ids: DeviceIds): JsonObject {
  const word = (offset: number) => fn.readConfig(offset, 2);
  const classCode = word(pci.PCI_CLASS_DEVICE);
  const name = CLASS_NAMES.get(classCode);
  const pin = fn.readConfig(pci.PCI_INTERRUPT_PIN, 1);
  const bridge = fn instanceof PciBridge ? fn : undefined;
  return {
    bus: fn.bus.number,
    slot: slotOf(fn.devfn),
    function: functionOf(fn.devfn),
    class_info: { ...(name !== undefined && { desc: name }), class: classCode },
    id: {
      vendor: word(pci.PCI_VENDOR_ID),
      device: word(pci.PCI_DEVICE_ID),
      ...(!bridge && {
        "subsystem-vendor": word(pci.PCI_SUBSYSTEM_VENDOR_ID),
        subsystem: word(pci.PCI_SUBSYSTEM_ID),
      }),
    },
    ...(pin !== 0 && { irq: fn.readConfig(pci.PCI_INTERRUPT_LINE, 1) }),
    irq_pin: pin,
    qdev_id: ids.get(fn) ?? "",
    ...(bridge && { pci_bridge: describeBridge(bridge, ids) }),
    regions: regionsOf(fn),
  };
}

function describeBridge(bridge: PciBridge, ids: DeviceIds): JsonObject {
  const { io, memory, prefetch } = bridge.windowRanges;
  const range = ({ base, last }: AddressRange) => ({ base: Number(base), limit: Number(last) });
  return {
    bus: {
      number: bridge.config.bytes[pci.PCI_PRIMARY_BUS],
      secondary: bridge.secondary,
      subordinate: bridge.subordinate,
      io_range: range(io),
      memory_range: range(memory),
      prefetchable_range: range(prefetch),
    },
    devices: devicesOn(bridge.secondaryBus, ids),
  };
}

function regionsOf(fn: PciFunction): JsonObject[] {
  const regions: JsonObject[] = [];
  for (let index = 0; index <= ROM_BAR; index++) {
    const bar = fn.bars.get(index);
    if (!bar) continue;
    // What is not mapped has all ones for an address in QEMU, which is -1 in its JSON.
    const address = Number(fn.barAddress(index) ?? -1n);
    const common = { bar: index, address, size: Number(bar.size) };
    if (bar.kind === "io") {
      regions.push({ ...common, type: "io" });
      continue;
    }
    regions.push({
      ...common,
      type: "memory",
      prefetch: index !== ROM_BAR && (bar.typeBits & pci.PCI_BASE_ADDRESS_MEM_PREFETCH) !== 0,
      mem_type_64: bar.kind === "mem64",
    });
  }
  return regions;
}
