/** A cpio archive in the "newc" form that the kernel unpacks as its initramfs. */

export interface CpioEntry {
  /** Path without a leading slash. */
  readonly name: string;
  /** Permissions; the type comes from `content` and `link`. */
  readonly mode: number;
  /** A file's bytes; absent for a directory or a link. */
  readonly content?: Uint8Array;
  /** A symbolic link's target. */
  readonly link?: string;
}

const S_IFDIR = 0o040000;
const S_IFREG = 0o100000;
const S_IFLNK = 0o120000;

function entry(index: number, { name, mode, content, link }: CpioEntry): Buffer[] {
  const body = content ?? Buffer.from(link ?? "");
  const type = content ? S_IFREG : link === undefined ? S_IFDIR : S_IFLNK;
  const nameSize = Buffer.byteLength(name) + 1;
  const fields = [index, type | mode, 0, 0, 1, 0, body.length, 0, 0, 0, 0, nameSize, 0];
  const header = `070701${fields.map((value) => value.toString(16).padStart(8, "0")).join("")}`;
  const pad = (size: number) => Buffer.alloc((4 - (size % 4)) % 4);
  return [
    Buffer.from(`${header}${name}\0`),
    pad(header.length + nameSize),
    Buffer.from(body.buffer, body.byteOffset, body.length),
    pad(body.length),
  ];
}

/** Directories on the way to a file must be entries too, before it. */
export function cpio(entries: readonly CpioEntry[]): Buffer {
  const all = [...entries, { name: "TRAILER!!!", mode: 0, content: new Uint8Array() }];
  return Buffer.concat(all.flatMap((each, index) => entry(index + 1, each)));
}
