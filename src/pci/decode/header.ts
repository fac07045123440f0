/**
 * The header of configuration space (PCI 3.0, 6.1 and 6.2; bridges: PCI-to-PCI Bridge 1.2), worded
 * as lspci -vvv words it.
 */

import { type CapabilityWriter, type FlagTable, field, hex } from "./reader.ts";

/** What the host knows of a region; the registers alone do not tell a size. */
export interface KnownRegion {
  readonly index: number;
  readonly start: bigint;
  readonly size: bigint;
  readonly kind: "io" | "mem32" | "mem64";
  readonly prefetchable: boolean;
}

const COMMAND: FlagTable = {
  "I/O": 0,
  Mem: 1,
  BusMaster: 2,
  SpecCycle: 3,
  MemWINV: 4,
  VGASnoop: 5,
  ParErr: 6,
  Stepping: 7,
  SERR: 8,
  FastB2B: 9,
  DisINTx: 10,
};
const STATUS_LOW: FlagTable = { Cap: 4, "66MHz": 5, UDF: 6, FastB2B: 7, ParErr: 8 };
const STATUS_HIGH: FlagTable = {
  ">TAbort": 11,
  "<TAbort": 12,
  "<MAbort": 13,
  ">SERR": 14,
  "<PERR": 15,
  INTx: 3,
};
const DEVSEL = ["fast", "medium", "slow", "??"];
const SECONDARY_HIGH: FlagTable = {
  ">TAbort": 11,
  "<TAbort": 12,
  "<MAbort": 13,
  "<SERR": 14,
  "<PERR": 15,
};
const BRIDGE_CONTROL: FlagTable = {
  Parity: 0,
  SERR: 1,
  NoISA: 2,
  VGA: 3,
  VGA16: 4,
  MAbort: 5,
  ">Reset": 6,
  FastB2B: 7,
};
const BRIDGE_TIMERS: FlagTable = {
  PriDiscTmr: 8,
  SecDiscTmr: 9,
  DiscTmrStat: 10,
  DiscTmrSERREn: 11,
};

export interface HeaderContext {
  readonly irq: number | undefined;
  readonly numaNode: number | undefined;
  readonly group: number | undefined;
  readonly regions: readonly KnownRegion[] | undefined;
}

/** Decodes registers 0x04 to 0x3f into `out`. */
export function decodeHeader(out: CapabilityWriter, context: HeaderContext): void {
  const command = out.u16(4);
  const status = out.u16(6);
  const devsel = DEVSEL[field(status, 9, 2)]!;
  out.set("Command", { value: command });
  out.set("Status", { value: status, DEVSEL: devsel });
  out.line(`Control: ${out.flags("Command", command, COMMAND)}`);
  const low = out.flags("Status", status, STATUS_LOW);
  const high = out.flags("Status", status, STATUS_HIGH);
  out.line(`Status: ${low} DEVSEL=${devsel} ${high}`);
  const type = field(out.u8(0x0e), 0, 7);
  if (field(command, 2, 1) === 1) out.line(latencyLine(out, type));
  const pin = out.u8(0x3d);
  const irq = context.irq ?? out.u8(0x3c);
  out.set("Interrupt", { pin, line: irq });
  if (pin !== 0 || irq !== 0) {
    const name = pin === 0 ? "?" : String.fromCharCode((64 + pin) & 0xff);
    out.line(`Interrupt: pin ${name} routed to IRQ ${irq}`);
  }
  if (context.numaNode !== undefined) out.line(`NUMA node: ${context.numaNode}`);
  if (context.group !== undefined) out.line(`IOMMU group: ${context.group}`);
  const bist = out.u8(0x0f);
  if (field(bist, 7, 1) === 1) {
    const running = field(bist, 6, 1) === 1;
    out.line(running ? "BIST is running" : `BIST result: ${hex(bist & 0x0f, 2)}`);
  }
  if (type === 0) {
    decodeBars(out, 6, context.regions, command);
    decodeRom(out, 0x30, context.regions, command);
  } else if (type === 1) {
    decodeBars(out, 2, context.regions, command);
    decodeBridge(out);
    decodeRom(out, 0x38, context.regions, command);
    decodeBridgeControl(out);
  }
}

function latencyLine(out: CapabilityWriter, type: number): string {
  const latency = out.u8(0x0d);
  const [grant, most] = type === 0 ? [out.u8(0x3e), out.u8(0x3f)] : [0, 0];
  const parts: string[] = [];
  if (grant !== 0) parts.push(`${grant * 250}ns min`);
  if (most !== 0) parts.push(`${most * 250}ns max`);
  const range = parts.length === 0 ? "" : ` (${parts.join(", ")})`;
  const line = out.u8(0x0c);
  out.set("Latency", { timer: latency, minGrant: grant, maxLatency: most, cacheLine: line * 4 });
  return `Latency: ${latency}${range}${line === 0 ? "" : `, Cache Line Size: ${line * 4} bytes`}`;
}

