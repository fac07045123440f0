/**
 * Capabilities of the first 256 bytes (PCI 3.0, 6.7; PCIe 6.0, 7.5 and 7.7), worded as lspci words
 * them.
 */

import { type CapabilityWriter, type FunctionContext, field, hex, sign } from "./reader.ts";

/** PCI_CAP_ID -> the name in JSON and the decoder. */
export const STANDARD_CAPABILITIES: Readonly<
  Record<number, readonly [string, (out: CapabilityWriter, context: FunctionContext) => void]>
> = {
  0: ["null", (out) => out.line("Null")],
  1: ["pm", decodePowerManagement],
  2: ["agp", decodeAgp],
  3: ["vpd", (out) => out.line("Vital Product Data")],
  4: ["slot-id", decodeSlotId],
  5: ["msi", decodeMsi],
  6: ["cpci-hotswap", (out) => out.line("CompactPCI hot-swap <?>")],
  7: ["pci-x", decodePciX],
  8: ["ht", decodeHyperTransport],
  9: ["vendor", decodeVendor],
  10: ["debug-port", decodeDebugPort],
  11: ["cpci-crc", (out) => out.line("CompactPCI central resource control <?>")],
  12: ["hotplug", (out) => out.line("Hot-plug capable")],
  13: ["ssvid", decodeSubsystem],
  14: ["agp3", (out) => out.line("AGP3 <?>")],
  15: ["secure", (out) => out.line("Secure device <?>")],
  17: ["msi-x", decodeMsix],
  18: ["sata", decodeSata],
  19: ["af", decodeAdvancedFeatures],
  20: ["ea", decodeEnhancedAllocation],
};

const AUX_CURRENT_MA = [0, 55, 100, 160, 220, 270, 320, 375];

function decodePowerManagement(out: CapabilityWriter): void {
  const cap = out.u16(2);
  out.line(`Power Management version ${field(cap, 0, 3)}`);
  const current = AUX_CURRENT_MA[field(cap, 6, 3)]!;
  out.set("PMC", { value: cap, version: field(cap, 0, 3), auxCurrentMa: current });
  const flags = out.flags("PMC", cap, { PMEClk: 3, DSI: 5, D1: 9, D2: 10 });
  const events = { D0: 11, D1: 12, D2: 13, D3hot: 14, D3cold: 15 };
  const pme = out.flags("PMCpme", cap, events).replaceAll(" ", ",");
  out.line(`Flags: ${flags} AuxCurrent=${current}mA PME(${pme})`);
  const control = out.u16(4);
  const state = field(control, 0, 2);
  const [select, scale] = [field(control, 9, 4), field(control, 13, 2)];
  out.set("PMCSR", { value: control, state: `D${state}`, dataSelect: select, dataScale: scale });
  const keep = out.flags("PMCSR", control, { NoSoftRst: 3, "PME-Enable": 8 });
  const event = out.flags("PMCSR", control, { PME: 15 });
  out.line(`Status: D${state} ${keep} DSel=${select} DScale=${scale} ${event}`);
  const bridge = out.u8(6);
  if (bridge === 0) return;
  out.line(`Bridge: PM${sign(field(bridge, 7, 1) === 1)} B3${sign(field(bridge, 6, 1) === 0)}`);
}

function decodeAgp(out: CapabilityWriter): void {
  const version = out.u8(2);
  const [major, minor] = [version >> 4, version & 15];
  out.line(`AGP version ${hex(major, 1)}.${hex(minor, 1)}`);
  out.set("AGP", { major, minor });
}

function decodeSlotId(out: CapabilityWriter): void {
  const slots = field(out.u8(2), 0, 5);
  const isFirst = field(out.u8(2), 5, 1) === 1;
  const chassis = out.u8(3);
  out.set("SlotId", { slots, isFirst, chassis });
  out.line(`Slot ID: ${slots} slots, First${sign(isFirst)}, chassis ${hex(chassis, 2)}`);
}

function decodeMsi(out: CapabilityWriter): void {
  const control = out.u16(2);
  const [enabled, capable] = [1 << field(control, 4, 3), 1 << field(control, 1, 3)];
  out.set("MessageControl", { value: control, vectors: capable, vectorsEnabled: enabled });
  const enable = out.flags("MessageControl", control, { Enable: 0 });
  const more = out.flags("MessageControl", control, { Maskable: 8, "64bit": 7 });
  out.line(`MSI: ${enable} Count=${enabled}/${capable} ${more}`);
  const wide = field(control, 7, 1) === 1;
  const low = hex(out.u32(4), 8);
  const address = wide ? hex(out.u32(8), 8) + low : low;
  const dataAt = wide ? 12 : 8;
  const data = hex(out.u16(dataAt), 4);
  out.set("Message", { address: `0x${address}`, data: `0x${data}` });
  out.line(`Address: ${address}  Data: ${data}`);
  if (field(control, 8, 1) === 0) return;
  const [mask, pending] = [hex(out.u32(dataAt + 4), 8), hex(out.u32(dataAt + 8), 8)];
  out.set("Masking", { mask: `0x${mask}`, pending: `0x${pending}` });
  out.line(`Masking: ${mask}  Pending: ${pending}`);
}

