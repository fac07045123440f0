/**
 * ConfigReader: little-endian reads of a configuration space of 64, 256 or 4096 bytes, of which a
 * user may have been shown only a part. And what a capability's decoder writes into: its registers
 * for JSON, its lines for text.
 */

export class ConfigReader {
  readonly bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }

  has(offset: number, length: number): boolean {
    return offset >= 0 && offset + length <= this.bytes.length;
  }

  /** What is not there reads as zero; ask `has` where that matters. */
  u8(offset: number): number {
    return this.bytes[offset] ?? 0;
  }

  u16(offset: number): number {
    return this.u8(offset) | (this.u8(offset + 1) << 8);
  }

  u32(offset: number): number {
    return (this.u16(offset) | (this.u16(offset + 2) << 16)) >>> 0;
  }

  u64(offset: number): bigint {
    return BigInt(this.u32(offset)) | (BigInt(this.u32(offset + 4)) << 32n);
  }
}

/** What the text depends on besides a capability's own registers. */
export interface FunctionContext {
  /** Device and function number: 0 for function 0 of slot 0. */
  readonly devfn: number;
  /** Has the function a memory BAR with a size? */
  readonly hasMemoryBar: boolean;
  /** Names a subsystem by its vendor and device, where somebody knows the names. */
  readonly subsystemName?: SubsystemNames | undefined;
}

export type SubsystemNames = (vendor: number, device: number) => string;

export type FieldValue = boolean | number | string;

/** A decoded register: `value` is the whole of it, the rest are its fields. */
export type RegisterFields = Record<string, FieldValue>;

/** Name of a flag -> its bit number, in the order of the text. */
export type FlagTable = Readonly<Record<string, number>>;

/** Collects what a capability says. Offsets count from the capability's start. */
export class CapabilityWriter {
  readonly config: ConfigReader;
  readonly offset: number;
  readonly registers: Record<string, RegisterFields> = {};
  /** The first is the title; the others are indented in the text. */
  readonly lines: string[] = [];

  constructor(config: ConfigReader, offset: number) {
    this.config = config;
    this.offset = offset;
  }

  has(at: number, length: number): boolean {
    return this.config.has(this.offset + at, length);
  }

  u8(at: number): number {
    return this.config.u8(this.offset + at);
  }

  u16(at: number): number {
    return this.config.u16(this.offset + at);
  }

  u32(at: number): number {
    return this.config.u32(this.offset + at);
  }

  line(text: string): void {
    this.lines.push(text);
  }

  /** Records fields of a register. */
  set(register: string, fields: RegisterFields): void {
    this.registers[register] = { ...this.registers[register], ...fields };
  }

  /** Records flags of a register and gives them as lspci writes them: `Mem+ BusMaster-`. */
  flags(register: string, value: number, table: FlagTable): string {
    const fields: RegisterFields = {};
    const words: string[] = [];
    for (const [name, bit] of Object.entries(table)) {
      const isSet = ((value >>> bit) & 1) === 1;
      fields[name] = isSet;
      words.push(name + (isSet ? "+" : "-"));
    }
    this.set(register, fields);
    return words.join(" ");
  }
}

/** `width` bits of `value` from `low`. */
export function field(value: number, low: number, width: number): number {
  return (value >>> low) & (2 ** width - 1);
}

export function sign(isSet: boolean): "+" | "-" {
  return isSet ? "+" : "-";
}

export function hex(value: number | bigint, width: number): string {
  return value.toString(16).padStart(width, "0");
}
