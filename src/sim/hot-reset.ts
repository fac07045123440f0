/**
 * `VFIO_DEVICE_GET_PCI_HOT_RESET_INFO` and `VFIO_DEVICE_PCI_HOT_RESET`: a bus or slot is reset with
 * all that sits on it, so the caller proves that it holds every group concerned.
 */

import {
  vfio_pci_dependent_device,
  vfio_pci_hot_reset,
  vfio_pci_hot_reset_info,
} from "../abi/vfio.ts";
import { refusal } from "./file.ts";
import type { SoftwareGroup } from "./group.ts";
import type { SoftwarePciDevice } from "./pci-device.ts";

/** The device and those that are reset with it. */
function affected(device: SoftwarePciDevice, all: readonly SoftwarePciDevice[]) {
  return all.filter((other) => resetGroup(other) === resetGroup(device));
}

function resetGroup({ spec }: SoftwarePciDevice): string {
  return spec.hotResetGroup ?? spec.address.slice(0, "0000:00".length);
}

export function hotResetInfo(
  device: SoftwarePciDevice,
  all: readonly SoftwarePciDevice[],
  bytes: Uint8Array,
): number {
  if (bytes.length < vfio_pci_hot_reset_info.size) return refusal("EFAULT");
  const info = vfio_pci_hot_reset_info.at(bytes);
  if (info.argsz < vfio_pci_hot_reset_info.size) return refusal("EINVAL");
  if (device.spec.hotResettable === false) return refusal("ENODEV");
  const devices = affected(device, all);
  info.flags = 0;
  info.count = devices.length;
  const head = vfio_pci_hot_reset_info.size;
  if (info.argsz < head + devices.length * vfio_pci_dependent_device.size) return refusal("ENOSPC");
  devices.forEach((other, i) => {
    const [segment, bus, slot, fn] = other.spec.address
      .split(/[:.]/)
      .map((part) => Number.parseInt(part, 16));
    const entry = vfio_pci_dependent_device.bytes({
      group_id: other.group.number,
      segment: segment!,
      bus: bus!,
      devfn: (slot! << 3) | fn!,
    });
    bytes.set(entry, head + i * vfio_pci_dependent_device.size);
  });
  return 0;
}

export function hotReset(
  device: SoftwarePciDevice,
  all: readonly SoftwarePciDevice[],
  bytes: Uint8Array,
  groupOf: (fd: number) => SoftwareGroup | number,
): number {
  if (bytes.length < vfio_pci_hot_reset.size) return refusal("EFAULT");
  const { argsz, flags, count } = vfio_pci_hot_reset.at(bytes);
  const head = vfio_pci_hot_reset.size;
  if (argsz < head || flags !== 0) return refusal("EINVAL");
  if (device.spec.hotResettable === false) return refusal("ENODEV");
  const devices = affected(device, all);
  if (count === 0 || count > devices.length) return refusal("EINVAL");
  const fds = new Int32Array(bytes.slice(head, head + 4 * count).buffer);
  const groups = [...fds].map(groupOf);
  const unknown = groups.find((group) => typeof group === "number");
  if (unknown !== undefined) return unknown as number;
  if (!devices.every((other) => groups.includes(other.group))) return refusal("EINVAL");
  for (const other of devices) other.reset();
  return 0;
}
