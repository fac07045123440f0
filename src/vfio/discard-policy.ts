/**
 * RamDiscardPolicy: who may punch holes in guest RAM (spec/container.md section 5). Pinned RAM must
 * not be discarded: the device would keep writing to pages the guest no longer has. One per
 * process.
 */

import { errnoNumber } from "../abi/errno.ts";
import { SysError } from "../sys/sys-error.ts";

/**
 * What somebody asks for: `disable` forbids all discards (sPAPR), `disableUncoordinated` those that
 * VFIO is not told of (type 1), `require` cannot work without discards, `requireCoordinated` tells
 * everybody of them (virtio-mem).
 */
export type DiscardRequest = "disable" | "disableUncoordinated" | "require" | "requireCoordinated";

/** Which requests in force refuse a new one. */
const REFUSED_BY: Readonly<Record<DiscardRequest, readonly DiscardRequest[]>> = {
  disable: ["require", "requireCoordinated"],
  disableUncoordinated: ["require"],
  require: ["disable", "disableUncoordinated"],
  requireCoordinated: ["disable"],
};

export class RamDiscardPolicy {
  readonly #counts: Record<DiscardRequest, number> = {
    disable: 0,
    disableUncoordinated: 0,
    require: 0,
    requireCoordinated: 0,
  };

  /**
   * Puts a request in force until the result is disposed (idempotent).
   * @throws {SysError} EBUSY when another one in force excludes it
   */
  request(request: DiscardRequest): Disposable {
    if (REFUSED_BY[request].some((other) => this.#counts[other] > 0)) {
      throw new SysError(errnoNumber("EBUSY"), `RAM discard: ${request}`);
    }
    this.#counts[request]++;
    let held = true;
    return {
      [Symbol.dispose]: () => {
        if (held) this.#counts[request]--;
        held = false;
      },
    };
  }

  /** How many requests of this kind are in force. */
  count(request: DiscardRequest): number {
    return this.#counts[request];
  }

  /** What virtio-balloon asks before it inflates: is any kind of discard disabled? */
  get isDisabled(): boolean {
    return this.#counts.disable + this.#counts.disableUncoordinated > 0;
  }
}
