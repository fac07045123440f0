/** A guest without a CPU on a software host: what tests of vfio/ attach devices to. */

import { HostTree } from "../../src/host/tree.ts";
import { type AddressSpace, createAddressSpace } from "../../src/memory/address-space.ts";
import { MemoryRegion } from "../../src/memory/region.ts";
import { eduSpec } from "../../src/sim/devices/edu.ts";
import type { IommuOptions } from "../../src/sim/dma-table.ts";
import { SoftwareHost } from "../../src/sim/host.ts";
import { Ledger } from "../../src/sim/ledger.ts";
import { nativeSyscalls } from "../../src/sys/native.ts";
import type { KernelDevice } from "../../src/vfio/kernel-device.ts";
import { openKernelDevice } from "../../src/vfio/open-device.ts";
import { VfioState, type VfioStateOptions } from "../../src/vfio/state.ts";

export const EDU = "0000:01:00.0";
/** Alone in another group. */
export const SECOND = "0000:02:00.0";

export class SoftwareGuest implements Disposable {
  readonly host: SoftwareHost;
  readonly ledger: Ledger;
  readonly state: VfioState;
  /** The root of the guest's memory: 1 MiB of RAM at 0. */
  readonly root: MemoryRegion;
  readonly memory: AddressSpace;
  readonly reports: string[] = [];
  /** Group descriptors KVM was told of, and told to forget. */
  readonly kvm: string[] = [];

  constructor(iommu: Partial<IommuOptions> = {}, options: VfioStateOptions = {}) {
    this.host = new SoftwareHost(nativeSyscalls(), { pins: false, ...iommu });
    this.host.addDevice(eduSpec(EDU), 7);
    this.host.addDevice(eduSpec(SECOND), 8);
    this.ledger = new Ledger(this.host);
    this.state = new VfioState(this.ledger, {
      tree: HostTree.mounted(this.host.roots),
      report: (line) => void this.reports.push(line),
      kvmDevice: {
        addGroup: (fd) => void this.kvm.push(`add ${fd}`),
        removeGroup: (fd) => void this.kvm.push(`remove ${fd}`),
      },
      ...options,
    });
    this.root = new MemoryRegion("system", "container", 1n << 64n);
    this.root.add(ram("pc.ram", 0x10_0000n), 0n);
    this.memory = createAddressSpace("memory", this.root);
  }

  open(host = EDU, memory = this.memory): KernelDevice {
    return openKernelDevice(this.state, memory, { host }).device;
  }

  /** The mappings of the only container, as `iova+size` in hexadecimal. */
  get maps(): string[] {
    const mappings = this.host.containers.flatMap(({ table }) => table?.mappings ?? []);
    return mappings.map(({ iova, size }) => `${iova.toString(16)}+${size.toString(16)}`);
  }

  /** The calls since the last question whose request is `request`, or whose name is. */
  calls(what: number | string): number {
    const request = typeof what === "number" ? ` 0x${what.toString(16)}` : undefined;
    return this.ledger.calls.filter(({ name, detail }) => {
      return request === undefined ? name === what : name === "ioctl" && detail.endsWith(request);
    }).length;
  }

  [Symbol.dispose](): void {
    this.host[Symbol.dispose]();
  }
}

/** Where pretended RAM lies: the software IOMMU books it without touching it. */
export const HVA = 0x7f00_0000_0000;

export function ram(name: string, size: bigint, hva = HVA): MemoryRegion {
  return new MemoryRegion(name, "ram", size, { memory: { hva } });
}
