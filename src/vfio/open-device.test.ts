import assert from "node:assert/strict";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { HostTree } from "../host/tree.ts";
import { createAddressSpace } from "../memory/address-space.ts";
import { MemoryRegion } from "../memory/region.ts";
import { eduSpec } from "../sim/devices/edu.ts";
import { SoftwareHost } from "../sim/host.ts";
import { failEachCall, Ledger } from "../sim/ledger.ts";
import { nativeSyscalls } from "../sys/native.ts";
import { ViaductError } from "../sys/sys-error.ts";
import type { Syscalls } from "../sys/syscalls.ts";
import { openKernelDevice } from "./open-device.ts";
import { VfioState } from "./state.ts";

const BDF = "0000:01:00.0";
const RAM = { hva: 0x7f00_0000_0000 };

/** A guest with 1 MiB of RAM at 0 and a page of ROM at 0xfffff000. */
function guestMemory() {
  const root = new MemoryRegion("system", "container", 1n << 64n);
  root.add(new MemoryRegion("pc.ram", "ram", 0x10_0000n, { memory: RAM }), 0n);
  root.add(new MemoryRegion("pc.rom", "rom", 0x1000n, { memory: RAM }), 0xffff_f000n);
  return createAddressSpace("memory", root);
}

function hostWithEdu(iommu = {}): SoftwareHost {
  const host = new SoftwareHost(nativeSyscalls(), { pins: false, ...iommu });
  host.addDevice(eduSpec(BDF), 7);
  return host;
}

function stateOn(sys: Syscalls, host: SoftwareHost, reports: string[] = []): VfioState {
  return new VfioState(sys, {
    tree: HostTree.mounted(host.roots),
    report: (line) => void reports.push(line),
  });
}

/** The refusal of opening the edu device, after `change` to its host. */
function refusal(host: SoftwareHost, sys: Syscalls = host): ViaductError {
  try {
    const state = stateOn(sys, host);
    openKernelDevice(state, guestMemory(), { host: "1:0.0" });
  } catch (error) {
    assert(error instanceof ViaductError, String(error));
    return error;
  }
  assert.fail("the device was opened");
}

test("openKernelDevice attaches a device, maps the guest's memory, and gives all back", () => {
  using host = hostWithEdu();
  const ledger = new Ledger(host);
  const state = stateOn(ledger, host);
  const { device, group, node } = openKernelDevice(state, guestMemory(), { host: "01:00.0" });
  assert.deepEqual([node.name, group.number, node.isMediated], [BDF, 7, false]);
  assert.equal(device.info.numRegions, 9);
  assert.deepEqual(host.describe(), [
    "group 7 open",
    "container open with groups 7",
    "DMA map 0+1048576",
    "DMA map 4294963200+4096",
    `${BDF} open`,
  ]);
  device[Symbol.dispose]();
  device[Symbol.dispose]();
  assert.deepEqual(ledger.live(), []);
  assert.deepEqual(host.describe(), []);
  assert.deepEqual([state.groups, state.spaces], [[], []]);
});

test("openKernelDevice leaves the host as it was, whichever system call fails", () => {
  const hosts: SoftwareHost[] = [];
  const failed = failEachCall(
    () => {
      const host = hostWithEdu();
      hosts.push(host);
      return host;
    },
    (ledger) => {
      const state = stateOn(ledger, hosts.at(-1)!);
      return openKernelDevice(state, guestMemory(), { host: BDF }).device;
    },
    (error, call) => {
      const where = `${call.name} ${call.detail}`;
      assert(error instanceof ViaductError, `${where}: ${error}`);
      assert.match(error.message, /^vfio 0000:01:00\.0: /, where);
      assert.deepEqual(hosts.at(-1)?.describe(), [], where);
    },
  );
  // Opening, status, container, version, type, joining, type, info, two maps, device, its info.
  assert(failed >= 12, `${failed} calls`);
  for (const host of hosts) {
    assert.deepEqual(host.describe(), []);
    host[Symbol.dispose]();
  }
});

