/**
 * The slot registers of the PCI Express capability (PCIe 6.0, 7.5.3.9 to 7.5.3.11), worded as lspci
 * words them.
 */

import { powerLimit } from "./express-types.ts";
import { type CapabilityWriter, type FlagTable, field } from "./reader.ts";

const INDICATORS = ["Unknown", "On", "Blink", "Off"];
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

export function decodeSlot(out: CapabilityWriter): void {
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
