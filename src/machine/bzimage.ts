/**
 * A Linux x86 kernel image (bzImage) and its setup header: "The Linux/x86 Boot Protocol",
 * Documentation/arch/x86/boot.rst. Offsets below are that document's, from the start of the file.
 * linux-boot.ts puts the image into guest memory.
 */

import { ViaductError } from "../sys/sys-error.ts";

/** Enough of the file to hold any setup header: its first two sectors. */
export const HEADER_BYTES = 1024;
/** The setup header starts here, in the file and in `struct boot_params`. */
export const SETUP_HEADER_START = 0x1f1;

const SECTOR = 512;
const BOOT_FLAG = 0xaa55;
/** "HdrS" */
const HEADER_MAGIC = 0x53726448;
/** 2.06 tells the command line's size limit; 2.12 has the 64-bit entry. */
const PROTOCOL_MIN = 0x0206;
const PROTOCOL_64BIT = 0x020c;
const LOADED_HIGH = 1 << 0;
const XLF_KERNEL_64 = 1 << 0;
/** Protocol 2.06 to 2.09 do not say where they prefer to lie; every one of them accepts this. */
const DEFAULT_LOAD_ADDRESS = 0x10_0000;

const FIELD = {
  setup_sects: 0x1f1,
  boot_flag: 0x1fe,
  jump: 0x200,
  header: 0x202,
  version: 0x206,
  kernel_version: 0x20e,
  loadflags: 0x211,
  code32_start: 0x214,
  initrd_addr_max: 0x22c,
  kernel_alignment: 0x230,
  relocatable_kernel: 0x234,
  xloadflags: 0x236,
  cmdline_size: 0x238,
  pref_address: 0x258,
  init_size: 0x260,
} as const;

export interface BzImage {
  /** The setup header's bytes, to be copied to `SETUP_HEADER_START` of boot_params. */
  readonly setupHeader: Uint8Array;
  /** Boot protocol, `0x020f` is 2.15. */
  readonly protocol: number;
  /** `6.12.95+deb12-amd64 (...)`; empty when the image does not say. */
  readonly kernelVersion: string;
  /** Where the protected-mode part lies in the file, to its end. */
  readonly payloadOffset: number;
  readonly payloadSize: number;
  readonly loadAddress: number;
  readonly relocatable: boolean;
  readonly alignment: number;
  /** Memory from the load address on that the kernel needs before it looks at the memory map. */
  readonly initSize: number;
  /** The initrd's last byte may lie here at most. */
  readonly initrdAddressMax: number;
  /** Longest command line, without the final zero. */
  readonly commandLineMax: number;
}

/** What a file that is no bzImage seems to be. */
function describe(head: Uint8Array): string {
  if (head.length === 0) return "it is empty";
  const starts = (...bytes: number[]) => bytes.every((byte, at) => head[at] === byte);
  if (starts(0x7f, 0x45, 0x4c, 0x46)) return "it is an ELF file (a vmlinux?)";
  if (starts(0x1f, 0x8b)) return "it is gzip data";
  if (starts(0x28, 0xb5, 0x2f, 0xfd)) return "it is Zstandard data";
  if (starts(0xfd, 0x37, 0x7a, 0x58, 0x5a)) return "it is xz data";
  if (starts(0x30, 0x37, 0x30, 0x37, 0x30)) return "it is a cpio archive (an initrd?)";
  if (head[0x38] === 0x41 && head[0x39] === 0x52 && head[0x3a] === 0x4d && head[0x3b] === 0x64) {
    return "it is an arm64 kernel image";
  }
  if (head.length < HEADER_BYTES) return `it is only ${head.length} bytes long`;
  return "its boot sector lacks the 0xaa55 flag or the HdrS signature";
}

function refuse(file: string, why: string): never {
  throw new ViaductError("KERNEL_IMAGE", `${file}: Cannot boot this kernel image: ${why}`, {
    nextStep: "Pass an x86-64 bzImage, for example /boot/vmlinuz-$(uname -r).",
  });
}

/**
 * Reads the setup header.
 * @param file named in errors
 * @param head the file's first `HEADER_BYTES` bytes (less when the file is shorter)
 * @throws {ViaductError} KERNEL_IMAGE, saying what was found instead
 */
export function parseBzImage(file: string, head: Uint8Array, fileSize: number): BzImage {
  const view = new DataView(head.buffer, head.byteOffset, head.length);
  const u8 = (at: number) => view.getUint8(at);
  const u16 = (at: number) => view.getUint16(at, true);
  const u32 = (at: number) => view.getUint32(at, true);
  if (
    head.length < HEADER_BYTES ||
    u16(FIELD.boot_flag) !== BOOT_FLAG ||
    u32(FIELD.header) !== HEADER_MAGIC
  ) {
    refuse(file, `not a bzImage: ${describe(head)}`);
  }
  const protocol = u16(FIELD.version);
  const name = `${protocol >> 8}.${String(protocol & 0xff).padStart(2, "0")}`;
  if (protocol < PROTOCOL_MIN) refuse(file, `boot protocol ${name} is older than 2.06`);
  if ((u8(FIELD.loadflags) & LOADED_HIGH) === 0) refuse(file, "it is a zImage, loaded low");
  if (protocol < PROTOCOL_64BIT || (u16(FIELD.xloadflags) & XLF_KERNEL_64) === 0) {
    refuse(file, `it has no 64-bit entry point (boot protocol ${name}): a 32-bit kernel?`);
  }
  const payloadOffset = ((u8(FIELD.setup_sects) || 4) + 1) * SECTOR;
  if (payloadOffset >= fileSize) {
    refuse(file, `it ends at byte ${fileSize}, before the kernel proper at ${payloadOffset}`);
  }
  const payloadSize = fileSize - payloadOffset;
  const headerEnd = Math.min(FIELD.header + u8(FIELD.jump + 1), HEADER_BYTES);
  const preferred = Number(view.getBigUint64(FIELD.pref_address, true));
  const alignment = u32(FIELD.kernel_alignment);
  return {
    setupHeader: head.slice(SETUP_HEADER_START, headerEnd),
    protocol,
    kernelVersion: versionText(head, u16(FIELD.kernel_version)),
    payloadOffset,
    payloadSize,
    loadAddress: preferred === 0 ? DEFAULT_LOAD_ADDRESS : preferred,
    relocatable: u8(FIELD.relocatable_kernel) !== 0,
    alignment: alignment === 0 ? 1 : alignment,
    initSize: Math.max(u32(FIELD.init_size), payloadSize),
    initrdAddressMax: u32(FIELD.initrd_addr_max),
    commandLineMax: u32(FIELD.cmdline_size),
  };
}

/** `kernel_version` points at text, counted from 0x200; it is often beyond what was read. */
function versionText(head: Uint8Array, pointer: number): string {
  if (pointer === 0) return "";
  const tail = head.subarray(pointer + 0x200);
  const end = tail.indexOf(0);
  if (end <= 0) return "";
  return String.fromCharCode(...tail.subarray(0, Math.min(end, 200))).replace(/[^ -~]/g, "?");
}
