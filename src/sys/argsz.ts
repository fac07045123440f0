/**
 * The two conventions of VFIO's info ioctls (linux/vfio.h, "IOCTLs for VFIO file descriptor"):
 * the caller names its buffer's size in `argsz` and is told when more is there, and what does not
 * fit the fixed struct follows as a chain of capabilities.
 */

import { vfio_info_cap_header } from "../abi/vfio.ts";
import { check } from "./sys-error.ts";

/** A host whose answer grows with every question is lying; four is twice what any driver needs. */
const ATTEMPTS_MAX = 4;

/**
 * Asks with the bare struct, and again with a larger buffer when the host names a larger `argsz`.
 * Starting bare matters: some mdev drivers refuse a larger first question.
 *
 * @param ask issues the ioctl on the buffer it is given
 * @param bare the filled-in struct; its `argsz` is its own length
 * @returns the buffer of the last answer: the struct, then its capabilities
 * @throws {SysError} what the host answered
 */
export function askWithArgsz(
  ask: (arg: Uint8Array) => number,
  bare: Uint8Array,
  what: string,
): Uint8Array {
  let arg = bare.slice();
  for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
    const argsz = new Uint32Array(arg.buffer, 0, 1);
    argsz[0] = arg.length;
    check(ask(arg), what);
    const wanted = argsz[0];
    if (wanted <= arg.length) return arg;
    arg = new Uint8Array(wanted);
    arg.set(bare);
  }
  return arg;
}

/**
 * Walks a capability chain.
 * @param info the whole answer; offsets count from its start
 * @param first offset of the first capability, 0 for none
 * @returns capability id -> bytes from its header to the end of the answer; of two with one id the
 *   first counts. A chain that leaves the answer or loops ends there.
 */
export function capabilityChain(info: Uint8Array, first: number): Map<number, Uint8Array> {
  const found = new Map<number, Uint8Array>();
  const size = vfio_info_cap_header.size;
  let steps = Math.floor(info.length / size);
  for (let at = first; at !== 0 && at + size <= info.length && steps > 0; steps--) {
    const header = vfio_info_cap_header.at(info, at);
    if (!found.has(header.id)) found.set(header.id, info.subarray(at));
    at = header.next;
  }
  return found;
}