function decodeBars(
  out: CapabilityWriter,
  count: number,
  regions: readonly KnownRegion[] | undefined,
  command: number,
): void {
  for (let index = 0; index < count; index++) {
    const raw = out.u32(0x10 + index * 4);
    const low = raw === 0xffffffff ? 0 : raw;
    const known = regions?.find((region) => region.index === index);
    const start = known?.start ?? 0n;
    if (low === 0 && known === undefined) continue;
    const isVirtual = raw === 0 && start !== 0n;
    // The registers of a virtual function are empty: what its BARs are the kernel has from the PF.
    const type = isVirtual && known !== undefined ? typeBits(known) : low;
    const isIo = field(type, 0, 1) === 1;
    const isWide = !isIo && field(type, 1, 2) === 2;
    const high = isWide && index + 1 < count ? BigInt(out.u32(0x14 + index * 4)) : 0n;
    const own = BigInt(isIo ? (low & ~3) >>> 0 : (low & ~15) >>> 0) | (high << 32n);
    // The kernel found no room for it and forgot it; lspci leaves it out then.
    if (regions !== undefined && known === undefined && own === 0n) continue;
    const address = regions === undefined ? own : start;
    const size = known === undefined ? "" : sizeText(known.size);
    const prefix = `Region ${index}: `;
    const where = placeText(address, own, isIo, (command & (isIo ? 1 : 2)) !== 0);
    const isOff = (command & (isIo ? 1 : 2)) === 0;
    const off = isVirtual ? " [virtual]" : isOff ? " [disabled]" : "";
    if (isIo) {
      out.line(`${prefix}I/O ports at ${where}${off}${size}`);
    } else {
      const broken = isWide && index + 1 >= count ? "<invalid-64bit-slot>" : where;
      const kind = ["32-bit", "low-1M", "64-bit", "type 3"][field(type, 1, 2)];
      const prefetch = field(type, 3, 1) === 1 ? "" : "non-";
      out.line(`${prefix}Memory at ${broken} (${kind}, ${prefetch}prefetchable)${off}${size}`);
    }
    out.set(`Region ${index}`, {
      kind: isIo ? "io" : isWide ? "mem64" : "mem32",
      prefetchable: !isIo && field(type, 3, 1) === 1,
      address: `0x${address.toString(16)}`,
      ...(known === undefined ? {} : { size: `0x${known.size.toString(16)}` }),
    });
    if (isWide) index++;
  }
}

/** The low bits that a BAR of this kind would have. */
function typeBits({ kind, prefetchable }: KnownRegion): number {
  return kind === "io" ? 1 : (kind === "mem64" ? 4 : 0) | (prefetchable ? 8 : 0);
}

function placeText(address: bigint, own: bigint, isIo: boolean, isOn: boolean): string {
  if (address !== 0n) return hex(address, isIo ? 4 : 8);
  if (isIo && isOn) return hex(address, 4);
  return own !== 0n ? "<ignored>" : "<unassigned>";
}

/** ` [size=16M]`; sizes are printed in the largest unit that is whole. */
function sizeText(size: bigint): string {
  const units = ["", "K", "M", "G", "T"];
  let value = size;
  let step = 0;
  while (step < 4 && value >= 1024n && value % 1024n === 0n) {
    value /= 1024n;
    step++;
  }
  return size === 0n ? "" : ` [size=${value}${units[step]}]`;
}

function decodeRom(
  out: CapabilityWriter,
  at: number,
  regions: readonly KnownRegion[] | undefined,
  command: number,
): void {
  const raw = out.u32(at);
  const register = raw === 0xffffffff ? 0 : raw;
  const known = regions?.find((region) => region.index === 6);
  if (register === 0 && known === undefined) return;
  const own = BigInt((register & 0xfffff800) >>> 0);
  const address = regions === undefined ? own : (known?.start ?? 0n);
  const isVirtual = address !== 0n && own === 0n;
  const where = address !== 0n ? hex(address, 8) : own !== 0n ? "<ignored>" : "<unassigned>";
  const isOff = field(register, 0, 1) === 0;
  const isOffByCommand = !isOff && !isVirtual && (command & 2) === 0;
  const off = isOff ? " [disabled]" : isOffByCommand ? " [disabled by cmd]" : "";
  const size = known === undefined ? "" : sizeText(known.size);
  out.set("ROM", { address: `0x${address.toString(16)}`, enabled: field(register, 0, 1) === 1 });
  out.line(`Expansion ROM at ${where}${isVirtual ? " [virtual]" : ""}${off}${size}`);
}

