/**
 * The catalogue, codes 19 to 23: who uses a device or its node.
 */

import { usesOf } from "../criticality.ts";
import { openersOf, openersOfDevice, vfioOpeners } from "../openers.ts";
import type { HostDevice } from "../pci-device.ts";
import { isVfioDriver, isWithVfio } from "../viability.ts";
import {
  type CatalogueEntry,
  type CheckContext,
  type CheckOutcome,
  candidates,
  type Found,
} from "./finding.ts";

const CONTAINER = "/dev/vfio/vfio";
const HIDDEN = "descriptors of other users' processes are hidden; run as root";

function groupBusy(context: CheckContext): CheckOutcome {
  const open = vfioOpeners(context.host.tree);
  const found: Found[] = [];
  for (const device of candidates(context)) {
    for (const opener of openersOfDevice(open, device)) {
      found.push({
        device: device.address,
        ...(device.group === undefined ? {} : { group: device.group }),
        detail: `${opener.node} is open in ${opener.name} (pid ${opener.pid})`,
        evidence: [{ path: `/proc/${opener.pid}/fd`, value: opener.node }],
        // Without a question about this device, a running guest is what one would expect.
        ...(context.asked.length === 0 ? { severity: "info" as const, isHarmless: true } : {}),
      });
    }
  }
  return open.hidden > 0 && found.length === 0 ? { found, skipped: HIDDEN } : { found };
}

/** A VFIO driver has the group, so the kernel made a node; a container was not given it. */
function nodeIsHidden({ host }: CheckContext, group: number): boolean {
  const devices = host.groups.get(group)?.devices ?? [];
  const hasNode = host.tree.has(`/dev/vfio/${group}`);
  return !hasNode && host.tree.has("/dev/vfio/vfio") && devices.some(isWithVfio);
}

function hiddenNode(group: number): Found {
  return {
    group,
    detail: `/dev/vfio/${group} is not there, though a VFIO driver has the group`,
    evidence: [
      { path: `/dev/vfio/${group}`, value: "absent" },
      { path: "/dev/vfio/vfio", value: "present" },
    ],
    confidence: "likely",
    fix: [`# give the container the node: --device /dev/vfio/${group} --device /dev/vfio/vfio`],
    undo: ["# start the container without it"],
  };
}

function groupPermission(context: CheckContext): CheckOutcome {
  const { tree } = context.host;
  const status = tree.text("/proc/self/status") ?? "";
  const numbers = (name: string) =>
    (new RegExp(`^${name}:\\s*(.*)$`, "m").exec(status)?.[1] ?? "").split(/\s+/).map(Number);
  const [, uid] = numbers("Uid");
  if (uid === undefined) return { found: [], skipped: "/proc/self/status not readable" };
  if (uid === 0) return { found: [] };
  const groups = new Set([...numbers("Groups"), ...numbers("Gid")]);
  const found: Found[] = [];
  const wanted = new Set(candidates(context).map((device) => device.group));
  wanted.delete(undefined);
  const check = (path: string, more: Partial<Found>) => {
    const node = tree.status(path).value;
    if (node === undefined) return;
    const bits =
      node.uid === uid ? node.mode >> 6 : groups.has(node.gid) ? node.mode >> 3 : node.mode;
    if ((bits & 6) === 6) return;
    const mode = node.mode.toString(8).padStart(4, "0");
    found.push({
      detail: `user ${uid} may not open ${path}`,
      evidence: [{ path, value: `mode ${mode}, uid ${node.uid}, gid ${node.gid}` }],
      confidence: "likely",
      fix: [`chown ${uid} ${path}`],
      undo: [`chown ${node.uid} ${path}`],
      ...more,
    });
  };
  for (const group of wanted) {
    if (nodeIsHidden(context, group!)) found.push(hiddenNode(group!));
    else check(`/dev/vfio/${group}`, { group: group! });
  }
  if (wanted.size > 0) {
    // Every user's: it gives no access to a device.
    check(CONTAINER, { fix: [`chmod 666 ${CONTAINER}`], undo: [`chmod 600 ${CONTAINER}`] });
  }
  return { found };
}

/** Device nodes that belong to a device: of its DRM, sound and NVIDIA drivers. */
function nodePattern(context: CheckContext, device: HostDevice): RegExp | undefined {
  const { tree } = context.host;
  const nodes = tree.names(`${device.path}/drm`).map((name) => `/dev/dri/${name}`);
  for (const card of tree.names(`${device.path}/sound`)) {
    nodes.push(`/dev/snd/\\w+${card.replace("card", "C")}(?:D\\w+)?`);
  }
  if (device.driver === "nvidia") nodes.push("/dev/nvidia.*");
  return nodes.length === 0 ? undefined : new RegExp(`^(?:${nodes.join("|")})$`);
}

