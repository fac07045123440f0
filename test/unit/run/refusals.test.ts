import assert from "node:assert/strict";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { O_RDWR } from "../../../src/abi/fcntl.ts";
import { exitStatus } from "../../../src/cli/exit-status.ts";
import type { SoftwareHost } from "../../../src/sim/host.ts";
import type { ViaductErrorCode } from "../../../src/sys/sys-error.ts";
import { assertReadable, failEveryCall } from "./failing-calls.ts";
import {
  assign,
  EDU,
  GuestFiles,
  MSIX,
  NEIGHBOUR,
  type RunSetup,
  skip,
  softwareRun,
} from "./software-run.ts";

interface Refusal {
  readonly setup?: RunSetup;
  readonly args: (files: GuestFiles) => string[];
  readonly code: ViaductErrorCode;
  readonly status: number;
  readonly message: RegExp;
  readonly nextStep: RegExp;
  /** Only the message is looked at: which calls may fail is another refusal's matter. */
  readonly messageOnly?: boolean;
}

const bind = (address: string, driver: string | undefined) => (host: SoftwareHost) => {
  const device = host.devices.find(({ name }) => name === address);
  assert.ok(device);
  host.bindDriver(device, driver);
};

const withDevice =
  (address: string, properties = "") =>
  (files: GuestFiles) => [...files.args(), "--device", `vfio-pci,host=${address}${properties}`];

/** A message that begins with the first part and ends with the last. */
function inOrder(...parts: string[]): RegExp {
  const escaped = parts.map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  return new RegExp(`^${escaped.join(".*")}$`);
}