test("openKernelDevice: no such device", () => {
  using host = new SoftwareHost(nativeSyscalls(), { pins: false });
  const error = refusal(host);
  assert.equal(error.code, "DEVICE_NOT_FOUND");
  assert.match(error.message, /^vfio 0000:01:00\.0: no such host device: .*No such file/);
});

test("openKernelDevice: bad BDF, and no device named at all", () => {
  using host = hostWithEdu();
  for (const request of [{ host: "01:20.0" }, { host: "01:00.8" }, { host: "nonsense" }, {}]) {
    assert.throws(
      () => openKernelDevice(stateOn(host, host), guestMemory(), request),
      (error) => error instanceof ViaductError && error.code === "USAGE" && !!error.nextStep,
    );
  }
});

test("openKernelDevice: no IOMMU", () => {
  using host = new SoftwareHost(nativeSyscalls(), { pins: false });
  mkdirSync(join(host.roots.sysfs, "bus/pci/devices", BDF), { recursive: true });
  const error = refusal(host);
  assert.equal(error.code, "NO_IOMMU_GROUP");
  assert.match(error.message, /no iommu_group found: No such file or directory/);
  assert.match(error.nextStep ?? "", /intel_iommu=on/);
});

test("openKernelDevice: device not bound", () => {
  using host = hostWithEdu();
  host.bindDriver(host.devices[0]!, undefined);
  const error = refusal(host);
  assert.equal(error.code, "DEVICE_NOT_BOUND");
  assert.match(error.message, /failed to open \/dev\/vfio\/7: No such file or directory/);
  assert.match(error.nextStep ?? "", /0000:01:00\.0 is bound to no driver/);
});

test("openKernelDevice: a host without VFIO has no node for any group", () => {
  using host = hostWithEdu();
  const missing: Syscalls = Object.create(host, {
    open: {
      value: (path: string) =>
        path.startsWith("/dev/vfio/") ? -constants.errno.ENOENT : host.open(path, 0),
    },
  });
  const error = refusal(host, missing);
  assert.equal(error.code, "VFIO_MISSING");
  assert.match(error.message, /failed to open \/dev\/vfio\/7: .*\/dev\/vfio\/vfio: No such file/);
  assert.match(error.nextStep ?? "", /modprobe -a vfio-pci/);
});

test("openKernelDevice: another device of the group keeps it from being viable", () => {
  using host = hostWithEdu();
  const sibling = host.addDevice({ ...eduSpec("0000:01:00.1"), driver: "snd_hda_intel" }, 7);
  const error = refusal(host);
  assert.equal(error.code, "GROUP_NOT_VIABLE");
  assert.match(error.message, /group 7 is not viable/);
  assert.match(
    error.nextStep ?? "",
    /Please ensure all devices within the iommu_group are bound to their vfio bus driver\./,
  );
  assert.match(error.nextStep ?? "", /0000:01:00\.1 is bound to snd_hda_intel/);
  host.bindDriver(sibling, undefined);
  openKernelDevice(stateOn(host, host), guestMemory(), { host: BDF }).device[Symbol.dispose]();
});

test("openKernelDevice: the device of a viable group is not bound to VFIO", () => {
  using host = hostWithEdu();
  host.addDevice(eduSpec("0000:01:00.1"), 7);
  host.bindDriver(host.devices[0]!, "pci-stub");
  const error = refusal(host);
  assert.equal(error.code, "DEVICE_NOT_BOUND");
  assert.match(error.message, /error getting device from group 7: No such device/);
  assert.match(
    error.nextStep ?? "",
    /Verify all devices in group 7 are bound to vfio-<bus> or pci-stub and not already in/,
  );
});

