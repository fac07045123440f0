/**
 * Extended capabilities, from offset 0x100 (PCIe 6.0, 7.6 to 7.9), worded as lspci words them.
 * Error reporting and containment are in extended-errors.ts; links, multicast and encryption, which
 * few devices have, are named only.
 */

import { decodeAer, decodeDpc } from "./extended-errors.ts";
import { decodeSriov } from "./extended-sriov.ts";
import { type CapabilityWriter, type FlagTable, field, hex } from "./reader.ts";

const named = (text: string) => (out: CapabilityWriter) => out.line(text);

/** PCI_EXT_CAP_ID -> the name in JSON and the decoder. */
export const EXTENDED_CAPABILITIES: Readonly<
  Record<number, readonly [string, (out: CapabilityWriter) => void]>
> = {
  0: ["null", named("Null")],
  1: ["aer", decodeAer],
  2: ["vc", decodeVirtualChannel],
  3: ["dsn", decodeSerialNumber],
  4: ["power-budgeting", named("Power Budgeting <?>")],
  5: ["rc-link", named("Root Complex Link")],
  6: ["rc-internal-link", named("Root Complex Internal Link <?>")],
  7: ["rcec", named("Root Complex Event Collector Endpoint Association")],
  8: ["mfvc", named("Multi-Function Virtual Channel <?>")],
  9: ["vc", decodeVirtualChannel],
  10: ["rcrb", named("Root Complex Register Block <?>")],
  11: ["vendor", decodeVendorSpecific],
  13: ["acs", decodeAcs],
  14: ["ari", decodeAri],
  15: ["ats", decodeAts],
  16: ["sr-iov", decodeSriov],
  17: ["mr-iov", named("Multi-Root I/O Virtualization <?>")],
  18: ["multicast", named("Multicast")],
  19: ["pri", decodePageRequest],
  21: ["rebar", (out) => decodeResizableBar(out, "Physical")],
  22: ["dpa", named("Dynamic Power Allocation <?>")],
  23: ["tph", decodeTph],
  24: ["ltr", decodeLatency],
  25: ["secondary-pcie", decodeSecondary],
  26: ["pmux", named("Protocol Multiplexing <?>")],
  27: ["pasid", decodePasid],
  28: ["lnr", named("LN Requester <?>")],
  29: ["dpc", decodeDpc],
  30: ["l1-substates", decodeL1Substates],
  31: ["ptm", decodePrecisionTime],
  32: ["m-pcie", named("PCI Express over M_PHY <?>")],
  33: ["frs", named("FRS Queueing <?>")],
  34: ["readiness", named("Readiness Time Reporting <?>")],
  35: ["dvsec", decodeDvsec],
  36: ["vf-rebar", (out) => decodeResizableBar(out, "Virtual")],
  37: ["data-link-feature", named("Data Link Feature <?>")],
  38: ["physical-16gt", named("Physical Layer 16.0 GT/s <?>")],
  39: ["lane-margining", decodeLaneMargining],
  40: ["hierarchy-id", named("Hierarchy ID <?>")],
  41: ["npem", named("Native PCIe Enclosure Management <?>")],
  42: ["physical-32gt", named("Physical Layer 32.0 GT/s <?>")],
  46: ["doe", decodeDataObjects],
  48: ["ide", named("Integrity & Data Encryption")],
};

function decodeSerialNumber(out: CapabilityWriter): void {
  const octets: string[] = [];
  for (let at = 11; at >= 4; at--) octets.push(hex(out.u8(at), 2));
  out.set("SerialNumber", { serial: octets.join("-") });
  out.line(`Device Serial Number ${octets.join("-")}`);
}

const ARBITRATION = ["Fixed", "WRR32", "WRR64", "WRR128", "TWRR128", "WRR256", "??6", "??7"];
const REFERENCE_CLOCKS = ["100ns", "??1", "??2", "??3"];
const VC_ARBITRATION = ["Fixed", "WRR32", "WRR64", "WRR128", "??4", "??5", "??6", "??7"];

function arbitrations(names: readonly string[], value: number): string {
  const words = names.map((name, bit) => `${name}${(value >> bit) & 1 ? "+" : "-"}`);
  return words.filter((word) => !word.startsWith("??") || word.endsWith("+")).join(" ");
}

