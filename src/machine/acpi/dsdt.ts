/**
 * The DSDT: one PCI Express host bridge with its windows and interrupt routing, the legacy devices
 * that exist (COM1, RTC), the resources a bus driver must keep clear of, and `_S5`.
 * Sections named are of ACPI 6.5 and of the PCI Firmware Specification 3.3.
 */

import { SLEEP_TYPE_S5 } from "../acpi-pm.ts";
import {
  COM1_IRQ,
  COM1_PORT,
  ECAM_SIZE,
  ECAM_START,
  type PciWindows,
  pciGsi,
  RTC_IRQ,
  RTC_PORT,
} from "../memory-map.ts";
import {
  and,
  arg,
  createDwordField,
  device,
  eisaId,
  equal,
  integer,
  local,
  method,
  name,
  not,
  or,
  otherwise,
  path,
  pkg,
  returns,
  scope,
  store,
  type Term,
  uuid,
  when,
} from "./aml.ts";
import { concat } from "./bytes.ts";
import {
  busNumbers,
  fixedMemory32,
  ioPorts,
  ioWindow,
  isaIrq,
  memoryWindow32,
  memoryWindow64,
  resourceTemplate,
} from "./resources.ts";

const PCI_HOST_BRIDGE_OSC = "33DB4D5B-1FF7-401C-9657-7441C03DD766";
/**
 * `_OSC` control bits that we grant (PCI Firmware 4.5.1): native hot-plug, native PME, AER, and
 * control of the PCI Express capability structure. SHPC hot-plug is not there to be granted.
 */
const OSC_GRANTED = 0x01 | 0x04 | 0x08 | 0x10;

/** 6.2.11: answers an operating system that asks for control of PCI Express features. */
function oscMethod(): Term {
  const UNRECOGNIZED_UUID = 0x04;
  const UNRECOGNIZED_REVISION = 0x08;
  const CAPABILITIES_MASKED = 0x10;
  const flag = (bit: number) => or(path("CDW1"), integer(bit), path("CDW1"));
  return method(
    "_OSC",
    4,
    createDwordField(arg(3), 0, "CDW1"),
    when(
      equal(arg(0), uuid(PCI_HOST_BRIDGE_OSC)),
      createDwordField(arg(3), 8, "CDW3"),
      and(path("CDW3"), integer(OSC_GRANTED), local(0)),
      when(not(equal(arg(1), integer(1))), flag(UNRECOGNIZED_REVISION)),
      when(not(equal(path("CDW3"), local(0))), flag(CAPABILITIES_MASKED)),
      store(local(0), path("CDW3")),
    ),
    otherwise(flag(UNRECOGNIZED_UUID)),
    returns(arg(3)),
  );
}

/** 6.2.13: 32 slots of 4 pins, each to a fixed I/O APIC input. */
function interruptRouting(): Term {
  const entries: Term[] = [];
  for (let slot = 0; slot < 32; slot++) {
    for (let pin = 0; pin < 4; pin++) {
      const address = slot * 0x10000 + 0xffff;
      entries.push(pkg(integer(address), integer(pin), integer(0), integer(pciGsi(slot, pin))));
    }
  }
  return name("_PRT", pkg(...entries));
}

function hostBridge(windows: PciWindows, busCount: number): Term {
  return device(
    "PCI0",
    name("_HID", eisaId("PNP0A08")),
    name("_CID", eisaId("PNP0A03")),
    name("_UID", integer(0)),
    name("_SEG", integer(0)),
    name("_BBN", integer(0)),
    // The operating system may map DMA coherently; 6.2.17.
    name("_CCA", integer(1)),
    name(
      "_CRS",
      resourceTemplate(
        busNumbers(0, busCount - 1),
        ioPorts(0xcf8, 8),
        ...windows.io.map(ioWindow),
        ...windows.memory32.map(memoryWindow32),
        memoryWindow64(windows.memory64),
      ),
    ),
    interruptRouting(),
    oscMethod(),
  );
}

/** Linux uses ECAM only where firmware reserves it as a motherboard resource. */
function motherboard(): Term {
  return device(
    "MBRD",
    name("_HID", eisaId("PNP0C02")),
    name("_UID", integer(1)),
    name("_CRS", resourceTemplate(fixedMemory32(ECAM_START, ECAM_SIZE))),
  );
}

function serialPort(): Term {
  return device(
    "COM1",
    name("_HID", eisaId("PNP0501")),
    name("_UID", integer(1)),
    name("_STA", integer(0x0f)),
    name("_CRS", resourceTemplate(ioPorts(COM1_PORT, 8), isaIrq(COM1_IRQ))),
  );
}

function realTimeClock(): Term {
  return device(
    "RTC0",
    name("_HID", eisaId("PNP0B00")),
    name("_CRS", resourceTemplate(ioPorts(RTC_PORT, 2), isaIrq(RTC_IRQ))),
  );
}

/** @returns the definition block's AML, without the table header */
export function dsdtBlock(options: {
  windows: PciWindows;
  busCount: number;
  serial: boolean;
}): Uint8Array {
  const devices = [hostBridge(options.windows, options.busCount), motherboard(), realTimeClock()];
  if (options.serial) devices.push(serialPort());
  const sleepS5 = pkg(integer(SLEEP_TYPE_S5), integer(SLEEP_TYPE_S5), integer(0), integer(0));
  return concat([scope("\\_SB", ...devices), name("\\_S5", sleepS5)]);
}
