/**
 * The address spaces, kept apart by type. A host virtual address is a plain number (see
 * `sys/syscalls.ts`); guest-physical and I/O virtual addresses are bigints, because 64-bit BAR
 * sizing and 64-bit IOVA windows use all 64 bits.
 */

declare const space: unique symbol;

/** Guest-physical address (also: an address in the guest's I/O port space). */
export type Gpa = bigint & { readonly [space]: "GPA" };
/** An address as a device puts it on the bus. */
export type Iova = bigint & { readonly [space]: "IOVA" };

export const gpa = (value: bigint | number): Gpa => BigInt(value) as Gpa;
export const iova = (value: bigint | number): Iova => BigInt(value) as Iova;

/** Without a virtual IOMMU a device's addresses are guest-physical addresses. */
export const identityIova = (address: Gpa): Iova => address as bigint as Iova;

/** `0x1f` style, as people search for it. */
export function hex(value: bigint | number): string {
  return `0x${value.toString(16)}`;
}
