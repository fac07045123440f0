/**
 * The description of a software PCI device: what a test or an example writes down. Read
 * `pci-device.ts` next.
 */

import type { SoftwarePciDevice } from "./pci-device.ts";

/** Answers accesses to a BAR that is not mapped. Offsets are relative to the BAR. */
export interface BarBehaviour {
  /** @returns the value, in the low `8 * size` bits */
  read(offset: number, size: number): number;
  write(offset: number, size: number, value: number): void;
}

export interface BarSpec {
  /** A power of two. */
  readonly size: number;
  readonly kind: "io" | "mem32" | "mem64";
  readonly prefetchable?: boolean;
  /** May be mmapped; not together with `behaviour`. Default: true for memory of a page and more. */
  readonly mmap?: boolean;
  /** The parts that may be mmapped (`VFIO_REGION_INFO_CAP_SPARSE_MMAP`). */
  readonly sparse?: ReadonlyArray<{ offset: number; size: number }>;
  /** Where the host put it; default: some place that is naturally aligned. */
  readonly hostAddress?: bigint;
}

export interface CapabilitySpec {
  readonly id: number;
  /** The body: what follows the id and the next pointer. */
  readonly body: Uint8Array;
  /** Bits of the body a guest may change. */
  readonly writable?: Uint8Array;
  /** Where it lies; default: the next free place. */
  readonly offset?: number;
}

export interface RegionSpec {
  /** `VFIO_REGION_INFO_CAP_TYPE`. */
  readonly type: number;
  readonly subtype: number;
  readonly bytes: Uint8Array;
}

export interface PciDeviceSpec {
  /** `0000:01:00.0`. */
  readonly address: string;
  readonly vendorId: number;
  readonly deviceId: number;
  readonly subsystemVendorId?: number;
  readonly subsystemId?: number;
  /** 24 bits: class, subclass, programming interface. */
  readonly classCode?: number;
  readonly revision?: number;
  /** 4096 (default) for PCI Express, 256 for conventional PCI. */
  readonly configSize?: 256 | 4096;
  /** By BAR number; the upper half of a 64-bit BAR stays empty. */
  readonly bars?: Readonly<Record<number, BarSpec>>;
  readonly rom?: Uint8Array;
  /** 1 = INTA. */
  readonly interruptPin?: 0 | 1 | 2 | 3 | 4;
  readonly msi?: {
    readonly vectors: 1 | 2 | 4 | 8 | 16 | 32;
    readonly masking?: boolean;
    /** What the host can allocate, when fewer than `vectors`. */
    readonly available?: number;
  };
  readonly msix?: {
    readonly vectors: number;
    readonly table: { readonly bar: number; readonly offset: number };
    readonly pba: { readonly bar: number; readonly offset: number };
    /** Vectors can be added while enabled: no `VFIO_IRQ_INFO_NORESIZE`. */
    readonly dynamic?: boolean;
    /** What the host can allocate, when fewer than `vectors`. */
    readonly available?: number;
  };
  /** False: a device without the PM capability. */
  readonly powerManagement?: false;
  /** Further capabilities, after PM, PCIe, MSI and MSI-X. */
  readonly capabilities?: readonly CapabilitySpec[];
  /** Whole extended capabilities, header included, by offset. */
  readonly extended?: ReadonlyArray<{ offset: number; bytes: Uint8Array }>;
  /** A VGA region: legacy memory and ports at their own addresses. */
  readonly vga?: boolean;
  /** Device-specific regions, read-only, behind the ones all devices have. */
  readonly regions?: readonly RegionSpec[];
  /** `VFIO_PCI_ATOMIC_COMP*` that the host's root port completes. */
  readonly atomics?: number;
  /** False: the MSI-X table's page may not be mapped (kernels before 4.16). */
  readonly msixMappable?: boolean;
  /** What `VFIO_DEVICE_RESET` can do; default "flr". */
  readonly reset?: "flr" | "pm" | "bus" | "none";
  /** Devices with the same name are reset together; default: those of the same bus. */
  readonly hotResetGroup?: string;
  /** False: the host cannot reset the bus or slot. */
  readonly hotResettable?: boolean;
  /** False: no `VFIO_PCI_ERR_IRQ_INDEX`, as conventional devices before Linux 7 and mediated ones. */
  readonly reportsErrors?: false;
  /**
   * The UUID of a mediated device: a driver of the host makes it up, so it has no bus to reset and
   * reports no errors. `address` is then its parent's.
   */
  readonly mediated?: string;
  /** The host driver bound to it; default "vfio-pci". */
  readonly driver?: string;
  /** Makes the behaviour of the BARs, and of a reset. */
  readonly behaviour?: (device: SoftwarePciDevice) => DeviceBehaviour;
}

export interface DeviceBehaviour {
  readonly bars?: Readonly<Record<number, BarBehaviour>>;
  reset?(): void;
}
