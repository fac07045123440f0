/**
 * The catalogue, codes 1 to 10: the platform. Is there an IOMMU, does the kernel use it, is VFIO
 * there.
 */

import { configuredIds } from "../configured-ids.ts";
import { configSetting } from "../kernel-config.ts";
import {
  type CatalogueEntry,
  type CheckContext,
  type CheckOutcome,
  candidates,
  type Found,
  logCheck,
  NOTHING,
  skip,
  together,
} from "./finding.ts";

const TABLES = "/sys/firmware/acpi/tables";
const UNSAFE = "/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts";

function hasGroups({ host }: CheckContext): boolean {
  return host.groups.size > 0 || host.tree.names("/sys/kernel/iommu_groups").length > 0;
}

/** The ACPI table that describes an IOMMU: Intel, AMD, virtio, Arm. */
function iommuTable({ host }: CheckContext): string | undefined {
  return host.tree.names(TABLES).find((name) => /^(DMAR|IVRS|VIOT|IORT)$/.test(name));
}

function firmwareOff(context: CheckContext): CheckOutcome {
  if (hasGroups(context) || iommuTable(context) !== undefined) return NOTHING;
  const tables = context.host.tree.list(TABLES);
  if (tables.value === undefined && tables.missing !== "absent") {
    return { found: [], skipped: `${TABLES} may not be read` };
  }
  return {
    found: [
      {
        detail: "no IOMMU groups, and the firmware describes no IOMMU",
        evidence: [
          { path: "/sys/kernel/iommu_groups", value: "empty" },
          { path: TABLES, value: tables.value?.join(" ") ?? "absent" },
        ],
      },
    ],
  };
}

function kernelOff(context: CheckContext): CheckOutcome {
  const table = iommuTable(context);
  if (hasGroups(context) || table === undefined) return NOTHING;
  const line = context.host.tree.text("/proc/cmdline") ?? "";
  const isOff = /\b(?:iommu|intel_iommu|amd_iommu)=off\b/.test(line);
  return {
    found: [
      {
        ...(table === "IVRS" ? AMD_STEPS : {}),
        detail: isOff
          ? "the kernel's command line turns the IOMMU off"
          : "the firmware describes an IOMMU, but the kernel uses none",
        evidence: [
          { path: `${TABLES}/${table}`, value: "present" },
          { path: "/sys/kernel/iommu_groups", value: "empty" },
          { path: "/proc/cmdline", value: line },
        ],
      },
    ],
  };
}

/** AMD's is on unless it is turned off. */
const AMD_STEPS = {
  fix: [
    "# remove amd_iommu=off and iommu=off from the kernel's command line,",
    "# then: update-grub, proxmox-boot-tool refresh or grub2-mkconfig; and start again",
  ],
  undo: ["# add the parameter again and start again"],
};

/** Message interrupts on x86 without a remapping domain: the chip's name lacks `IR-`. */
const UNMAPPED_MSI = /\sPCI-MSIX?\b/;

function remapMissing(context: CheckContext): CheckOutcome {
  const logged = logCheck(/No interrupt remapping/i, () => "the kernel says so")(context);
  if (!hasGroups(context) || logged.found.length > 0) return logged;
  const interrupts = context.host.tree.text("/proc/interrupts");
  if (interrupts === undefined) return together(logged, skip("/proc/interrupts not readable"));
  // Other architectures isolate message interrupts in ways of their own.
  if (!/^(?:DMAR|IVRS)$/.test(iommuTable(context) ?? "")) return logged;
  const lines = interrupts.split("\n");
  const chips = lines.filter((line) => UNMAPPED_MSI.test(line));
  if (chips.length === 0 || lines.some((line) => /\sIR-/.test(line))) return logged;
  return together(logged, {
    found: [
      {
        detail: "message interrupts do not go through a remapping table",
        evidence: [{ path: "/proc/interrupts", value: chips[0]!.trim() }],
        confidence: "likely",
      },
    ],
  });
}

