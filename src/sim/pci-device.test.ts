/** Software devices as their user sees them: through the device fd, eventfds and memory. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { EDU, SoftwareGuest } from "../../test/unit/software-guest.ts";
import { PCI_BASE_ADDRESS_0, PCI_COMMAND, PCI_ROM_ADDRESS } from "../abi/pci-regs.ts";
import {
  VFIO_DEVICE_GET_PCI_HOT_RESET_INFO,
  VFIO_DEVICE_PCI_HOT_RESET,
  VFIO_PCI_CONFIG_REGION_INDEX,
  VFIO_PCI_ERR_IRQ_INDEX,
  VFIO_PCI_INTX_IRQ_INDEX,
  VFIO_PCI_MSI_IRQ_INDEX,
  VFIO_PCI_MSIX_IRQ_INDEX,
  VFIO_PCI_REQ_IRQ_INDEX,
  VFIO_PCI_ROM_REGION_INDEX,
  vfio_pci_dependent_device,
  vfio_pci_hot_reset,
  vfio_pci_hot_reset_info,
} from "../abi/vfio.ts";
import { GuestRam } from "../memory/guest-ram.ts";
import { EventFd } from "../sys/event-fd.ts";
import { nativeSyscalls } from "../sys/native.ts";
import { errnoOf } from "../sys/sys-error.ts";
import type { KernelDevice } from "../vfio/kernel-device.ts";
import { EDU_BUFFER, EDU_ID, eduSpec } from "./devices/edu.ts";
import { MSIX_TEST_FIRE, msixTestSpec } from "./devices/msix.ts";

const MSIX = "0000:03:00.0";

/** Accesses of a region by offset. */
function access(device: KernelDevice, index: number) {
  const region = device.regionInfo(index);
  const bytes = new Uint8Array(8);
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  return {
    read32: (offset: number) => {
      assert.equal(device.readRegion(region, offset, bytes.subarray(0, 4)), 4);
      return view.getUint32(0, true);
    },
    write32: (offset: number, value: number) => {
      view.setUint32(0, value, true);
      assert.equal(device.writeRegion(region, offset, bytes.subarray(0, 4)), 4);
    },
    write64: (offset: number, value: bigint) => {
      view.setBigUint64(0, value, true);
      assert.equal(device.writeRegion(region, offset, bytes), 8);
    },
  };
}

test("edu: identification, liveness, factorial", () => {
  using guest = new SoftwareGuest();
  using device = guest.open();
  const bar = access(device, 0);
  assert.equal(bar.read32(0), EDU_ID);
  bar.write32(4, 0x1234_5678);
  assert.equal(bar.read32(4), ~0x1234_5678 >>> 0);
  bar.write32(8, 10);
  assert.equal(bar.read32(8), 3_628_800);
  bar.write32(8, 40);
  assert.equal(bar.read32(8), 0);
});

test("edu: INTx masks itself when it fires, and fires again while the line is up", () => {
  using guest = new SoftwareGuest();
  using device = guest.open();
  using eventfd = EventFd.create(guest.ledger);
  const bar = access(device, 0);
  device.setIrqEventfds(VFIO_PCI_INTX_IRQ_INDEX, "trigger", 0, [eventfd.fd]);
  bar.write32(0x60, 1);
  assert.equal(eventfd.drain(), true);
  bar.write32(0x60, 2);
  assert.equal(eventfd.drain(), false, "masked");
  device.setIrqNone(VFIO_PCI_INTX_IRQ_INDEX, "unmask", 0, 1);
  assert.equal(eventfd.drain(), true, "the line is still up");
  bar.write32(0x64, 3);
  device.setIrqNone(VFIO_PCI_INTX_IRQ_INDEX, "unmask", 0, 1);
  assert.equal(eventfd.drain(), false);
  device.setIrqNone(VFIO_PCI_INTX_IRQ_INDEX, "mask", 0, 1);
  bar.write32(0x60, 1);
  assert.equal(eventfd.drain(), false);
  device.setIrqNone(VFIO_PCI_INTX_IRQ_INDEX, "trigger", 0, 0);
});

test("edu: INTx is unmasked by its resample eventfd, from the event loop", async () => {
  using guest = new SoftwareGuest();
  using device = guest.open();
  using trigger = EventFd.create(guest.ledger);
  using unmask = EventFd.create(guest.ledger);
  device.setIrqEventfds(VFIO_PCI_INTX_IRQ_INDEX, "trigger", 0, [trigger.fd]);
  device.setIrqEventfds(VFIO_PCI_INTX_IRQ_INDEX, "unmask", 0, [unmask.fd]);
  access(device, 0).write32(0x60, 1);
  assert.equal(trigger.drain(), true);
  unmask.signal();
  const deadline = Date.now() + 5000;
  let fired = false;
  while (!fired && Date.now() < deadline) {
    await new Promise((resolve) => setTimeout(resolve, 1));
    fired = trigger.drain();
  }
  assert.equal(fired, true);
});

