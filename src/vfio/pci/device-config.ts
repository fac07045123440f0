/**
 * DeviceConfig: raw access to the physical device's config space, as the kernel virtualizes it
 * (spec/pci.md 4.1 to 4.3). Little-endian on the wire. The guest's merged view is `config.ts`.
 */

import { errnoNumber } from "../../abi/errno.ts";
import { hex } from "../../memory/address.ts";
import { readLittleEndian } from "../../pci/config-space.ts";
import { SysError } from "../../sys/sys-error.ts";
import type { RegionInfo, VfioDevice } from "../device.ts";
import { type Report, rateLimited } from "../report.ts";

const EIO = errnoNumber("EIO");

export class DeviceConfig {
  readonly region: RegionInfo;
  readonly #device: VfioDevice;
  readonly #report: Report;
  readonly #slices = [0, 1, 2, 3, 4].map((length) => new Uint8Array(length));

  constructor(device: VfioDevice, region: RegionInfo, report: Report) {
    this.#device = device;
    this.region = region;
    this.#report = rateLimited(report);
  }

  /**
   * Reads 1 to 4 bytes.
   * @returns the value, or an errno negated: unlike all ones, a value never looks like a failure
   */
  read(offset: number, length: number): number {
    const slice = this.#slices[length]!;
    const result = this.#device.readRegion(this.region, offset, slice);
    if (result !== length) return this.#failed("read", offset, length, result);
    return readLittleEndian(slice, 0, length);
  }

  /** Writes 1 to 4 bytes. @returns 0 or an errno negated, already reported */
  write(offset: number, length: number, value: number): number {
    const slice = this.#slices[length]!;
    for (let i = 0; i < length; i++) slice[i] = value >>> (8 * i);
    const result = this.#device.writeRegion(this.region, offset, slice);
    return result === length ? 0 : this.#failed("write", offset, length, result);
  }

  /** Fills `into` from `offset` on, in one read. @returns the count, or an errno negated */
  readBytes(offset: number, into: Uint8Array): number {
    return this.#device.readRegion(this.region, offset, into);
  }

  #failed(action: string, offset: number, length: number, result: number): number {
    const errno = result < 0 ? -result : EIO;
    const why = result < 0 ? new SysError(errno, `p${action}`).code : `${result} bytes only`;
    this.#report(
      `${this.#device.name}: ${action} of ${length} bytes at config offset ${hex(offset)}: ${why}`,
    );
    return -errno;
  }
}