function decodeMsix(out: CapabilityWriter): void {
  const control = out.u16(2);
  const count = field(control, 0, 11) + 1;
  out.set("MessageControl", { value: control, vectors: count });
  const enable = out.flags("MessageControl", control, { Enable: 15 });
  const masked = out.flags("MessageControl", control, { Masked: 14 });
  out.line(`MSI-X: ${enable} Count=${count} ${masked}`);
  for (const [name, at] of [
    ["Vector table", 4],
    ["PBA", 8],
  ] as const) {
    const value = out.u32(at);
    const offset = (value & ~7) >>> 0;
    out.set(name, { bar: value & 7, offset });
    out.line(`${name}: BAR=${value & 7} offset=${hex(offset, 8)}`);
  }
}

const PCIX_FLAGS = { "64bit": 16, "133MHz": 17, SCD: 18, USC: 19 };

function decodePciX(out: CapabilityWriter): void {
  const isBridge = field(out.config.u8(0x0e), 0, 7) === 1;
  if (isBridge) {
    out.line("PCI-X bridge device");
    decodePciXBridge(out);
    return;
  }
  out.line("PCI-X non-bridge device");
  const command = out.u16(2);
  const [bytes, transactions] = [512 << field(command, 2, 2), field(command, 4, 3)];
  const outstanding = [1, 2, 3, 4, 8, 12, 16, 32][transactions]!;
  out.set("Command", { value: command, maxReadBytes: bytes, outstanding });
  const flags = out.flags("Command", command, { DPERE: 0, ERO: 1 });
  out.line(`Command: ${flags} RBC=${bytes} OST=${outstanding}`);
  const status = out.u32(4);
  const first = out.flags("Status", status, PCIX_FLAGS);
  const kind = field(status, 20, 1) === 1 ? "bridge" : "simple";
  const [read, most] = [512 << field(status, 21, 2), [1, 2, 3, 4, 8, 12, 16, 32]];
  const limit = most[field(status, 23, 3)]!;
  const cumulative = 8 << field(status, 26, 3);
  const more = out.flags("Status", status, { RSCEM: 29, "266MHz": 30, "533MHz": 31 });
  const place = placeText(status);
  out.set("Status", { value: status, place, complexity: kind });
  out.line(
    `Status: Dev=${place} ${first} DC=${kind} DMMRBC=${read} DMOST=${limit} DMCRS=${cumulative} ${more}`,
  );
}

function placeText(status: number): string {
  const [bus, slot, fn] = [field(status, 8, 8), field(status, 3, 5), field(status, 0, 3)];
  return `${hex(bus, 2)}:${hex(slot, 2)}.${fn}`;
}

function decodePciXBridge(out: CapabilityWriter): void {
  const secondary = out.u16(2);
  const frequencies = ["conv", "66MHz", "100MHz", "133MHz", "?4", "?5", "?6", "?7"];
  const table = { "64bit": 0, "133MHz": 1, SCD: 2, USC: 3, SCO: 4, SRD: 5 };
  const frequency = frequencies[field(secondary, 6, 3)]!;
  const flags = out.flags("SecondaryStatus", secondary, table);
  out.set("SecondaryStatus", { value: secondary, frequency });
  out.line(`Secondary Status: ${flags} Freq=${frequency}`);
  const status = out.u32(4);
  const text = out.flags("Status", status, { ...PCIX_FLAGS, SCO: 20, SRD: 21 });
  out.line(`Status: Dev=${placeText(status)} ${text}`);
  for (const [name, at] of [
    ["Upstream", 8],
    ["Downstream", 12],
  ] as const) {
    const [capacity, limit] = [out.u16(at), out.u16(at + 2)];
    out.set(name, { capacity, commitmentLimit: limit });
    out.line(`${name}: Capacity=${capacity} CommitmentLimit=${limit}`);
  }
}

const HT_TYPES: Readonly<Record<number, string>> = {
  64: "Switch",
  128: "Interrupt Discovery and Configuration",
  144: "UnitID Clumping",
  152: "Extended Configuration Space Access",
  160: "Address Mapping",
  176: "DirectRoute",
  184: "VCSet",
  192: "Retry Mode",
  200: "X86 (reserved)",
};

