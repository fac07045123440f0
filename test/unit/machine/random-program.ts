/**
 * A guest program that writes and reads at random without end: configuration space by ports and
 * through ECAM, and the window in which BARs lie. 32-bit xorshift in ebx, integer-only.
 */

import { ECAM_START } from "../../../src/machine/memory-map.ts";
import { code } from "./payload.ts";

const le32 = (value: number) => [0, 8, 16, 24].map((shift) => (value >>> shift) & 0xff);

/** ebx: the next random number; eax is lost. */
const nextRandom = [
  ...[0x89, 0xd8, 0xc1, 0xe0, 13, 0x31, 0xc3], // mov eax, ebx; shl eax, 13; xor ebx, eax
  ...[0x89, 0xd8, 0xc1, 0xe8, 17, 0x31, 0xc3], // the same with shr 17
  ...[0x89, 0xd8, 0xc1, 0xe0, 5, 0x31, 0xc3], // and with shl 5
];

/** ecx = (ebx & mask) + base, then reads and writes there. */
const accessMemory = (base: number, mask: number) => [
  ...nextRandom,
  ...[0x89, 0xd9, 0x81, 0xe1, ...le32(mask), 0x81, 0xc1, ...le32(base)],
  ...[0x8b, 0x01], // mov eax, [rcx]
  ...[0x89, 0x19], // mov [rcx], ebx
  ...[0x8a, 0x01, 0x66, 0x89, 0x59, 1], // mov al, [rcx]; mov [rcx + 1], bx
];

/** CF8 = enable, bus 0, any register of any device; then a random write, and a read. */
const accessConfig = [
  ...nextRandom,
  ...[0x89, 0xd8, 0x25, ...le32(0xfffc), 0x0d, ...le32(0x8000_0000)],
  ...[0xba, ...le32(0xcf8), 0xef],
  ...nextRandom,
  ...[0x89, 0xd8, 0xba, ...le32(0xcfc), 0xef, 0xed],
];

const BAR_WINDOW = 0xc000_0000;

export function randomProgram(seed: number): number[] {
  const body = [
    ...accessConfig,
    ...accessMemory(ECAM_START, 0xff_fff0),
    ...accessMemory(BAR_WINDOW, 0x1fff_fffc),
    ...accessMemory(ECAM_START, 0x7_ffff),
  ];
  // jmp rel32, back over the body and itself.
  const again = [0xe9, ...le32(-(body.length + 5))];
  return [...code.print("go"), 0xbb, ...le32(seed), ...body, ...again];
}
