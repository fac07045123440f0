/**
 * The PCI Express capability (PCIe 6.0, 7.5.3), worded as lspci words it.
 */

import { decodeDevice2 } from "./express-device2.ts";
import { decodeLink, decodeLinkControl2, decodeLinkStatus2 } from "./express-link.ts";
import { decodeSlot } from "./express-slot.ts";
import {
  DOWNSTREAM,
  ENDPOINT,
  EVENT_COLLECTOR,
  LEGACY_ENDPOINT,
  PCI_BRIDGE,
  PCIE_BRIDGE,
  powerLimit,
  ROOT_COMPLEX_ENDPOINT,
  ROOT_PORT,
  TYPES,
  UPSTREAM,
} from "./express-types.ts";
import {
  type CapabilityWriter,
  type FlagTable,
  type FunctionContext,
  field,
  hex,
  sign,
} from "./reader.ts";

const L0S_LATENCY = ["<64ns", "<128ns", "<256ns", "<512ns", "<1us", "<2us", "<4us", "unlimited"];
const L1_LATENCY = ["<1us", "<2us", "<4us", "<8us", "<16us", "<32us", "<64us", "unlimited"];

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

const ROOTCTL: FlagTable = {
  ErrCorrectable: 0,
  "ErrNon-Fatal": 1,
  ErrFatal: 2,
  PMEIntEna: 3,
  CRSVisible: 4,
};

/** What the text depends on besides the capability's own registers. */

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
  out.line(`Express (v${version}) ${name}${slotText}, IntMsgNum ${message}`);
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
  more += ` ${out.flags("DevCap", cap, { "TEE-IO": 30 })}`;
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
