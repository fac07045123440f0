/**
 * What a PCI device offers: regions, interrupts, reset (spec/pci.md section 3). Only questions; no
 * state of the device changes here.
 */

import {
  VFIO_DEVICE_FLAGS_PCI,
  VFIO_DEVICE_FLAGS_RESET,
  VFIO_PCI_BAR0_REGION_INDEX,
  VFIO_PCI_CONFIG_REGION_INDEX,
  VFIO_PCI_ERR_IRQ_INDEX,
  VFIO_PCI_MSIX_IRQ_INDEX,
  VFIO_PCI_VGA_REGION_INDEX,
  VFIO_REGION_INFO_FLAG_READ,
  VFIO_REGION_INFO_FLAG_WRITE,
} from "../../abi/vfio.ts";
import { hex } from "../../memory/address.ts";
import { errnoText } from "../../sys/errno-text.ts";
import { ViaductError } from "../../sys/sys-error.ts";
import type { RegionInfo, VfioDevice } from "../device.ts";
import { askRegion } from "../region.ts";
import type { Report } from "../report.ts";
import * as trace from "./trace.ts";

export const BAR_COUNT = 6;
const VGA_REGION_SIZE_MIN = 0xc0000;

export interface DeviceFacts {
  /** BAR 0 to 5; size 0 is an absent BAR, or the upper half of a 64-bit one. */
  readonly bars: readonly RegionInfo[];
  readonly config: RegionInfo;
  /** Legacy VGA ranges, when they were asked for. */
  readonly vga: RegionInfo | undefined;
  /** `VFIO_DEVICE_RESET` works. */
  readonly resetWorks: boolean;
  /** The device can report uncorrectable errors (`VFIO_PCI_ERR_IRQ_INDEX`). */
  readonly errorRecovery: boolean;
}

/**
 * @throws {ViaductError} DEVICE_UNSUPPORTED for what is no PCI device, REGION_FAILED for a region
 *   that cannot be asked
 */
export function populate(
  device: VfioDevice,
  options: { wantVga: boolean; report: Report },
): DeviceFacts {
  refuseOther(device);
  const bars = Array.from({ length: BAR_COUNT }, (_, bar) => {
    const index = VFIO_PCI_BAR0_REGION_INDEX + bar;
    return answered(index, () => askRegion(device, index, `${device.name} BAR ${bar}`));
  });
  const config = answered(VFIO_PCI_CONFIG_REGION_INDEX, () =>
    device.regionInfo(VFIO_PCI_CONFIG_REGION_INDEX),
  );
  trace.vfio_populate_device_config.emit({
    name: device.name,
    size: config.size,
    offset: config.fdOffset,
    flags: config.flags,
  });
  const vga = options.wantVga ? legacyVgaRegion(device) : undefined;
  const resetWorks = (device.info.flags & VFIO_DEVICE_FLAGS_RESET) !== 0;
  const errorRecovery = hasErrorRecovery(device, options.report);
  return { bars, config, vga, resetWorks, errorRecovery };
}

function refuseOther({ info }: VfioDevice): void {
  const refuse = (message: string): never => {
    throw new ViaductError("DEVICE_UNSUPPORTED", message);
  };
  if ((info.flags & VFIO_DEVICE_FLAGS_PCI) === 0) refuse("this isn't a PCI device");
  if (info.numRegions < VFIO_PCI_CONFIG_REGION_INDEX + 1) {
    refuse(`unexpected number of io regions ${info.numRegions}`);
  }
  if (info.numIrqs < VFIO_PCI_MSIX_IRQ_INDEX + 1) {
    refuse(`unexpected number of irqs ${info.numIrqs}`);
  }
}

function answered(index: number, ask: () => RegionInfo): RegionInfo {
  try {
    return ask();
  } catch (cause) {
    throw new ViaductError(
      "REGION_FAILED",
      `failed to get region ${index} info: ${errnoText(cause)}`,
      {
        cause,
      },
    );
  }
}

/**
 * The legacy VGA region (13.1).
 * @throws {ViaductError} DEVICE_UNSUPPORTED, with the hint that `x-vga` asked for it
 */
export function legacyVgaRegion(device: VfioDevice): RegionInfo {
  const nextStep = "device does not support requested feature x-vga: leave x-vga off";
  let info: RegionInfo;
  try {
    info = device.regionInfo(VFIO_PCI_VGA_REGION_INDEX);
  } catch (cause) {
    const message = `failed getting region info for VGA region index ${VFIO_PCI_VGA_REGION_INDEX}`;
    throw new ViaductError("DEVICE_UNSUPPORTED", message, { cause, nextStep });
  }
  const both = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
  if ((info.flags & both) === both && info.size >= VGA_REGION_SIZE_MIN) return info;
  throw new ViaductError(
    "DEVICE_UNSUPPORTED",
    `unexpected VGA info, flags ${hex(info.flags)}, size ${hex(info.size)}`,
    { nextStep },
  );
}

function hasErrorRecovery(device: VfioDevice, report: Report): boolean {
  let count: number;
  try {
    ({ count } = device.irqInfo(VFIO_PCI_ERR_IRQ_INDEX));
  } catch (error) {
    // An old kernel, or a device that is not PCI Express.
    trace.vfio_populate_device_get_irq_info_failure.emit({ errstr: String(error) });
    return false;
  }
  if (count === 1) return true;
  report(`vfio ${device.name}: Could not enable error recovery for the device`);
  return false;
}