test("edu: one interrupt mode at a time; MSI sends a message for each new interrupt", () => {
  using guest = new SoftwareGuest();
  using device = guest.open();
  using eventfd = EventFd.create(guest.ledger);
  const bar = access(device, 0);
  device.setIrqEventfds(VFIO_PCI_INTX_IRQ_INDEX, "trigger", 0, [eventfd.fd]);
  const armMsi = () => device.setIrqEventfds(VFIO_PCI_MSI_IRQ_INDEX, "trigger", 0, [eventfd.fd]);
  assert.throws(armMsi, (error) => errnoOf(error) === "EINVAL");
  device.setIrqNone(VFIO_PCI_INTX_IRQ_INDEX, "trigger", 0, 0);
  assert.equal(armMsi(), 0);
  bar.write32(0x60, 1);
  assert.equal(eventfd.drain(), true);
  bar.write32(0x60, 1);
  assert.equal(eventfd.drain(), false);
  // Loopback, as a test of the wiring: DATA_NONE on a vector that is on.
  device.setIrqNone(VFIO_PCI_MSI_IRQ_INDEX, "trigger", 0, 1);
  assert.equal(eventfd.drain(), true);
});

test("edu: DMA reaches guest RAM through the container, in 28 bits, with bus mastering on", () => {
  using guest = new SoftwareGuest();
  for (const { region } of guest.root.placed) guest.root.remove(region);
  using memory = GuestRam.create(nativeSyscalls(), { name: "pc.ram", size: 0x10_0000 });
  using device = guest.open();
  guest.root.add(memory.region(), 0n);
  const bytes = new Uint8Array(memory.buffer, memory.byteOffset, memory.size);
  bytes.set([1, 2, 3, 4], 0x2000);
  const bar = access(device, 0);
  const move = (source: bigint, destination: bigint, command: number) => {
    bar.write64(0x80, source);
    bar.write64(0x88, destination);
    bar.write64(0x90, 4n);
    bar.write64(0x98, BigInt(command));
  };
  const buffer = BigInt(EDU_BUFFER);
  const { dma } = guest.host.devices[0]!;
  move(0x2000n, buffer, 1);
  assert.equal(dma.faults, 1, "no bus mastering, no DMA");
  access(device, VFIO_PCI_CONFIG_REGION_INDEX).write32(PCI_COMMAND, 6);
  move(0x2000n, buffer, 1);
  move(buffer, 0x1000_3000n, 3);
  assert.deepEqual([...bytes.subarray(0x3000, 0x3004)], [1, 2, 3, 4], "28 bits: 0x10003000");
  assert.equal(dma.faults, 1);
  move(buffer, 0x20_0000n, 3);
  assert.equal(dma.faults, 2, "nothing is mapped there");
});

test("MSI-X: vectors are added while enabled only where the host says so", () => {
  for (const dynamic of [false, true]) {
    using guest = new SoftwareGuest();
    guest.host.addDevice(msixTestSpec(MSIX, { vectors: 4, dynamic }), 9);
    using device = guest.open(MSIX);
    using eventfd = EventFd.create(guest.ledger);
    const arm = (start: number, fds: number[]) =>
      device.setIrqEventfds(VFIO_PCI_MSIX_IRQ_INDEX, "trigger", start, fds);
    assert.equal(arm(0, [-1]), 0);
    if (dynamic) assert.equal(arm(3, [eventfd.fd]), 0);
    else assert.throws(() => arm(3, [eventfd.fd]), { code: "EINVAL" });
    assert.throws(() => arm(4, [eventfd.fd]), { code: "EINVAL" });
    access(device, 0).write32(MSIX_TEST_FIRE, 3);
    assert.equal(eventfd.drain(), dynamic);
    assert.equal(access(device, 4).read32(0x1000), 0xffff_ffff, "the table is the host's");
  }
});

test("ERR and REQ signal their eventfd until it is taken back", () => {
  using guest = new SoftwareGuest();
  const made = guest.host.devices[0]!;
  using device = guest.open();
  using eventfd = EventFd.create(guest.ledger);
  for (const index of [VFIO_PCI_ERR_IRQ_INDEX, VFIO_PCI_REQ_IRQ_INDEX] as const) {
    assert.equal(made.irqs.notify(index), false);
    device.setIrqEventfds(index, "trigger", 0, [eventfd.fd]);
    assert.equal(made.irqs.notify(index), true);
    assert.equal(eventfd.drain(), true);
    device.setIrqEventfds(index, "trigger", 0, [-1]);
    assert.equal(made.irqs.notify(index), false);
  }
});

test("a conventional device has 256 bytes of config space, and before Linux 7 no ERR", () => {
  using guest = new SoftwareGuest();
  guest.host.addDevice({ ...eduSpec(MSIX), configSize: 256, reportsErrors: false }, 9);
  using device = guest.open(MSIX);
  assert.throws(() => device.irqInfo(VFIO_PCI_ERR_IRQ_INDEX), { code: "EINVAL" });
  assert.equal(device.regionInfo(VFIO_PCI_CONFIG_REGION_INDEX).size, 256);
});

