/**
 * The second device registers of the PCI Express capability (PCIe 6.0, 7.5.3.15 and 7.5.3.16),
 * worded as lspci words them.
 */

import {
  DOWNSTREAM,
  ENDPOINT,
  LEGACY_ENDPOINT,
  ROOT_COMPLEX_ENDPOINT,
  ROOT_PORT,
  UPSTREAM,
} from "./express-types.ts";
import { type CapabilityWriter, type FlagTable, type FunctionContext, field } from "./reader.ts";

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
const DEVCTL2_REQUESTS: FlagTable = {
  IDOReq: 8,
  IDOCompl: 9,
  LTR: 10,
  EmergencyPowerReductionReq: 11,
};
const EMERGENCY_POWER = ["Not Supported", "Dev Specific", "Form Factor Dev Specific", "Reserved"];
const LN_CLS = ["Not Supported", "64byte cachelines", "128byte cachelines", "Reserved"];
/** The value 2 is reserved. */
const TPH_COMPLETER = ["TPHComp- ExtTPHComp-", "TPHComp+ ExtTPHComp-", "", "TPHComp+ ExtTPHComp+"];

export function decodeDevice2(out: CapabilityWriter, type: number, context: FunctionContext): void {
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
  const isPort = type === ROOT_PORT || type === DOWNSTREAM;
  const first = { TimeoutDis: 4, ...(isPort ? { ARIFwd: 5 } : {}) };
  out.line(`DevCtl2: Completion Timeout: ${timeout}, ${out.flags("DevCtl2", control, first)}`);
  const isEndpoint = type === ENDPOINT || type === LEGACY_ENDPOINT;
  const atomics: string[] = [];
  if (isEndpoint || type === ROOT_PORT || type === ROOT_COMPLEX_ENDPOINT) {
    atomics.push(out.flags("DevCtl2", control, { ReqEn: 6 }));
  }
  if (isPort || type === UPSTREAM) atomics.push(out.flags("DevCtl2", control, { EgressBlck: 7 }));
  if (atomics.length > 0) out.line(`\t AtomicOpsCtl: ${atomics.join(" ")}`);
  out.line(`\t ${out.flags("DevCtl2", control, DEVCTL2_REQUESTS)}`);
  const [tags, prefixes] = [{ "10BitTagReq": 12 }, { EETLPPrefixBlk: 15 }].map((table) =>
    out.flags("DevCtl2", control, table as FlagTable),
  );
  out.line(`\t ${tags} OBFF ${obff}, ${prefixes}`);
}
