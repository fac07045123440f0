/**
 * Errors of the first kind: the host said no. `SysError` is a failed system call as it was;
 * `ViaductError` is what a user reads: the device, the action, the values, and the next step,
 * with the `SysError` as its cause. (A guest's misbehaviour is input, never an error; our own bugs
 * are `assert`.)
 */

import { errnoName } from "../abi/errno.ts";
import { ERRNO_STEPS, NEXT_STEPS } from "./next-steps.ts";

/** A system call that failed. `code` is the errno's name, as Node's own errors have it. */
export class SysError extends Error {
  override readonly name = "SysError";
  readonly errno: number;
  readonly code: string;
  readonly syscall: string;

  constructor(errno: number, syscall: string) {
    const code = errnoName(errno);
    super(`${syscall}: ${code}`);
    this.errno = errno;
    this.code = code;
    this.syscall = syscall;
  }
}

/**
 * Passes a system call's result on, or throws.
 * @param what the call as a person would name it: `open /dev/kvm`, `VFIO_GROUP_GET_STATUS`
 * @throws {SysError} when `result` is a negated errno
 */
export function check(result: number, what: string): number {
  if (result < 0) throw new SysError(-result, what);
  return result;
}

/** One code per thing the host can refuse. Kept closed: a new refusal is a new code. */
export type ViaductErrorCode =
  | "USAGE"
  | "DEVICE_NOT_FOUND"
  | "DEVICE_NOT_BOUND"
  | "DEVICE_BUSY"
  | "DEVICE_UNSUPPORTED"
  | "NO_IOMMU_GROUP"
  | "GROUP_NOT_VIABLE"
  | "GROUP_BUSY"
  | "GROUP_IN_OTHER_ADDRESS_SPACE"
  | "NO_PERMISSION"
  | "VFIO_MISSING"
  | "IOMMU_REFUSED"
  | "DMA_MAP_FAILED"
  | "MEMLOCK_LIMIT"
  | "REGION_FAILED"
  | "IRQ_FAILED"
  | "RESET_FAILED"
  | "KVM_MISSING"
  | "KVM_FAILED"
  | "KERNEL_IMAGE"
  | "OUT_OF_MEMORY"
  | "CAPABILITY_OVERLAP"
  | "PROPERTY"
  | "LAB_FAILED";

export class ViaductError extends Error {
  override readonly name = "ViaductError";
  readonly code: ViaductErrorCode;
  /** What to do now: one sentence, or a command to type. */
  readonly nextStep: string;

  /**
   * @param message device first, then the action, the values, the state found:
   *   `0000:01:00.0: Cannot map 0x4000 bytes at IOVA 0x0: range overlaps 0x0-0xffff`
   * @param options.nextStep when not given, what next-steps.ts has for the code
   */
  constructor(
    code: ViaductErrorCode,
    message: string,
    options: { cause?: unknown; nextStep?: string } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    const known = ERRNO_STEPS[errnoOf(options.cause) ?? ""];
    this.nextStep = known ?? options.nextStep ?? NEXT_STEPS[code];
  }
}

/** The errno's name when `error` is a failed system call, or was caused by one. */
export function errnoOf(error: unknown): string | undefined {
  if (error instanceof SysError) return error.code;
  if (error instanceof Error && error.cause !== undefined) return errnoOf(error.cause);
  return undefined;
}

/**
 * A failed system call as a person reads it; any other error as it is.
 * @param action `KVM: Cannot put the machine together`
 */
export function refusal(code: ViaductErrorCode, action: string, error: unknown): unknown {
  if (!(error instanceof SysError)) return error;
  return new ViaductError(code, `${action}: ${error.message}`, { cause: error });
}
