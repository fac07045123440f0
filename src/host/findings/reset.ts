/**
 * The catalogue, codes 24 to 29: reset and power.
 */

import type { HostDevice } from "../pci-device.ts";
import { isWithVfio } from "../viability.ts";
import {
  type CatalogueEntry,
  type CheckContext,
  type CheckOutcome,
  candidates,
  type Found,
  logCheck,
  NOTHING,
  together,
} from "./finding.ts";

/** The functions that a reset of the device's bus would hit too. */
function onSameBus(context: CheckContext, device: HostDevice): HostDevice[] {
  const bus = device.address.slice(0, device.address.lastIndexOf(":"));
  return context.host.devices.filter(
    (other) => other !== device && other.address.startsWith(`${bus}:`),
  );
}

/**
 * Those of them that keep VFIO from resetting the bus: it must own every function on it
 * (VFIO_DEVICE_PCI_HOT_RESET).
 */
function notOwned(context: CheckContext, device: HostDevice): HostDevice[] {
  return onSameBus(context, device).filter(
    (other) => other.group !== device.group || !isWithVfio(other),
  );
}

/**
 * Can the kernel reset the function alone? Its list of methods is made when the device appears: a
 * bus reset stays in it when virtual functions come onto the bus, and is then refused.
 */
function resetsAlone(context: CheckContext, device: HostDevice): boolean {
  const methods = device.resetMethods ?? [];
  const isBusOnly = methods.length > 0 && methods.every((name) => name === "bus");
  return device.hasReset !== false && !(isBusOnly && onSameBus(context, device).length > 0);
}

function resetEvidence(device: HostDevice) {
  const methods = device.resetMethods?.join(" ") ?? "absent";
  return [
    { path: `${device.path}/reset`, value: device.hasReset === false ? "absent" : "present" },
    { path: `${device.path}/reset_method`, value: methods === "" ? "(empty)" : methods },
  ];
}

function noReset(context: CheckContext): CheckOutcome {
  const found: Found[] = [];
  const notes: string[] = [];
  for (const device of candidates(context)) {
    if (device.hasReset !== false) continue;
    if (device.parent !== undefined) {
      // Below a bridge there is the bus: VFIO resets it when it owns all of it.
      if (notOwned(context, device).length === 0) {
        notes.push(`${device.address} has no reset of its own; VFIO resets its bus: harmless`);
      }
      continue;
    }
    found.push({
      device: device.address,
      detail: `the kernel has no way to reset ${device.address}, and no bridge is above it`,
      evidence: resetEvidence(device),
    });
  }
  return { found, note: notes.length === 0 ? undefined : notes.join("; ") };
}

function resetNeedsGroup(context: CheckContext): CheckOutcome {
  const found: Found[] = [];
  for (const device of candidates(context)) {
    if (resetsAlone(context, device) || device.parent === undefined) continue;
    const others = notOwned(context, device);
    if (others.length === 0) continue;
    found.push({
      device: device.address,
      ...(device.group === undefined ? {} : { group: device.group }),
      detail: `only a bus reset is left, and it hits ${others.map((one) => one.address).join(", ")}`,
      evidence: [
        ...resetEvidence(device),
        ...others.map((one) => ({ path: `${one.path}/driver`, value: one.driver ?? "none" })),
      ],
      confidence: "likely",
      fix: [`viaduct bind ${[device, ...others].map((one) => one.address).join(" ")}`],
      undo: [`viaduct restore ${[device, ...others].map((one) => one.address).join(" ")}`],
    });
  }
  return { found };
}

/** Vega 10, Vega 20 and Navi 1x: the devices that vendor-reset was written for. */
const AMD_RESET = new Set([
  ...[0x6860, 0x6861, 0x6862, 0x6863, 0x6864, 0x6867, 0x6868, 0x686c, 0x687f],
  ...[0x66a0, 0x66a1, 0x66a2, 0x66a3, 0x66a7, 0x66af],
  ...[0x7310, 0x7312, 0x7318, 0x7319, 0x731a, 0x731b, 0x731e, 0x731f],
  ...[0x7340, 0x7341, 0x7347, 0x734f, 0x7360, 0x7362],
]);

function amdReset(context: CheckContext): CheckOutcome {
  const found: Found[] = [];
  for (const device of candidates(context)) {
    if (device.vendor !== 0x1002 || !AMD_RESET.has(device.device)) continue;
    if (device.resetMethods?.includes("device_specific") === true) continue;
    if (context.host.tree.has("/sys/module/vendor_reset")) continue;
    found.push({
      device: device.address,
      detail: "this model does not come back from an ordinary reset",
      evidence: [
        { path: `${device.path}/reset_method`, value: device.resetMethods?.join(" ") ?? "absent" },
        { path: "/sys/module/vendor_reset", value: "absent" },
      ],
      confidence: "likely",
    });
  }
  return { found };
}

function flrBroken(context: CheckContext): CheckOutcome {
  const logged = logCheck(/not ready \d+ms after FLR/i, (match) => match[0])(context);
  const notes: string[] = [];
  const found = logged.found.flatMap((one): Found[] => {
    const device = context.host.device(one.device ?? "");
    const methods = device?.resetMethods;
    if (device === undefined || methods === undefined) return [one];
    if (methods.includes("flr")) {
      const evidence = { path: `${device.path}/reset_method`, value: methods.join(" ") };
      return [{ ...one, evidence: [...one.evidence, evidence] }];
    }
    notes.push(`${device.address} is not reset by FLR any more: harmless`);
    return [];
  });
  return { ...logged, found, note: notes.length === 0 ? undefined : notes.join("; ") };
}

const IDLE_D3 = "/sys/module/vfio_pci/parameters/disable_idle_d3";

