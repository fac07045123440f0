/**
 * Errno names and numbers (asm-generic/errno.h), as this platform has them. Numbers differ between
 * architectures (MIPS, SPARC), so they come from the running system.
 */

import { constants } from "node:os";

/** Aliases that would hide the name a kernel message uses. */
const ALIASES = new Set(["EWOULDBLOCK", "ENOTSUP"]);

/** Errno numbers VFIO, IOMMU and KVM answer that `node:os` does not list. */
const UNLISTED = { EBADFD: 77, EHWPOISON: 133, EREMOTEIO: 121, ESHUTDOWN: 108, ENOTSUPP: 524 };

const numbers: ReadonlyMap<string, number> = new Map([
  ...Object.entries(constants.errno).filter(([name]) => !ALIASES.has(name)),
  ...Object.entries(UNLISTED),
]);
const names: ReadonlyMap<number, string> = new Map([...numbers].map(([name, n]) => [n, name]));

/** The name of an errno: `errnoName(16)` is `"EBUSY"`. An unknown number gives `"E<number>"`. */
export function errnoName(errno: number): string {
  return names.get(errno) ?? `E${errno}`;
}

/** The number of an errno name, for the software host and for tests. */
export function errnoNumber(name: string): number {
  const errno = numbers.get(name);
  if (errno === undefined) throw new RangeError(`${name}: no such errno on this platform`);
  return errno;
}
