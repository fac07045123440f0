/**
 * The catalogue, codes 45 to 56: SR-IOV, vGPU, migration, vfio-user.
 */

import type { HostDevice } from "../pci-device.ts";
import { isVfioDriver, isWithVfio } from "../viability.ts";
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

/** In sysfs `resource` of a PF the lines of its VFs' BARs, after its own and the ROM. */
const VF_BARS = { first: 7, last: 12 };

/**
 * A PF whose VFs' BARs got no address: the kernel then refuses any number of VFs. It has either
 * marked a line as unset or, where it has tried to find room and failed, emptied it.
 */
function noRoomForVfs(context: CheckContext): CheckOutcome {
  const found: Found[] = [];
  for (const device of candidates(context)) {
    if (device.sriov?.role !== "pf" || device.sriov.totalVfs === 0) continue;
    const bars = device.resources.filter(
      ({ index }) => index >= VF_BARS.first && index <= VF_BARS.last,
    );
    const unset = bars.find(({ unassigned }) => unassigned);
    if (bars.length > 0 && unset === undefined) continue;
    const index = unset?.index ?? VF_BARS.first;
    const line = device.text("resource")?.split("\n")[index];
    if (line === undefined) continue;
    found.push({
      device: device.address,
      detail: `the BARs of its ${device.sriov.totalVfs} VFs have no address (VF BAR ${index - VF_BARS.first})`,
      evidence: [{ path: `${device.path}/resource`, value: line }],
    });
  }
  const logged = logCheck(/not enough MMIO resources for SR-IOV/i, (match) => match[0])(context);
  return together(logged, { found });
}

