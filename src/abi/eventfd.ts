/** linux/eventfd.h: flags of eventfd2. They are open flags, so they differ where those do. */

import { O_CLOEXEC, O_NONBLOCK } from "./fcntl.ts";

/** A read takes one from the counter instead of all of it. */
export const EFD_SEMAPHORE = 1;
export const EFD_CLOEXEC = O_CLOEXEC;
export const EFD_NONBLOCK = O_NONBLOCK;
