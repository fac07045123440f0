/** Programs that ask a device what it is: regions, interrupts, features. */

import {
  VFIO_DEVICE_GET_INFO,
  VFIO_DEVICE_GET_IRQ_INFO,
  VFIO_DEVICE_GET_REGION_INFO,
  VFIO_GROUP_GET_STATUS,
  VFIO_SET_IOMMU,
  vfio_device_info,
  vfio_info_cap_header,
  vfio_irq_info,
  vfio_region_info,
} from "../../src/abi/vfio.ts";
import {
  VFIO_DEVICE_FEATURE,
  VFIO_DEVICE_FEATURE_GET,
  VFIO_DEVICE_FEATURE_PROBE,
  VFIO_DEVICE_FEATURE_SET,
  vfio_device_feature,
  vfio_device_low_power_entry_with_wakeup,
} from "../../src/abi/vfio-feature.ts";
import {
  answer,
  type ConformanceProgram,
  hex,
  ioctl,
  makeEventfd,
  type ProgramHost,
} from "./program.ts";

const REGIONS = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 99, 0xffff_ffff];
const IRQS = [0, 1, 2, 3, 4, 5, 99];

function info(argsz: number): (host: ProgramHost) => string {
  return ({ sys, device }) => {
    const bytes = new Uint8Array(Math.max(argsz, vfio_device_info.size));
    const view = vfio_device_info.at(bytes);
    view.argsz = argsz;
    const result = ioctl(sys, device, VFIO_DEVICE_GET_INFO, bytes);
    if (result !== "ok") return result;
    return `flags ${hex(view.flags)}, ${view.num_regions} regions, ${view.num_irqs} irqs`;
  };
}

/** The capabilities' ids, in the order of the chain. */
function chain(bytes: Uint8Array, first: number): number[] {
  const ids: number[] = [];
  for (let at = first; at !== 0 && ids.length < 8; ) {
    const { id, next } = vfio_info_cap_header.at(bytes, at);
    ids.push(id);
    at = next;
  }
  return ids;
}

function region(index: number, argsz: number): (host: ProgramHost) => string {
  return ({ sys, device }) => {
    const bytes = new Uint8Array(Math.max(argsz, vfio_region_info.size));
    const view = vfio_region_info.at(bytes);
    view.argsz = argsz;
    view.index = index;
    const result = ioctl(sys, device, VFIO_DEVICE_GET_REGION_INFO, bytes);
    if (result !== "ok") return result;
    const { flags, size, offset } = view;
    const shown = `flags ${flags}, ${hex(size)} bytes at ${hex(offset)}, argsz ${view.argsz}`;
    const fits = view.argsz <= argsz && argsz > vfio_region_info.size;
    return fits ? `${shown}, capabilities [${chain(bytes, view.cap_offset)}]` : shown;
  };
}

function irq(index: number, argsz: number): (host: ProgramHost) => string {
  return ({ sys, device }) => {
    const bytes = vfio_irq_info.bytes({ argsz, index });
    const result = ioctl(sys, device, VFIO_DEVICE_GET_IRQ_INFO, bytes);
    if (result !== "ok") return result;
    const { flags, count } = vfio_irq_info.at(bytes);
    return `flags ${flags}, ${count}`;
  };
}

const readBar = ({ sys, device }: ProgramHost): number => sys.pread(device, new Uint8Array(4), 0);

interface FeatureRequest {
  readonly argsz?: number;
  readonly flags: number;
}

function feature({ flags, argsz = 64 }: FeatureRequest): (host: ProgramHost) => string {
  return ({ sys, device }) => {
    const bytes = new Uint8Array(64);
    bytes.set(vfio_device_feature.bytes({ argsz, flags }));
    return answer(sys.ioctl(device, VFIO_DEVICE_FEATURE, bytes));
  };
}

/**
 * Features of low power and of migration. The VF token is a matter of SR-IOV, the others came with
 * Linux 7.
 */
const FEATURES = [1, 2, 3, 4, 5, 6, 7, 8, 9];
const ACTIONS = {
  PROBE: VFIO_DEVICE_FEATURE_PROBE,
  "PROBE GET": VFIO_DEVICE_FEATURE_PROBE | VFIO_DEVICE_FEATURE_GET,
  "PROBE SET": VFIO_DEVICE_FEATURE_PROBE | VFIO_DEVICE_FEATURE_SET,
  "PROBE GET SET": (1 << 18) | (1 << 17) | (1 << 16),
  GET: VFIO_DEVICE_FEATURE_GET,
  nothing: 0,
};
const LOW_POWER = 3;
const WITH_WAKEUP = 4;
const EXIT = 5;

