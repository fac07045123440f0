/**
 * The device interface of VFIO (linux/vfio.h, "DEVICE"): what a bus driver (pci/, platform, ap,
 * ccw) asks, whoever stands behind it: kernel group, kernel cdev, a vfio-user socket, the software
 * host. `dma-space.ts` is its twin for memory.
 */

/** `VFIO_DEVICE_GET_INFO`. */
export interface DeviceInfo {
  /** `VFIO_DEVICE_FLAGS_*`. */
  readonly flags: number;
  readonly numRegions: number;
  readonly numIrqs: number;
  /** Capability id -> the capability's bytes, header included. */
  readonly capabilities: ReadonlyMap<number, Uint8Array>;
}

/** `VFIO_DEVICE_GET_REGION_INFO`, its capability chain decoded. */
export interface RegionInfo {
  readonly index: number;
  /** `VFIO_REGION_INFO_FLAG_*`. */
  readonly flags: number;
  readonly size: number;
  /** Where the region starts in the device fd. */
  readonly fdOffset: number;
  /** `VFIO_REGION_INFO_CAP_SPARSE_MMAP`; undefined when the capability is absent. */
  readonly sparseAreas: ReadonlyArray<{ offset: number; size: number }> | undefined;
  /** `VFIO_REGION_INFO_CAP_TYPE`. */
  readonly type: { readonly type: number; readonly subtype: number } | undefined;
  /** `VFIO_REGION_INFO_CAP_MSIX_MAPPABLE`. */
  readonly msixMappable: boolean;
  readonly capabilities: ReadonlyMap<number, Uint8Array>;
}

/** `VFIO_DEVICE_GET_IRQ_INFO`. */
export interface IrqInfo {
  readonly index: number;
  /** `VFIO_IRQ_INFO_*`. */
  readonly flags: number;
  readonly count: number;
}

export type IrqAction = "mask" | "unmask" | "trigger";

export interface VfioDevice extends Disposable {
  /** The device's name on its host: `0000:01:00.0`, an mdev's UUID, a platform device's name. */
  readonly name: string;
  /**
   * The fd regions are mapped from; -1 when the device has none (vfio-user regions bring their
   * own).
   */
  readonly fd: number;
  readonly info: DeviceInfo;
  /** @throws {SysError} what the host answered, EINVAL for an index it does not have */
  regionInfo(index: number): RegionInfo;
  irqInfo(index: number): IrqInfo;
  /** Reads `into.length` bytes of a region; answers the count, or a negated errno. Never throws. */
  readRegion(region: RegionInfo, offset: number, into: Uint8Array): number;
  writeRegion(region: RegionInfo, offset: number, from: Uint8Array): number;
  /**
   * `VFIO_DEVICE_SET_IRQS` with `DATA_EVENTFD`: one fd per interrupt from `start`; -1 disarms one.
   * @returns 0, or the number of vectors the host has when it has fewer (MSI, MSI-X)
   */
  setIrqEventfds(index: number, action: IrqAction, start: number, fds: readonly number[]): number;
  /** `VFIO_DEVICE_SET_IRQS` with `DATA_NONE`; count 0 with `trigger` disables the whole index. */
  setIrqNone(index: number, action: IrqAction, start: number, count: number): void;
  /** `VFIO_DEVICE_RESET`. */
  reset(): void;
  /**
   * One raw device ioctl of this backend, for what has no typed method yet; the struct is in and
   * out.
   */
  ioctl(request: number, arg: Uint8Array): number;
}
