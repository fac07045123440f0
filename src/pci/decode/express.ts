/**
 * The PCI Express capability (PCIe 6.0, 7.5.3), worded as lspci words it.
 */

import { type CapabilityWriter, type FlagTable, field, hex, sign } from "./reader.ts";

const TYPES: Readonly<Record<number, string>> = {
  0: "Endpoint",
  1: "Legacy Endpoint",
  4: "Root Port",
  5: "Upstream Port",
  6: "Downstream Port",
  7: "PCI-Express to PCI/PCI-X Bridge",
  8: "PCI/PCI-X to PCI-Express Bridge",
  9: "Root Complex Integrated Endpoint",
  10: "Root Complex Event Collector",
};

const ENDPOINT = 0;
const LEGACY_ENDPOINT = 1;
const ROOT_PORT = 4;
const UPSTREAM = 5;
const DOWNSTREAM = 6;
const PCI_BRIDGE = 7;
const PCIE_BRIDGE = 8;
const ROOT_COMPLEX_ENDPOINT = 9;
const EVENT_COLLECTOR = 10;

const L0S_LATENCY = ["<64ns", "<128ns", "<256ns", "<512ns", "<1us", "<2us", "<4us", "unlimited"];
const L1_LATENCY = ["<1us", "<2us", "<4us", "<8us", "<16us", "<32us", "<64us", "unlimited"];
const ASPM = ["not supported", "L0s", "L1", "L0s L1"];
const ASPM_ENABLED = ["Disabled", "L0s Enabled", "L1 Enabled", "L0s L1 Enabled"];
const SPEEDS = ["unknown", "2.5GT/s", "5GT/s", "8GT/s", "16GT/s", "32GT/s", "64GT/s"];
const INDICATORS = ["Unknown", "On", "Blink", "Off"];

const DEVCTL: FlagTable = { CorrErr: 0, NonFatalErr: 1, FatalErr: 2, UnsupReq: 3 };
const DEVCTL_MORE: FlagTable = { RlxdOrd: 4, ExtTag: 8, PhantFunc: 9, AuxPwr: 10, NoSnoop: 11 };
const DEVSTA: FlagTable = {
  CorrErr: 0,
  NonFatalErr: 1,
  FatalErr: 2,
  UnsupReq: 3,
  AuxPwr: 4,
  TransPend: 5,
};
const LNKCAP: FlagTable = { ClockPM: 18, Surprise: 19, LLActRep: 20, BwNot: 21, ASPMOptComp: 22 };
const LNKCTL: FlagTable = { ExtSynch: 7, ClockPM: 8, AutWidDis: 9, BWInt: 10, AutBWInt: 11 };
const LNKSTA: FlagTable = {
  TrErr: 10,
  Train: 11,
  SlotClk: 12,
  DLActive: 13,
  BWMgmt: 14,
  ABWMgmt: 15,
};
const SLTCAP: FlagTable = {
  AttnBtn: 0,
  PwrCtrl: 1,
  MRL: 2,
  AttnInd: 3,
  PwrInd: 4,
  HotPlug: 6,
  Surprise: 5,
};
const SLTCTL: FlagTable = {
  AttnBtn: 0,
  PwrFlt: 1,
  MRL: 2,
  PresDet: 3,
  CmdCplt: 4,
  HPIrq: 5,
  LinkChg: 12,
};
const ROOTCTL: FlagTable = {
  ErrCorrectable: 0,
  "ErrNon-Fatal": 1,
  ErrFatal: 2,
  PMEIntEna: 3,
  CRSVisible: 4,
};

/** What the text depends on besides the capability's own registers. */
export interface FunctionContext {
  /** Device and function number: 0 for function 0 of slot 0. */
  readonly devfn: number;
  /** Has the function a memory BAR with a size? */
  readonly hasMemoryBar: boolean;
}