test("openKernelDevice: busy group, and who holds it", () => {
  using host = hostWithEdu();
  const other = stateOn(host, host);
  using _held = openKernelDevice(other, guestMemory(), { host: BDF }).device;
  const process = join(host.roots.proc, "4711");
  mkdirSync(join(process, "fd"), { recursive: true });
  writeFileSync(join(process, "comm"), "qemu-system-x86\n");
  symlinkSync("/dev/vfio/7", join(process, "fd/23"));
  const error = refusal(host);
  assert.equal(error.code, "GROUP_BUSY");
  assert.match(error.message, /failed to open \/dev\/vfio\/7: Device or resource busy/);
  assert.match(error.nextStep ?? "", /held by qemu-system-x86 \(pid 4711\)/);
});

test("openKernelDevice: no permission", () => {
  using host = hostWithEdu();
  const ledger = new Ledger(host);
  ledger.failAt(1, "EACCES");
  const error = refusal(host, ledger);
  assert.equal(error.code, "NO_PERMISSION");
  assert.match(error.message, /failed to open \/dev\/vfio\/7: Permission denied/);
});

test("openKernelDevice: the IOMMU is refused", () => {
  using host = hostWithEdu({ setIommuFails: new Map([[3, "EPERM"]]) });
  const error = refusal(host);
  assert.equal(error.code, "IOMMU_REFUSED");
  assert.match(error.message, /Failed to set iommu for container: Operation not permitted/);
  assert.match(error.nextStep ?? "", /allow_unsafe_interrupts/);
});

test("openKernelDevice: RLIMIT_MEMLOCK too low names the limit, the need and the command", () => {
  using host = hostWithEdu({ memlock: 0x8_0000n });
  const error = refusal(host);
  assert.equal(error.code, "MEMLOCK_LIMIT");
  assert.match(error.message, /pc\.ram: Cannot map 0x100000 bytes at IOVA 0x0/);
  assert.match(error.message, /VFIO_MAP_DMA failed: Cannot allocate memory/);
  assert.match(error.message, /RLIMIT_MEMLOCK is 524288 bytes \(0\.5 MiB\)/);
  assert.match(error.message, /needs 1052672 bytes/);
  assert.match(error.nextStep ?? "", /prlimit --pid \$\$ --memlock=1052672:1052672/);
});

test("openKernelDevice: the same device twice", () => {
  using host = hostWithEdu();
  const state = stateOn(host, host);
  const memory = guestMemory();
  using _first = openKernelDevice(state, memory, { host: BDF }).device;
  assert.throws(
    () => openKernelDevice(state, memory, { host: BDF }),
    /vfio 0000:01:00\.0: device is already attached/,
  );
});

test("openKernelDevice passes a VF token, and refuses x-balloon-allowed on real hardware", () => {
  using host = hostWithEdu();
  const token = "7d9ab9a4-9e5c-4a8b-a2a1-1de2eadf7e5a";
  host.devices[0]!.vfToken = token;
  assert.match(refusal(host).message, /Permission denied/);
  const state = stateOn(host, host);
  openKernelDevice(state, guestMemory(), { host: BDF, vfToken: token }).device[Symbol.dispose]();
  assert.throws(
    () => openKernelDevice(state, guestMemory(), { host: BDF, balloonAllowed: true }),
    /x-balloon-allowed only potentially compatible with mdev devices/,
  );
});

test("openKernelDevice opens a mediated device by its sysfs path", () => {
  const mediated = "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001";
  using host = new SoftwareHost(nativeSyscalls(), { pins: false });
  host.addDevice({ ...eduSpec(BDF), mediated }, 9);
  const ledger = new Ledger(host);
  const sysfsdev = join(host.roots.sysfs, "bus/mdev/devices", mediated);
  const address = { sysfsdev, balloonAllowed: true };
  const { device, node } = openKernelDevice(stateOn(ledger, host), guestMemory(), address);
  assert.deepEqual([node.name, node.groupNumber, node.isMediated], [mediated, 9, true]);
  assert.deepEqual([device.name, device.info.numIrqs], [mediated, 5]);
  assert.throws(() => device.irqInfo(3), /EINVAL|Invalid argument/);
  device[Symbol.dispose]();
  assert.deepEqual(ledger.live(), []);
  assert.deepEqual(host.describe(), []);
});
