/** What a user reads: section 20 of the specification of PCI devices, and the prefix of all. */

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  VFIO_DEVICE_GET_INFO,
  VFIO_DEVICE_GET_IRQ_INFO,
  VFIO_DEVICE_GET_REGION_INFO,
  vfio_device_info,
  vfio_irq_info,
  vfio_region_info,
} from "../../../src/abi/vfio.ts";
import { eduSpec } from "../../../src/sim/devices/edu.ts";
import { msixTestSpec } from "../../../src/sim/devices/msix.ts";
import type { PciDeviceSpec } from "../../../src/sim/pci-spec.ts";
import type { ViaductError } from "../../../src/sys/sys-error.ts";
import { BDF, TestMachine } from "./machine.ts";

const EDU = eduSpec(BDF);
const MSIX = msixTestSpec(BDF);

function machineWith(spec: PciDeviceSpec): TestMachine {
  return new TestMachine({ devices: [{ spec, group: 7 }] });
}

/** Changes what the host answers to an ioctl; `change` returns the result. */
function answering(
  machine: TestMachine,
  request: number,
  change: (arg: Uint8Array, result: number) => number,
): void {
  const ask = machine.ledger.ioctl.bind(machine.ledger);
  machine.ledger.ioctl = (fd, asked, arg) => {
    const result = ask(fd, asked, arg);
    return asked === request ? change(arg as Uint8Array, result) : result;
  };
}

/** Config reads of `length` bytes at `offset` answer `result`. */
function failingConfig(machine: TestMachine, offset: number, length: number, result: number): void {
  const read = machine.ledger.pread.bind(machine.ledger);
  machine.ledger.pread = (fd, into, at) =>
    at % 2 ** 40 === offset && into.byteLength === length ? result : read(fd, into, at);
}

/** Assigning fails with the device's name in front, says how to go on, and leaves nothing. */
function refused(machine: TestMachine, given: Record<string, string>, message: RegExp): void {
  assert.throws(
    () => machine.assign(given),
    (error: ViaductError) => {
      assert.equal(error.name, "ViaductError");
      assert.ok(error.message.startsWith(`vfio ${BDF}: `), error.message);
      assert.match(error.message, message);
      assert.ok(error.nextStep.length > 0);
      return true;
    },
  );
  assert.deepEqual(machine.host.describe(), []);
}

