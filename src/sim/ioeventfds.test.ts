import assert from "node:assert/strict";
import { test } from "node:test";
import { PCI_COMMAND, PCI_COMMAND_MEMORY } from "../abi/pci-regs.ts";
import { VFIO_DEVICE_IOEVENTFD, vfio_device_ioeventfd } from "../abi/vfio.ts";
import { EventFd } from "../sys/event-fd.ts";
import { nativeSyscalls } from "../sys/native.ts";
import { msixTestSpec } from "./devices/msix.ts";
import { refusal } from "./file.ts";
import { SoftwareHost } from "./host.ts";
import { REGION_SHIFT } from "./pci-regions.ts";

test("VFIO_DEVICE_IOEVENTFD: wrong inputs first, then good, as the kernel answers", () => {
  const sys = nativeSyscalls();
  using host = new SoftwareHost(sys);
  const device = host.addDevice(msixTestSpec("0000:01:00.0"), 7);
  device.setConfig(PCI_COMMAND, Uint8Array.of(PCI_COMMAND_MEMORY));
  using eventFd = EventFd.create(sys);
  const good = { argsz: 32, flags: 4, offset: BigInt(2 * REGION_SHIFT + 8), data: 7n };
  const ask = (changes: object = {}) =>
    device.ioctl(
      VFIO_DEVICE_IOEVENTFD,
      vfio_device_ioeventfd.bytes({ ...good, fd: eventFd.fd, ...changes }),
    );
  const table = BigInt(4 * REGION_SHIFT + 0x1000);
  const wrong: object[] = [
    { argsz: 27 },
    { flags: 3 },
    { flags: 0 },
    { flags: 0x14 },
    { fd: -2 },
    { offset: BigInt(7 * REGION_SHIFT) },
    { offset: BigInt(2 * REGION_SHIFT + 0xfffe) },
    { offset: table },
    { offset: table - 2n },
  ];
  for (const changes of wrong) assert.equal(ask(changes), refusal("EINVAL"), String(changes));
  assert.equal(ask({ fd: -1 }), refusal("ENODEV"));
  assert.equal(ask(), 0);
  assert.equal(ask(), refusal("EEXIST"));
  assert.equal(ask({ data: 8n }), 0);
  assert.equal(ask({ data: 8n, fd: -1 }), 0);
  eventFd.signal();
  device.ioeventfds.poll();
  assert.deepEqual(device.barRead(2, 8, 4), new Uint8Array([7, 0, 0, 0]));
  assert.equal(ask({ fd: -1 }), 0);
  assert.deepEqual(device.ioeventfds.describe(), []);
});
