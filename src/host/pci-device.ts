/**
 * HostDevice: one PCI function as the host's sysfs shows it. Every property is read when it is
 * first asked for and kept, so that looking at a thousand devices costs only what is looked at
 * (Documentation/ABI/testing/sysfs-bus-pci).
 */

import { slotOf } from "./pci-address.ts";
import type { HostTree, Reading } from "./tree.ts";

/** A line of sysfs `resource`: a BAR, the ROM (index 6), a bridge window or a VF BAR. */
export interface DeviceResource {
  readonly index: number;
  readonly start: bigint;
  readonly size: bigint;
  readonly kind: "io" | "mem32" | "mem64";
  readonly prefetchable: boolean;
  /** A size is known but no address was given: `BAR n: can't assign`. */
  readonly unassigned: boolean;
}

export interface SriovRole {
  readonly role: "pf" | "vf";
  readonly totalVfs?: number;
  readonly numVfs?: number;
  /** The VFs of a PF, the PF of a VF. */
  readonly relatives: readonly string[];
}

const HEADER_SIZE = 64;
const IORESOURCE_IO = 0x100n;
const IORESOURCE_MEM_64 = 0x100000n;
const IORESOURCE_PREFETCH = 0x2000n;
const IORESOURCE_UNSET = 0x20000000n;

export class HostDevice {
  readonly address: string;
  readonly tree: HostTree;
  /** Its folder in sysfs. */
  readonly path: string;
  private readonly kept = new Map<string, unknown>();
  /** What could not be read for a value that is kept. */
  private readonly missed = new Map<string, readonly string[]>();

  constructor(tree: HostTree, address: string) {
    this.tree = tree;
    this.address = address;
    this.path = `/sys/bus/pci/devices/${address}`;
  }

  /** As a member of its group. */
  get name(): string {
    return this.address;
  }

  get isVfioDevice(): boolean {
    return this.vfioDevice !== undefined;
  }

  get slot(): string {
    return slotOf(this.address);
  }

  get vendor(): number {
    return this.ids.vendor;
  }

  get device(): number {
    return this.ids.device;
  }

  get subsystemVendor(): number {
    return this.ids.subsystemVendor;
  }

  get subsystemDevice(): number {
    return this.ids.subsystemDevice;
  }

  /** Class, subclass and programming interface: 0xCCSSPP. */
  get classCode(): number {
    return this.ids.classCode;
  }

  get revision(): number {
    return this.keep("revision", () => this.number("revision") ?? 0);
  }

  get isBridge(): boolean {
    return this.classCode >> 8 === 0x0604;
  }

  get isDisplay(): boolean {
    return this.classCode >> 16 === 0x03;
  }

  /** The driver that is bound; undefined when none is. */
  get driver(): string | undefined {
    return this.keep("driver", () => {
      const event = this.uevent;
      if (event !== undefined) return event.get("DRIVER");
      return this.tree.linkName(`${this.path}/driver`);
    });
  }

  /** `driver_override`; the kernel writes an unset one as `(null)`. */
  get override(): string | undefined {
    return this.keep("override", () => {
      const text = this.text("driver_override");
      return text === undefined || text === "(null)" || text === "" ? undefined : text;
    });
  }

  /** The number of the IOMMU group. */
  get group(): number | undefined {
    return this.keep("group", () => {
      const name = this.tree.linkName(`${this.path}/iommu_group`);
      return name !== undefined && /^\d+$/.test(name) ? Number(name) : undefined;
    });
  }

  /**
   * The kernel's ways to reset it, in the order tried. Empty: none works. Undefined: not said
   * (before Linux 5.15 there is no list, only whether there is a way at all: `hasReset`).
   */
  get resetMethods(): readonly string[] | undefined {
    return this.keep("resetMethods", () => {
      const text = this.text("reset_method");
      return text?.split(/\s+/).filter((name) => name !== "");
    });
  }

  /** Can the kernel reset this function alone? Undefined: could not be seen. */
  get hasReset(): boolean | undefined {
    return this.keep("hasReset", () => {
      const methods = this.resetMethods;
      if (methods !== undefined && methods.length > 0) return true;
      const reset = this.tree.status(`${this.path}/reset`);
      if (reset.value !== undefined) return true;
      return reset.missing === "absent" ? false : undefined;
    });
  }

  get powerState(): string | undefined {
    return this.keep("powerState", () => this.text("power_state"));
  }

  /** Undefined where the kernel knows none (-1). */
  get numaNode(): number | undefined {
    return this.keep("numaNode", () => {
      const node = Number(this.text("numa_node") ?? "-1");
      return Number.isInteger(node) && node >= 0 ? node : undefined;
    });
  }

  get irq(): number | undefined {
    return this.keep("irq", () => this.number("irq"));
  }

  get isBootDisplay(): boolean {
    return this.keep("boot", () => this.text("boot_vga") === "1");
  }

  /** BARs 0 to 5, the ROM and windows that have a size. */
  get resources(): readonly DeviceResource[] {
    return this.keep("resources", () => parseResources(this.text("resource") ?? ""));
  }

  get sriov(): SriovRole | undefined {
    return this.keep("sriov", () => this.readSriov());
  }

  /** The bytes of configuration space that this user may read: 64, 256 or 4096. */
  get config(): Reading<Uint8Array> {
    return this.keep("config", () => this.tree.bytes(`${this.path}/config`));
  }

