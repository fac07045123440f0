/** linux/eventpoll.h: epoll operations, events and `struct epoll_event`. */

import { struct, u32, u64 } from "../layout/struct.ts";
import { O_CLOEXEC } from "./fcntl.ts";

export const EPOLL_CLOEXEC = O_CLOEXEC;

export const EPOLL_CTL_ADD = 1;
export const EPOLL_CTL_DEL = 2;
export const EPOLL_CTL_MOD = 3;

export const EPOLLIN = 0x001;
export const EPOLLPRI = 0x002;
export const EPOLLOUT = 0x004;
export const EPOLLERR = 0x008;
export const EPOLLHUP = 0x010;
export const EPOLLRDHUP = 0x2000;
export const EPOLLEXCLUSIVE = 1 << 28;
export const EPOLLONESHOT = 1 << 30;
export const EPOLLET = 0x8000_0000;

/** Packed on x86-64 alone, so that 32-bit programs see the same bytes. */
export const epoll_event =
  process.arch === "x64"
    ? struct("epoll_event", 12, { events: u32, data: u64 }, { packed: true })
    : struct("epoll_event", 16, { events: u32, _pad: u32, data: u64 });
