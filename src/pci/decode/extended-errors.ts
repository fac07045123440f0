/**
 * Advanced Error Reporting (PCIe 6.0, 7.8.4) and Downstream Port Containment (7.9.14).
 */

import { type CapabilityWriter, type FlagTable, field, hex } from "./reader.ts";

const UNCORRECTABLE: FlagTable = {
  DLP: 4,
  SDES: 5,
  TLP: 12,
  FCP: 13,
  CmpltTO: 14,
  CmpltAbrt: 15,
  UnxCmplt: 16,
  RxOF: 17,
  MalfTLP: 18,
};
const UNCORRECTABLE_MORE: FlagTable = {
  ECRC: 19,
  UnsupReq: 20,
  ACSViol: 21,
  UncorrIntErr: 22,
  BlockedTLP: 23,
  AtomicOpBlocked: 24,
  TLPBlockedErr: 25,
};
const UNCORRECTABLE_LAST: FlagTable = {
  PoisonTLPBlocked: 26,
  DMWrReqBlocked: 27,
  IDECheck: 28,
  MisIDETLP: 29,
  PCRC_CHECK: 30,
  TLPXlatBlocked: 31,
};
const CORRECTABLE: FlagTable = {
  RxErr: 0,
  BadTLP: 6,
  BadDLLP: 7,
  Rollover: 8,
  Timeout: 12,
  AdvNonFatalErr: 13,
  CorrIntErr: 14,
  HeaderOF: 15,
};
const ECRC: FlagTable = { ECRCGenCap: 5, ECRCGenEn: 6, ECRCChkCap: 7, ECRCChkEn: 8 };
const HEADERS: FlagTable = { MultHdrRecCap: 9, MultHdrRecEn: 10, TLPPfxPres: 11, HdrLogCap: 12 };
const ROOT_STATUS: FlagTable = { CERcvd: 0, MultCERcvd: 1, UERcvd: 2, MultUERcvd: 3 };
const ROOT_STATUS_MORE: FlagTable = { FirstFatal: 4, NonFatalMsg: 5, FatalMsg: 6 };
const ROOT_PORT = 4;
const EVENT_COLLECTOR = 10;

export function decodeAer(out: CapabilityWriter): void {
  out.line("Advanced Error Reporting");
  decodeUncorrectable(out, "UESta", 4);
  decodeUncorrectable(out, "UEMsk", 8);
  decodeUncorrectable(out, "UESvrt", 12);
  out.line(`CESta:\t${out.flags("CESta", out.u32(16), CORRECTABLE)}`);
  out.line(`CEMsk:\t${out.flags("CEMsk", out.u32(20), CORRECTABLE)}`);
  const cap = out.u32(24);
  const first = field(cap, 0, 5);
  out.set("AERCap", { value: cap, firstErrorPointer: first });
  const ecrc = out.flags("AERCap", cap, ECRC);
  out.line(`AERCap:\tFirst Error Pointer: ${hex(first, 2)}, ${ecrc}`);
  out.line(`\t${out.flags("AERCap", cap, HEADERS)}`);
  const log = [28, 32, 36, 40].map((at) => hex(out.u32(at), 8)).join(" ");
  out.set("HeaderLog", { words: log });
  out.line(`HeaderLog: ${log}`);
  const type = expressType(out);
  if (type !== ROOT_PORT && type !== EVENT_COLLECTOR) return;
  const command = { CERptEn: 0, NFERptEn: 1, FERptEn: 2 };
  out.line(`RootCmd: ${out.flags("RootCmd", out.u32(44), command)}`);
  const status = out.u32(48);
  out.line(`RootSta: ${out.flags("RootSta", status, ROOT_STATUS)}`);
  const message = status >>> 27;
  out.line(`\t ${out.flags("RootSta", status, ROOT_STATUS_MORE)} IntMsgNum ${message}`);
  const [correctable, fatal] = [hex(out.u16(52), 4), hex(out.u16(54), 4)];
  out.set("ErrorSrc", { correctable, fatal });
  out.line(`ErrorSrc: ERR_COR: ${correctable} ERR_FATAL/NONFATAL: ${fatal}`);
}

function decodeUncorrectable(out: CapabilityWriter, name: string, at: number): void {
  const value = out.u32(at);
  out.line(`${name}:\t${out.flags(name, value, UNCORRECTABLE)}`);
  out.line(`\t${out.flags(name, value, UNCORRECTABLE_MORE)}`);
  out.line(`\t${out.flags(name, value, UNCORRECTABLE_LAST)}`);
}

/** The port type in the PCI Express capability; undefined without one. */
function expressType(out: CapabilityWriter): number | undefined {
  const { config } = out;
  let at = config.u8(0x34) & 0xfc;
  for (let steps = 0; at >= 0x40 && steps < 48; steps++) {
    if (config.u8(at) === 0x10) return field(config.u16(at + 2), 4, 4);
    at = config.u8(at + 1) & 0xfc;
  }
  return undefined;
}

export function decodeDpc(out: CapabilityWriter): void {
  out.line("Downstream Port Containment");
  const cap = out.u16(4);
  const [message, log] = [field(cap, 0, 5), field(cap, 8, 4)];
  out.set("DpcCap", { value: cap, interruptMessage: message, pioLog: log });
  const before = out.flags("DpcCap", cap, { RPExt: 5, PoisonedTLP: 6, SwTrigger: 7 });
  const after = out.flags("DpcCap", cap, { DL_ActiveErr: 12 });
  out.line(`DpcCap:\tIntMsgNum ${message}, ${before} RP PIO Log ${log}, ${after}`);
  const control = out.u16(6);
  const trigger = field(control, 0, 2);
  out.set("DpcCtl", { value: control, trigger });
  const table = { Cmpl: 2, INT: 3, ErrCor: 4, PoisonedTLP: 5, SwTrigger: 6, DL_ActiveErr: 7 };
  out.line(`DpcCtl:\tTrigger:${hex(trigger, 1)} ${out.flags("DpcCtl", control, table)}`);
  const status = out.u16(8);
  const [reason, extra, pointer] = [field(status, 1, 2), field(status, 5, 2), field(status, 8, 5)];
  out.set("DpcSta", { value: status, reason, triggerExtension: extra, pioPointer: pointer });
  const triggered = out.flags("DpcSta", status, { Trigger: 0 });
  const busy = out.flags("DpcSta", status, { INT: 3, RPBusy: 4 });
  out.line(
    `DpcSta:\t${triggered} Reason:${hex(reason, 2)} ${busy} TriggerExt:${hex(extra, 2)} ` +
      `RP PIO ErrPtr:${hex(pointer, 2)}`,
  );
  const source = hex(out.u16(10), 4);
  out.set("Source", { requester: source });
  out.line(`Source:\t${source}`);
}