/** Only what is met behind a guest: the MSI mapping; links of host bridges are named. */
function decodeHyperTransport(out: CapabilityWriter): void {
  const command = out.u16(2);
  const top = command >> 13;
  if (top === 0) {
    out.line("HyperTransport: Slave or Primary Interface");
    return;
  }
  if (top === 1) {
    out.line("HyperTransport: Host or Secondary Interface");
    return;
  }
  const type = (command >> 8) & 0xf8;
  if (type === 0xa8) {
    const flags = out.flags("MsiMapping", command, { Enable: 0, Fixed: 1 });
    out.line(`HyperTransport: MSI Mapping ${flags}`);
    if (field(command, 1, 1) === 1) return;
    const base = (BigInt(out.u32(8)) << 32n) | BigInt((out.u32(4) & 0xfff00000) >>> 0);
    out.set("MsiMapping", { base: `0x${base.toString(16)}` });
    out.line(`Mapping Address Base: ${hex(base, 16)}`);
    return;
  }
  if (type === 0x88) {
    const revision = command & 0xff;
    out.line(
      `HyperTransport: Revision ID: ${revision >> 5}.${String(revision & 31).padStart(2, "0")}`,
    );
    return;
  }
  out.line(`HyperTransport: ${HT_TYPES[type] ?? `#${hex(command >> 11, 2)}`}`);
}

const VIRTIO_KINDS: Readonly<Record<number, string>> = {
  1: "CommonCfg",
  2: "Notify",
  3: "ISR",
  4: "DeviceCfg",
};

/** A vendor's own; that of virtio 1.x tells where its registers are (virtio 1.2, 4.1.4). */
function decodeVendor(out: CapabilityWriter): void {
  const length = out.u8(2);
  const isVirtio =
    out.config.u16(0) === 0x1af4 && isVirtioDevice(out.config.u16(2)) && length >= 16;
  if (!isVirtio) {
    out.set("Vendor", { length });
    out.line(`Vendor Specific Information: Len=${hex(length, 2)} <?>`);
    return;
  }
  const kind = VIRTIO_KINDS[out.u8(3)] ?? "<unknown>";
  out.line(`Vendor Specific Information: VirtIO: ${kind}`);
  const [bar, offset, size] = [out.u8(4), out.u32(8), out.u32(12)];
  out.set("VirtIO", { kind, bar, offset, size });
  let line = `BAR=${bar} offset=${hex(offset, 8)} size=${hex(size, 8)}`;
  if (out.u8(3) === 2 && length >= 20) {
    out.set("VirtIO", { notifyMultiplier: out.u32(16) });
    line += ` multiplier=${hex(out.u32(16), 8)}`;
  }
  out.line(line);
}

function isVirtioDevice(device: number): boolean {
  return device >= 0x1000 && device <= 0x107f;
}

function decodeDebugPort(out: CapabilityWriter): void {
  const value = out.u16(2);
  const [bar, offset] = [value >> 13, value & 0x1fff];
  out.set("DebugPort", { bar, offset });
  out.line(`Debug port: BAR=${bar} offset=${hex(offset, 4)}`);
}

function decodeSubsystem(out: CapabilityWriter, context: FunctionContext): void {
  const [vendor, device] = [out.u16(4), out.u16(6)];
  out.set("Subsystem", { vendor: hex(vendor, 4), device: hex(device, 4) });
  const name = context.subsystemName?.(vendor, device);
  out.line(`Subsystem: ${name ?? `Device ${hex(vendor, 4)}:${hex(device, 4)}`}`);
}

function decodeSata(out: CapabilityWriter): void {
  const version = out.u8(2);
  const location = out.u32(4);
  const head = `SATA HBA v${version >> 4}.${version & 15}`;
  const bar = field(location, 0, 4);
  out.set("Sata", { version, bar });
  if (bar >= 4 && bar <= 9) {
    // In units of four bytes; lspci prints it so.
    const offset = field(location, 4, 20);
    out.set("Sata", { offsetBytes: offset * 4 });
    out.line(`${head} BAR${bar - 4} Offset=${hex(offset, 8)}`);
  } else {
    out.line(`${head} ${bar === 15 ? "InCfgSpace" : `BAR??${bar}`}`);
  }
}

function decodeAdvancedFeatures(out: CapabilityWriter): void {
  out.line("PCI Advanced Features");
  out.line(`AFCap: ${out.flags("AFCap", out.u8(3), { TP: 0, FLR: 1 })}`);
  out.line(`AFCtrl: ${out.flags("AFCtrl", out.u8(4), { FLR: 0 })}`);
  out.line(`AFStatus: ${out.flags("AFStatus", out.u8(5), { TP: 0 })}`);
}

/** Titles and the number of entries; what they hold is in JSON. */
function decodeEnhancedAllocation(out: CapabilityWriter): void {
  const entries = field(out.u8(2), 0, 6);
  out.set("EA", { entries });
  out.line(`Enhanced Allocation (EA): NumEntries=${entries}`);
}