export function decodeExpress(out: CapabilityWriter, context: FunctionContext): void {
  const flags = out.u16(2);
  const type = field(flags, 4, 4);
  const version = field(flags, 0, 4);
  const slotPort = type === ROOT_PORT || type === DOWNSTREAM || type === PCIE_BRIDGE;
  const hasSlot = slotPort && field(flags, 8, 1) === 1;
  const name = TYPES[type] ?? `Unknown type ${type}`;
  const slotText = slotPort ? ` (Slot${sign(field(flags, 8, 1) === 1)})` : "";
  const message = field(flags, 9, 5);
  out.set("Flags", { value: flags, version, type: name, slot: hasSlot, interruptMessage: message });
  out.line(`Express (v${version}) ${name}${slotText}, MSI ${hex(message, 2)}`);
  if (!out.has(0, 12)) return;
  decodeDevice(out, type);
  const isIntegrated = type === ROOT_COMPLEX_ENDPOINT || type === EVENT_COLLECTOR;
  if (!isIntegrated) decodeLink(out, type);
  if (hasSlot) decodeSlot(out);
  if (type === ROOT_PORT || type === EVENT_COLLECTOR) decodeRoot(out);
  if (version < 2) return;
  decodeDevice2(out, type, context);
  if (isIntegrated) return;
  const isEndpoint = type === ENDPOINT || type === LEGACY_ENDPOINT;
  // The link belongs to function 0 of slot 0; others of an endpoint have no registers for it.
  if (!isEndpoint || context.devfn === 0) decodeLinkControl2(out, type);
  decodeLinkStatus2(out, type);
}

function decodeDevice(out: CapabilityWriter, type: number): void {
  const cap = out.u32(4);
  const payload = 128 << field(cap, 0, 3);
  const phantom = (1 << field(cap, 3, 2)) - 1;
  const isEndpoint = type === ENDPOINT || type === LEGACY_ENDPOINT;
  let line = `DevCap:\tMaxPayload ${payload} bytes, PhantFunc ${phantom}`;
  if (isEndpoint) {
    const [l0s, l1] = [L0S_LATENCY[field(cap, 6, 3)]!, L1_LATENCY[field(cap, 9, 3)]!];
    out.set("DevCap", { l0sLatency: l0s, l1Latency: l1 });
    line += `, Latency L0s ${l0s}, L1 ${l1}`;
  }
  out.line(line);
  out.set("DevCap", { value: cap, maxPayload: payload, phantomFunctions: phantom });
  let more = out.flags("DevCap", cap, { ExtTag: 5 });
  if (isEndpoint || type === UPSTREAM || type === PCI_BRIDGE) {
    more += ` ${out.flags("DevCap", cap, { AttnBtn: 12, AttnInd: 13, PwrInd: 14 })}`;
  }
  more += ` ${out.flags("DevCap", cap, { RBE: 15 })}`;
  const hasFlr = isEndpoint || type === ROOT_COMPLEX_ENDPOINT;
  if (hasFlr) more += ` ${out.flags("DevCap", cap, { FLReset: 28 })}`;
  if (type === ENDPOINT || type === UPSTREAM || type === PCI_BRIDGE) {
    const limit = powerLimit(field(cap, 18, 8), field(cap, 26, 2));
    out.set("DevCap", { slotPowerLimit: limit });
    more += ` SlotPowerLimit ${limit}`;
  }
  out.line(`\t${more}`);
  decodeDeviceControl(out, type, hasFlr && field(cap, 28, 1) === 1);
}

function decodeDeviceControl(out: CapabilityWriter, type: number, hasFlr: boolean): void {
  const control = out.u16(8);
  out.line(`DevCtl:\t${out.flags("DevCtl", control, DEVCTL)}`);
  let more = out.flags("DevCtl", control, DEVCTL_MORE);
  if (type === PCI_BRIDGE) more += ` ${out.flags("DevCtl", control, { BrConfRtry: 15 })}`;
  if (hasFlr) more += ` ${out.flags("DevCtl", control, { FLReset: 15 })}`;
  out.line(`\t${more}`);
  const [payload, request] = [128 << field(control, 5, 3), 128 << field(control, 12, 3)];
  out.set("DevCtl", { value: control, maxPayload: payload, maxReadRequest: request });
  out.line(`\tMaxPayload ${payload} bytes, MaxReadReq ${request} bytes`);
  const status = out.u16(10);
  out.set("DevSta", { value: status });
  out.line(`DevSta:\t${out.flags("DevSta", status, DEVSTA)}`);
}

