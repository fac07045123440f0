/**
 * What stands behind a descriptor of the software host. The descriptor itself is a real one (a
 * memfd), so mmap, poll and a pread from another thread work on it as they are.
 */

import { errnoNumber } from "../abi/errno.ts";
import type { Bytes } from "../sys/syscalls.ts";

export interface SoftwareFile {
  /** For logs: `container`, `group 7`, `0000:01:00.0`. */
  readonly name: string;
  ioctl(request: number, arg: number | Bytes): number;
  /** Undefined: the real file answers. */
  pread?(into: Uint8Array, offset: number): number | undefined;
  pwrite?(from: Uint8Array, offset: number): number | undefined;
  /** A negated errno where a mapping is refused; undefined: the real file is mapped. */
  refuseMmap?(offset: number, length: number, flags: number): number | undefined;
  /** The last descriptor of this file was closed. */
  closed(): void;
}

/** An answer: the errno, negated. */
export const refusal = (name: string): number => -errnoNumber(name);

/** The bytes of an argument, whatever view it came in; undefined for a plain integer. */
export function argumentBytes(arg: number | Bytes): Uint8Array | undefined {
  if (typeof arg === "number") return undefined;
  return new Uint8Array(arg.buffer, arg.byteOffset, arg.byteLength);
}

/**
 * Answers an info ioctl: the struct, its capability chain when there is room for all of it, and the
 * size it takes. As vfio_info_cap_add() and the drivers do it.
 * @param fixed the struct's bytes to copy, argsz at offset 0
 * @param capOffsetAt where `cap_offset` lies in the struct
 * @param capabilities whole capabilities, header included, `next` still zero
 */
export function answerWithChain(
  into: Uint8Array,
  fixed: Uint8Array,
  capOffsetAt: number,
  capabilities: readonly Uint8Array[],
): number {
  const answer = chained(fixed, capOffsetAt, capabilities);
  const argsz = new Uint32Array(into.slice(0, 4).buffer)[0]!;
  if (argsz < answer.length) {
    into.set(fixed.subarray(0, into.length));
    into.set(new Uint8Array(new Uint32Array([answer.length]).buffer));
  } else {
    into.set(answer);
    into.set(new Uint8Array(new Uint32Array([argsz]).buffer));
  }
  return 0;
}

const align8 = (value: number): number => Math.ceil(value / 8) * 8;

function chained(
  fixed: Uint8Array,
  capOffsetAt: number,
  capabilities: readonly Uint8Array[],
): Uint8Array {
  const offsets: number[] = [];
  let end = fixed.length;
  for (const capability of capabilities) {
    offsets.push(align8(end));
    end = align8(end) + capability.length;
  }
  const answer = new Uint8Array(end);
  answer.set(fixed);
  // Struct fields are in host order, as is a typed array.
  const put32 = (at: number, value: number) =>
    answer.set(new Uint8Array(new Uint32Array([value]).buffer), at);
  capabilities.forEach((capability, i) => {
    answer.set(capability, offsets[i]!);
    put32(offsets[i]! + 4, offsets[i + 1] ?? 0);
  });
  if (offsets.length > 0) put32(capOffsetAt, offsets[0]!);
  return answer;
}
