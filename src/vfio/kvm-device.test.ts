import assert from "node:assert/strict";
import { accessSync, constants } from "node:fs";
import { test } from "node:test";
import { EDU, SECOND, SoftwareGuest } from "../../test/unit/software-guest.ts";
import { O_RDWR } from "../abi/fcntl.ts";
import { KVM_CREATE_DEVICE, KVM_CREATE_VM } from "../abi/kvm.ts";
import { HostTree } from "../host/tree.ts";
import { OwnedFd } from "../sys/fd.ts";
import { check } from "../sys/sys-error.ts";
import { KvmVfioDevice } from "./kvm-device.ts";
import { openKernelDevice } from "./open-device.ts";
import { VfioState } from "./state.ts";

function hasKvm(): boolean {
  try {
    accessSync("/dev/kvm", constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

test("KvmVfioDevice is made at the first group and told of each", { skip: !hasKvm() }, () => {
  using guest = new SoftwareGuest();
  const { ledger, host } = guest;
  using kvm = OwnedFd.open(ledger, "/dev/kvm", O_RDWR);
  using vm = new OwnedFd(ledger, check(ledger.ioctl(kvm.fd, KVM_CREATE_VM, 0), "KVM_CREATE_VM"));
  using kvmDevice = new KvmVfioDevice(ledger, vm.fd, (line) => void guest.reports.push(line));
  const state = new VfioState(ledger, { tree: HostTree.mounted(host.roots), kvmDevice });
  const open = (bdf: string) => openKernelDevice(state, guest.memory, { host: bdf }).device;
  assert.equal(guest.calls(KVM_CREATE_DEVICE), 0);
  const first = open(EDU);
  const second = open(SECOND);
  assert.equal(guest.calls(KVM_CREATE_DEVICE), 1);
  const known = () => host.describe().filter((line) => line.endsWith("known to KVM"));
  assert.deepEqual(known(), ["group 7 known to KVM", "group 8 known to KVM"]);
  first[Symbol.dispose]();
  second[Symbol.dispose]();
  assert.deepEqual(known(), []);
  assert.deepEqual(guest.reports, []);
  for (const held of [kvmDevice, vm, kvm]) held[Symbol.dispose]();
  assert.deepEqual(ledger.live(), []);
});

test("KvmVfioDevice reports what KVM refuses, and the attach goes on", () => {
  using guest = new SoftwareGuest();
  const reports: string[] = [];
  // A VM that is none: ENOTTY.
  using vm = new OwnedFd(guest.ledger, guest.ledger.memfdCreate("no vm", 0));
  using kvmDevice = new KvmVfioDevice(guest.ledger, vm.fd, (line) => void reports.push(line));
  const state = new VfioState(guest.ledger, {
    tree: HostTree.mounted(guest.host.roots),
    kvmDevice,
  });
  using _device = openKernelDevice(state, guest.memory, { host: EDU }).device;
  assert.match(
    reports[0] ?? "",
    /Failed to add group fd \d+ to KVM VFIO device: KVM_CREATE_DEVICE/,
  );
});