function d3cold(context: CheckContext): CheckOutcome {
  const found: Found[] = [];
  for (const device of candidates(context)) {
    // "unknown" is what the kernel says of any device whose driver was unbound.
    if (device.powerState !== "error") continue;
    found.push({
      device: device.address,
      detail: `its power state is ${device.powerState}`,
      evidence: [
        { path: `${device.path}/power_state`, value: device.powerState },
        { path: `${device.path}/d3cold_allowed`, value: device.text("d3cold_allowed") ?? "absent" },
        { path: IDLE_D3, value: context.host.tree.text(IDLE_D3) ?? "absent" },
      ],
      confidence: "likely",
    });
  }
  const logged = logCheck(
    /Unable to change power state from D3(?:cold|hot) to D0|stuck in D3/i,
    (match) => `the kernel could not wake it (${match[0]})`,
  )(context);
  return together(logged, { found });
}

function allOnes(context: CheckContext): CheckOutcome {
  const devices = context.asked.length > 0 ? context.asked : context.host.devices;
  const found: Found[] = [];
  for (const device of devices) {
    const bytes = device.header.value;
    if (bytes === undefined || bytes.length < 64 || bytes[0] !== 0xff) continue;
    if (!bytes.every((byte) => byte === 0xff)) continue;
    found.push({
      device: device.address,
      detail: "configuration space reads all ones: it fell off the bus, or sleeps for good",
      evidence: [{ path: `${device.path}/config`, value: "ff ff ff ff ..." }],
      fix: [
        `echo 1 > ${device.path}/remove`,
        "echo 1 > /sys/bus/pci/rescan   # if it does not come back: power off, not only reboot",
      ],
    });
  }
  return found.length === 0 ? NOTHING : { found };
}

export const RESET: readonly CatalogueEntry[] = [
  {
    number: 24,
    code: "NO_RESET",
    severity: "error",
    title: "The device cannot be reset",
    symptoms: [
      /Cannot reset device \S+, no available reset mechanism/i,
      /no available reset mechanism/i,
    ],
    cause:
      "It has no function-level, power-management or bus reset, so a guest leaves it as it is.",
    fix: ["# assign all of the bus, load vendor-reset for AMD graphics, or choose another device"],
    undo: ["modprobe -r vendor-reset"],
    source: "Documentation/ABI/testing/sysfs-bus-pci (reset, reset_method); drivers/pci/pci.c",
    check: noReset,
  },
  {
    number: 25,
    code: "RESET_NEEDS_GROUP",
    severity: "warning",
    title: "Its reset hits devices that are not assigned",
    symptoms: [/Cannot reset device \S+, depends on group \d+ which is not owned/i],
    cause: "A bus reset is the only one it has, and others sit on the same bus.",
    fix: ["# assign all devices of the bus together, or use one device per slot"],
    undo: ["viaduct restore --all"],
    source: "drivers/vfio/pci/vfio_pci_core.c",
    check: resetNeedsGroup,
  },
  {
    number: 26,
    code: "FLR_BROKEN",
    severity: "error",
    title: "The device dies in its function-level reset",
    symptoms: [/not ready \d+ms after (?:FLR|bus reset|resume)/i],
    cause: "It advertises a function-level reset and does not come back from one.",
    fix: ["viaduct reset DEVICE --method bus --keep"],
    undo: ["echo default > /sys/bus/pci/devices/DEVICE/reset_method"],
    source: "Documentation/ABI/testing/sysfs-bus-pci (reset_method)",
    causes: ["CONFIG_ALL_FF"],
    check: flrBroken,
  },
  {
    number: 27,
    code: "AMD_RESET_BUG",
    severity: "warning",
    title: "AMD reset bug: works once, then a black screen",
    symptoms: [/AMD reset bug/i, /vendor[-_]reset/i],
    cause: "The firmware of these models keeps its state across the resets that the kernel knows.",
    fix: [
      "modprobe vendor-reset",
      "echo device_specific > /sys/bus/pci/devices/DEVICE/reset_method",
    ],
    undo: ["modprobe -r vendor-reset"],
    source: "https://github.com/gnif/vendor-reset",
    check: amdReset,
  },
  {
    number: 28,
    code: "D3COLD_STUCK",
    severity: "error",
    title: "The device does not wake up",
    symptoms: [
      /Unable to change power state from D3(?:cold|hot) to D0/i,
      /Unable to power on device, stuck in D3/i,
      /stuck in D3/i,
    ],
    cause: "It was put to sleep while idle and cannot be woken.",
    fix: [
      "echo 'options vfio-pci disable_idle_d3=1' > /etc/modprobe.d/vfio-d3.conf",
      "echo 0 > /sys/bus/pci/devices/DEVICE/d3cold_allowed   # then power the machine off and on",
    ],
    undo: ["rm /etc/modprobe.d/vfio-d3.conf"],
    source:
      "Documentation/ABI/testing/sysfs-bus-pci (power_state, d3cold_allowed); " +
      "https://github.com/kata-containers/kata-containers/issues/11708",
    causes: ["CONFIG_ALL_FF"],
    check: d3cold,
  },
  {
    number: 29,
    code: "CONFIG_ALL_FF",
    severity: "error",
    title: "The device is gone: its registers read all ones",
    symptoms: [/Unknown PCI header type '?127'?/i, /unknown header type 7f/i],
    cause: "It fell off the bus, mostly after a reset or a change of power state that failed.",
    fix: [
      "echo 1 > /sys/bus/pci/devices/DEVICE/remove",
      "echo 1 > /sys/bus/pci/rescan   # if that does not help, power off",
    ],
    undo: ["# none: the device was gone already"],
    source: "https://github.com/bryansteiner/gpu-passthrough-tutorial/issues/39",
    check: allOnes,
  },
];