function decodeLink(out: CapabilityWriter, type: number): void {
  const cap = out.u32(0x0c);
  const speed = SPEEDS[field(cap, 0, 4)] ?? "unknown";
  const width = field(cap, 4, 6);
  const aspm = field(cap, 10, 2);
  const port = cap >>> 24;
  let line = `LnkCap:\tPort #${port}, Speed ${speed}, Width x${width}, ASPM ${ASPM[aspm]}`;
  out.set("LnkCap", { value: cap, port, speed, width, aspm: ASPM[aspm]! });
  if (aspm !== 0) {
    const exits: string[] = [];
    if ((aspm & 1) !== 0) exits.push(`L0s ${L0S_EXIT[field(cap, 12, 3)]}`);
    if ((aspm & 2) !== 0) exits.push(`L1 ${L1_EXIT[field(cap, 15, 3)]}`);
    out.set("LnkCap", { exitLatency: exits.join(", ") });
    line += `, Exit Latency ${exits.join(", ")}`;
  }
  out.line(line);
  out.line(`\t${out.flags("LnkCap", cap, LNKCAP)}`);
  decodeLinkControl(out, type, { capSpeed: field(cap, 0, 4), capWidth: width });
}

const L0S_EXIT = ["<64ns", "<128ns", "<256ns", "<512ns", "<1us", "<2us", "<4us", "unlimited"];
const L1_EXIT = ["<1us", "<2us", "<4us", "<8us", "<16us", "<32us", "<64us", "unlimited"];

function decodeLinkControl(
  out: CapabilityWriter,
  type: number,
  best: { capSpeed: number; capWidth: number },
): void {
  const control = out.u16(0x10);
  let line = `LnkCtl:\tASPM ${ASPM_ENABLED[field(control, 0, 2)]};`;
  out.set("LnkCtl", { value: control, aspm: ASPM_ENABLED[field(control, 0, 2)]! });
  if (type === ROOT_PORT || type === ENDPOINT || type === LEGACY_ENDPOINT || type === PCI_BRIDGE) {
    const boundary = field(control, 3, 1) === 1 ? 128 : 64;
    out.set("LnkCtl", { rcb: boundary });
    line += ` RCB ${boundary} bytes,`;
  }
  out.line(`${line} ${out.flags("LnkCtl", control, { Disabled: 4, CommClk: 6 })}`);
  out.line(`\t${out.flags("LnkCtl", control, LNKCTL)}`);
  const status = out.u16(0x12);
  const [speed, width] = [field(status, 0, 4), field(status, 4, 6)];
  const name = SPEEDS[speed] ?? "unknown";
  out.set("LnkSta", { value: status, speed: name, width });
  const speedNote = compare(speed, best.capSpeed, type);
  const widthNote = compare(width, best.capWidth, type);
  out.line(`LnkSta:\tSpeed ${name}${speedNote}, Width x${width}${widthNote}`);
  out.line(`\t${out.flags("LnkSta", status, LNKSTA)}`);
}

/** Downstream-facing ports say nothing: the other end may be the slower one. */
function compare(now: number, best: number, type: number): string {
  if (now > best) return " (overdriven)";
  if (now === best) return "";
  const isPort = type === ROOT_PORT || type === DOWNSTREAM || type === PCIE_BRIDGE;
  return isPort ? "" : " (downgraded)";
}

/** A slot power limit: value and scale, large values by a table (PCIe 7.5.3.9). */
function powerLimit(value: number, scale: number): string {
  if (scale === 0 && value >= 0xf0) {
    const special = [250, 275, 300, 325, 350, 375, 400, 425, 450, 475, 500, 525, 550, 575, 600];
    return value === 0xff ? ">600W" : `${special[value - 0xf0]}W`;
  }
  const divisors = [1, 10, 100, 1000];
  return `${Number((value / divisors[scale]!).toPrecision(6))}W`;
}

