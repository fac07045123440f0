/** How L1 is put together: the QEMU command line and what depends on it. */

import { busybox } from "./busybox.ts";
import { keyOf } from "./cache.ts";
import { initramfs } from "./initramfs.ts";
import type { Kernel } from "./kernel.ts";
import type { Command } from "./prefix.ts";
import { qemuCommand, qemuPrefix } from "./qemu.ts";

export interface L1MachineOptions {
  readonly kernel: Kernel;
  readonly memoryMib?: number;
  readonly cpus?: number;
  readonly iommu?: "intel" | "virtio" | "none";
  /** Further kernel parameters. */
  readonly parameters?: string;
  readonly devices?: readonly string[];
  readonly extraArgs?: readonly string[];
}

export interface L1Machine {
  /** Addresses in L1 of the root ports rp0, rp1, ... that devices are hot-plugged below. */
  readonly rootPorts: readonly string[];
  /** What a snapshot of this machine depends on. */
  readonly key: string;
  /** @param folder of this run: sockets and logs */
  command(folder: string): Command;
}

const ROOT_PORTS = 8;
/** The first root port's slot: behind QEMU's own devices, before the chipset's at 0x1f. */
const FIRST_SLOT = 0x10;

/**
 * Kernel parameters. The emulated virtio and AMD IOMMUs remap no interrupts that Linux accepts, so
 * VFIO must be told; with the Intel one it is not, as on a real server. The kernel's check that
 * the timer ticks in time fails on a busy machine, where the whole of L1 stands still for a while.
 */
function kernelParameters(iommu: string): string {
  const unsafe = "vfio_iommu_type1.allow_unsafe_interrupts=1 iommufd.allow_unsafe_interrupts=1";
  const noiommu = "vfio.enable_unsafe_noiommu_mode=1";
  const extra: Record<string, string> = { intel: "intel_iommu=on", virtio: unsafe, none: noiommu };
  return `console=ttyS0 panic=-1 quiet no_timer_check ${extra[iommu]}`;
}

function iommuArguments(iommu: string): string[] {
  if (iommu === "intel") return ["-device", "intel-iommu,intremap=on,caching-mode=on"];
  return iommu === "virtio" ? ["-device", "virtio-iommu-pci,addr=0x0e"] : [];
}

/**
 * A root port at 5 GT/s: at the default speed QEMU advertises link-active reporting that it does
 * not set for devices present at start, and a hot reset below such a port fails.
 */
function rootPortArguments(): string[] {
  return Array.from({ length: ROOT_PORTS }, (_, index) => {
    const slot = (FIRST_SLOT + index).toString(16);
    return [
      "-device",
      `pcie-root-port,id=rp${index},addr=0x${slot},chassis=${index + 1},x-speed=5`,
    ];
  }).flat();
}

/** The ports of L1's agent, by number from 1; then the monitor's, for programs inside L1. */
export const CHANNELS = 4;
export const MONITOR_PORT = 3 * CHANNELS + 1;

function agentArguments(folder: string): string[] {
  const socket = (name: string) => `socket,id=${name},path=${folder}/${name},server=on,wait=off`;
  const port = (nr: number, name: string) => [
    ...["-chardev", socket(name), "-device", `virtserialport,nr=${nr},chardev=${name}`],
  ];
  const channels = Array.from({ length: CHANNELS }, (_, index) => [
    ...port(3 * index + 1, `control${index}`),
    ...port(3 * index + 2, `stdout${index}`),
    ...port(3 * index + 3, `stderr${index}`),
  ]);
  return [
    ...["-device", "virtio-serial-pci,addr=0x0c"],
    ...["-chardev", socket("terminal"), "-device", "virtconsole,nr=0,chardev=terminal"],
    ...channels.flat(),
    ...port(MONITOR_PORT, "monitor"),
    ...["-qmp", `unix:${folder}/qmp,server=on,wait=off`],
    ...["-run-with", "exit-with-parent=on"],
  ];
}

export async function l1Machine(options: L1MachineOptions): Promise<L1Machine> {
  const { kernel, memoryMib = 2048, cpus = 1, iommu = "intel" } = options;
  const { devices = [], extraArgs = [] } = options;
  const append = [kernelParameters(iommu), options.parameters ?? ""].join(" ").trim();
  const [prefix, initrd, shell] = [await qemuPrefix(), await initramfs(kernel), await busybox()];
  const fixed = [
    ...["-accel", "tcg,thread=multi", "-machine", "q35,kernel-irqchip=split", "-cpu", "max"],
    ...["-smp", String(cpus), "-m", String(memoryMib), "-nodefaults", "-display", "none"],
    ...["-serial", "stdio", "-no-reboot", "-audiodev", "none,id=silence"],
    ...iommuArguments(iommu),
    ...["-kernel", kernel.bzImage, "-initrd", initrd, "-append", append],
    ...["-fsdev", "local,id=root,path=/,security_model=none,readonly=on,multidevs=remap"],
    ...["-device", "virtio-9p-pci,fsdev=root,mount_tag=root,addr=0x0d"],
    ...rootPortArguments(),
    ...extraArgs,
    ...devices.flatMap((device) => ["-device", device]),
  ];
  return {
    rootPorts: Array.from(
      { length: ROOT_PORTS },
      (_, index) => `0000:00:${(FIRST_SLOT + index).toString(16)}.0`,
    ),
    key: keyOf(prefix, shell, ...fixed, ...agentArguments("")),
    command: (folder) => qemuCommand(prefix, [...fixed, ...agentArguments(folder)]),
  };
}