function decodeVirtualChannel(out: CapabilityWriter): void {
  out.line("Virtual Channel");
  const cap1 = out.u32(4);
  const channels = field(cap1, 0, 3);
  const clock = REFERENCE_CLOCKS[field(cap1, 8, 2)]!;
  const bits = 1 << field(cap1, 10, 2);
  const low = field(cap1, 4, 3);
  out.line(`Caps:\tLPEVC=${low} RefClk=${clock} PATEntryBits=${bits}`);
  const cap2 = out.u32(8);
  out.line(`Arb:\t${arbitrations(VC_ARBITRATION, cap2)}`);
  const control = out.u16(12);
  out.line(`Ctrl:\tArbSelect=${VC_ARBITRATION[field(control, 1, 3)]}`);
  out.line(`Status:\t${out.flags("PortStatus", out.u16(14), { InProgress: 0 })}`);
  out.set("PortCap1", { value: cap1, extendedChannels: channels, lowPriority: low, clock });
  const table = (cap2 >>> 24) * 16;
  if (table !== 0) out.line(`Port Arbitration Table [${hex(out.offset + table, 1)}] <?>`);
  for (let i = 0; i <= channels; i++) decodeChannel(out, i);
}

function decodeChannel(out: CapabilityWriter, index: number): void {
  const at = 16 + index * 12;
  if (!out.has(at, 12)) {
    out.line(`VC${index} <unreadable>`);
    return;
  }
  const cap = out.u32(at);
  const [offset, slots] = [cap >>> 24, field(cap, 16, 7) + 1];
  const reject = field(cap, 15, 1) === 1 ? "+" : "-";
  out.line(
    `VC${index}:\tCaps:\tPATOffset=${hex(offset, 2)} MaxTimeSlots=${slots} RejSnoopTrans${reject}`,
  );
  out.line(`\tArb:\t${arbitrations(ARBITRATION, cap & 0xff)}`);
  const control = out.u32(at + 4);
  const enable = field(control, 31, 1) === 1 ? "+" : "-";
  const id = field(control, 24, 3);
  const select = ARBITRATION[field(control, 17, 3)];
  out.line(`\tCtrl:\tEnable${enable} ID=${id} ArbSelect=${select} TC/VC=${hex(control & 0xff, 2)}`);
  const status = { NegoPending: 1, InProgress: 0 };
  out.line(`\tStatus:\t${out.flags(`VC${index}Status`, out.u16(at + 10), status)}`);
  if (offset !== 0) out.line("\tPort Arbitration Table <?>");
}

function decodeVendorSpecific(out: CapabilityWriter): void {
  const header = out.u32(4);
  const [id, revision, length] = [header & 0xffff, field(header, 16, 4), header >>> 20];
  out.set("Vendor", { id, revision, length });
  out.line(
    `Vendor Specific Information: ID=${hex(id, 4)} Rev=${revision} Len=${hex(length, 3)} <?>`,
  );
}

const ACS: FlagTable = {
  SrcValid: 0,
  TransBlk: 1,
  ReqRedir: 2,
  CmpltRedir: 3,
  UpstreamFwd: 4,
  EgressCtrl: 5,
  DirectTrans: 6,
};

function decodeAcs(out: CapabilityWriter): void {
  out.line("Access Control Services");
  out.line(`ACSCap:\t${out.flags("ACSCap", out.u16(4), ACS)}`);
  out.line(`ACSCtl:\t${out.flags("ACSCtl", out.u16(6), ACS)}`);
}

function decodeAri(out: CapabilityWriter): void {
  out.line("Alternative Routing-ID Interpretation (ARI)");
  const [cap, control] = [out.u16(4), out.u16(6)];
  const [next, group] = [field(cap, 8, 8), field(control, 4, 3)];
  const table = { MFVC: 0, ACS: 1 };
  out.line(`ARICap:\t${out.flags("ARICap", cap, table)}, Next Function: ${next}`);
  out.line(`ARICtl:\t${out.flags("ARICtl", control, table)}, Function Group: ${group}`);
  out.set("ARICap", { nextFunction: next });
  out.set("ARICtl", { functionGroup: group });
}

function decodeAts(out: CapabilityWriter): void {
  out.line("Address Translation Service (ATS)");
  const [cap, control] = [out.u16(4), out.u16(6)];
  const [depth, unit] = [field(cap, 0, 5), field(control, 0, 5)];
  out.set("ATSCap", { value: cap, invalidateQueueDepth: depth });
  out.set("ATSCtl", { value: control, smallestUnit: unit });
  out.line(`ATSCap:\tInvalidate Queue Depth: ${hex(depth, 2)}`);
  const enable = out.flags("ATSCtl", control, { Enable: 15 });
  out.line(`ATSCtl:\t${enable}, Smallest Translation Unit: ${hex(unit, 2)}`);
}