  /** The header of configuration space; reading all of it takes a device a millisecond. */
  get header(): Reading<Uint8Array> {
    return this.keep("header", () => this.tree.head(`${this.path}/config`, HEADER_SIZE));
  }

  /** Is it a VFIO device now: has the bound driver registered it with VFIO? */
  get vfioDevice(): string | undefined {
    return this.keep("vfioDevice", () => this.tree.names(`${this.path}/vfio-dev`)[0]);
  }

  /** The PCI device above: a bridge or root port; undefined at the root or when not known. */
  get parent(): string | undefined {
    return this.keep("parent", () => {
      const target = this.tree.link(this.path).value;
      const above = target?.split("/").slice(-2, -1)[0];
      return above !== undefined && /^[0-9a-f]{4,8}:.*\.[0-7]$/.test(above) ? above : undefined;
    });
  }

  /** Names of the class devices below: network interfaces, disks. */
  get interfaces(): readonly string[] {
    return this.keep("interfaces", () => this.tree.names(`${this.path}/net`));
  }

  text(name: string): string | undefined {
    return this.tree.text(`${this.path}/${name}`);
  }

  private get uevent(): ReadonlyMap<string, string> | undefined {
    return this.keep("uevent", () => {
      const text = this.text("uevent");
      if (text === undefined) return undefined;
      const event = new Map<string, string>();
      for (const line of text.split("\n")) {
        const at = line.indexOf("=");
        if (at > 0) event.set(line.slice(0, at), line.slice(at + 1));
      }
      return event.has("PCI_ID") ? event : undefined;
    });
  }

  /** One read of `uevent` says what five files say. */
  private get ids() {
    return this.keep("ids", () => {
      const event = this.uevent;
      const pair = (key: string) =>
        (event?.get(key) ?? "").split(":").map((part) => Number.parseInt(part, 16));
      const [vendor, device] = pair("PCI_ID");
      const [subsystemVendor, subsystemDevice] = pair("PCI_SUBSYS_ID");
      const classCode = Number.parseInt(event?.get("PCI_CLASS") ?? "", 16);
      const or = (value: number | undefined, name: string) =>
        value === undefined || Number.isNaN(value) ? (this.number(name) ?? 0) : value;
      return {
        vendor: or(vendor, "vendor"),
        device: or(device, "device"),
        subsystemVendor: or(subsystemVendor, "subsystem_vendor"),
        subsystemDevice: or(subsystemDevice, "subsystem_device"),
        classCode: or(classCode, "class"),
      };
    });
  }

  private readSriov(): SriovRole | undefined {
    const pf = this.tree.linkName(`${this.path}/physfn`);
    if (pf !== undefined) return { role: "vf", relatives: [pf] };
    if (!this.tree.exists(`${this.path}/sriov_totalvfs`)) return undefined;
    const total = this.number("sriov_totalvfs");
    if (total === undefined) return undefined;
    const numVfs = this.number("sriov_numvfs") ?? 0;
    const relatives: string[] = [];
    for (let i = 0; i < numVfs; i++) {
      const vf = this.tree.linkName(`${this.path}/virtfn${i}`);
      if (vf !== undefined) relatives.push(vf);
    }
    return { role: "pf", totalVfs: total, numVfs, relatives };
  }

  private number(name: string): number | undefined {
    const value = Number(this.text(name) ?? "x");
    return Number.isSafeInteger(value) ? value : undefined;
  }

  private keep<T>(key: string, read: () => T): T {
    const misses = this.missed.get(key);
    if (misses !== undefined) this.tree.noteMisses(misses);
    if (this.kept.has(key)) return this.kept.get(key) as T;
    const { value, missed } = this.tree.noticingMisses(read);
    this.kept.set(key, value);
    if (missed.length > 0) this.missed.set(key, missed);
    return value;
  }
}

const EMPTY_SLOT = "0x0000000000000000 0x0000000000000000";
const RESOURCE = /^0x([0-9a-f]{1,16}) 0x([0-9a-f]{1,16}) 0x([0-9a-f]{1,16})$/;

/** The lines of sysfs `resource`: start, end, flags. Lines that are not so are left out. */
export function parseResources(text: string): DeviceResource[] {
  const resources: DeviceResource[] = [];
  text.split("\n").forEach((line, index) => {
    // Most lines are empty slots; a host with a thousand functions has thousands of them.
    if (line.startsWith(EMPTY_SLOT)) return;
    const match = RESOURCE.exec(line);
    if (match === null) return;
    const [start, end, flags] = match.slice(1).map((part) => BigInt(`0x${part}`)) as [
      bigint,
      bigint,
      bigint,
    ];
    if (flags === 0n || end < start || (end === 0n && start === 0n)) return;
    const kind =
      (flags & IORESOURCE_IO) !== 0n
        ? "io"
        : (flags & IORESOURCE_MEM_64) !== 0n
          ? "mem64"
          : "mem32";
    resources.push({
      index,
      start,
      size: end - start + 1n,
      kind,
      prefetchable: (flags & IORESOURCE_PREFETCH) !== 0n,
      unassigned: (flags & IORESOURCE_UNSET) !== 0n || start === 0n,
    });
  });
  return resources;
}