function noDriver(context: CheckContext): CheckOutcome {
  const logged = logCheck(
    /Driver does(?:n't| not) support SRIOV configuration via sysfs/i,
    (match) => match[0],
  )(context);
  const found: Found[] = [...logged.found];
  for (const device of context.asked) {
    if (device.sriov?.role !== "pf" || device.sriov.totalVfs === 0) continue;
    if (device.driver !== undefined) continue;
    found.push({
      device: device.address,
      detail: "it can have VFs, but no driver that would make them",
      evidence: [
        { path: `${device.path}/sriov_totalvfs`, value: String(device.sriov.totalVfs) },
        { path: `${device.path}/driver`, value: "absent" },
      ],
    });
  }
  return { ...logged, found };
}

function vfToken(context: CheckContext): CheckOutcome {
  const found: Found[] = [];
  for (const device of candidates(context)) {
    if (device.sriov?.role !== "vf") continue;
    const pf = context.host.device(device.sriov.relatives[0]!);
    if (pf === undefined || !isVfioDriver(pf.driver)) continue;
    found.push({
      device: device.address,
      detail: `its physical function ${pf.address} is with ${pf.driver}`,
      evidence: [{ path: `${device.path}/physfn/driver`, value: pf.driver ?? "" }],
      undo: [`viaduct restore ${pf.address}   # its own driver asks for no token`],
    });
  }
  return { found };
}

function vgpu(context: CheckContext): CheckOutcome {
  const found: Found[] = [];
  for (const device of context.asked.length > 0 ? context.asked : context.host.devices) {
    if (device.vendor !== 0x10de) continue;
    const path = `${device.path}/nvidia/current_vgpu_type`;
    const value = context.host.tree.text(path);
    if (value === undefined || context.host.tree.has(`${device.path}/mdev_supported_types`))
      continue;
    found.push({
      device: device.address,
      detail: "its vGPUs are made by the vendor's VFIO driver, not as mediated devices",
      evidence: [
        { path, value },
        { path: `${device.path}/mdev_supported_types`, value: "absent" },
      ],
    });
  }
  return { found };
}

/** Where the kernel tells of a device's migration (debugfs-vfio; from Linux 6.8, as root). */
function migrationPath(device: HostDevice): string {
  return `/sys/kernel/debug/vfio/${device.address}/migration`;
}

/** Devices on plain vfio-pci for which this kernel has a variant driver (`vfio_pci:` aliases). */
function noMigration({ host, asked }: CheckContext): CheckOutcome {
  const devices = asked.filter((device) => device.driver === "vfio-pci");
  if (devices.length === 0) return NOTHING;
  const release = host.tree.text("/proc/sys/kernel/osrelease") ?? "";
  const path = `/lib/modules/${release}/modules.alias`;
  const text = host.tree.text(path);
  if (text === undefined) return skip(`${path} could not be read`);
  const found: Found[] = [];
  for (const device of devices) {
    const line = variantAlias(text, device.vendor, device.device);
    if (line === undefined || host.tree.has(migrationPath(device))) continue;
    const driver = line.split(/\s+/).at(-1) ?? "";
    found.push({
      device: device.address,
      detail: `${driver} could migrate it, but vfio-pci has it`,
      evidence: [
        { path: `${device.path}/driver`, value: "vfio-pci" },
        { path, value: line },
      ],
      confidence: "likely",
      fix: [`viaduct bind ${device.address} --driver auto`],
      undo: [`viaduct restore ${device.address}`],
    });
  }
  return { found };
}

const LIMITS = new RegExp(
  [
    "VFIO device does(?:n't| not) support device dirty tracking",
    "Multiple VFIO devices migration is supported only if all of them support P2P",
    "not supported with vIOMMU enabled",
  ].join("|"),
  "i",
);

/** What a variant driver lacks, as the kernel tells without the device being opened. */
function migrationLimits(context: CheckContext): CheckOutcome {
  const logged = logCheck(LIMITS, (match) => match[0])(context);
  const found: Found[] = [];
  const devices = context.asked.filter(isWithVfio);
  for (const device of devices) {
    const path = `${migrationPath(device)}/features`;
    const features = context.host.tree.text(path)?.split("\n");
    if (features === undefined) continue;
    const lacks = ["dirty-tracking", ...(devices.length > 1 ? ["p2p"] : [])].filter(
      (name) => !features.includes(name),
    );
    if (lacks.length === 0) continue;
    found.push({
      severity: "warning",
      device: device.address,
      detail: `it migrates without ${lacks.join(" and ")}`,
      evidence: [{ path, value: features.join(" ") }],
    });
  }
  return together(logged, { found });
}

/** libvirt's log of a VM begins with the version and the command line of its QEMU. */
function oldQemu({ log }: CheckContext): CheckOutcome {
  if (log.lines === undefined) return skip(log.missing);
  for (const line of log.lines) {
    const match = /qemu version: (\d+)\.(\d+)/i.exec(line);
    const isOld = match !== null && Number(match[1]) * 100 + Number(match[2]) < 801;
    if (!isOld || !log.lines.some((one) => /vfio-pci/.test(one))) continue;
    return {
      found: [
        {
          detail: `QEMU ${match[1]}.${match[2]} runs a VM with an assigned device`,
          evidence: [{ path: "log", value: line.trim().slice(0, 200) }],
          confidence: "likely",
        },
      ],
    };
  }
  return NOTHING;
}

/** The `alias vfio_pci:v...d... module` line for a device. */
export function variantAlias(text: string, vendor: number, device: number): string | undefined {
  const id = (value: number) => value.toString(16).toUpperCase().padStart(8, "0");
  const start = `alias vfio_pci:v${id(vendor)}d${id(device)}`;
  const at = text.indexOf(start);
  if (at < 0) return undefined;
  const end = text.indexOf("\n", at);
  return text.slice(at, end < 0 ? undefined : end);
}

const NO_CLIENT = /'vfio-user-pci' (?:is not a valid device model name|not found)/i;
const STALE_SOCKET = /server closed socket|\.sock\b.*(?:ECONNREFUSED|Connection refused)/i;

export const VIRTUAL: readonly CatalogueEntry[] = [
  {
    number: 45,
    code: "SRIOV_NO_MMIO",
    severity: "error",
    title: "No room for the BARs of virtual functions",
    symptoms: [
      /not enough MMIO resources for SR-IOV/i,
      /sriov_numvfs.*(?:Cannot allocate memory|ENOMEM)/i,
      /write error: Cannot allocate memory/i,
    ],
    cause: "The firmware left no address space for VFs: SR-IOV or Above 4G Decoding is off.",
    fix: ["# turn on SR-IOV and Above 4G Decoding in the BIOS, or add pci=realloc"],
    undo: ["# remove pci=realloc"],
    source: "drivers/pci/iov.c; https://github.com/strongtz/i915-sriov-dkms/issues/129",
    check: noRoomForVfs,
  },
  {
    number: 46,
    code: "SRIOV_BAD_COUNT",
    severity: "error",
    title: "Not a number of VFs that the device takes now",
    symptoms: [
      /Numerical result out of range/i,
      /sriov_numvfs.*(?:Device or resource busy|EBUSY|ERANGE)/i,
      /VFs already enabled\. Disable before enabling/i,
      /has at most \d+ VFs/i,
    ],
    cause: "More than sriov_totalvfs, or the number is not 0 now: it goes through 0.",
    fix: ["viaduct sriov PF --num N   # writes 0 first"],
    undo: ["viaduct sriov PF --num 0"],
    source: "Documentation/ABI/testing/sysfs-bus-pci (sriov_numvfs)",
    check: logCheck(/VFs already enabled\. Disable before enabling \d+ VFs/i, (match) => match[0]),
  },
  {
    number: 47,
    code: "SRIOV_NO_DRIVER",
    severity: "error",
    title: "The driver of the physical function makes no VFs",
    symptoms: [/Driver does(?:n't| not) support SRIOV configuration via sysfs/i],
    cause: "It has no driver, or one that does not know SR-IOV.",
    fix: [
      "viaduct restore PF   # its own driver makes the VFs",
      "echo 1 > /sys/module/vfio_pci/parameters/enable_sriov   # if vfio-pci is to make them",
    ],
    undo: ["echo 0 > /sys/module/vfio_pci/parameters/enable_sriov"],
    source: "https://github.com/SamsungDS/libvfn/issues/21",
    check: noDriver,
  },
  {
    number: 48,
    code: "VF_TOKEN",
    severity: "error",
    title: "A VF token is needed",
    symptoms: [/VF token required to access device/i, /Incorrect VF token/i],
    cause: "The physical function is with VFIO too; its owner sets a token (UUID) for the VFs.",
    fix: ["# open the device with the token that the owner of the PF set (vf-token=UUID)"],
    undo: ["viaduct restore PF   # its own driver asks for no token"],
    source: "https://github.com/intel/sriov-fec-operator/issues/32",
    check: vfToken,
  },
  {
    number: 49,
    code: "VGPU_API_CHANGED",
    severity: "error",
    title: "vGPUs are no mediated devices here",
    symptoms: [/mdev_supported_types.*(?:No such file|absent|not found)/i],
    cause: "From Linux 6.8 and R580 on NVIDIA makes vGPUs on VFs with its own VFIO driver.",
    fix: ["echo TYPE > /sys/bus/pci/devices/VF/nvidia/current_vgpu_type   # assign the VF"],
    undo: ["echo 0 > /sys/bus/pci/devices/VF/nvidia/current_vgpu_type"],
    source: "https://github.com/kernel/hypeman/issues/364",
    check: vgpu,
  },
  {
    number: 50,
    code: "MIG_NO_KERNEL",
    severity: "error",
    title: "The device's driver cannot migrate it",
    symptoms: [
      /VFIO migration is not supported in kernel/i,
      /cannot migrate a domain with <hostdev/i,
    ],
    cause:
      "Plain vfio-pci does not know the device's state; a variant driver does, where there is one.",
    fix: ["viaduct bind DEVICE --driver auto"],
    undo: ["viaduct restore DEVICE"],
    source:
      "scripts/mod/file2alias.c (vfio_pci:); Documentation/ABI/testing/debugfs-vfio; " +
      "https://github.com/seapath/meta-seapath/issues/268",
    check: noMigration,
  },
  {
    number: 51,
    code: "MIG_NO_DIRTY",
    severity: "error",
    title: "Migration: no dirty tracking, no P2P, or a vIOMMU",
    symptoms: [LIMITS],
    cause: "A limit of the device's driver or of the VM's topology.",
    fix: ["# one device, no vIOMMU, or let all memory count as dirty (longer pauses)"],
    undo: ["# the old configuration of the VM"],
    source:
      "Documentation/ABI/testing/debugfs-vfio (features); " +
      "https://www.qemu.org/docs/master/devel/migration/vfio.html",
    check: migrationLimits,
  },
  {
    number: 52,
    code: "MIG_OLD_QEMU",
    severity: "warning",
    title: "This QEMU keeps VFIO migration experimental",
    symptoms: [/x-enable-migration/i, /VFIO device doesn't support migration/i],
    cause: "Before QEMU 8.1 migration of VFIO devices is off by default.",
    fix: ["# a newer QEMU, or x-enable-migration=on where both ends have it"],
    undo: ["# leave out x-enable-migration="],
    source: "https://www.qemu.org/docs/master/devel/migration/vfio.html",
    check: oldQemu,
  },
  {
    number: 53,
    code: "VFU_NO_CLIENT",
    severity: "error",
    title: "This QEMU has no vfio-user client",
    symptoms: [NO_CLIENT],
    cause: "It is older than the client, or was built without it.",
    fix: ["# a newer QEMU, or Cloud Hypervisor"],
    undo: ["# the old QEMU"],
    source: "https://www.qemu.org/docs/master/system/devices/vfio-user.html",
    check: logCheck(NO_CLIENT, (match) => match[0]),
  },
  {
    number: 54,
    code: "VFU_RAM_NOT_SHARED",
    severity: "warning",
    title: "vfio-user: the guest's RAM is not shared",
    symptoms: [/VFU_RAM_NOT_SHARED/],
    cause: "Without a shared memory backend every DMA is a message.",
    fix: ["# -object memory-backend-memfd,share=on"],
    undo: ["# leave out share=on"],
    source: "https://github.com/nutanix/libvfio-user/issues/203",
    unchecked: "depends on the VM's configuration, not on the host",
  },
  {
    number: 55,
    code: "VFU_SOCKET_STALE",
    severity: "error",
    title: "vfio-user: a socket without a server",
    symptoms: [STALE_SOCKET],
    cause: "A server crashed and left its socket file.",
    fix: ["rm SOCKET   # when nobody listens: ss -xl | grep SOCKET"],
    undo: ["# start the server again: it makes the socket"],
    source: "https://github.com/nutanix/libvfio-user",
    check: logCheck(STALE_SOCKET, (match) => match[0]),
  },
  {
    number: 56,
    code: "VFU_NO_MIGRATION",
    severity: "warning",
    title: "vfio-user: the client does not migrate",
    symptoms: [/dirty (?:page )?tracking.*Not supported/i],
    cause: "QEMU's client has no live migration yet.",
    fix: ["# Cloud Hypervisor, or wait"],
    undo: ["# the old VMM"],
    source: "https://github.com/nutanix/libvfio-user/issues/824",
    unchecked: "depends on the client, not on the host",
  },
];