function decodePageRequest(out: CapabilityWriter): void {
  out.line("Page Request Interface (PRI)");
  out.line(`PRICtl: ${out.flags("PRICtl", out.u16(4), { Enable: 0, Reset: 1 })}`);
  const status = { RF: 0, UPRGI: 1, Stopped: 8, PASID: 15 };
  out.line(`PRISta: ${out.flags("PRISta", out.u16(6), status)}`);
  const [capacity, allocation] = [out.u32(8), out.u32(12)];
  out.set("PageRequests", { capacity, allocation });
  out.line(
    `Page Request Capacity: ${hex(capacity, 8)}, Page Request Allocation: ${hex(allocation, 8)}`,
  );
}

const BAR_SIZE_UNITS = ["MB", "GB", "TB", "PB", "EB"];

/** 2^(exponent + 20) bytes. */
function barSize(exponent: number): string {
  const unit = exponent > 43 ? undefined : BAR_SIZE_UNITS[Math.floor(exponent / 10)];
  return unit === undefined ? " <unknown>" : ` ${1 << (exponent % 10)}${unit}`;
}

function decodeResizableBar(out: CapabilityWriter, kind: string): void {
  out.line(`${kind} Resizable BAR`);
  const count = field(out.u32(8), 5, 3);
  if (count < 1 || count > 6) {
    out.line(`<error in resizable BAR: num_bars=${count} is out of specification>`);
    return;
  }
  for (let i = 0; i < count; i++) {
    const at = 4 + i * 8;
    if (!out.has(at, 8)) return;
    const [cap, control] = [out.u32(at), out.u32(at + 4)];
    const sizes: string[] = [];
    for (let bit = 4; bit < 32; bit++) {
      if (((cap >>> bit) & 1) === 1) sizes.push(barSize(bit - 4));
    }
    for (let bit = 16; bit < 32; bit++) {
      if (((control >>> bit) & 1) === 1) sizes.push(barSize(bit + 12));
    }
    const [bar, current] = [field(control, 0, 3), field(control, 8, 6)];
    const supported = sizes.length === 0 ? " <unknown>" : sizes.join("");
    out.set(`BAR ${bar}`, { current: barSize(current).trim(), supported: supported.trim() });
    out.line(`BAR ${bar}: current size:${barSize(current)}, supported:${supported}`);
  }
}

function decodeTph(out: CapabilityWriter): void {
  out.line("Transaction Processing Hints");
  const cap = out.u32(4);
  out.set("TPH", { value: cap });
  if (field(cap, 1, 1) === 1) out.line("Interrupt vector mode supported");
  if (field(cap, 2, 1) === 1) out.line("Device specific mode supported");
  if (field(cap, 8, 1) === 1) out.line("Extended requester support");
  const places = [
    "No steering table available",
    "Steering table in TPH capability structure",
    "Steering table in MSI-X table",
    "Reserved steering table location",
  ];
  out.line(places[field(cap, 9, 2)]!);
}

/** Nanoseconds: value times 32 to the power of the scale; scales above 5 are reserved. */
function latency(value: number): number {
  const scale = field(value, 10, 3);
  return field(value, 0, 10) * (scale > 5 ? 1 : 32 ** scale);
}

function decodeLatency(out: CapabilityWriter): void {
  out.line("Latency Tolerance Reporting");
  const [snoop, noSnoop] = [latency(out.u16(4)), latency(out.u16(6))];
  out.set("LTR", { maxSnoopNs: snoop, maxNoSnoopNs: noSnoop });
  out.line(`Max snoop latency: ${snoop}ns`);
  out.line(`Max no snoop latency: ${noSnoop}ns`);
}

function decodeSecondary(out: CapabilityWriter): void {
  out.line("Secondary PCI Express");
  const flags = { LnkEquIntrruptEn: 1, PerformEqu: 0 };
  out.line(`LnkCtl3: ${out.flags("LnkCtl3", out.u32(4), flags)}`);
  const errors = out.u16(8);
  out.set("LaneErrStat", { value: errors });
  const lanes: number[] = [];
  for (let lane = 0; lane < 16; lane++) if ((errors >>> lane) & 1) lanes.push(lane);
  out.line(`LaneErrStat: ${lanes.length === 0 ? "0" : `LaneErr at lane: ${lanes.join(" ")}`}`);
}

function decodePasid(out: CapabilityWriter): void {
  out.line("Process Address Space ID (PASID)");
  const [cap, control] = [out.u16(4), out.u16(6)];
  const width = field(cap, 8, 5);
  const table = out.flags("PASIDCap", cap, { Exec: 1, Priv: 2 });
  out.set("PASIDCap", { maxWidth: width });
  out.line(`PASIDCap: ${table}, Max PASID Width: ${hex(width, 2)}`);
  out.line(`PASIDCtl: ${out.flags("PASIDCtl", control, { Enable: 0, Exec: 1, Priv: 2 })}`);
}

