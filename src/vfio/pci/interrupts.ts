/**
 * Which of the three ways of interrupting is on: INTx, MSI or MSI-X; never two at once, because the
 * kernel refuses the second (spec/pci.md 9.13, 21). The ways themselves: `intx.ts`, `msi.ts`,
 * `msix.ts`.
 */

import { SysError, ViaductError } from "../../sys/sys-error.ts";
import type { Report } from "../report.ts";
import type { Intx } from "./intx.ts";
import type { AssignedMsi } from "./msi.ts";
import type { AssignedMsix } from "./msix.ts";

export type InterruptMode = "none" | "intx" | "msi" | "msix";

export class Interrupts {
  mode: InterruptMode = "none";
  readonly intx: Intx;
  /** Absent when the device has no such capability, or the machine cannot take messages. */
  msi: AssignedMsi | undefined;
  msix: AssignedMsix | undefined;

  constructor(intx: Intx) {
    this.intx = intx;
  }

  /** Leaves any mode. Leaving MSI and MSI-X brings INTx back, so INTx goes last. */
  disable(): void {
    if (this.mode === "msix") this.msix?.disable();
    else if (this.mode === "msi") this.msi?.disable();
    if (this.mode === "intx") this.intx.disable();
  }
}

/**
 * Runs a step that the host may refuse, on behalf of a guest: the refusal is reported, because a
 * guest cannot be told.
 * @returns false when it was refused
 */
export function attempt(report: Report, what: string, step: () => void): boolean {
  try {
    step();
    return true;
  } catch (error) {
    if (!(error instanceof SysError || error instanceof ViaductError)) throw error;
    report(`${what}: ${error.message}`);
    return false;
  }
}