function decodeSlot(out: CapabilityWriter): void {
  const cap = out.u32(0x14);
  const limit = powerLimit(field(cap, 7, 8), field(cap, 15, 2));
  out.set("SltCap", { value: cap, slot: cap >>> 19, powerLimit: limit });
  out.line(`SltCap:\t${out.flags("SltCap", cap, SLTCAP)}`);
  const more = out.flags("SltCap", cap, { Interlock: 17, NoCompl: 18 });
  out.line(`\tSlot #${cap >>> 19}, PowerLimit ${limit}; ${more}`);
  const control = out.u16(0x18);
  out.line(`SltCtl:\tEnable: ${out.flags("SltCtl", control, SLTCTL)}`);
  const [attention, power] = [INDICATORS[field(control, 6, 2)]!, INDICATORS[field(control, 8, 2)]!];
  out.set("SltCtl", { value: control, attentionIndicator: attention, powerIndicator: power });
  const switches = out.flags("SltCtl", control, { Power: 10, Interlock: 11 });
  out.line(`\tControl: AttnInd ${attention}, PwrInd ${power}, ${switches}`);
  const status = out.u16(0x1a);
  const table = { AttnBtn: 0, PowerFlt: 1, MRL: 5, CmdCplt: 4, PresDet: 6, Interlock: 7 };
  out.set("SltSta", { value: status });
  out.line(`SltSta:\tStatus: ${out.flags("SltSta", status, table)}`);
  const changed = { MRL: 2, PresDet: 3, LinkState: 8 };
  out.line(`\tChanged: ${out.flags("SltStaChanged", status, changed)}`);
}

function decodeRoot(out: CapabilityWriter): void {
  const cap = out.u16(0x1e);
  out.line(`RootCap: ${out.flags("RootCap", cap, { CRSVisible: 0 })}`);
  const control = out.u16(0x1c);
  out.set("RootCtl", { value: control });
  out.line(`RootCtl: ${out.flags("RootCtl", control, ROOTCTL)}`);
  const status = out.u32(0x20);
  const requester = status & 0xffff;
  out.set("RootSta", { value: status, pmeRequester: requester });
  const more = out.flags("RootSta", status, { PMEStatus: 16, PMEPending: 17 });
  out.line(`RootSta: PME ReqID ${hex(requester, 4)}, ${more}`);
}

const TIMEOUT_RANGES: Readonly<Record<number, string>> = {
  0: "Not Supported",
  1: "Range A",
  2: "Range B",
  3: "Range AB",
  6: "Range BC",
  7: "Range ABC",
  14: "Range BCD",
  15: "Range ABCD",
};
const TIMEOUTS: Readonly<Record<number, string>> = {
  0: "50us to 50ms",
  1: "50us to 100us",
  2: "1ms to 10ms",
  5: "16ms to 55ms",
  6: "65ms to 210ms",
  9: "260ms to 900ms",
  10: "1s to 3.5s",
  13: "4s to 13s",
  14: "17s to 64s",
};
const OBFF = ["Not Supported", "Via message", "Via WAKE#", "Via message/WAKE#"];
const OBFF_ENABLED = ["Disabled", "Via message A", "Via message B", "Via WAKE#"];
const EMERGENCY_POWER = ["Not Supported", "Dev Specific", "Form Factor Dev Specific", "Reserved"];
const LN_CLS = ["Not Supported", "64byte cachelines", "128byte cachelines", "Reserved"];
/** The value 2 is reserved. */
const TPH_COMPLETER = ["TPHComp- ExtTPHComp-", "TPHComp+ ExtTPHComp-", "", "TPHComp+ ExtTPHComp+"];