const L1_FLAGS: FlagTable = {
  "PCI-PM_L1.2": 0,
  "PCI-PM_L1.1": 1,
  "ASPM_L1.2": 2,
  "ASPM_L1.1": 3,
};

function powerOnTime(value: number, scale: number): string {
  return scale === 3 ? "<error>" : `${value * [2, 10, 100][scale]!}us`;
}

function decodeL1Substates(out: CapabilityWriter): void {
  out.line("L1 PM Substates");
  const cap = out.u32(4);
  const flags = out.flags("L1SubCap", cap, { ...L1_FLAGS, L1_PM_Substates: 4 });
  out.line(`L1SubCap: ${flags}`);
  const usesTimes = (cap & 0b101) !== 0;
  const restore = field(cap, 8, 8);
  const time = powerOnTime(field(cap, 19, 5), field(cap, 16, 2));
  if (usesTimes) {
    out.line(`\t  PortCommonModeRestoreTime=${restore}us PortTPowerOnTime=${time}`);
    out.set("L1SubCap", { commonModeRestoreUs: restore, powerOnTime: time });
  }
  const control = out.u32(8);
  out.line(`L1SubCtl1: ${out.flags("L1SubCtl1", control, L1_FLAGS)}`);
  if (usesTimes) {
    const scale = field(control, 29, 3);
    const value = field(control, 16, 10) * 32 ** scale;
    const threshold = scale > 5 ? "<error>" : `${value}ns`;
    const aspm = field(cap, 2, 1) === 1 ? ` LTR1.2_Threshold=${threshold}` : "";
    out.line(`\t   T_CommonMode=${field(control, 8, 8)}us${aspm}`);
    out.set("L1SubCtl1", { commonModeUs: field(control, 8, 8), threshold });
  }
  const control2 = out.u32(12);
  const on = powerOnTime(field(control2, 3, 5), field(control2, 0, 2));
  out.set("L1SubCtl2", { value: control2, powerOnTime: on });
  out.line(`L1SubCtl2:${usesTimes ? ` T_PwrOn=${on}` : ""}`);
}

function granularity(value: number): string {
  if (value === 0) return "Unimplemented";
  return value === 255 ? "Greater than 254ns" : `${value}ns`;
}

function decodePrecisionTime(out: CapabilityWriter): void {
  out.line("Precision Time Measurement");
  const cap = out.u32(4);
  out.set("PTMCap", { value: cap, clock: granularity(field(cap, 8, 8)) });
  out.line(`PTMCap: ${out.flags("PTMCap", cap, { Requester: 0, Responder: 1, Root: 2 })}`);
  out.line(`PTMClockGranularity: ${granularity(field(cap, 8, 8))}`);
  const control = out.u32(8);
  out.set("PTMControl", { value: control, effective: granularity(field(control, 8, 8)) });
  const flags = out.flags("PTMControl", control, { Enabled: 0, RootSelected: 1 });
  out.line(`PTMControl: ${flags}`);
  out.line(`PTMEffectiveGranularity: ${granularity(field(control, 8, 8))}`);
}

function decodeDvsec(out: CapabilityWriter): void {
  const header = out.u32(4);
  const [vendor, revision, length] = [header & 0xffff, field(header, 16, 4), header >>> 20];
  const id = out.u16(8);
  out.set("DVSEC", { vendor, id, revision, length });
  const text = `Vendor=${hex(vendor, 4)} ID=${hex(id, 4)} Rev=${revision} Len=${length}`;
  out.line(`Designated Vendor-Specific: ${text}${vendor === 0x1e98 ? ": CXL" : " <?>"}`);
}

function decodeLaneMargining(out: CapabilityWriter): void {
  out.line("Lane Margining at the Receiver");
  out.line(`PortCap: Uses ${out.flags("PortCap", out.u16(4), { Driver: 0 })}`);
  const status = { MargReady: 0, MargSoftReady: 1 };
  out.line(`PortSta: ${out.flags("PortSta", out.u16(6), status)}`);
}

function decodeDataObjects(out: CapabilityWriter): void {
  out.line("Data Object Exchange");
  const cap = out.u32(4);
  out.line(`DOECap: ${out.flags("DOECap", cap, { IntSup: 0 })}`);
  if (field(cap, 0, 1) === 1) {
    out.line(`\tIntMsgNum ${field(cap, 1, 11)}`);
    out.set("DOECap", { interruptMessage: field(cap, 1, 11) });
  }
  out.line(`DOECtl: ${out.flags("DOECtl", out.u32(8), { IntEn: 1 })}`);
  const status = { Busy: 0, IntSta: 1, Error: 2, ObjectReady: 31 };
  out.line(`DOESta: ${out.flags("DOESta", out.u32(12), status)}`);
}
