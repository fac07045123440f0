/** The scan of a host, its groups, and how people name devices. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { checkFree } from "../../../src/host/binding.ts";
import { type NumberStyle, subsystemText } from "../../../src/host/device-text.ts";
import { findDevice, findDevices, idFilter, slotFilter } from "../../../src/host/find-device.ts";
import { Host, verdictOf } from "../../../src/host/host.ts";
import { openersOfDevice, vfioOpeners } from "../../../src/host/openers.ts";
import { parseResources } from "../../../src/host/pci-device.ts";
import { PciIds } from "../../../src/host/pci-ids.ts";
import { DISK, GPU, GPU_AUDIO, healthyHost, NIC } from "./built-host.ts";

const host = () => Host.scan(healthyHost().tree());

test("findDevices takes every form of an address", () => {
  const forms = ["01:00.0", "0000:01:00.0", "pci_0000_01_00_0", "1:0.0"];
  for (const form of forms) assert.equal(findDevice(host(), form).address, GPU, form);
  assert.equal(findDevice(host(), "eth0").address, NIC);
  for (const form of ["nvme0", "/dev/nvme0n1", "/dev/nvme0n1p2"]) {
    assert.equal(findDevice(host(), form).address, DISK, form);
  }
  const all = findDevices(host(), "01:00").map((device) => device.address);
  assert.deepEqual(all, [GPU, GPU_AUDIO]);
});

test("findDevice names what it cannot choose or find", () => {
  assert.throws(() => findDevice(host(), "01:00"), /names 2 functions/);
  for (const text of ["09:00.0", "eth9", "", "..", "/etc/passwd", "00:20.0", "\u0000"]) {
    assert.throws(() => findDevices(host(), text), { code: "DEVICE_NOT_FOUND" }, text);
  }
});

test("lspci's filters select as lspci does", () => {
  const select = (filter: ReturnType<typeof slotFilter>) =>
    host()
      .devices.filter(filter!)
      .map((device) => device.address);
  assert.deepEqual(select(slotFilter("01:")), [GPU, GPU_AUDIO]);
  assert.deepEqual(select(slotFilter(".1")), [GPU_AUDIO]);
  assert.deepEqual(select(slotFilter("0000:02:*.*")), [NIC]);
  assert.deepEqual(select(idFilter("10de:")), [GPU, GPU_AUDIO]);
  assert.deepEqual(select(idFilter("::0108")), [DISK]);
  assert.deepEqual(select(idFilter("::03xx")), [GPU]);
  assert.equal(slotFilter("nonsense"), undefined);
});

test("a group is viable when no member's driver does DMA of its own", () => {
  const group = host().groups.get(14)!;
  assert.equal(verdictOf(group), "viable");
  const built = healthyHost();
  built.file(`${built.folderOf(GPU_AUDIO)}/uevent`, "DRIVER=snd_hda_intel\nPCI_ID=10DE:1AEF\n");
  const shared = Host.scan(built.tree()).groups.get(14)!;
  assert.equal(verdictOf(shared), "in use");
  assert.deepEqual(
    shared.blockers.map(({ name }) => name),
    [GPU_AUDIO],
  );
  assert.equal(verdictOf(host().groups.get(1)!), "unbound", "pcieport is harmless");
});

test("vfioOpeners names the processes, and counts those it cannot look into", () => {
  const built = healthyHost()
    .process(812, "qemu-system-x86", "/dev/vfio/14", "/dev/vfio/vfio", "/dev/null")
    .denied("/proc/900/fd");
  assert.deepEqual(vfioOpeners(built.tree()), {
    found: [{ pid: 812, name: "qemu-system-x86", node: "/dev/vfio/14" }],
    hidden: 1,
  });
});

test("parseResources reads BARs and leaves out what is no resource", () => {
  const text = [
    "0x00000000f6000000 0x00000000f6ffffff 0x0000000000040200",
    "0x000000e000000000 0x000000e00fffffff 0x000000000014220c",
    "0x0000000000000000 0x0000000000000000 0x0000000000000000",
    "0x0000000000000000 0x0000000000ffffff 0x0000000020040200",
    "0x000000000000e000 0x000000000000e07f 0x0000000000040101",
    "garbage",
  ].join("\n");
  assert.deepEqual(
    parseResources(text).map(({ index, kind, size, unassigned }) => [
      index,
      kind,
      size,
      unassigned,
    ]),
    [
      [0, "mem32", 0x1000000n, false],
      [1, "mem64", 0x10000000n, false],
      [3, "mem32", 0x1000000n, true],
      [4, "io", 0x80n, false],
    ],
  );
});

test("a tree of links that loop, and of garbage, is read without an error", () => {
  const built = healthyHost();
  built.link("/sys/bus/pci/devices/0000:05:00.0", "0000:05:00.1");
  built.link("/sys/bus/pci/devices/0000:05:00.1", "0000:05:00.0");
  built.file(`${built.folderOf(NIC)}/uevent`, new Uint8Array([0xff, 0, 0x80, 10, 61, 10]));
  built.file(`${built.folderOf(NIC)}/resource`, new Uint8Array(300).fill(0xfe));
  built.link(`${built.folderOf(NIC)}/iommu_group`, "/nowhere/abc");
  const scanned = Host.scan(built.tree());
  for (const device of scanned.devices) {
    void [device.vendor, device.driver, device.group, device.resources, device.sriov];
  }
  assert.equal(scanned.device(NIC)?.group, undefined);
  assert.equal(scanned.device("0000:05:00.0")?.vendor, 0);
});

test("openersOfDevice knows the group's node, with and without IOMMU, and the device's own", () => {
  const built = healthyHost();
  built.folder(`${built.folderOf(GPU)}/vfio-dev/vfio3`);
  built.process(71, "qemu", "/dev/vfio/14").process(72, "app", "/dev/vfio/devices/vfio3");
  built.process(73, "dpdk", "/dev/vfio/noiommu-14").process(74, "other", "/dev/vfio/15");
  const scanned = Host.scan(built.tree());
  const open = vfioOpeners(scanned.tree);
  const pids = openersOfDevice(open, scanned.device(GPU)!).map(({ pid }) => pid);
  assert.deepEqual(pids, [71, 72, 73]);
  assert.throws(() => checkFree(scanned, [scanned.device(GPU)!]), /devices\/vfio3 is open in app/);
});

test("subsystemText names a board under its device, or as the device of its numbers", () => {
  const ids = new PciIds("10de  NVIDIA\n\t2204  GA102\n\t\t1458 403b  Gaming OC\n1458  Gigabyte");
  const device = host().device(GPU)!;
  const name = (vendor: number, id: number, style: NumberStyle) =>
    subsystemText(device, ids, { vendor, device: id }, style);
  assert.equal(name(0x1458, 0x403b, 0), "Gigabyte Gaming OC");
  assert.equal(name(0x1458, 0x403b, 2), "Gigabyte Gaming OC [1458:403b]");
  assert.equal(name(0x1458, 0x1234, 0), "Gigabyte Device 1234");
  assert.equal(name(0x1458, 0x1234, 2), "Gigabyte Device [1458:1234]");
  assert.equal(name(0x10de, 0x2204, 0), "NVIDIA GA102");
  assert.equal(name(0x1af4, 0x1100, 2), "Device [1af4:1100]");
});

test("physicalSlots tells the kernel's names of slots", () => {
  const built = healthyHost().file("/sys/bus/pci/slots/0-3/address", "0000:01:00\n");
  assert.equal(Host.scan(built.tree()).physicalSlots.get("0000:01:00"), "0-3");
});

test("PciIds finds names in their own vendor's block only", () => {
  const ids = new PciIds(
    [
      "# comment",
      "10de  NVIDIA Corporation",
      "\t2204  GA102 [GeForce RTX 3090]",
      "\t\t1458 403b  Gaming OC",
      "\t2205  GA102 [GeForce RTX 3080 20GB]",
      "8086  Intel Corporation",
      "\t1521  I350 Gigabit",
      "C 03  Display controller",
      "\t00  VGA compatible controller",
      "\t\t00  VGA controller",
      "C 0c  Serial bus controller",
    ].join("\n"),
  );
  assert.equal(ids.vendor(0x10de), "NVIDIA Corporation");
  assert.equal(ids.device(0x10de, 0x2204), "GA102 [GeForce RTX 3090]");
  assert.equal(ids.device(0x10de, 0x1521), undefined);
  assert.equal(ids.subsystem(0x10de, 0x2204, 0x1458, 0x403b), "Gaming OC");
  assert.equal(ids.subsystem(0x10de, 0x2205, 0x1458, 0x403b), undefined);
  assert.equal(ids.classOf(0x0300), "VGA compatible controller");
  assert.equal(ids.classOf(0x0380), "Display controller");
  assert.equal(ids.interfaceOf(0x030000), "VGA controller");
  assert.equal(ids.vendor(0xffff), undefined);
});