const set = (number: number) => feature({ flags: VFIO_DEVICE_FEATURE_SET | number });

/** Steps, and between them what BAR 0 answers. */
const POWER: Readonly<Record<string, readonly number[]>> = {
  "low power entered, left": [LOW_POWER, EXIT],
  "low power left without entry": [EXIT],
  "low power entered twice, left twice": [LOW_POWER, LOW_POWER, EXIT, EXIT],
  "low power entered, then with wake-up by no eventfd": [LOW_POWER, WITH_WAKEUP, EXIT],
};

/**
 * Low power with an eventfd to wake it. When a device sleeps and wakes is up to the kernel's
 * workers, so no program asks whether it was signalled.
 */
function wakeup(fd: number, argsz?: number): (host: ProgramHost) => string {
  return ({ sys, device }) => {
    const { size } = vfio_device_feature;
    const bytes = new Uint8Array(64);
    const flags = VFIO_DEVICE_FEATURE_SET | WITH_WAKEUP;
    const whole = size + vfio_device_low_power_entry_with_wakeup.size;
    bytes.set(vfio_device_feature.bytes({ argsz: argsz ?? whole, flags }));
    bytes.set(vfio_device_low_power_entry_with_wakeup.bytes({ wakeup_eventfd: fd }), size);
    return answer(sys.ioctl(device, VFIO_DEVICE_FEATURE, bytes));
  };
}

const program = (name: string, run: (host: ProgramHost) => string): ConformanceProgram => ({
  name,
  stage: "device",
  run,
});

export const infoPrograms: readonly ConformanceProgram[] = [
  ...[0, 8, 15, 16, 20, 24, 64].map((argsz) =>
    program(`GET_INFO of ${argsz} bytes, device`, info(argsz)),
  ),
  ...REGIONS.flatMap((index) =>
    [0, 31, 32, 128].map((argsz) =>
      program(`GET_REGION_INFO ${index} of ${argsz} bytes`, region(index, argsz)),
    ),
  ),
  ...IRQS.flatMap((index) =>
    [0, 15, 16, 64].map((argsz) =>
      program(`GET_IRQ_INFO ${index} of ${argsz} bytes`, irq(index, argsz)),
    ),
  ),
  program("an ioctl of a container on a device", ({ sys, device }) =>
    ioctl(sys, device, VFIO_SET_IOMMU, 3),
  ),
  program("an ioctl of a group on a device", ({ sys, device }) =>
    ioctl(sys, device, VFIO_GROUP_GET_STATUS, new Uint32Array([8, 0])),
  ),
  program("an ioctl of another driver on a device", ({ sys, device }) =>
    ioctl(sys, device, 0xae00, 0),
  ),
];

export const featurePrograms: readonly ConformanceProgram[] = [
  ...FEATURES.flatMap((number) =>
    Object.entries(ACTIONS).map(([action, flags]) =>
      program(`FEATURE ${number} ${action}`, feature({ flags: flags | number })),
    ),
  ),
  ...Object.entries(POWER).map(([name, steps]) =>
    program(name, (host) =>
      steps.map((step) => `${set(step)(host)}, BAR ${answer(readBar(host))}`).join(", "),
    ),
  ),
  ...[8, 12, 15, 16].map((argsz) =>
    program(`low power with wake-up by no eventfd, of ${argsz} bytes`, wakeup(-1, argsz)),
  ),
  program("low power with wake-up by a descriptor that is not open", wakeup(999)),
  program("low power with wake-up by the device", (host) => wakeup(host.device)(host)),
  program("low power with wake-up, left", (host) =>
    [wakeup(makeEventfd(host)), set(EXIT)].map((step) => step(host)).join(", "),
  ),
  program("FEATURE 999 PROBE", feature({ flags: VFIO_DEVICE_FEATURE_PROBE | 999 })),
  program("FEATURE 999 GET", feature({ flags: VFIO_DEVICE_FEATURE_GET | 999 })),
  program("FEATURE with an unknown flag", feature({ flags: (1 << 19) | LOW_POWER })),
  ...[0, 7, 8].map((argsz) =>
    program(
      `FEATURE ${LOW_POWER} PROBE of ${argsz} bytes`,
      feature({ flags: VFIO_DEVICE_FEATURE_PROBE | LOW_POWER, argsz }),
    ),
  ),
];