/** What the host, or the person at the keyboard, can get wrong; by name. */
const REFUSALS: Readonly<Record<string, Refusal>> = {
  "device not bound": {
    setup: { prepare: bind(EDU, undefined) },
    args: withDevice(EDU),
    code: "DEVICE_NOT_BOUND",
    status: 1,
    message: /^vfio 0000:01:00\.0: failed to open \/dev\/vfio\/7: No such file or directory$/,
    nextStep: /modprobe vfio-pci; In group 7: 0000:01:00\.0 is bound to no driver/,
  },
  "device not bound, in a group of which another is": {
    args: withDevice(NEIGHBOUR),
    code: "DEVICE_NOT_BOUND",
    status: 1,
    message: /^vfio 0000:02:00\.1: error getting device from group 8: No such device$/,
    nextStep: /all devices in group 8 are bound to vfio-<bus>/,
  },
  "group not viable": {
    setup: { prepare: bind(NEIGHBOUR, "snd_hda_intel") },
    args: withDevice(MSIX),
    code: "GROUP_NOT_VIABLE",
    status: 1,
    message: /^vfio 0000:02:00\.0: group 8 is not viable$/,
    nextStep: /In group 8: 0000:02:00\.1 is bound to snd_hda_intel/,
  },
  "group busy": {
    setup: { prepare: (host) => void host.open("/dev/vfio/7", O_RDWR) },
    args: withDevice(EDU),
    code: "GROUP_BUSY",
    status: 1,
    message: /^vfio 0000:01:00\.0: failed to open \/dev\/vfio\/7: Device or resource busy$/,
    nextStep: /sudo fuser -v \/dev\/vfio\/7/,
  },
  "no permission for the group": {
    setup: { refuse: { "/dev/vfio/7": "EACCES" } },
    args: withDevice(EDU),
    code: "NO_PERMISSION",
    status: 3,
    message: /^vfio 0000:01:00\.0: failed to open \/dev\/vfio\/7: Permission denied$/,
    nextStep: /chown \$USER \/dev\/vfio\/7/,
  },
  "no permission for the container": {
    setup: { refuse: { "/dev/vfio/vfio": "EACCES" } },
    args: withDevice(EDU),
    code: "NO_PERMISSION",
    status: 3,
    message: /^vfio 0000:01:00\.0: failed to open \/dev\/vfio\/vfio: Permission denied$/,
    nextStep: /chmod 666 \/dev\/vfio\/vfio/,
    messageOnly: true,
  },
  "no permission for KVM": {
    setup: { refuse: { "/dev/kvm": "EACCES" } },
    args: (files) => files.args(),
    code: "NO_PERMISSION",
    status: 3,
    message: /^\/dev\/kvm: Permission denied$/,
    nextStep: /usermod -aG kvm/,
  },
  "no IOMMU": {
    setup: {
      prepare: (host) => rmSync(join(host.roots.sysfs, `bus/pci/devices/${EDU}/iommu_group`)),
    },
    args: withDevice(EDU),
    code: "NO_IOMMU_GROUP",
    status: 5,
    message: /^vfio 0000:01:00\.0: no iommu_group found: No such file or directory$/,
    nextStep: /intel_iommu=on/,
  },
  "no IOMMU driver": {
    setup: { iommu: { types: [] } },
    args: withDevice(EDU),
    code: "IOMMU_REFUSED",
    status: 1,
    message: /^vfio 0000:01:00\.0: No available IOMMU models$/,
    nextStep: /modprobe vfio_iommu_type1/,
  },
  "no interrupt remapping": {
    setup: { iommu: { setIommuFails: new Map([[3, "EPERM"]]) } },
    args: withDevice(EDU),
    code: "IOMMU_REFUSED",
    status: 1,
    message: /^vfio 0000:01:00\.0: Failed to set iommu for container: Operation not permitted$/,
    nextStep: /allow_unsafe_interrupts/,
    messageOnly: true,
  },
  "no VFIO": {
    setup: { refuse: { "/dev/vfio/vfio": "ENOENT" } },
    args: withDevice(EDU),
    code: "VFIO_MISSING",
    status: 5,
    message: /^vfio 0000:01:00\.0: failed to open \/dev\/vfio\/vfio: No such file or directory$/,
    nextStep: /modprobe vfio/,
    messageOnly: true,
  },
  "no KVM": {
    setup: { refuse: { "/dev/kvm": "ENOENT" } },
    args: (files) => files.args(),
    code: "KVM_MISSING",
    status: 5,
    message: /^\/dev\/kvm: Could not access KVM: ENOENT$/,
    nextStep: /modprobe kvm_intel/,
  },
  "RLIMIT_MEMLOCK too low": {
    setup: { iommu: { memlock: 0x100_0000n } },
    args: withDevice(EDU),
    code: "MEMLOCK_LIMIT",
    status: 1,
    message: inOrder(
      "vfio 0000:01:00.0: pc.ram: Cannot map 0x4000000 bytes at IOVA 0x0 (from 0x",
      "VFIO_MAP_DMA failed: Cannot allocate memory; RLIMIT_MEMLOCK is 16777216 bytes (16 MiB)",
      "the guest's RAM needs 67108864 bytes (64 MiB)",
    ),
    nextStep: /prlimit --pid \$\$ --memlock=67108864:67108864/,
  },
  "kernel image not a bzImage": {
    args: (files) => files.args(files.write("kernel.gz", Uint8Array.of(0x1f, 0x8b, 8, 0))),
    code: "KERNEL_IMAGE",
    status: 1,
    message: /kernel\.gz: Cannot boot this kernel image: not a bzImage: it is gzip data$/,
    nextStep: /x86-64 bzImage, for example \/boot\/vmlinuz/,
  },
  "kernel image not there": {
    args: (files) => files.args(join(files.folder, "no-such-file")),
    code: "KERNEL_IMAGE",
    status: 1,
    message: /no-such-file: Cannot read the kernel: there is no such file$/,
    nextStep: /--kernel/,
  },
  "RAM larger than the host has": {
    args: (files) => ["--kernel", files.kernel, "--serial", "none", "-m", "64T"],
    code: "OUT_OF_MEMORY",
    status: 1,
    message: /^pc\.ram: Cannot reserve \d+ MiB of guest RAM: the host has \d+ MiB, \d+ MiB/,
    nextStep: /--memory/,
  },
  "unknown property": {
    args: withDevice(EDU, ",x-no-mmapp=on"),
    code: "PROPERTY",
    status: 2,
    message: inOrder(
      "-device vfio-pci,host=0000:01:00.0,x-no-mmapp=on: ",
      "Property 'vfio-pci.x-no-mmapp' not found",
    ),
    nextStep: /--device vfio-pci,help.*Did you mean x-no-mmap\?/,
  },
  "bad BDF": {
    args: withDevice("0000:01:00"),
    code: "PROPERTY",
    status: 2,
    message: inOrder(
      "-device vfio-pci,host=0000:01:00: ",
      "Property 'vfio-pci.host' doesn't take value '0000:01:00'",
    ),
    nextStep: /0000:01:00\.0/,
  },
  "BDF of no device": {
    args: withDevice("0000:09:00.0"),
    code: "DEVICE_NOT_FOUND",
    status: 4,
    message:
      /^vfio 0000:09:00\.0: no such host device: .*0000:09:00\.0: No such file or directory$/,
    nextStep: /viaduct list/,
  },
  "bus that is not there": {
    args: withDevice(EDU, ",bus=rp7"),
    code: "PROPERTY",
    status: 2,
    message: /^-device vfio-pci,host=0000:01:00\.0,bus=rp7: Bus 'rp7' not found$/,
    nextStep: /pcie-root-port,id=rp7/,
  },
  "the same device twice": {
    args: (files) => [...files.args(), ...assign(EDU), ...assign(EDU)],
    code: "DEVICE_BUSY",
    status: 1,
    message: /^vfio 0000:01:00\.0: device is already attached$/,
    nextStep: /once/,
    messageOnly: true,
  },
  "slot that is taken": {
    args: (files) => [
      ...files.args(),
      ...["--device", `vfio-pci,host=${EDU},bus=pcie.0,addr=5`],
      ...["--device", `vfio-pci,host=${MSIX},bus=pcie.0,addr=5`],
    ],
    code: "PROPERTY",
    status: 2,
    message: inOrder(
      "-device vfio-pci,host=0000:02:00.0,bus=pcie.0,addr=5: 0000:02:00.0: ",
      "Cannot use slot 5 function 0 of pcie.0: 0000:01:00.0 is there",
    ),
    nextStep: /addr/,
    messageOnly: true,
  },
  "driver that is not there": {
    args: (files) => [...files.args(), "--device", "vfio-usb,host=1-2"],
    code: "PROPERTY",
    status: 2,
    message: /^-device vfio-usb,host=1-2: There is no device vfio-usb$/,
    nextStep: /vfio-pci/,
    messageOnly: true,
  },
  "serial port into a folder that is not there": {
    args: (files) => ["--kernel", files.kernel, "--serial", `file:${files.folder}/no/where`],
    code: "USAGE",
    status: 2,
    message: /^--serial .*\/no\/where: Cannot write there: ENOENT/,
    nextStep: /file that can be written/,
  },
};

/** The first call that has to do with a device; those before it fail in `start.test.ts`. */
function firstOfDevices(calls: ReadonlyArray<{ name: string; detail: string }>): number {
  const at = calls.findIndex(({ name, detail }) => name === "open" && detail.includes("vfio"));
  return at < 0 ? Number.POSITIVE_INFINITY : at + 1;
}

for (const [name, refusal] of Object.entries(REFUSALS)) {
  test(`viaduct run: ${name}`, { skip }, async () => {
    using files = new GuestFiles();
    const { setup = {} } = refusal;
    const args = refusal.args(files);
    const { error, left, calls } = await softwareRun(args, setup);
    assert.deepEqual(left, []);
    const shown = assertReadable(error, name);
    assert.equal(shown.code, refusal.code);
    assert.equal(exitStatus(shown), refusal.status);
    assert.match(shown.message, refusal.message);
    assert.match(shown.nextStep, refusal.nextStep);
    if (refusal.messageOnly === true) return;
    const from = Math.min(firstOfDevices(calls), calls.length + 1);
    await failEveryCall({ args, setup, from });
  });
}