function hostInUse(context: CheckContext): CheckOutcome {
  const found: Found[] = [];
  let hidden = 0;
  for (const device of context.asked) {
    if (isVfioDriver(device.driver)) continue;
    for (const use of usesOf(context.host, device)) {
      if (use.level !== "used") continue;
      const detail = `${device.address} ${use.what}`;
      found.push({ device: device.address, detail, evidence: [use.evidence] });
    }
    const pattern = nodePattern(context, device);
    if (pattern === undefined) continue;
    const openers = openersOf(context.host.tree, (node) => pattern.test(node));
    hidden += openers.hidden;
    for (const opener of openers.found) {
      found.push({
        device: device.address,
        detail: `${opener.name} (pid ${opener.pid}) has ${opener.node} open`,
        evidence: [{ path: `/proc/${opener.pid}/fd`, value: opener.node }],
        fix: [`# stop ${opener.name}, or: kill ${opener.pid}`],
      });
    }
  }
  return hidden > 0 && found.length === 0 ? { found, skipped: HIDDEN } : { found };
}

function hostCritical(context: CheckContext): CheckOutcome {
  const found: Found[] = [];
  for (const device of context.asked) {
    for (const use of usesOf(context.host, device)) {
      if (use.level !== "critical") continue;
      const detail = `${device.address} ${use.what}`;
      found.push({ device: device.address, detail, evidence: [use.evidence] });
    }
  }
  return { found };
}

function pfWithVfs(context: CheckContext): CheckOutcome {
  const found: Found[] = [];
  for (const device of candidates(context)) {
    const { sriov } = device;
    if (sriov?.role !== "pf" || sriov.relatives.length === 0) continue;
    const held = sriov.relatives
      .map((address) => context.host.device(address))
      .filter((vf) => vf?.driver !== undefined && !isVfioDriver(vf.driver));
    if (held.length === 0) continue;
    found.push({
      device: device.address,
      detail: `${held.length} of its ${sriov.relatives.length} VFs are with host drivers`,
      evidence: held.map((vf) => ({ path: `${vf!.path}/driver`, value: vf!.driver ?? "" })),
      fix: [`viaduct sriov ${device.address} --num 0`],
      undo: [`viaduct sriov ${device.address} --num ${sriov.relatives.length}`],
    });
  }
  return { found };
}

export const USE: readonly CatalogueEntry[] = [
  {
    number: 19,
    code: "GROUP_BUSY",
    severity: "error",
    title: "The group is in use by another process",
    symptoms: [
      /Cannot open \/dev\/vfio\/\S+: Device or resource busy/i,
      /open '?\/dev\/vfio\/\S+.*(?:Device or resource busy|EBUSY)/i,
      /device is already attached/i,
    ],
    cause: "A group can be opened once: another VM or process has it.",
    fix: ["viaduct list -v DEVICE   # names the process; stop it"],
    undo: ["# start the process again"],
    source: "https://github.com/FDio/vpp/issues/631",
    check: groupBusy,
  },
  {
    number: 20,
    code: "GROUP_PERMISSION",
    severity: "error",
    title: "Not permitted to open the group's node",
    symptoms: [
      /\/dev\/vfio\/\S+.*Permission denied/i,
      /Permission denied.*\/dev\/vfio\//i,
      /open \/dev\/vfio\/\S+.*(?:EACCES|EPERM)/i,
    ],
    cause:
      "The node belongs to root until somebody gives it away; in a container it may be missing.",
    fix: ['chown USER /dev/vfio/N   # or a udev rule: SUBSYSTEM=="vfio", OWNER="USER"'],
    undo: ["chown root /dev/vfio/N"],
    source: "Documentation/driver-api/vfio.rst; https://github.com/kubevirt/kubevirt/issues/6110",
    check: groupPermission,
  },
  {
    number: 21,
    code: "HOST_IN_USE",
    severity: "error",
    title: "The host is using the device",
    symptoms: [/Module \w+ is in use/i],
    cause:
      "Processes hold it, or it has routes or file systems: unbinding would hang or break them.",
    fix: ["# stop what is named, then: viaduct bind DEVICE"],
    undo: ["viaduct restore DEVICE   # and start it again"],
    source: "https://github.com/joeknock90/Single-GPU-Passthrough/issues/6",
    check: hostInUse,
  },
  {
    number: 22,
    code: "HOST_CRITICAL",
    severity: "error",
    title: "The host cannot do without the device",
    symptoms: [
      /\bHOST_CRITICAL\b/,
      /refused: .*(?:is mounted at|is swap\b|carries the default|the only display)/i,
    ],
    cause: "It carries the default route, a mounted or swap disk, or the only console.",
    fix: ["# choose another device, or move the host's use of it away first"],
    undo: ["# move the host's use of it back"],
    source: "https://doc.dpdk.org/guides/linux_gsg/linux_drivers.html",
    check: hostCritical,
  },
  {
    number: 23,
    code: "PF_WITH_VFS",
    severity: "warning",
    title: "A physical function is to go to VFIO while the host uses its VFs",
    symptoms: [],
    cause: "VFs live on their PF: with different owners they fail together.",
    fix: ["viaduct sriov PF --num 0"],
    undo: ["viaduct sriov PF --num N"],
    source: "https://github.com/OpenVisualCloud/Media-Transport-Library/issues/1667",
    check: pfWithVfs,
  },
];