function unsafeInterrupts({ host }: CheckContext): CheckOutcome {
  const value = host.tree.text(UNSAFE);
  if (value !== "Y" && value !== "1") return NOTHING;
  return {
    found: [{ detail: "the option is on", evidence: [{ path: UNSAFE, value }] }],
  };
}

function reservedDirect(context: CheckContext): CheckOutcome {
  const found: Found[] = [];
  let note: string | undefined;
  for (const device of candidates(context)) {
    if (device.group === undefined) continue;
    const { tree } = context.host;
    const path = `/sys/kernel/iommu_groups/${device.group}/reserved_regions`;
    const text = tree.exists(path) ? tree.text(path) : undefined;
    const lines = (text ?? "").split("\n").map((one) => one.trim());
    const line = lines.find((one) => /\sdirect$/.test(one));
    if (lines.some((one) => one.endsWith(" direct-relaxable"))) {
      note = `group ${device.group} has direct-relaxable regions: the kernel gives it out`;
    }
    if (line === undefined) continue;
    found.push({
      device: device.address,
      group: device.group,
      detail: `the firmware keeps memory for DMA of group ${device.group}`,
      evidence: [{ path, value: line }],
      confidence: "likely",
    });
  }
  const logged = logCheck(
    /ineligible for IOMMU domain attach due to platform RMRR/i,
    () => "the kernel refused the device",
  )(context);
  return together(logged, { found, note });
}

function vfioMissing({ host }: CheckContext): CheckOutcome {
  const { tree } = host;
  const hasVfio = tree.has("/dev/vfio/vfio") || tree.has("/sys/module/vfio");
  // iommufd can stand in for the container (CONFIG_IOMMUFD_VFIO_CONTAINER).
  const hasModel = tree.has("/sys/module/vfio_iommu_type1") || tree.has("/dev/iommu");
  if (hasVfio && hasModel) return NOTHING;
  const absent = hasVfio
    ? ["/sys/module/vfio_iommu_type1", "/dev/iommu"]
    : ["/dev/vfio/vfio", "/sys/module/vfio"];
  const setting = configSetting(tree, hasVfio ? "CONFIG_VFIO_IOMMU_TYPE1" : "CONFIG_VFIO");
  const isBuilt = setting === undefined || setting.value.includes("=");
  return {
    found: [
      {
        ...(isBuilt ? {} : { fix: ["# boot another kernel"], undo: ["# boot this one again"] }),
        detail: isBuilt
          ? `${hasVfio ? "VFIO's IOMMU module is" : "VFIO's modules are"} not loaded`
          : "this kernel was built without VFIO",
        evidence: [
          ...absent.map((path) => ({ path, value: "absent" })),
          ...(setting === undefined ? [] : [setting]),
        ],
      },
    ],
  };
}

function builtinOptions({ host }: CheckContext): CheckOutcome {
  const { tree } = host;
  const release = tree.text("/proc/sys/kernel/osrelease") ?? "";
  const path = `/lib/modules/${release}/modules.builtin`;
  const builtin = tree.text(path);
  if (builtin === undefined) return skip(`${path} could not be read`);
  if (!/vfio[-_]pci\.ko/.test(builtin)) return NOTHING;
  if (/vfio[-_]pci\.ids=/.test(tree.text("/proc/cmdline") ?? "")) return NOTHING;
  const id = configuredIds(tree).find((one) => one.path !== "/proc/cmdline");
  if (id === undefined) return NOTHING;
  const ids = configuredIds(tree).map(({ text }) => text);
  return {
    found: [
      {
        detail: "vfio-pci is built into the kernel, so this option comes too late",
        evidence: [
          { path, value: "vfio-pci.ko" },
          { path: id.path, value: id.text },
        ],
        fix: [`# add to the kernel's command line: vfio-pci.ids=${[...new Set(ids)].join(",")}`],
      },
    ],
  };
}

function noIommu({ host }: CheckContext): CheckOutcome {
  const nodes = host.tree.names("/dev/vfio").filter((name) => name.startsWith("noiommu-"));
  const path = "/sys/module/vfio/parameters/enable_unsafe_noiommu_mode";
  const value = host.tree.text(path);
  const evidence = [
    ...nodes.map((name) => ({ path: `/dev/vfio/${name}`, value: "present" })),
    ...(value === "Y" || value === "1" ? [{ path, value }] : []),
  ];
  if (evidence.length === 0) return NOTHING;
  return { found: [{ detail: "devices can be used without an IOMMU", evidence }] };
}

