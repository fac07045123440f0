/**
 * `viaduct run` on a software host: the devices are software, the VM is the real /dev/kvm's, and
 * every system call of the start goes through a `Ledger`, which can make it fail.
 */

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { errnoNumber } from "../../../src/abi/errno.ts";
import { parseCommand } from "../../../src/cli/parse-command.ts";
import { command, run } from "../../../src/cli/run.ts";
import { HostTree } from "../../../src/host/tree.ts";
import { Kvm } from "../../../src/kvm/kvm.ts";
import { eduSpec } from "../../../src/sim/devices/edu.ts";
import { msixTestSpec } from "../../../src/sim/devices/msix.ts";
import type { IommuOptions } from "../../../src/sim/dma-table.ts";
import { SoftwareHost } from "../../../src/sim/host.ts";
import { Ledger, type LoggedCall } from "../../../src/sim/ledger.ts";
import { nativeSyscalls } from "../../../src/sys/native.ts";
import type { Syscalls } from "../../../src/sys/syscalls.ts";
import { code } from "../machine/payload.ts";
import { tinyBzImage } from "../machine/tiny-bzimage.ts";

/** Alone in group 7: INTx and MSI, a trapped BAR. */
export const EDU = "0000:01:00.0";
/** In group 8: MSI-X, mapped BARs, a ROM. */
export const MSIX = "0000:02:00.0";
/** In group 8 too, bound to no driver. */
export const NEIGHBOUR = "0000:02:00.1";

export const assign = (address: string): string[] => ["--device", `vfio-pci,host=${address}`];

/** Why guests cannot run here; false when they can. */
export const skip = ((): string | false => {
  try {
    Kvm.open(nativeSyscalls())[Symbol.dispose]();
    return false;
  } catch (error) {
    return (error as Error).message;
  }
})();

/** A folder with a kernel that prints and powers off. */
export class GuestFiles implements Disposable {
  readonly folder = mkdtempSync(join(tmpdir(), "viaduct-run-"));
  readonly kernel = this.image("vmlinuz", [...code.print("ok"), ...code.powerOff()]);

  image(name: string, program: readonly number[]): string {
    return this.write(name, tinyBzImage(Uint8Array.from(program)));
  }

  write(name: string, bytes: Uint8Array | string): string {
    const path = join(this.folder, name);
    writeFileSync(path, bytes);
    return path;
  }

  /** The arguments of a run without devices. */
  args(kernel = this.kernel): string[] {
    return ["--kernel", kernel, "-m", "64M", "--serial", "none"];
  }

  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true });
  }
}

export interface RunSetup {
  readonly iommu?: Partial<IommuOptions>;
  /** Changes the host before the start. */
  readonly prepare?: (host: SoftwareHost) => void;
  /** Paths whose opening is refused, with the errno. */
  readonly refuse?: Readonly<Record<string, string>>;
  /** Another module for the vCPUs' threads. */
  readonly vcpuEntry?: URL;
}

export interface Outcome {
  /** What `run` threw. */
  readonly error: unknown;
  /** The exit status, when it threw nothing. */
  readonly status: number | undefined;
  /** What is held afterwards, by us or on the host, and was not before. */
  readonly left: readonly string[];
  readonly calls: readonly LoggedCall[];
  /** The call that was made to fail, when it was reached. */
  readonly failed: LoggedCall | undefined;
}

/** Runs `viaduct run` with `args`; the `failing.at`-th system call fails. */
export async function softwareRun(
  args: readonly string[],
  setup: RunSetup = {},
  failing?: { at: number; errno: string },
): Promise<Outcome> {
  using host = new SoftwareHost(nativeSyscalls(), setup.iommu);
  host.addDevice(eduSpec(EDU), 7);
  host.addDevice({ ...msixTestSpec(MSIX), rom: new Uint8Array(2048).fill(1) }, 8);
  host.bindDriver(host.addDevice(eduSpec(NEIGHBOUR), 8), undefined);
  setup.prepare?.(host);
  const state = () => [
    ...host.describe(),
    ...host.devices.map(({ name, driver }) => `${name} bound to ${driver}`),
  ];
  const before = state();
  const ledger = new Ledger(refusing(host, setup.refuse ?? {}));
  if (failing) ledger.failAt(failing.at, failing.errno);
  let error: unknown;
  let status: number | undefined;
  try {
    const { vcpuEntry } = setup;
    const tree = HostTree.mounted(host.roots);
    const runHost = { sys: ledger, tree, ...(vcpuEntry && { vcpuEntry }) };
    status = await run(parseCommand(command, args), runHost);
  } catch (thrown) {
    error = thrown;
  }
  const reached = failing !== undefined && !ledger.stopFailing();
  const left = [...ledger.live(), ...state().filter((line) => !before.includes(line))];
  const gone = before.filter((line) => !state().includes(line)).map((line) => `no more: ${line}`);
  const { calls } = ledger;
  const failed = reached ? calls[failing.at - 1] : undefined;
  return { error, status, left: [...left, ...gone], calls, failed };
}

/** `inner`, but opening some paths fails. */
function refusing(inner: Syscalls, paths: Readonly<Record<string, string>>): Syscalls {
  return new Proxy(inner, {
    get(target, key) {
      const member: unknown = Reflect.get(target, key, target);
      if (typeof member !== "function") return member;
      return (...args: unknown[]) => {
        const errno = key === "open" ? paths[String(args[0])] : undefined;
        if (errno !== undefined) return -errnoNumber(errno);
        return (member as (...args: unknown[]) => unknown).apply(target, args);
      };
    },
  });
}
