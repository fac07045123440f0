/**
 * Configuration spaces that no device has: one capability each, whose registers are random. For
 * comparing decoders.
 */

/** A configuration space with one capability whose registers are random. */
function spaceWith(
  seed: number,
  what: { size: number; bridge: boolean; id: number; at: number; flags?: number },
): Uint8Array {
  let state = seed;
  const random = () => {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
    return (state >> 8) & 0xff;
  };
  const bytes = new Uint8Array(what.size);
  bytes.set([0x86, 0x80, 0x34, 0x12]);
  bytes[0x06] = 0x10;
  bytes[0x0a] = what.bridge ? 4 : 0;
  bytes[0x0b] = what.bridge ? 6 : 2;
  bytes[0x0e] = what.bridge ? 1 : 0;
  bytes[0x34] = 0x40;
  if (what.at >= 0x100) {
    bytes[0x40] = 0x10;
    bytes[0x42] = 2 | (what.bridge ? 0x40 : 0);
  }
  for (let at = what.at; at < what.at + (what.at < 0x100 ? 0x3c : 0x60); at++) bytes[at] = random();
  bytes[what.at] = what.id;
  bytes[what.at + 1] = 0;
  if (what.flags !== undefined) bytes[what.at + 2] = what.flags;
  if (what.at >= 0x100) bytes.set([1, 0], what.at + 2);
  return bytes;
}

const EXPRESS_TYPES = [0, 1, 4, 5, 6, 7, 8, 9, 10];
/**
 * Of AGP and HyperTransport only the title is decoded; vital product data is not in configuration
 * space; of enhanced allocation lspci itself ends early on such bytes.
 */
const LEFT_OUT = [0x02, 0x03, 0x08, 0x14];
const STANDARD = ids(0x01, 0x15).filter((id) => id !== 0x10 && !LEFT_OUT.includes(id));
/** Named only: links and event collectors of a root complex, multicast, encryption. */
const NAMED_ONLY = [0x05, 0x07, 0x12, 0x30];
const EXTENDED = ids(0x01, 0x33).filter((id) => !NAMED_ONLY.includes(id));

function ids(first: number, last: number): number[] {
  return Array.from({ length: last - first + 1 }, (_, at) => first + at);
}

/** Each with its name. */
export function madeConfigSpaces(seed: number): Array<[string, Uint8Array]> {
  const made: Array<[string, Uint8Array]> = [];
  for (const type of EXPRESS_TYPES) {
    for (const version of [1, 2]) {
      const bridge = type >= 4 && type <= 7;
      const flags = version | (type << 4);
      const bytes = spaceWith(seed + type, { size: 256, bridge, id: 0x10, at: 0x40, flags });
      made.push([`express type ${type} version ${version}`, bytes]);
    }
  }
  for (const id of STANDARD) {
    made.push([`id ${id}`, spaceWith(seed + id, { size: 256, bridge: false, id, at: 0x40 })]);
  }
  for (const id of EXTENDED) {
    for (const bridge of [false, true]) {
      const bytes = spaceWith(seed + id, { size: 4096, bridge, id, at: 0x100 });
      made.push([`extended id ${id}${bridge ? " of a port" : ""}`, bytes]);
    }
  }
  return made;
}
