/**
 * Power of a software PCI device: whether its memory answers (decoding is on, and it is not in D3),
 * and low power at its user's wish (`VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY`), from which each call
 * wakes it for as long as the call takes.
 */

import { PCI_CAP_ID_PM, PCI_COMMAND, PCI_COMMAND_MEMORY, PCI_PM_CTRL } from "../abi/pci-regs.ts";
import * as feature from "../abi/vfio-feature.ts";
import {
  vfio_device_feature,
  vfio_device_low_power_entry_with_wakeup,
} from "../abi/vfio-feature.ts";
import type { Syscalls } from "../sys/syscalls.ts";
import { armEventfd } from "./armed-eventfd.ts";
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
  readonly #sys: Syscalls;
  readonly #config: () => Uint8Array;
  #isLow = false;

  /** @param config the configuration space as it is now */
  constructor(sys: Syscalls, config: () => Uint8Array) {
    this.#sys = sys;
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
      case feature.VFIO_DEVICE_FEATURE_LOW_POWER_EXIT:
        if (gets || !(probes || sets)) return refusal("EINVAL");
        return probes ? 0 : this.#set(flags & feature.VFIO_DEVICE_FEATURE_MASK, bytes);
      default:
        return refusal("ENOTTY");
    }
  }

  #set(which: number, bytes: Uint8Array): number {
    if (which === feature.VFIO_DEVICE_FEATURE_LOW_POWER_EXIT) {
      this.#isLow = false;
      return 0;
    }
    if (which === feature.VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP) {
      const refused = this.#refuseWakeup(bytes);
      if (refused !== 0) return refused;
    }
    return this.#enter();
  }

  /** 0 where the call names an eventfd. It is not kept: nothing here wakes a device by itself. */
  #refuseWakeup(bytes: Uint8Array): number {
    const at = vfio_device_feature.size;
    const whole = at + vfio_device_low_power_entry_with_wakeup.size;
    if (vfio_device_feature.at(bytes).argsz < whole) return refusal("EINVAL");
    if (bytes.length < whole) return refusal("EFAULT");
    const { wakeup_eventfd } = vfio_device_low_power_entry_with_wakeup.at(bytes, at);
    const eventfd = armEventfd(this.#sys, wakeup_eventfd);
    if (eventfd === undefined) return refusal("EINVAL");
    if (typeof eventfd === "number") return eventfd;
    eventfd[Symbol.dispose]();
    return 0;
  }

  #enter(): number {
    if (this.#isLow) return refusal("EINVAL");
    this.#isLow = true;
    return 0;
  }
}
