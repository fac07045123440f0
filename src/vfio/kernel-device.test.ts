import assert from "node:assert/strict";
import { test } from "node:test";
import { EDU, SECOND, SoftwareGuest } from "../../test/unit/software-guest.ts";
import {
  VFIO_DEVICE_FLAGS_PCI,
  VFIO_DEVICE_FLAGS_RESET,
  VFIO_DEVICE_GET_REGION_INFO,
  VFIO_IRQ_INFO_NORESIZE,
  VFIO_PCI_CONFIG_REGION_INDEX,
  VFIO_PCI_INTX_IRQ_INDEX,
  VFIO_PCI_MSI_IRQ_INDEX,
  VFIO_PCI_MSIX_IRQ_INDEX,
  VFIO_PCI_ROM_REGION_INDEX,
} from "../abi/vfio.ts";
import { msixTestSpec } from "../sim/devices/msix.ts";
import { EventFd } from "../sys/event-fd.ts";
import { errnoOf } from "../sys/sys-error.ts";
import { findRegion } from "./kernel-device.ts";

const MSIX = "0000:03:00.0";

test("KernelDevice tells what the device is: info, regions, interrupts", () => {
  using guest = new SoftwareGuest();
  using device = guest.open(EDU);
  assert.equal(device.info.flags, VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET);
  const bar = device.regionInfo(0);
  assert.deepEqual([bar.size, bar.fdOffset, bar.sparseAreas], [0x10_0000, 0, undefined]);
  const config = device.regionInfo(VFIO_PCI_CONFIG_REGION_INDEX);
  assert.deepEqual([config.size, config.fdOffset], [4096, 7 * 2 ** 40]);
  assert.equal(device.regionInfo(VFIO_PCI_ROM_REGION_INDEX).size, 0);
  assert.equal(device.irqInfo(VFIO_PCI_INTX_IRQ_INDEX).count, 1);
  assert.equal(device.irqInfo(VFIO_PCI_MSIX_IRQ_INDEX).count, 0);
  assert.throws(
    () => device.regionInfo(9),
    (error) => errnoOf(error) === "EINVAL",
  );
});

test("KernelDevice.regionInfo asks again for a capability chain, and decodes it", () => {
  using guest = new SoftwareGuest();
  const sparse = [
    { offset: 0, size: 0x1000 },
    { offset: 0x3000, size: 0x1000 },
  ];
  const spec = msixTestSpec(MSIX);
  const bars = { ...spec.bars, 4: { size: 0x4000, kind: "mem32" as const, sparse } };
  guest.host.addDevice({ ...spec, bars }, 9);
  using device = guest.open(MSIX);
  guest.ledger.clearCalls();
  const info = device.regionInfo(4);
  assert.equal(guest.calls(VFIO_DEVICE_GET_REGION_INFO), 2);
  assert.deepEqual(info.sparseAreas, sparse);
  assert.equal(info.msixMappable, true);
  assert.equal(device.regionInfo(2).msixMappable, false);
  assert.equal(findRegion(device, { type: 1, subtype: 1 }), undefined);
});

test("KernelDevice reads and writes config space, which a reset keeps", () => {
  using guest = new SoftwareGuest();
  using device = guest.open(EDU);
  const config = device.regionInfo(VFIO_PCI_CONFIG_REGION_INDEX);
  const word = new Uint8Array(4);
  assert.equal(device.readRegion(config, 0, word), 4);
  assert.deepEqual([...word], [0x34, 0x12, 0xe8, 0x11]);
  assert.equal(device.writeRegion(config, 4, Uint8Array.of(0x06, 0x00)), 2);
  device.readRegion(config, 4, word);
  assert.equal(word[0], 0x06);
  device.reset();
  device.readRegion(config, 4, word);
  assert.equal(word[0], 0x06);
  assert.equal(guest.host.devices[0]?.resetCount, 1);
});

test("KernelDevice.setIrqEventfds arms vectors, and says how many there are when too few", () => {
  using guest = new SoftwareGuest();
  const made = guest.host.addDevice(msixTestSpec(MSIX, { vectors: 8, available: 4 }), 9);
  using device = guest.open(MSIX);
  assert.equal(device.irqInfo(VFIO_PCI_MSIX_IRQ_INDEX).flags & VFIO_IRQ_INFO_NORESIZE, 8);
  using eventfd = EventFd.create(guest.ledger);
  const fds = new Array(8).fill(-1) as number[];
  assert.equal(device.setIrqEventfds(VFIO_PCI_MSIX_IRQ_INDEX, "trigger", 0, fds), 4);
  assert.equal(device.setIrqEventfds(VFIO_PCI_MSIX_IRQ_INDEX, "trigger", 2, [eventfd.fd]), 0);
  assert.equal(made.irqs.fire(2), true);
  assert.equal(eventfd.drain(), true);
  assert.equal(made.irqs.fire(1), false);
  device.setIrqNone(VFIO_PCI_MSIX_IRQ_INDEX, "trigger", 0, 0);
  assert.equal(made.irqs.fire(2), false);
});

test("KernelDevice names the interrupt and the action when the host refuses", () => {
  using guest = new SoftwareGuest();
  using device = guest.open(SECOND);
  assert.throws(
    () => device.setIrqEventfds(VFIO_PCI_MSI_IRQ_INDEX, "trigger", 3, [-1]),
    /VFIO_DEVICE_SET_IRQS MSI-3 TRIGGER \(tear down of 1 eventfds\): EINVAL/,
  );
  assert.throws(
    () => device.setIrqNone(VFIO_PCI_INTX_IRQ_INDEX, "unmask", 0, 1),
    /VFIO_DEVICE_SET_IRQS INTX-0 UNMASK/,
  );
});
