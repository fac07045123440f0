/**
 * asm-generic/fcntl.h and linux/fcntl.h: open flags, fcntl commands, file seals. Open flags come
 * from the running platform, because architectures disagree about them (O_DIRECT on arm64 is
 * O_DIRECTORY of x86).
 */

import { constants } from "node:fs";

export const { O_RDONLY, O_WRONLY, O_RDWR, O_CREAT, O_EXCL, O_TRUNC, O_APPEND } = constants;
export const { O_NONBLOCK, O_DIRECTORY, O_NOFOLLOW, O_DIRECT } = constants;

/** Node does not list it. MIPS and the generic table agree. */
export const O_CLOEXEC = 0o2000000;

export const F_DUPFD = 0;
export const F_GETFD = 1;
export const F_SETFD = 2;
export const F_GETFL = 3;
export const F_SETFL = 4;
export const FD_CLOEXEC = 1;

export const F_DUPFD_CLOEXEC = 1030;
export const F_ADD_SEALS = 1033;
export const F_GET_SEALS = 1034;
export const F_SEAL_SEAL = 0x0001;
export const F_SEAL_SHRINK = 0x0002;
export const F_SEAL_GROW = 0x0004;
export const F_SEAL_WRITE = 0x0008;
export const F_SEAL_FUTURE_WRITE = 0x0010;

export const AT_FDCWD = -100;