function decodeBridge(out: CapabilityWriter): void {
  const [primary, secondary, subordinate] = [out.u8(0x18), out.u8(0x19), out.u8(0x1a)];
  const timer = out.u8(0x1b);
  out.set("Bus", { primary, secondary, subordinate, latencyTimer: timer });
  out.line(
    `Bus: primary=${hex(primary, 2)}, secondary=${hex(secondary, 2)}, ` +
      `subordinate=${hex(subordinate, 2)}, sec-latency=${timer}`,
  );
  decodeIoWindow(out);
  decodeMemoryWindow(out);
  decodePrefetchableWindow(out);
  const status = out.u16(0x1e);
  out.set("SecondaryStatus", { value: status });
  const low = out.flags("SecondaryStatus", status, { "66MHz": 5, FastB2B: 7, ParErr: 8 });
  const high = out.flags("SecondaryStatus", status, SECONDARY_HIGH);
  out.line(`Secondary status: ${low} DEVSEL=${DEVSEL[field(status, 9, 2)]} ${high}`);
}

function windowLine(
  name: string,
  base: bigint,
  limit: bigint,
  suffix: string,
  digits: number,
): string {
  const range = `${hex(base, digits)}-${hex(limit, digits)}`;
  const rest = base <= limit ? sizeText(limit - base + 1n) : " [disabled]";
  return `${name} behind bridge: ${range}${rest}${suffix}`;
}

function decodeIoWindow(out: CapabilityWriter): void {
  const [base, limit] = [out.u8(0x1c), out.u8(0x1d)];
  if ((base & 15) !== (limit & 15)) {
    out.line(`!!! Unknown I/O range types ${hex(base & 15, 1)}/${hex(limit & 15, 1)}`);
    return;
  }
  const isWide = (base & 15) === 1;
  const from = BigInt((base & 0xf0) << 8) | (isWide ? BigInt(out.u16(0x30)) << 16n : 0n);
  const to = BigInt((limit & 0xf0) << 8) | (isWide ? BigInt(out.u16(0x32)) << 16n : 0n) | 0xfffn;
  out.set("IoWindow", { base: `0x${from.toString(16)}`, limit: `0x${to.toString(16)}` });
  out.line(windowLine("I/O", from, to, isWide ? " [32-bit]" : " [16-bit]", isWide ? 8 : 4));
}

function decodeMemoryWindow(out: CapabilityWriter): void {
  const [base, limit] = [out.u16(0x20), out.u16(0x22)];
  if ((base & 15) !== (limit & 15) || (base & 15) !== 0) {
    out.line(`!!! Unknown memory range types ${hex(base & 15, 1)}/${hex(limit & 15, 1)}`);
    return;
  }
  const from = BigInt(base & 0xfff0) << 16n;
  const to = (BigInt(limit & 0xfff0) << 16n) | 0xfffffn;
  out.set("MemoryWindow", { base: `0x${from.toString(16)}`, limit: `0x${to.toString(16)}` });
  out.line(windowLine("Memory", from, to, " [32-bit]", 8));
}

function decodePrefetchableWindow(out: CapabilityWriter): void {
  const [base, limit] = [out.u16(0x24), out.u16(0x26)];
  const type = base & 15;
  if (type !== (limit & 15) || type > 1) {
    out.line(`!!! Unknown prefetchable memory range types ${hex(type, 1)}/${hex(limit & 15, 1)}`);
    return;
  }
  const high = type === 1 ? [BigInt(out.u32(0x28)), BigInt(out.u32(0x2c))] : [0n, 0n];
  const from = (BigInt(base & 0xfff0) << 16n) | (high[0]! << 32n);
  const to = (BigInt(limit & 0xfff0) << 16n) | (high[1]! << 32n) | 0xfffffn;
  out.set("PrefetchableWindow", { base: `0x${from.toString(16)}`, limit: `0x${to.toString(16)}` });
  out.line(
    windowLine(
      "Prefetchable memory",
      from,
      to,
      type === 1 ? " [64-bit]" : " [32-bit]",
      type === 1 ? 16 : 8,
    ),
  );
}

function decodeBridgeControl(out: CapabilityWriter): void {
  const control = out.u16(0x3e);
  out.set("BridgeCtl", { value: control });
  out.line(`BridgeCtl: ${out.flags("BridgeCtl", control, BRIDGE_CONTROL)}`);
  out.line(`\t${out.flags("BridgeCtl", control, BRIDGE_TIMERS)}`);
}