function decodeDevice2(out: CapabilityWriter, type: number, context: FunctionContext): void {
  const cap = out.u32(0x24);
  const ranges = TIMEOUT_RANGES[field(cap, 0, 4)] ?? "Unknown";
  const obff = OBFF[field(cap, 18, 2)]!;
  out.set("DevCap2", { value: cap, completionTimeout: ranges, obff });
  const first = out.flags("DevCap2", cap, { TimeoutDis: 4, NROPrPrP: 10, LTR: 11 });
  out.line(`DevCap2: Completion Timeout: ${ranges}, ${first}`);
  const tags = out.flags("DevCap2", cap, { "10BitTagComp": 16, "10BitTagReq": 17 });
  const prefixes = out.flags("DevCap2", cap, { ExtFmt: 20, EETLPPrefix: 21 });
  const count = field(cap, 22, 2) || 4;
  const most = field(cap, 21, 1) === 1 ? `, MaxEETLPPrefixes ${count}` : "";
  out.line(`\t ${tags} OBFF ${obff}, ${prefixes}${most}`);
  const emergency = EMERGENCY_POWER[field(cap, 24, 2)]!;
  const init = out.flags("DevCap2", cap, { EmergencyPowerReductionInit: 26 });
  out.line(`\t EmergencyPowerReduction ${emergency}, ${init}`);
  let last = out.flags("DevCap2", cap, { FRS: 31 });
  if (type === ROOT_PORT) {
    out.set("DevCap2", { lnSystemCls: LN_CLS[field(cap, 14, 2)]! });
    last += ` LN System CLS ${LN_CLS[field(cap, 14, 2)]},`;
  }
  if (type === ROOT_PORT || type === ENDPOINT) {
    const tph = TPH_COMPLETER[field(cap, 12, 2)]!;
    out.set("DevCap2", { tphCompleter: tph });
    last += ` ${tph}`;
  }
  const isPort = type === ROOT_PORT || type === DOWNSTREAM;
  if (isPort) last += ` ${out.flags("DevCap2", cap, { ARIFwd: 5 })}`;
  out.line(`\t ${last}`);
  const routes = isPort || type === UPSTREAM;
  const atomics = routes ? [out.flags("DevCap2", cap, { Routing: 6 })] : [];
  if (type === ROOT_PORT || context.hasMemoryBar) {
    atomics.push(out.flags("DevCap2", cap, { "32bit": 7, "64bit": 8, "128bitCAS": 9 }));
  }
  if (atomics.length > 0) out.line(`\t AtomicOpsCap: ${atomics.join(" ")}`);
  decodeDeviceControl2(out, type);
}

function decodeDeviceControl2(out: CapabilityWriter, type: number): void {
  const control = out.u16(0x28);
  const timeout = TIMEOUTS[field(control, 0, 4)] ?? "Unknown";
  const obff = OBFF_ENABLED[field(control, 13, 2)]!;
  out.set("DevCtl2", { value: control, completionTimeout: timeout, obff });
  const flags = out.flags("DevCtl2", control, { TimeoutDis: 4, LTR: 10, "10BitTagReq": 12 });
  const isPort = type === ROOT_PORT || type === DOWNSTREAM;
  const ari = isPort ? ` ${out.flags("DevCtl2", control, { ARIFwd: 5 })}` : "";
  out.line(`DevCtl2: Completion Timeout: ${timeout}, ${flags} OBFF ${obff},${ari}`);
  const isEndpoint = type === ENDPOINT || type === LEGACY_ENDPOINT;
  const atomics: string[] = [];
  if (isEndpoint || type === ROOT_PORT || type === ROOT_COMPLEX_ENDPOINT) {
    atomics.push(out.flags("DevCtl2", control, { ReqEn: 6 }));
  }
  if (isPort || type === UPSTREAM) atomics.push(out.flags("DevCtl2", control, { EgressBlck: 7 }));
  if (atomics.length > 0) out.line(`\t AtomicOpsCtl: ${atomics.join(" ")}`);
}

const TARGET_SPEEDS = ["2.5GT/s", "2.5GT/s", "5GT/s", "8GT/s", "16GT/s", "32GT/s", "64GT/s"];
const COMPLIANCE = [
  "-6dB de-emphasis, 0dB preshoot",
  "-3.5dB de-emphasis, 0dB preshoot",
  "-4.4dB de-emphasis, 0dB preshoot",
  "-2.5dB de-emphasis, 0dB preshoot",
  "0dB de-emphasis, 0dB preshoot",
  "0dB de-emphasis, 1.9dB preshoot",
  "0dB de-emphasis, 2.5dB preshoot",
  "-6.0dB de-emphasis, 3.5dB preshoot",
  "-3.5dB de-emphasis, 3.5dB preshoot",
  "0dB de-emphasis, 3.5dB preshoot",
];
const MARGINS = [
  "Normal Operating Range",
  "800-1200mV(full-swing)/400-700mV(half-swing)",
  "200-400mV(full-swing)/100-200mV(half-swing)",
  "200-400mV(full-swing)/100-200mV(half-swing)",
  "200-400mV(full-swing)/100-200mV(half-swing)",
  "200-400mV(full-swing)/100-200mV(half-swing)",
];

