/**
 * L1: the host of a test or a benchmark: a machine with real Linux, a real /dev/vfio, a real
 * /dev/kvm, and PCI devices to give away. `L1.start` brings it up under emulation
 * (`emulated-l1.ts`); with VIADUCT_LAB=host it is the machine this runs on (`host-machine.ts`).
 */

import type { OnOutput, RunResult } from "./agent.ts";
import type { KernelName } from "./kernel.ts";
import type { QmpEvent } from "./qmp.ts";

export interface L1Options {
  readonly kernel?: KernelName;
  readonly memoryMib?: number;
  readonly cpus?: number;
  readonly iommu?: "intel" | "virtio" | "none";
  /** Further kernel parameters; each set of them has a snapshot of its own. */
  readonly parameters?: string;
  /** QEMU `-device` values of devices that cannot be hot-plugged; L1 then boots anew. */
  readonly devices?: readonly string[];
  /** Further QEMU arguments, such as the drives of `devices`; L1 then boots anew. */
  readonly extraArgs?: readonly string[];
}

export interface RunOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly stdin?: string;
  readonly timeoutMs?: number;
  readonly onOutput?: OnOutput;
}

/** What `EmulatedL1` documents; a real host has no monitor and says so. */
export interface L1 extends AsyncDisposable {
  run(command: readonly string[], options?: RunOptions): Promise<RunResult>;
  shell(script: string, options?: RunOptions): Promise<RunResult>;
  sh(script: string, options?: RunOptions): Promise<string>;
  readonly path: string;
  drive(file: string, options?: { keep?: boolean }): Promise<string>;
  plug(device: string, properties?: Record<string, unknown>): Promise<string>;
  unplug(device: string): Promise<void>;
  bindVfio(...addresses: readonly string[]): Promise<void>;
  dmesg(): Promise<string>;
  /** The process whose processor time is L1's. */
  readonly pid: number;
  // The monitor of the emulation.
  qmp(command: string, args?: Record<string, unknown>): Promise<unknown>;
  hmp(line: string): Promise<string>;
  deviceId(device: string): string;
  event(name: string, timeoutMs: number): Promise<QmpEvent>;
  readonly terminal: string;
}

export const L1 = {
  /** @throws {ViaductError} LAB_FAILED */
  async start(options: L1Options = {}): Promise<L1> {
    if (process.env["VIADUCT_LAB"] === "host") {
      const { HostMachine } = await import("./host-machine.ts");
      return HostMachine.start(options);
    }
    const { EmulatedL1 } = await import("./emulated-l1.ts");
    return EmulatedL1.start(options);
  },
};

/** Shell: gives a function to vfio-pci by `driver_override`, as `viaduct bind` does. */
export function vfioBinding(bdf: string): string {
  const device = `/sys/bus/pci/devices/${bdf}`;
  return `
    echo vfio-pci > ${device}/driver_override
    [ -e ${device}/driver ] && echo ${bdf} > ${device}/driver/unbind
    echo ${bdf} > /sys/bus/pci/drivers_probe
    [ "$(basename $(readlink ${device}/driver))" = vfio-pci ]`;
}
