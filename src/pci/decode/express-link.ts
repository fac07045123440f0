/**
 * The link registers of the PCI Express capability (PCIe 6.0, 7.5.3.6 to 7.5.3.8 and 7.5.3.18 to
 * 7.5.3.20), worded as lspci words them.
 */

import {
  DOWNSTREAM,
  ENDPOINT,
  LEGACY_ENDPOINT,
  PCI_BRIDGE,
  PCIE_BRIDGE,
  ROOT_PORT,
} from "./express-types.ts";
import { type CapabilityWriter, type FlagTable, field } from "./reader.ts";

const ASPM = ["not supported", "L0s", "L1", "L0s L1"];
const ASPM_ENABLED = ["Disabled", "L0s Enabled", "L1 Enabled", "L0s L1 Enabled"];
const SPEEDS = ["unknown", "2.5GT/s", "5GT/s", "8GT/s", "16GT/s", "32GT/s", "64GT/s"];

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

export function decodeLink(out: CapabilityWriter, type: number): void {
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
  out.line(`${line} ${out.flags("LnkCtl", control, { LnkDisable: 4, CommClk: 6 })}`);
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
  if ((vector & 0x40) !== 0) return "RsvdP";
  const top = SPEEDS[32 - Math.clz32(vector)];
  if (vector === 0 || top === undefined) return "Unknown";
  return vector === 1 ? top : `2.5-${top}`;
}

export function decodeLinkControl2(out: CapabilityWriter, type: number): void {
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

export function decodeLinkStatus2(out: CapabilityWriter, type: number): void {
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
