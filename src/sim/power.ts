/**
 * Power of a software PCI device: whether its memory answers (decoding is on, and it is not in D3),
 * and low power at its user's wish (`VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY`), from which each call
 * wakes it for as long as the call takes.
 */

import { PCI_CAP_ID_PM, PCI_COMMAND, PCI_COMMAND_MEMORY, PCI_PM_CTRL } from "../abi/pci-regs.ts";
import * as feature from "../abi/vfio-feature.ts";
import { vfio_device_feature } from "../abi/vfio-feature.ts";
import { refusal } from "./file.ts";
import { findCapability } from "./pci-config.ts";

const STATE_MASK = 0x3;
const D3HOT = 3;
const KNOWN =
  feature.VFIO_DEVICE_FEATURE_MASK |
  feature.VFIO_DEVICE_FEATURE_GET |
  feature.VFIO_DEVICE_FEATURE_SET |
  feature.VFIO_DEVICE_FEATURE_PROBE;

export class DevicePower {
  readonly #config: () => Uint8Array;
  #isLow = false;

  /** @param config the configuration space as it is now */
  constructor(config: () => Uint8Array) {
    this.#config = config;
  }

  /** Memory BARs and the ROM can be reached; else an access is EIO. */
  get memoryAnswers(): boolean {
    const config = this.#config();
    const pm = findCapability(config, PCI_CAP_ID_PM);
    const state = pm === undefined ? 0 : config[pm + PCI_PM_CTRL]! & STATE_MASK;
    const decodes = (config[PCI_COMMAND]! & PCI_COMMAND_MEMORY) !== 0;
    return decodes && state !== D3HOT;
  }

  /** The device was closed, or reset: it has power again. */
  restore(): void {
    this.#isLow = false;
  }

  /** `VFIO_DEVICE_FEATURE`: these three, which can only be set. */
  feature(bytes: Uint8Array): number {
    if (bytes.length < vfio_device_feature.size) return refusal("EFAULT");
    const { argsz, flags } = vfio_device_feature.at(bytes);
    if (argsz < vfio_device_feature.size || (flags & ~KNOWN) !== 0) return refusal("EINVAL");
    const gets = (flags & feature.VFIO_DEVICE_FEATURE_GET) !== 0;
    const sets = (flags & feature.VFIO_DEVICE_FEATURE_SET) !== 0;
    const probes = (flags & feature.VFIO_DEVICE_FEATURE_PROBE) !== 0;
    if (gets && sets && !probes) return refusal("EINVAL");
    switch (flags & feature.VFIO_DEVICE_FEATURE_MASK) {
      case feature.VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY:
      case feature.VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP:
        if (gets || !(probes || sets)) return refusal("EINVAL");
        return probes ? 0 : this.#enter();
      case feature.VFIO_DEVICE_FEATURE_LOW_POWER_EXIT:
        if (gets || !(probes || sets)) return refusal("EINVAL");
        if (!probes) this.#isLow = false;
        return 0;
      default:
        return refusal("ENOTTY");
    }
  }

  #enter(): number {
    if (this.#isLow) return refusal("EINVAL");
    this.#isLow = true;
    return 0;
  }
}
