/**
 * What a conformance program is: a few system calls on a VFIO host, right or wrong, and one line
 * that says what was answered. The same programs run on the software host and on real kernels, and
 * the lines must be equal. `suite.ts` lists and runs them.
 */

import { errnoName } from "../../src/abi/errno.ts";
import { EFD_CLOEXEC, EFD_NONBLOCK } from "../../src/abi/eventfd.ts";
import type { Owner } from "../../src/sys/owner.ts";
import { check } from "../../src/sys/sys-error.ts";
import type { Bytes, Syscalls } from "../../src/sys/syscalls.ts";

/**
 * How far a host is set up when a program begins: nothing joined, the group in a container, the
 * container with an IOMMU of type 1 (version 2, or version 1), the device open.
 */
export type Stage = "apart" | "joined" | "iommu" | "iommu-v1" | "device";

export interface ConformanceProgram {
  /** Unique; what the line begins with. */
  readonly name: string;
  readonly stage: Stage;
  /** @returns what was answered, in words */
  readonly run: (host: ProgramHost) => string;
}

/** What a program has at hand. Descriptors of a later stage than its own are -1. */
export interface ProgramHost {
  readonly sys: Syscalls;
  readonly groupNumber: number;
  readonly deviceName: string;
  readonly container: number;
  readonly group: number;
  readonly device: number;
  /** Address of `MEMORY_SIZE` bytes of anonymous memory, page-aligned. */
  readonly memory: bigint;
  /** Released when the program ends. */
  readonly owner: Owner;
}

export const MEMORY_SIZE = 0x1_0000;

/** `ok`, a number, or an errno's name. */
export function answer(result: number): string {
  if (result < 0) return errnoName(-result);
  return result === 0 ? "ok" : `${result}`;
}

export function ioctl(sys: Syscalls, fd: number, request: number, arg: number | Bytes): string {
  return answer(sys.ioctl(fd, request, arg));
}

/** A descriptor of a new eventfd, closed when the program ends. */
export function makeEventfd({ sys, owner }: ProgramHost): number {
  const fd = check(sys.eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "eventfd");
  owner.defer(() => sys.close(fd));
  return fd;
}

/** How often an eventfd was signalled since it was last asked. */
export function signals(sys: Syscalls, fd: number): string {
  const count = new BigUint64Array(1);
  return sys.read(fd, count) < 0 ? "silent" : `signalled ${count[0]}`;
}

export const hex = (value: number | bigint): string => `0x${value.toString(16)}`;
