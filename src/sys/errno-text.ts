/**
 * The C library's words for an errno (`strerror`), because those are what people search for:
 * `VFIO_MAP_DMA failed: Cannot allocate memory`.
 */

import { errnoOf } from "./sys-error.ts";

const TEXTS: Readonly<Record<string, string>> = {
  E2BIG: "Argument list too long",
  EACCES: "Permission denied",
  EAGAIN: "Resource temporarily unavailable",
  EBUSY: "Device or resource busy",
  EEXIST: "File exists",
  EFAULT: "Bad address",
  EINVAL: "Invalid argument",
  EIO: "Input/output error",
  EMFILE: "Too many open files",
  ENFILE: "Too many open files in system",
  ENODEV: "No such device",
  ENOENT: "No such file or directory",
  ENOMEM: "Cannot allocate memory",
  ENOSPC: "No space left on device",
  ENOTTY: "Inappropriate ioctl for device",
  ENXIO: "No such device or address",
  EPERM: "Operation not permitted",
};

/** `Device or resource busy` for `"EBUSY"`; the name itself where no text is listed. */
export function textOfErrno(code: string | undefined): string {
  return TEXTS[code ?? ""] ?? code ?? "unknown error";
}

/** The same for an error that is, or was caused by, a failed system call. */
export function errnoText(error: unknown): string {
  const code = errnoOf(error);
  if (code === undefined && error instanceof Error) return error.message;
  return textOfErrno(code);
}
