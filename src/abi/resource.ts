/** linux/resource.h and asm-generic/resource.h: the limits that matter to device assignment. */

import { struct, u64 } from "../layout/struct.ts";

/** Open files. */
export const RLIMIT_NOFILE = 7;
/** Bytes of locked memory: pages pinned for DMA count, unless the process has CAP_IPC_LOCK. */
export const RLIMIT_MEMLOCK = 8;
/** Address space. */
export const RLIMIT_AS = 9;

export const RLIM64_INFINITY = 2n ** 64n - 1n;

export const rlimit64 = struct("rlimit64", 16, { rlim_cur: u64, rlim_max: u64 });
