import assert from "node:assert/strict";
import { test } from "node:test";
import { EDU, ram, SECOND, SoftwareGuest } from "../../test/unit/software-guest.ts";
import {
  VFIO_CHECK_EXTENSION,
  VFIO_GROUP_SET_CONTAINER,
  VFIO_GROUP_UNSET_CONTAINER,
  VFIO_SET_IOMMU,
} from "../abi/vfio.ts";
import { VFIO_IOMMU_MAP_DMA, VFIO_IOMMU_UNMAP_DMA } from "../abi/vfio-iommu.ts";
import { createAddressSpace } from "../memory/address-space.ts";
import { MemoryRegion } from "../memory/region.ts";
import { ViaductError } from "../sys/sys-error.ts";
import type { Bytes } from "../sys/syscalls.ts";
import { Group } from "./group.ts";

/** The arguments of the container's ioctls, in order. */
function watchIoctls(guest: SoftwareGuest, request: number): number[] {
  const seen: number[] = [];
  const { host } = guest;
  const ioctl = host.ioctl.bind(host);
  host.ioctl = (fd: number, number: number, arg: number | Bytes) => {
    if (number === request) seen.push(arg as number);
    return ioctl(fd, number, arg);
  };
  return seen;
}

test("spec T1: IOMMU types are asked for in the order 3, 1, 7, 2", () => {
  using guest = new SoftwareGuest({ types: [] });
  const asked = watchIoctls(guest, VFIO_CHECK_EXTENSION);
  assert.throws(() => guest.open(), /No available IOMMU models/);
  assert.deepEqual(asked, [3, 1, 7, 2]);
  assert.deepEqual(guest.ledger.live(), []);
});

test("spec T1: type 1 version 1 is taken where version 2 is missing", () => {
  using guest = new SoftwareGuest({ types: [1] });
  using _device = guest.open();
  assert.equal(guest.host.containers[0]?.type, 1);
});

test("spec T1: sPAPR version 2 falls back to version 1 once, when SET_IOMMU fails", () => {
  const fails = (...types: number[]) => new Map(types.map((type) => [type, "EIO"]));
  const cases = [
    { types: [7, 2], setIommuFails: fails(7), set: [7, 2] },
    { types: [7, 2], setIommuFails: fails(7, 2), set: [7, 2] },
    // Any other failure is final.
    { types: [3, 1], setIommuFails: fails(3), set: [3] },
  ];
  for (const { types, setIommuFails, set } of cases) {
    using guest = new SoftwareGuest({ types, setIommuFails });
    const tried = watchIoctls(guest, VFIO_SET_IOMMU);
    assert.throws(() => guest.open(), ViaductError);
    assert.deepEqual(tried, set);
    assert.deepEqual(guest.host.describe(), []);
  }
});

test("spec T2: a second group of the address space joins the container that is there", () => {
  using guest = new SoftwareGuest();
  using first = guest.open(EDU);
  guest.ledger.clearCalls();
  using second = guest.open(SECOND);
  assert.equal(guest.host.containers.length, 1);
  assert.equal(guest.calls(VFIO_GROUP_SET_CONTAINER), 1);
  assert.equal(guest.calls(VFIO_IOMMU_MAP_DMA), 0);
  assert.equal(guest.kvm.filter((line) => line.startsWith("add")).length, 2);
  assert.equal(guest.state.discards.count("disableUncoordinated"), 2);
  first[Symbol.dispose]();
  assert.deepEqual(guest.maps, ["0+100000"]);
  assert.equal(guest.state.discards.count("disableUncoordinated"), 1);
  second[Symbol.dispose]();
  assert.deepEqual(guest.host.describe(), []);
  assert.deepEqual(guest.ledger.live(), []);
});

test("spec T2: a container that refuses the group is passed over, and a new one made", () => {
  using guest = new SoftwareGuest();
  using _first = guest.open(EDU);
  // The group's open and status, then SET_CONTAINER.
  guest.ledger.failAt(3, "EINVAL");
  using _second = guest.open(SECOND);
  assert.equal(guest.host.containers.length, 2);
  assert.equal(guest.state.spaces[0]?.containers.length, 2);
});

test("spec T3: a group is refused to a second address space", () => {
  using guest = new SoftwareGuest();
  guest.host.addDevice({ ...guest.host.devices[0]!.spec, address: "0000:01:00.1" }, 7);
  using device = guest.open(EDU);
  const other = createAddressSpace("other", new MemoryRegion("other", "container", 1n << 64n));
  assert.throws(
    () => guest.open("0000:01:00.1", other),
    (error) =>
      error instanceof ViaductError &&
      error.code === "GROUP_IN_OTHER_ADDRESS_SPACE" &&
      /group 7 used in multiple address spaces/.test(error.message),
  );
  using sibling = guest.open("0000:01:00.1");
  device[Symbol.dispose]();
  assert.equal(guest.state.groups.length, 1, "the group stays while a device is left");
  sibling[Symbol.dispose]();
  assert.deepEqual(guest.state.groups, []);
});

