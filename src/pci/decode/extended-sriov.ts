/**
 * Single Root I/O Virtualization (PCIe 6.0, 9.3.3).
 */

import { type CapabilityWriter, field, hex } from "./reader.ts";

export function decodeSriov(out: CapabilityWriter): void {
  out.line("Single Root I/O Virtualization (SR-IOV)");
  const cap = out.u32(4);
  const message = cap >>> 21;
  out.set("IOVCap", { value: cap, interruptMessage: message });
  const flags = out.flags("IOVCap", cap, { Migration: 0, "10BitTagReq": 2 });
  out.line(`IOVCap:\t${flags} IntMsgNum ${message}`);
  const control = out.u16(8);
  out.set("IOVCtl", { value: control });
  const table = { Enable: 0, Migration: 1, Interrupt: 2, MSE: 3, ARIHierarchy: 4 };
  const more = out.flags("IOVCtl", control, { ...table, "10BitTagReq": 5 });
  out.line(`IOVCtl:\t${more}`);
  out.line(`IOVSta:\t${out.flags("IOVSta", out.u16(10), { Migration: 0 })}`);
  decodeCounts(out);
  for (let bar = 0; bar < 6; bar++) bar += decodeVfBar(out, bar);
  const migration = out.u32(0x3c);
  const offset = (migration & ~7) >>> 0;
  out.line(`VF Migration: offset: ${hex(offset, 8)}, BIR: ${hex(migration & 7, 1)}`);
}

function decodeCounts(out: CapabilityWriter): void {
  const [initial, total, count] = [out.u16(12), out.u16(14), out.u16(16)];
  const link = out.u8(18);
  out.line(
    `Initial VFs: ${initial}, Total VFs: ${total}, Number of VFs: ${count}, ` +
      `Function Dependency Link: ${hex(link, 2)}`,
  );
  const [first, stride, device] = [out.u16(20), out.u16(22), hex(out.u16(26), 4)];
  out.line(`VF offset: ${first}, stride: ${stride}, Device ID: ${device}`);
  const [supported, system] = [hex(out.u32(28), 8), hex(out.u32(32), 8)];
  out.line(`Supported Page Size: ${supported}, System Page Size: ${system}`);
  out.set("VFs", {
    initial,
    total,
    count,
    dependencyLink: link,
    offset: first,
    stride,
    device,
    supportedPageSizes: `0x${supported}`,
    systemPageSize: `0x${system}`,
  });
}

/** @returns 1 when the BAR takes the next slot too */
function decodeVfBar(out: CapabilityWriter, index: number): 0 | 1 {
  const low = out.u32(0x24 + index * 4);
  const value = low === 0xffffffff ? 0 : low;
  if (value === 0) return 0;
  const type = field(value, 1, 2);
  const isWide = type === 2;
  const high = isWide ? hex(out.u32(0x28 + index * 4), 8) : "";
  const address = high + hex((value & 0xfffffff0) >>> 0, 8);
  const prefetch = field(value, 3, 1) === 1 ? "" : "non-";
  out.set(`Region ${index}`, { address: `0x${address}`, is64bit: isWide });
  out.line(
    `Region ${index}: Memory at ${address} (${type === 0 ? 32 : 64}-bit, ${prefetch}prefetchable)`,
  );
  return isWide ? 1 : 0;
}