/** The range that the vector of supported link speeds ends in (bits 1 to 7). */
function supportedSpeeds(vector: number): string {
  if ((vector & 0x60) !== 0) return "RsvdP";
  const top = 31 - Math.clz32(vector & 0x1f);
  return ["2.5GT/s", "2.5-5GT/s", "2.5-8GT/s", "2.5-16GT/s", "2.5-32GT/s"][top] ?? "Unknown";
}

function decodeLinkControl2(out: CapabilityWriter, type: number): void {
  const cap = out.u32(0x2c);
  if (cap !== 0) {
    const speeds = supportedSpeeds(field(cap, 1, 7));
    out.set("LnkCap2", { value: cap, speeds });
    const flags = { Crosslink: 8, Retimer: 23, "2Retimers": 24, DRS: 31 };
    const text = out.flags("LnkCap2", cap, flags);
    out.line(`LnkCap2: Supported Link Speeds: ${speeds}, ${text}`);
  }
  const control = out.u16(0x30);
  const target = TARGET_SPEEDS[field(control, 0, 4)] ?? "Unknown";
  const margin = MARGINS[field(control, 7, 3)] ?? "Unknown";
  const preset = COMPLIANCE[field(control, 12, 4)] ?? "Unknown";
  out.set("LnkCtl2", { value: control, targetSpeed: target, margin, compliancePreset: preset });
  const flags = out.flags("LnkCtl2", control, { EnterCompliance: 4, SpeedDis: 5 });
  const emphasis = field(control, 6, 1) === 1 ? "-3.5dB" : "-6dB";
  const selectable = type === DOWNSTREAM ? `, Selectable De-emphasis: ${emphasis}` : "";
  out.line(`LnkCtl2: Target Link Speed: ${target}, ${flags}${selectable}`);
  const more = { EnterModifiedCompliance: 10, ComplianceSOS: 11 };
  out.line(`\t Transmit Margin: ${margin}, ${out.flags("LnkCtl2", control, more)}`);
  out.line(`\t Compliance Preset/De-emphasis: ${preset}`);
}

const CROSSLINK = ["unsupported", "Upstream Port", "Downstream Port", "incomplete"];
const DOWNSTREAM_COMPONENT = [
  "Link Down - Not Determined",
  "Link Down - Not Present",
  "Link Down - Present",
  "Reserved",
  "Link Up - Present",
  "Link Up - Present and DRS Received",
];

function decodeLinkStatus2(out: CapabilityWriter, type: number): void {
  const status = out.u16(0x32);
  const level = field(status, 0, 1) === 1 ? "-3.5dB" : "-6dB";
  const crosslink = CROSSLINK[field(status, 8, 2)]!;
  out.set("LnkSta2", { value: status, deEmphasis: level, crosslink });
  const [one, two, three] = [
    { EqualizationComplete: 1, EqualizationPhase1: 2 },
    { EqualizationPhase2: 3, EqualizationPhase3: 4, LinkEqualizationRequest: 5 },
    { Retimer: 6, "2Retimers": 7 },
  ].map((table) => out.flags("LnkSta2", status, table as FlagTable));
  out.line(`LnkSta2: Current De-emphasis Level: ${level}, ${one}`);
  out.line(`\t ${two}`);
  const faces = type === ROOT_PORT || type === DOWNSTREAM || type === PCIE_BRIDGE;
  const hasDrs = faces && field(out.u32(0x2c), 31, 1) === 1;
  const drs = hasDrs ? `, ${out.flags("LnkSta2", status, { DRS: 15 })}` : "";
  out.line(`\t ${three} CrosslinkRes: ${crosslink}${drs}`);
  if (!hasDrs) return;
  const component = DOWNSTREAM_COMPONENT[field(status, 12, 3)] ?? "Reserved";
  out.set("LnkSta2", { downstreamComponent: component });
  out.line(`\t DownstreamComp: ${component}`);
}
