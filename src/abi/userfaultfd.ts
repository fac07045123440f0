/**
 * linux/userfaultfd.h: page faults of a range handed to a file descriptor: write-protect faults
 * for a background snapshot, missing pages, and asynchronous write protection. Offsets and lengths
 * are user-space addresses in whole pages.
 */

import { s64, struct, u8, u16, u32, u64, union } from "../layout/struct.ts";
import { _IO, _IOR, _IOW, _IOWR } from "./ioctl.ts";

const UFFDIO = 0xaa;

/** On /dev/userfaultfd: a new userfaultfd, with the open flags as argument. */
export const USERFAULTFD_IOC_NEW = _IO(UFFDIO, 0x00);
/** Flag of the system call: faults of user mode only; allowed without privilege. */
export const UFFD_USER_MODE_ONLY = 1;

// Bits of uffdio_api.ioctls and uffdio_register.ioctls.
export const _UFFDIO_REGISTER = 0x00;
export const _UFFDIO_UNREGISTER = 0x01;
export const _UFFDIO_WAKE = 0x02;
export const _UFFDIO_COPY = 0x03;
export const _UFFDIO_ZEROPAGE = 0x04;
export const _UFFDIO_MOVE = 0x05;
export const _UFFDIO_WRITEPROTECT = 0x06;
export const _UFFDIO_CONTINUE = 0x07;
export const _UFFDIO_POISON = 0x08;
export const _UFFDIO_RWPROTECT = 0x09;
export const _UFFDIO_SET_MODE = 0x0a;
export const _UFFDIO_API = 0x3f;

export const UFFD_API = 0xaa;
/** Once per fd, first; a feature that the kernel has not gives EINVAL. */
export const uffdio_api = struct("uffdio_api", 24, { api: u64, features: u64, ioctls: u64 });
export const UFFDIO_API = _IOWR(UFFDIO, _UFFDIO_API, uffdio_api);
export const UFFD_FEATURE_PAGEFAULT_FLAG_WP = 1 << 0;
export const UFFD_FEATURE_EVENT_FORK = 1 << 1;
export const UFFD_FEATURE_EVENT_REMAP = 1 << 2;
export const UFFD_FEATURE_EVENT_REMOVE = 1 << 3;
export const UFFD_FEATURE_MISSING_HUGETLBFS = 1 << 4;
export const UFFD_FEATURE_MISSING_SHMEM = 1 << 5;
export const UFFD_FEATURE_EVENT_UNMAP = 1 << 6;
export const UFFD_FEATURE_SIGBUS = 1 << 7;
export const UFFD_FEATURE_THREAD_ID = 1 << 8;
export const UFFD_FEATURE_MINOR_HUGETLBFS = 1 << 9;
export const UFFD_FEATURE_MINOR_SHMEM = 1 << 10;
export const UFFD_FEATURE_EXACT_ADDRESS = 1 << 11;
export const UFFD_FEATURE_WP_HUGETLBFS_SHMEM = 1 << 12;
export const UFFD_FEATURE_WP_UNPOPULATED = 1 << 13;
export const UFFD_FEATURE_POISON = 1 << 14;
export const UFFD_FEATURE_WP_ASYNC = 1 << 15;
export const UFFD_FEATURE_MOVE = 1 << 16;
export const UFFD_FEATURE_RWP = 1 << 17;
export const UFFD_FEATURE_RWP_ASYNC = 1 << 18;

export const uffdio_range = struct("uffdio_range", 16, { start: u64, len: u64 });
export const UFFDIO_UNREGISTER = _IOR(UFFDIO, _UFFDIO_UNREGISTER, uffdio_range);
export const UFFDIO_WAKE = _IOR(UFFDIO, _UFFDIO_WAKE, uffdio_range);

/** `ioctls` comes back: what may be done to the range. */
export const uffdio_register = struct("uffdio_register", 32, {
  range: uffdio_range,
  mode: u64,
  ioctls: u64,
});
export const UFFDIO_REGISTER = _IOWR(UFFDIO, _UFFDIO_REGISTER, uffdio_register);
export const UFFDIO_REGISTER_MODE_MISSING = 1 << 0;
export const UFFDIO_REGISTER_MODE_WP = 1 << 1;
export const UFFDIO_REGISTER_MODE_MINOR = 1 << 2;
export const UFFDIO_REGISTER_MODE_RWP = 1 << 3;

