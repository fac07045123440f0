/**
 * Guest programs of a few 64-bit instructions, assembled by hand: integer-only, so that they run
 * also where KVM has to emulate each instruction. They begin as a kernel does (linux-boot.ts).
 */

const le16 = (value: number) => [value & 0xff, (value >>> 8) & 0xff];
const le32 = (value: number) => [...le16(value & 0xffff), ...le16(value >>> 16)];

/** Instructions by what they do. */
export const code = {
  outByte: (port: number, value: number) => [0xba, ...le32(port), 0xb0, value, 0xee],
  outWord: (port: number, value: number) => [0xba, ...le32(port), 0xb8, ...le32(value), 0x66, 0xef],
  outDword: (port: number, value: number) => [0xba, ...le32(port), 0xb8, ...le32(value), 0xef],
  /** in eax, dx */
  inDword: (port: number) => [0xba, ...le32(port), 0xed],
  inByte: (port: number) => [0xba, ...le32(port), 0xec],
  /** Sends al to the serial port. */
  printAl: () => [0xba, ...le32(0x3f8), 0xee],
  print: (text: string) =>
    [...text].flatMap((character) => code.outByte(0x3f8, character.charCodeAt(0))),
  loadEax: (address: number) => [0x8b, 0x04, 0x25, ...le32(address)],
  storeEax: (address: number) => [0x89, 0x04, 0x25, ...le32(address)],
  movEax: (value: number) => [0xb8, ...le32(value)],
  /** inc dword [address]; cmp dword [address], limit; jae over `body` */
  untilCount: (address: number, limit: number, body: readonly number[]) => [
    ...[0xff, 0x04, 0x25, ...le32(address)],
    ...[0x83, 0x3c, 0x25, ...le32(address), limit],
    ...[0x0f, 0x83, ...le32(body.length)],
    ...body,
  ],
  powerOff: () => [...code.outWord(0x604, (5 << 10) | (1 << 13)), ...code.spin()],
  reset: () => [...code.outByte(0xcf9, 0x06), ...code.spin()],
  /** With an empty IDT: a triple fault. */
  tripleFault: () => [0x0f, 0x0b],
  spin: () => [0xeb, 0xfe],
} as const;

const SIZES = [1, 2, 4, 8] as const;
type Size = (typeof SIZES)[number];

const le64 = (value: number) => [...le32(value >>> 0), ...le32(Math.floor(value / 2 ** 32))];

/** A write or read of any width, anywhere; clobbers rax, rbx and rdx. */
export const access = {
  /** mov eax, value; mov rbx, address; mov [rbx], al / ax / eax / rax */
  memoryWrite: (address: number, size: Size, value: number) => [
    ...code.movEax(value),
    ...[0x48, 0xbb, ...le64(address)],
    ...{ 1: [0x88, 0x03], 2: [0x66, 0x89, 0x03], 4: [0x89, 0x03], 8: [0x48, 0x89, 0x03] }[size],
  ],
  memoryRead: (address: number, size: Size) => [
    ...[0x48, 0xbb, ...le64(address)],
    ...{ 1: [0x8a, 0x03], 2: [0x66, 0x8b, 0x03], 4: [0x8b, 0x03], 8: [0x48, 0x8b, 0x03] }[size],
  ],
  portWrite: (port: number, size: 1 | 2 | 4, value: number) => [
    ...[0xba, ...le32(port)],
    ...code.movEax(value),
    ...{ 1: [0xee], 2: [0x66, 0xef], 4: [0xef] }[size],
  ],
  portRead: (port: number, size: 1 | 2 | 4) => [
    ...[0xba, ...le32(port)],
    ...{ 1: [0xec], 2: [0x66, 0xed], 4: [0xed] }[size],
  ],
} as const;
