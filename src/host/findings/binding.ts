/**
 * The catalogue, codes 11 to 18: groups, and which driver has a device.
 */

import { configuredIds, matches, softdepOf } from "../configured-ids.ts";
import type { HostGroup } from "../host.ts";
import type { HostDevice } from "../pci-device.ts";
import { blocksGroup, type GroupMember, isVfioDriver, isWithVfio } from "../viability.ts";
import { acsOf } from "./acs.ts";
import {
  type CatalogueEntry,
  type CheckContext,
  type CheckOutcome,
  candidates,
  type Found,
  NOTHING,
  skip,
} from "./finding.ts";

/** Groups of the devices that a user means to assign, each with the first such device. */
function wantedGroups(context: CheckContext): Array<readonly [HostGroup, HostDevice]> {
  const groups = new Map<HostGroup, HostDevice>();
  for (const device of candidates(context)) {
    const group = device.group === undefined ? undefined : context.host.groups.get(device.group);
    if (group !== undefined && !groups.has(group)) groups.set(group, device);
  }
  return [...groups];
}

function driverEvidence({ number }: HostGroup, members: readonly GroupMember[]) {
  return members.map(({ name, driver }) => ({
    path: `/sys/kernel/iommu_groups/${number}/devices/${name}/driver`,
    value: driver ?? "",
  }));
}

/** PCI functions that block the group; a device that is asked about is NOT_BOUND, no blocker. */
function siblingsInTheWay({ asked }: CheckContext, group: HostGroup): HostDevice[] {
  return group.devices.filter((device) => blocksGroup(device) && !asked.includes(device));
}

function notViable(context: CheckContext): CheckOutcome {
  const found: Found[] = [];
  for (const [group, wanted] of wantedGroups(context)) {
    const others = group.blockers.filter(
      ({ name }) => !context.asked.some(({ address }) => address === name),
    );
    if (others.length === 0) continue;
    const names = others.map(({ name, driver }) => `${name} (${driver})`).join(", ");
    found.push({
      device: wanted.address,
      group: group.number,
      detail: `group ${group.number} is not viable: with a host driver: ${names}`,
      evidence: driverEvidence(group, others),
      fix: [`viaduct bind --group ${wanted.address}`],
      undo: ["viaduct restore --all"],
    });
  }
  return { found, note: harmlessBridges(context) };
}

/** People are told to unbind these, and need not. */
function harmlessBridges(context: CheckContext): string | undefined {
  const notes = wantedGroups(context).flatMap(([{ devices, number }]) =>
    devices
      .filter(({ driver }) => driver === "pcieport")
      .map(({ address }) => `${address} on pcieport is in group ${number}: harmless`),
  );
  return notes.length === 0 ? undefined : notes.join("; ");
}

function audioLeft(context: CheckContext): CheckOutcome {
  const found: Found[] = [];
  for (const [group, wanted] of wantedGroups(context)) {
    const others = siblingsInTheWay(context, group).filter((one) => one.slot === wanted.slot);
    if (others.length === 0) continue;
    found.push({
      device: wanted.address,
      group: group.number,
      detail: `other functions of ${wanted.slot} are still with the host`,
      evidence: driverEvidence(group, others),
      fix: [`viaduct bind ${wanted.slot}`],
      undo: [`viaduct restore ${wanted.slot}`],
    });
  }
  return { found };
}

function shared(context: CheckContext): CheckOutcome {
  const found: Found[] = [];
  for (const [group, wanted] of wantedGroups(context)) {
    const others = siblingsInTheWay(context, group).filter((one) => one.slot !== wanted.slot);
    if (others.length === 0) continue;
    const ports = upstreamPorts(context, wanted);
    const without = ports.filter((port) => ["absent", "off"].includes(acsOf(port) ?? ""));
    found.push({
      device: wanted.address,
      group: group.number,
      detail: `group ${group.number} spans slots: ${others.map((one) => one.slot).join(", ")} too`,
      evidence: [
        ...others.map((one) => ({ path: `${one.path}/iommu_group`, value: `${group.number}` })),
        ...without.map((port) => ({ path: `${port.path}/config`, value: `ACS ${acsOf(port)}` })),
      ],
      confidence: without.length > 0 ? "proved" : "likely",
    });
  }
  return { found };
}