test("errors: what is no PCI device, or offers too little, is told with what was found", () => {
  type Info = ReturnType<typeof vfio_device_info.at>;
  const cases: Array<[change: (info: Info) => void, message: RegExp]> = [
    [(info) => (info.flags &= ~2), /this isn't a PCI device$/],
    [(info) => (info.num_regions = 7), /unexpected number of io regions 7$/],
    [(info) => (info.num_irqs = 2), /unexpected number of irqs 2$/],
  ];
  for (const [change, message] of cases) {
    using machine = machineWith(EDU);
    answering(machine, VFIO_DEVICE_GET_INFO, (arg, result) => {
      change(vfio_device_info.at(arg));
      return result;
    });
    refused(machine, {}, message);
  }
});

test("errors: a region that cannot be asked, a config space that cannot be read", () => {
  using machine = machineWith(EDU);
  answering(machine, VFIO_DEVICE_GET_REGION_INFO, (arg, result) =>
    vfio_region_info.at(arg).index === 3 ? -22 : result,
  );
  refused(machine, {}, /failed to get region 3 info: Invalid argument$/);
  for (const [result, why] of [
    [-5, /config space: Input\/output error$/],
    [100, /config space: 100 of 4096 bytes$/],
  ] as const) {
    using unread = machineWith(EDU);
    failingConfig(unread, 0, 4096, result);
    refused(unread, {}, why);
  }
});

test("errors: each override that is no such ID is named", () => {
  using machine = machineWith(EDU);
  const cases: Array<[property: string, value: string, what: RegExp]> = [
    ["x-pci-vendor-id", "0xffff", /invalid PCI vendor ID provided$/],
    ["x-pci-device-id", "0x10000", /invalid PCI device ID provided$/],
    ["x-pci-sub-vendor-id", "0x10000", /invalid PCI subsystem vendor ID provided$/],
    ["x-pci-sub-device-id", "0x10000", /invalid PCI subsystem device ID provided$/],
    ["x-pci-class-code", "0x1000000", /invalid PCI class code provided$/],
  ];
  for (const [property, value, what] of cases) refused(machine, { [property]: value }, what);
});

test("errors: what was asked for and is not there", () => {
  using machine = machineWith(EDU);
  refused(machine, { display: "on" }, /doesn't support any \(known\) display method/);
  refused(machine, { xres: "640" }, /xres and yres properties require display=on/);
  refused(machine, { "enable-migration": "on" }, /migration is not supported/);
  refused(machine, { "x-balloon-allowed": "on" }, /x-balloon-allowed only .*mdev/);
  refused(machine, { "x-vga": "on" }, /VGA region index 8/);
});

test("errors: capabilities that cannot be read say which, its size and its place", () => {
  using machine = machineWith(EDU);
  const { offset } = machine.assign().msi!;
  using msi = machineWith(EDU);
  failingConfig(msi, offset + 2, 2, -5);
  const place = `failed to add PCI capability 0x5\\[0x\\w+\\]@0x${offset.toString(16)}`;
  refused(msi, {}, new RegExp(`${place}: failed reading MSI PCI_CAP_FLAGS$`));
  using other = machineWith(MSIX);
  const at = other.assign().msix!.offset;
  using msix = machineWith(MSIX);
  failingConfig(msix, at + 4, 4, -5);
  refused(msix, {}, /failed to read PCI MSIX CAP$/);
});

test("errors: a VGA region that is too small is told with its flags and size", () => {
  using machine = machineWith({ ...EDU, classCode: 0x030000, vga: true });
  answering(machine, VFIO_DEVICE_GET_REGION_INFO, (arg, result) => {
    const info = vfio_region_info.at(arg);
    if (info.index === 8) info.size = 0xa0000n;
    return result;
  });
  refused(machine, { "x-vga": "on" }, /unexpected VGA info, flags 0x3, size 0xa0000$/);
});

test("errors: a BAR whose size is no power of two", () => {
  using machine = machineWith(EDU);
  answering(machine, VFIO_DEVICE_GET_REGION_INFO, (arg, result) => {
    const info = vfio_region_info.at(arg);
    if (info.index === 0) info.size = 0x3000n;
    return result;
  });
  refused(machine, {}, /BAR 0 has 0x3000 bytes, which is no power of two$/);
});

test("warnings: an error interrupt of a strange count, a BAR that cannot be mapped", () => {
  using machine = machineWith(MSIX);
  answering(machine, VFIO_DEVICE_GET_IRQ_INFO, (arg, result) => {
    const info = vfio_irq_info.at(arg);
    if (info.index === 3) info.count = 2;
    return result;
  });
  machine.ledger.mmap = () => -12;
  using fn = machine.assign();
  assert.deepEqual(machine.reports, [
    `vfio ${BDF}: Could not enable error recovery for the device`,
    `Failed to mmap ${BDF} BAR 2. Performance may be slow (ENOMEM)`,
    `Failed to mmap ${BDF} BAR 4. Performance may be slow (ENOMEM)`,
  ]);
  assert.equal(fn.assignedBars.get(2)!.region!.mmaps.length, 0);
});

test("warnings: a ROM that cannot be read says how to do without, once", () => {
  const ROM_AT = 0xe000_0000n;
  for (const [broken, line] of [
    [(info: { size: bigint }) => (info.size = 0n), /Cannot read device rom.*rombar=0.*romfile=$/],
    [undefined, /Error getting ROM info of 0000:01:00.0: SysError: .*EINVAL/],
  ] as const) {
    using machine = machineWith({ ...EDU, rom: new Uint8Array(2048) });
    using fn = machine.assign();
    answering(machine, VFIO_DEVICE_GET_REGION_INFO, (arg, result) => {
      const info = vfio_region_info.at(arg);
      if (info.index !== 6) return result;
      broken?.(info);
      return broken ? result : -22;
    });
    fn.writeConfig(0x30, 4, Number(ROM_AT) | 1);
    fn.writeConfig(0x04, 2, 2);
    for (let i = 0; i < 3; i++) assert.equal(machine.memory.read(ROM_AT, 4), 0xffff_ffffn);
    assert.equal(machine.reports.length, 1);
    assert.match(machine.reports[0]!, line);
  }
});

test("warnings: a device that stays in a low-power state at a reset is told with its state", () => {
  using machine = machineWith(EDU);
  using fn = machine.assign();
  const at = fn.resets.pmOffset! + 4;
  const read = machine.ledger.pread.bind(machine.ledger);
  machine.ledger.pread = (fd, into, offset) => {
    const result = read(fd, into, offset);
    if (offset % 2 ** 40 === at) new Uint8Array(into.buffer, into.byteOffset)[0]! |= 3;
    return result;
  };
  fn.reset();
  assert.deepEqual(machine.reports, [`vfio: Unable to power on device, stuck in D3 (${BDF})`]);
});