test("spec T4: the last group: listener, UNSET_CONTAINER, descriptors, reset handler", () => {
  let handlers = 0;
  using guest = new SoftwareGuest(
    {},
    {
      onMachineReset: () => {
        handlers++;
        return { [Symbol.dispose]: () => void handlers-- };
      },
    },
  );
  const first = guest.open(EDU);
  const second = guest.open(SECOND);
  assert.equal(handlers, 1);
  first[Symbol.dispose]();
  assert.equal(handlers, 1);
  guest.ledger.clearCalls();
  second[Symbol.dispose]();
  assert.equal(handlers, 0);
  const requests = guest.ledger.calls.map(({ name, detail }) => detail.split(" 0x")[1] ?? name);
  assert.deepEqual(requests, [
    "close", // The device.
    VFIO_IOMMU_UNMAP_DMA.toString(16),
    VFIO_GROUP_UNSET_CONTAINER.toString(16),
    "close", // The container.
    "close", // The group.
  ]);
  assert.deepEqual(guest.ledger.live(), []);
});

test("a second machine finds the device free after the first one left", () => {
  using guest = new SoftwareGuest();
  for (let run = 0; run < 3; run++) {
    using _device = guest.open();
    assert.deepEqual(guest.maps, ["0+100000"]);
  }
  assert.deepEqual(guest.host.describe(), []);
});

test("a failure to leave is reported, and everything else is released", () => {
  using guest = new SoftwareGuest();
  const device = guest.open();
  guest.ledger.failAt(3, "EIO"); // Device closed, unmapped, then UNSET_CONTAINER.
  device[Symbol.dispose]();
  assert.match(guest.reports[0] ?? "", /error disconnecting group 7 from container/);
  assert.deepEqual(guest.ledger.live(), []);
});

test("leaving releases everything, whichever system call fails on the way", () => {
  for (let n = 1, done = false; !done; n++) {
    using guest = new SoftwareGuest();
    const device = guest.open();
    guest.ledger.clearCalls();
    guest.ledger.failAt(n, "EIO");
    device[Symbol.dispose]();
    done = guest.ledger.stopFailing();
    assert(n < 20);
    assert.deepEqual(guest.ledger.live(), [], `call ${n}`);
    assert.deepEqual(guest.host.describe(), [], `call ${n}`);
    assert.deepEqual([guest.state.groups, guest.state.spaces], [[], []]);
  }
});

test("joining a container that is there leaves nothing, whichever system call fails", () => {
  for (let n = 1, done = false; !done; n++) {
    using guest = new SoftwareGuest();
    using _first = guest.open(EDU);
    const before = [...guest.host.describe(), ...guest.ledger.live()];
    guest.ledger.failAt(n, "EIO");
    try {
      guest.open(SECOND)[Symbol.dispose]();
    } catch (error) {
      assert.match(String(error), /vfio 0000:02:00\.0: /);
    }
    done = guest.ledger.stopFailing();
    assert(n < 40);
    assert.deepEqual([...guest.host.describe(), ...guest.ledger.live()], before, `call ${n}`);
  }
});

test("spec T27: a first device decides about discarding, later ones must agree", () => {
  using guest = new SoftwareGuest();
  guest.host.addDevice({ ...guest.host.devices[0]!.spec, address: "0000:01:00.1" }, 7);
  using device = guest.open(EDU);
  const { groups, discards } = guest.state;
  assert.throws(
    () => groups[0]?.openDevice("0000:01:00.1", { discardAllowed: true }),
    /Inconsistent setting of support for discarding RAM/,
  );
  assert.equal(groups[0]?.devices.length, 1);
  assert.equal(discards.count("disableUncoordinated"), 1);
  device[Symbol.dispose]();
  assert.equal(discards.isDisabled, false);
});

test("spec T27: a first device that allows discarding releases the group's hold at once", () => {
  using guest = new SoftwareGuest();
  const group = Group.get(guest.state, 7, guest.memory);
  assert.equal(guest.state.discards.isDisabled, true);
  const device = group.openDevice(EDU, { discardAllowed: true });
  assert.deepEqual([group.discardAllowed, guest.state.discards.isDisabled], [true, false]);
  device[Symbol.dispose]();
  assert.equal(guest.state.discards.count("disableUncoordinated"), 0, "released once only");
});

test("a machine that requires discarding refuses devices", () => {
  using guest = new SoftwareGuest();
  using _required = guest.state.discards.request("require");
  assert.throws(() => guest.open(EDU), /Cannot set discarding of RAM broken/);
  assert.deepEqual(guest.ledger.live(), []);
  assert.deepEqual(guest.host.describe(), []);
});

test("memory that comes while devices run is mapped, and unmapped when it goes", () => {
  using guest = new SoftwareGuest();
  using _device = guest.open();
  const dimm = ram("dimm", 0x20_0000n);
  guest.root.add(dimm, 0x1_0000_0000n);
  assert.deepEqual(guest.maps, ["0+100000", "100000000+200000"]);
  guest.root.remove(dimm);
  assert.deepEqual(guest.maps, ["0+100000"]);
});
