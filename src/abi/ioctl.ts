/**
 * How an ioctl number is composed (asm-generic/ioctl.h, and the architectures that differ):
 * direction, size of the argument, type letter, number, from the top bits down.
 */

/** Architectures whose direction field has three bits, the size field thirteen, and NONE is 1. */
const THREE_DIRECTION_BITS: ReadonlySet<string> = new Set(["ppc", "ppc64", "mips", "mipsel"]);

/** The four macros of linux/ioctl.h for one architecture. */
export interface IoctlNumbers {
  _IO(type: string | number, nr: number): number;
  _IOR(type: string | number, nr: number, arg: number | { readonly size: number }): number;
  _IOW(type: string | number, nr: number, arg: number | { readonly size: number }): number;
  _IOWR(type: string | number, nr: number, arg: number | { readonly size: number }): number;
}

/** @param arch as `process.arch` names it */
export function ioctlNumbers(arch: string): IoctlNumbers {
  const three = THREE_DIRECTION_BITS.has(arch);
  const directionShift = three ? 29 : 30;
  const [none, read, write] = three ? [1, 2, 4] : [0, 2, 1];
  const sizeMax = 2 ** (directionShift - 16) - 1;
  const compose = (direction: number, type: string | number, nr: number, size: number): number => {
    const letter = typeof type === "string" ? type.charCodeAt(0) : type;
    if (size > sizeMax) throw new RangeError(`ioctl argument of ${size} bytes`);
    return ((direction << directionShift) | (size << 16) | (letter << 8) | nr) >>> 0;
  };
  const sizeOf = (arg: number | { readonly size: number }) =>
    typeof arg === "number" ? arg : arg.size;
  return {
    _IO: (type, nr) => compose(none, type, nr, 0),
    _IOR: (type, nr, arg) => compose(read, type, nr, sizeOf(arg)),
    _IOW: (type, nr, arg) => compose(write, type, nr, sizeOf(arg)),
    _IOWR: (type, nr, arg) => compose(read | write, type, nr, sizeOf(arg)),
  };
}

export const { _IO, _IOR, _IOW, _IOWR } = ioctlNumbers(process.arch);