function upstreamPorts(context: CheckContext, device: HostDevice): HostDevice[] {
  const ports: HostDevice[] = [];
  let above = device.parent;
  while (above !== undefined && ports.length < 16) {
    const port = context.host.device(above);
    if (port === undefined) break;
    ports.push(port);
    above = port.parent;
  }
  return ports;
}

function acsOverride({ host }: CheckContext): CheckOutcome {
  const line = host.tree.text("/proc/cmdline");
  if (line === undefined) return skip("/proc/cmdline could not be read");
  const option = /\bpcie_acs_override=\S+/.exec(line)?.[0];
  if (option === undefined) return NOTHING;
  return {
    found: [{ detail: `${option} is set`, evidence: [{ path: "/proc/cmdline", value: line }] }],
  };
}

function notBound(context: CheckContext): CheckOutcome {
  const found: Found[] = [];
  for (const device of candidates(context)) {
    if (isWithVfio(device)) continue;
    found.push({
      device: device.address,
      ...(device.group === undefined ? {} : { group: device.group }),
      detail:
        device.driver === undefined
          ? `${device.address} has no driver`
          : `${device.address} is with ${device.driver}`,
      evidence: [
        { path: `${device.path}/driver`, value: device.driver ?? "absent" },
        { path: `${device.path}/driver_override`, value: device.override ?? "(null)" },
      ],
      fix: [`viaduct bind ${device.address}`],
      undo: [`viaduct restore ${device.address}`],
    });
  }
  return { found };
}

function bootRace({ host, asked }: CheckContext): CheckOutcome {
  const found: Found[] = [];
  for (const id of configuredIds(host.tree)) {
    for (const device of host.devices) {
      if (device.isBridge || !matches(id, device) || isVfioDriver(device.driver)) continue;
      if (device.driver === undefined || (asked.length > 0 && !asked.includes(device))) continue;
      const softdep = softdepOf(host.tree, device.driver);
      found.push({
        device: device.address,
        detail: `${id.text} is set for vfio-pci, but ${device.driver} has ${device.address}`,
        evidence: [
          { path: id.path, value: id.text },
          { path: `${device.path}/driver`, value: device.driver },
          softdep ?? { path: "/etc/modprobe.d", value: `no softdep for ${device.driver}` },
        ],
        fix: [
          ...(softdep === undefined
            ? [`echo 'softdep ${device.driver} pre: vfio-pci' >> /etc/modprobe.d/vfio.conf`]
            : []),
          "# rebuild the initramfs (update-initramfs -u, dracut -f, mkinitcpio -P), start again",
          `viaduct bind ${device.address}   # for now`,
        ],
        undo: [
          `sed -i '/softdep ${device.driver} pre: vfio-pci/d' /etc/modprobe.d/vfio.conf`,
          `viaduct restore ${device.address}`,
        ],
      });
    }
  }
  return { found };
}

function idsAmbiguous({ host }: CheckContext): CheckOutcome {
  const found: Found[] = [];
  for (const id of configuredIds(host.tree)) {
    const devices = host.devices.filter((device) => matches(id, device));
    if (devices.length < 2) continue;
    found.push({
      detail: `${id.text} is ${devices.map((device) => device.address).join(" and ")}`,
      evidence: [
        { path: id.path, value: id.text },
        ...devices.map((device) => ({ path: `${device.path}/device`, value: id.text })),
      ],
    });
  }
  return { found };
}

function bridgeBound({ host }: CheckContext): CheckOutcome {
  const ids = configuredIds(host.tree);
  const found: Found[] = [];
  for (const device of host.devices) {
    if (!device.isBridge) continue;
    const id = ids.find((one) => matches(one, device));
    const isTaken = device.driver === "vfio-pci" || device.override === "vfio-pci";
    if (id === undefined && !isTaken) continue;
    found.push({
      device: device.address,
      detail: `the bridge ${device.address} is meant for vfio-pci`,
      evidence: [
        id === undefined
          ? { path: `${device.path}/driver_override`, value: device.override ?? "vfio-pci" }
          : { path: id.path, value: id.text },
      ],
    });
  }
  return { found };
}

const SET_ALL =
  "Please ensure all devices within the iommu_group are bound to their vfio bus driver";