test("config space: BARs show host addresses, size themselves, and the rest keeps its bits", () => {
  using guest = new SoftwareGuest();
  guest.host.addDevice({ ...msixTestSpec(MSIX), rom: Uint8Array.of(0x55, 0xaa) }, 9);
  using device = guest.open(MSIX);
  const config = access(device, VFIO_PCI_CONFIG_REGION_INDEX);
  assert.notEqual(config.read32(PCI_BASE_ADDRESS_0) & ~0xf, 0);
  const size = (at: number) => {
    config.write32(at, 0xffff_ffff);
    return config.read32(at);
  };
  assert.equal(size(PCI_BASE_ADDRESS_0), 0xffff_f000);
  assert.equal(size(PCI_BASE_ADDRESS_0 + 8), 0xffff_000c, "64 bits, prefetchable");
  assert.equal(size(PCI_BASE_ADDRESS_0 + 12), 0xffff_ffff);
  assert.equal(size(PCI_BASE_ADDRESS_0 + 4), 0);
  assert.equal(size(PCI_ROM_ADDRESS), 0xffff_f801);
  assert.equal(size(0), 0x10f0_1b36, "the IDs are read-only");
  const rom = device.regionInfo(VFIO_PCI_ROM_REGION_INDEX);
  const image = new Uint8Array(2);
  device.readRegion(rom, 0, image);
  assert.deepEqual([rom.size, ...image], [2048, 0x55, 0xaa]);
});

test("config space: the FLR bit of Device Control resets the function alone", () => {
  using guest = new SoftwareGuest();
  using device = guest.open();
  const made = guest.host.devices[0]!;
  const config = access(device, VFIO_PCI_CONFIG_REGION_INDEX);
  config.write32(PCI_COMMAND, 6);
  const express = [...made.config.keys()].find((at) => {
    return at >= 0x40 && at % 4 === 0 && made.config[at] === 0x10;
  })!;
  config.write32(express + 8, 0x8000);
  assert.equal(made.resetCount, 1);
  assert.equal(config.read32(PCI_COMMAND) & 6, 6);
});

test("a device that vanished reads as all ones and takes no write", () => {
  using guest = new SoftwareGuest();
  using device = guest.open();
  guest.host.devices[0]!.vanished = true;
  assert.equal(access(device, VFIO_PCI_CONFIG_REGION_INDEX).read32(0), 0xffff_ffff);
  access(device, 0).write32(0x60, 1);
  assert.equal(access(device, 0).read32(0x24), 0xffff_ffff);
});

test("a device that answers late makes its user wait, and answers the same", () => {
  using guest = new SoftwareGuest();
  using device = guest.open();
  guest.host.devices[0]!.latencyMs = 20;
  const began = performance.now();
  assert.equal(access(device, VFIO_PCI_CONFIG_REGION_INDEX).read32(0), 0x11e8_1234);
  assert(performance.now() - began >= 19);
  guest.host.devices[0]!.latencyMs = 0;
});

test("hot reset: the list of dependents, and proof of owning their groups", () => {
  using guest = new SoftwareGuest();
  guest.host.addDevice(eduSpec("0000:01:00.1"), 9);
  using device = guest.open(EDU);
  const ask = (room: number) => {
    const argsz = vfio_pci_hot_reset_info.size + room * vfio_pci_dependent_device.size;
    const arg = new Uint8Array(argsz);
    arg.set(vfio_pci_hot_reset_info.bytes({ argsz }));
    return { result: device.ioctl(VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, arg), arg };
  };
  const bare = ask(0);
  assert(bare.result < 0);
  assert.equal(vfio_pci_hot_reset_info.at(bare.arg).count, 2);
  const { arg, result } = ask(2);
  assert.equal(result, 0);
  const second = vfio_pci_dependent_device.at(arg, 12 + 8);
  assert.deepEqual([second.group_id, second.bus, second.devfn], [9, 1, 1]);
  const reset = (...fds: number[]) => {
    const argsz = vfio_pci_hot_reset.size + 4 * fds.length;
    const request = new Uint8Array(argsz);
    request.set(vfio_pci_hot_reset.bytes({ argsz, count: fds.length }));
    new Int32Array(request.buffer, vfio_pci_hot_reset.size).set(fds);
    return device.ioctl(VFIO_DEVICE_PCI_HOT_RESET, request);
  };
  const own = guest.state.groups[0]!.fd;
  assert(reset() < 0, "a group is needed");
  assert(reset(own) < 0, "the other group is not held");
  using _other = guest.open("0000:01:00.1");
  assert.equal(reset(own, guest.state.groups[0]!.fd), 0);
  assert.deepEqual(
    guest.host.devices.map(({ name, resetCount }) => `${name} ${resetCount}`),
    ["0000:01:00.0 1", "0000:02:00.0 0", "0000:01:00.1 1"],
  );
});

test("the software host passes everything else through to the kernel", () => {
  using guest = new SoftwareGuest();
  const fd = guest.ledger.open("/proc/self/stat", 0);
  const byte = new Uint8Array(1);
  assert.equal(guest.ledger.pread(fd, byte, 0), 1);
  guest.ledger.close(fd);
  assert.deepEqual(guest.ledger.live(), []);
});