function iommufd({ host }: CheckContext): CheckOutcome {
  if (host.tree.has("/dev/iommu")) return NOTHING;
  const evidence = [{ path: "/dev/iommu", value: "absent" }];
  return { found: [{ detail: "iommufd is not there; the group backend is", evidence }] };
}

const FIRMWARE_KEEPS = {
  cause: `The firmware keeps the right to DMA into memory for this device (RMRR), so the kernel will
    not give the device to anybody else.`,
  fix: ["# update the BIOS, turn the option off there, or use another slot"],
  undo: ["# turn the option on again, or move the card back"],
};

export const PLATFORM: readonly CatalogueEntry[] = [
  {
    number: 1,
    code: "IOMMU_FIRMWARE_OFF",
    severity: "error",
    title: "No IOMMU: off in the firmware, or not there",
    symptoms: [
      /no iommu_group found/i,
      /VFIO device assignment is currently not supported on this system/i,
      /write error: No such device/i,
    ],
    cause: "VT-d or AMD-Vi is off in the firmware, or this machine (a nested VM, say) has none.",
    fix: [
      "# turn on VT-d (Intel) or AMD-Vi/IOMMU (AMD) in the BIOS and start again",
      "# in a VM: give it -device intel-iommu,intremap=on,caching-mode=on or virtio-iommu-pci",
    ],
    undo: ["# turn it off again in the BIOS"],
    source:
      "Documentation/driver-api/vfio.rst; drivers/iommu/intel/dmar.c (DMAR); " +
      "drivers/iommu/amd/init.c (IVRS)",
    causes: ["NOT_BOUND", "VFIO_MISSING", "INTR_REMAP_MISSING", "IOMMUFD_UNAVAILABLE"],
    check: firmwareOff,
  },
  {
    number: 2,
    code: "IOMMU_KERNEL_OFF",
    severity: "error",
    title: "The kernel does not use the IOMMU",
    symptoms: [/IOMMU appears to be disabled in kernel/i],
    cause: "Intel's IOMMU is off by default in some kernels, or a parameter turns it off.",
    fix: [
      "# add intel_iommu=on iommu=pt to the kernel's command line, remove iommu=off,",
      "# then: update-grub, proxmox-boot-tool refresh or grub2-mkconfig; and start again",
    ],
    undo: ["# remove the parameter and start again"],
    source: "Documentation/admin-guide/kernel-parameters.txt",
    causes: ["NOT_BOUND", "VFIO_MISSING", "INTR_REMAP_MISSING", "IOMMUFD_UNAVAILABLE"],
    check: kernelOff,
  },
  {
    number: 3,
    code: "INTR_REMAP_MISSING",
    severity: "error",
    title: "No interrupt remapping",
    symptoms: [
      /No interrupt remapping support/i,
      /set iommu for container: Operation not permitted/i,
      /allow_unsafe_interrupts/i,
    ],
    cause: `Without interrupt remapping a guest could forge interrupts of the host, so VFIO refuses
      (EPERM).`,
    fix: [
      "# turn on interrupt remapping or x2APIC in the BIOS",
      "# last resort, guests can then forge host interrupts:",
      `echo 'options vfio_iommu_type1 allow_unsafe_interrupts=1' > /etc/modprobe.d/vfio-unsafe.conf`,
    ],
    undo: ["rm /etc/modprobe.d/vfio-unsafe.conf"],
    source: "drivers/vfio/vfio_iommu_type1.c; kernel/irq/msi.c (IR- in /proc/interrupts)",
    check: remapMissing,
  },
  {
    number: 4,
    code: "UNSAFE_INTERRUPTS_ON",
    severity: "warning",
    title: "Unsafe interrupts are allowed",
    symptoms: [],
    cause: "An option, often copied from a guide, lets guests forge interrupts of the host.",
    fix: [
      "grep -rl allow_unsafe_interrupts /etc/modprobe.d   # remove the option there",
      `echo N > ${UNSAFE}`,
    ],
    undo: [`echo Y > ${UNSAFE}`],
    source: "drivers/vfio/vfio_iommu_type1.c",
    check: unsafeInterrupts,
  },
  {
    number: 5,
    code: "RMRR_DEVICE",
    severity: "error",
    title: "The firmware keeps DMA rights for this device (RMRR)",
    symptoms: [/ineligible for IOMMU domain attach due to platform RMRR/i],
    ...FIRMWARE_KEEPS,
    source:
      "Documentation/ABI/testing/sysfs-kernel-iommu_groups (reserved_regions); " +
      "https://github.com/OrpheeGT/relax-intel-rmrr",
    check: reservedDirect,
  },
  {
    number: 6,
    code: "FIRMWARE_1TO1",
    severity: "error",
    title: "The firmware wants a 1:1 mapping for this device",
    symptoms: [
      /Firmware has requested this device have a 1:1 IOMMU mapping/i,
      /cannot add vfio group to container, error 22/i,
    ],
    ...FIRMWARE_KEEPS,
    source: "drivers/iommu/iommu.c; https://github.com/AltraMayor/gatekeeper/issues/718",
    check: logCheck(
      /Firmware has requested this device have a 1:1 IOMMU mapping/i,
      () => "the kernel refused the device",
    ),
  },
  {
    number: 7,
    code: "VFIO_MISSING",
    severity: "error",
    title: "VFIO is not there",
    symptoms: [
      /No available IOMMU models/i,
      /\/dev\/vfio\/vfio.*(?:No such file(?: or directory)?|not found|absent)/i,
      /open '?\/dev\/vfio\/\d+'?: No such/i,
      /failed to open \/dev\/vfio\/vfio/i,
    ],
    cause: "The module is not loaded, or this kernel was built without it.",
    fix: ["modprobe -a vfio-pci vfio_iommu_type1"],
    undo: ["modprobe -r vfio-pci vfio_iommu_type1"],
    source: "Documentation/driver-api/vfio.rst",
    causes: ["NOT_BOUND"],
    check: vfioMissing,
  },
  {
    number: 8,
    code: "VFIO_BUILTIN_OPTIONS",
    severity: "warning",
    title: "Options of a built-in vfio-pci are in the wrong place",
    symptoms: [/Module vfio[-_]pci is builtin/i],
    cause: "modprobe.d is for modules; what is built in takes its options from the command line.",
    fix: ["# put vfio-pci.ids=VVVV:DDDD on the kernel's command line, or: viaduct bind DEVICE"],
    undo: ["# remove the parameter"],
    source: "Documentation/admin-guide/kernel-parameters.rst",
    check: builtinOptions,
  },
  {
    number: 9,
    code: "NOIOMMU_MODE",
    severity: "warning",
    title: "VFIO works without an IOMMU here",
    symptoms: [/noiommu-\d+/i, /enable_unsafe_noiommu_mode/i, /no-?iommu mode/i],
    cause: `The unsafe mode without an IOMMU is on: a device can then write to all of the host's
      memory, and DMA cannot be mapped.`,
    fix: ["echo N > /sys/module/vfio/parameters/enable_unsafe_noiommu_mode"],
    undo: ["echo Y > /sys/module/vfio/parameters/enable_unsafe_noiommu_mode"],
    source: "Documentation/driver-api/vfio.rst",
    check: noIommu,
  },
  {
    number: 10,
    code: "IOMMUFD_UNAVAILABLE",
    severity: "info",
    title: "iommufd is not available",
    symptoms: [/IOMMU FD support requires \/dev\/iommu/i, /Need IOMMUFD backend when flts=on/i],
    cause: "The kernel has no iommufd, or its module is not loaded. The group backend works.",
    fix: ["modprobe iommufd"],
    undo: ["modprobe -r iommufd"],
    source: "Documentation/userspace-api/iommufd.rst",
    check: iommufd,
  },
];