export const BINDING: readonly CatalogueEntry[] = [
  {
    number: 11,
    code: "GROUP_NOT_VIABLE",
    severity: "error",
    title: "The IOMMU group is not viable",
    symptoms: [/group \d+ is not viable/i, new RegExp(SET_ALL, "i"), /VFIO group is not viable/i],
    cause: `A group is assigned as a whole, and another member is still with a host driver. Bridges
      on pcieport are not counted.`,
    fix: ["viaduct bind --group DEVICE"],
    undo: ["viaduct restore --all"],
    source: "https://github.com/64kramsystem/vga-passthrough/issues/15",
    check: notViable,
  },
  {
    number: 12,
    code: "GROUP_AUDIO_LEFT",
    severity: "error",
    title: "Another function of the same device was forgotten",
    symptoms: [/\.[1-7] is bound to snd_hda_intel/i],
    cause: "Its audio or USB function is in the same group and still with a host driver.",
    fix: ["viaduct bind SLOT   # 01:00 means all functions"],
    undo: ["viaduct restore SLOT"],
    source: "https://github.com/NVIDIA/kubevirt-gpu-device-plugin/issues/27",
    causes: ["GROUP_NOT_VIABLE"],
    check: audioLeft,
  },
  {
    number: 13,
    code: "GROUP_SHARED",
    severity: "error",
    title: "The group has devices of other slots",
    symptoms: [],
    cause: "No ACS on the path above, so the devices could reach each other past the IOMMU.",
    fix: ["# use a slot of the CPU's own, turn on ACS in the BIOS, or assign the whole group"],
    undo: ["# the card back into its slot; viaduct restore --all"],
    source: "Documentation/driver-api/vfio.rst",
    causes: ["GROUP_NOT_VIABLE"],
    check: shared,
  },
  {
    number: 14,
    code: "ACS_OVERRIDE",
    severity: "warning",
    title: "pcie_acs_override hides missing isolation",
    symptoms: [/pcie_acs_override/i],
    cause: `A patched kernel splits groups whose devices can still reach each other. Never for
      guests that are not trusted.`,
    fix: ["# remove pcie_acs_override= from the kernel's command line and start again"],
    undo: ["# add it again"],
    source: "https://github.com/clearcontainers/runtime/issues/810",
    check: acsOverride,
  },
  {
    number: 15,
    code: "NOT_BOUND",
    severity: "error",
    title: "The device is not with a VFIO driver",
    symptoms: [
      /error getting device from group \d+/i,
      /Verify all devices in group \d+ are bound to vfio/i,
      /not bound to (?:driver )?vfio/i,
      /open '?\/dev\/vfio\/\d+'?: No such file/i,
    ],
    cause: "VFIO gives out only devices that a VFIO driver has.",
    fix: ["viaduct bind DEVICE"],
    undo: ["viaduct restore DEVICE"],
    source: "Documentation/driver-api/vfio.rst",
    check: notBound,
  },
  {
    number: 16,
    code: "BOOT_RACE",
    severity: "warning",
    title: "A host driver was faster than vfio-pci",
    symptoms: [],
    cause: "The ids are set, but the host's driver was loaded first.",
    fix: ["echo 'softdep DRIVER pre: vfio-pci' >> /etc/modprobe.d/vfio.conf"],
    undo: ["# remove the line"],
    source: "https://github.com/proxmox/pve-docs (qm-pci-passthrough.adoc)",
    causes: ["NOT_BOUND"],
    check: bootRace,
  },
  {
    number: 17,
    code: "IDS_AMBIGUOUS",
    severity: "warning",
    title: "A configured id is more than one device",
    symptoms: [],
    cause: "ids= goes by model: both of two equal cards or disks are taken from the host.",
    fix: ["# remove the id, and: viaduct bind ADDRESS"],
    undo: ["# add the id again"],
    source: "https://wiki.archlinux.org/title/PCI_passthrough_via_OVMF",
    check: idsAmbiguous,
  },
  {
    number: 18,
    code: "BRIDGE_BOUND",
    severity: "error",
    title: "A bridge is given to vfio-pci",
    symptoms: [],
    cause: "Devices below a bridge disappear with it; only endpoints are assigned.",
    fix: [
      "viaduct restore DEVICE   # pcieport on a bridge is right",
      "# and remove the bridge's id where it is set",
    ],
    undo: ["# add the id again"],
    source: "https://wiki.archlinux.org/title/PCI_passthrough_via_OVMF",
    check: bridgeBound,
  },
];