// The last field of the following says how many bytes were done, or an errno negated.
export const uffdio_copy = struct("uffdio_copy", 40, {
  dst: u64,
  src: u64,
  len: u64,
  mode: u64,
  copy: s64,
});
export const UFFDIO_COPY = _IOWR(UFFDIO, _UFFDIO_COPY, uffdio_copy);
export const UFFDIO_COPY_MODE_DONTWAKE = 1 << 0;
export const UFFDIO_COPY_MODE_WP = 1 << 1;

export const uffdio_zeropage = struct("uffdio_zeropage", 32, {
  range: uffdio_range,
  mode: u64,
  zeropage: s64,
});
export const UFFDIO_ZEROPAGE = _IOWR(UFFDIO, _UFFDIO_ZEROPAGE, uffdio_zeropage);
export const UFFDIO_ZEROPAGE_MODE_DONTWAKE = 1 << 0;

export const uffdio_continue = struct("uffdio_continue", 32, {
  range: uffdio_range,
  mode: u64,
  mapped: s64,
});
export const UFFDIO_CONTINUE = _IOWR(UFFDIO, _UFFDIO_CONTINUE, uffdio_continue);
export const UFFDIO_CONTINUE_MODE_DONTWAKE = 1 << 0;
export const UFFDIO_CONTINUE_MODE_WP = 1 << 1;

export const uffdio_poison = struct("uffdio_poison", 32, {
  range: uffdio_range,
  mode: u64,
  updated: s64,
});
export const UFFDIO_POISON = _IOWR(UFFDIO, _UFFDIO_POISON, uffdio_poison);
export const UFFDIO_POISON_MODE_DONTWAKE = 1 << 0;

export const uffdio_move = struct("uffdio_move", 40, {
  dst: u64,
  src: u64,
  len: u64,
  mode: u64,
  move: s64,
});
export const UFFDIO_MOVE = _IOWR(UFFDIO, _UFFDIO_MOVE, uffdio_move);
export const UFFDIO_MOVE_MODE_DONTWAKE = 1 << 0;
export const UFFDIO_MOVE_MODE_ALLOW_SRC_HOLES = 1 << 1;

/** Protects, or lifts protection and wakes who waits. */
export const uffdio_writeprotect = struct("uffdio_writeprotect", 24, {
  range: uffdio_range,
  mode: u64,
});
export const UFFDIO_WRITEPROTECT = _IOWR(UFFDIO, _UFFDIO_WRITEPROTECT, uffdio_writeprotect);
export const UFFDIO_WRITEPROTECT_MODE_WP = 1 << 0;
export const UFFDIO_WRITEPROTECT_MODE_DONTWAKE = 1 << 1;

/** The same against reads and writes (Linux 7.x). */
export const uffdio_rwprotect = struct("uffdio_rwprotect", 24, { range: uffdio_range, mode: u64 });
export const UFFDIO_RWPROTECT = _IOWR(UFFDIO, _UFFDIO_RWPROTECT, uffdio_rwprotect);
export const UFFDIO_RWPROTECT_MODE_RWP = 1 << 0;
export const UFFDIO_RWPROTECT_MODE_DONTWAKE = 1 << 1;

/** Turns features on and off behind UFFDIO_API (Linux 7.x). */
export const uffdio_set_mode = struct("uffdio_set_mode", 16, { enable: u64, disable: u64 });
export const UFFDIO_SET_MODE = _IOW(UFFDIO, _UFFDIO_SET_MODE, uffdio_set_mode);

/** What a read gives: one or more of these. */
export const uffd_msg = struct("uffd_msg", 32, {
  event: u8,
  reserved1: u8,
  reserved2: u16,
  reserved3: u32,
  arg: union("", 24, {
    pagefault: struct("", 24, {
      flags: u64,
      address: u64,
      feat: union("", 4, { ptid: u32 }),
      _pad: u32,
    }),
    fork: struct("", 4, { ufd: u32 }),
    remap: struct("", 24, { from: u64, to: u64, len: u64 }),
    remove: struct("", 16, { start: u64, end: u64 }),
  }),
});
export const UFFD_EVENT_PAGEFAULT = 0x12;
export const UFFD_EVENT_FORK = 0x13;
export const UFFD_EVENT_REMAP = 0x14;
export const UFFD_EVENT_REMOVE = 0x15;
export const UFFD_EVENT_UNMAP = 0x16;
export const UFFD_PAGEFAULT_FLAG_WRITE = 1 << 0;
export const UFFD_PAGEFAULT_FLAG_WP = 1 << 1;
export const UFFD_PAGEFAULT_FLAG_MINOR = 1 << 2;
export const UFFD_PAGEFAULT_FLAG_RWP = 1 << 3;
