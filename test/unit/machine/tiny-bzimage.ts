/** The smallest bzImage there can be, around a flat 64-bit program: guests of the tests. */

/** @param program runs at load address + 0x200, in long mode, with rsi = boot_params */
export function tinyBzImage(program: Uint8Array): Uint8Array {
  const setup = 1024;
  const entry = 0x200;
  const payload = program.length === 0 ? 0 : entry + program.length;
  const bytes = new Uint8Array(setup + payload);
  const view = new DataView(bytes.buffer, 0, setup);
  view.setUint8(0x1f1, 1);
  view.setUint16(0x1fe, 0xaa55, true);
  view.setUint16(0x200, 0x66eb, true);
  view.setUint32(0x202, 0x53726448, true);
  view.setUint16(0x206, 0x020f, true);
  view.setUint8(0x211, 1);
  view.setUint32(0x22c, 0x7fff_ffff, true);
  view.setUint32(0x230, 0x20_0000, true);
  view.setUint8(0x234, 1);
  view.setUint16(0x236, 1, true);
  view.setUint32(0x238, 2047, true);
  view.setBigUint64(0x258, 0x100_0000n, true);
  view.setUint32(0x260, 0x10_0000, true);
  if (payload > 0) bytes.set(program, setup + entry);
  return bytes;
}
