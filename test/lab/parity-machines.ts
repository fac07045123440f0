/**
 * The machines of the parity test: L1 with a device of each kind of the zoo, and two guests, each
 * with half of them, in all the places that a device can have.
 */

import { L1 } from "../../lab/l1.ts";
import { coldDevice, interfaceOf } from "./l1-state.ts";

/** What is in L1: below root ports, below a bridge in one group, and on the root bus. */
const COLD = [
  "nvme,bus=rp0,drive=disk,serial=viaduct",
  "e1000e,bus=rp1",
  "igb,bus=rp2",
  "igb,bus=rp3",
  "qemu-xhci,bus=rp4",
  "intel-hda,bus=rp5",
  "pcie-pci-bridge,id=shared,bus=rp7",
  "e1000,bus=shared,addr=0x1",
  "rtl8139,bus=shared,addr=0x2",
  "edu,bus=shared,addr=0x3",
  "ich9-ahci,bus=pcie.0,addr=0x19",
  "virtio-net-pci,disable-legacy=on,bus=pcie.0,addr=0x1a",
  "edu,bus=pcie.0,addr=0x1b",
  "VGA,bus=pcie.0,addr=0x1c",
];

export function startL1(disk: string): Promise<L1> {
  return L1.start({
    cpus: 2,
    devices: COLD,
    extraArgs: ["-drive", `if=none,id=disk,file=${disk},format=raw,snapshot=on`],
  });
}

/** A guest: what it is given and where, as both monitors spell it, and what drives it. */
export interface ParityGuest {
  readonly name: string;
  readonly devices: readonly string[];
  readonly drivers: readonly string[];
}

const ON_ROOT = "pcie.0";
const MULTIFUNCTION = "multifunction=on";

const device = (driver: string, bus: string, slot: string, more: readonly string[] = []) =>
  [driver, `bus=${bus}`, `addr=${slot}`, ...more].join(",");
const give = (host: string, bus: string, slot: string, ...more: string[]) =>
  device(`vfio-pci,host=${host}`, bus, slot, more);
/** By default one numbers ports and slots after their place and the other all alike. */
const port = (number: number, slot: string, ...more: string[]) =>
  device(`pcie-root-port,id=rp${number}`, ON_ROOT, slot, [
    ...["port", "chassis", "slot"].map((name) => `${name}=${number}`),
    ...more,
  ]);
const bridge = (bus: string, slot: string) => device("pcie-pci-bridge,id=br", bus, slot);

/** Gives all of them to vfio-pci, a virtual function among them. @returns the guests for them */
export async function assign(l1: L1): Promise<ParityGuest[]> {
  const [nvme, e1000e, igb, pf, xhci, hda] = await Promise.all(
    [0, 1, 2, 3, 4, 5].map((each) => coldDevice(l1, `0000:00:1${each}.0`)),
  );
  await interfaceOf(l1, pf!);
  await l1.sh(`echo 1 >/sys/bus/pci/devices/${pf}/sriov_numvfs`);
  const vf = await l1.sh(`basename $(readlink /sys/bus/pci/devices/${pf}/virtfn0)`);
  const above = await coldDevice(l1, "0000:00:17.0");
  const shared = await l1.sh(`ls -d /sys/bus/pci/devices/${above}/0000:* | xargs -n 1 basename`);
  const [e1000, rtl8139, edu] = shared.split("\n");
  const [ahci, virtio, edu2, vga] = ["19", "1a", "1b", "1c"].map((slot) => `0000:00:${slot}.0`);
  const first = [nvme!, ahci!, hda!, xhci!, virtio!, edu2!];
  const second = [igb!, vf, e1000e!, vga!, e1000!, rtl8139!, edu!];
  await l1.bindVfio(...first, ...second);
  return [
    {
      name: "nvme, ahci with xhci, virtio-net behind ports; hda, edu behind a bridge",
      drivers: "nvme ahci xhci_pci snd_hda_intel virtio_pci virtio_net".split(" "),
      devices: [
        ...[port(1, "0x2.0x0", MULTIFUNCTION), give(nvme!, "rp1", "0x0")],
        port(2, "0x2.0x1"),
        ...[give(ahci!, "rp2", "0x0.0x0", MULTIFUNCTION), give(xhci!, "rp2", "0x0.0x1")],
        ...[port(3, "0x3", "hotplug=off"), give(virtio!, "rp3", "0x0")],
        ...[bridge(ON_ROOT, "0x6"), give(hda!, "br", "0x2"), give(edu2!, "br", "0x3")],
      ],
    },
    {
      name: "igb's VF; e1000e, VGA behind ports; igb, e1000, rtl8139, edu behind a port's bridge",
      drivers: "igb igbvf e1000e e1000 8139cp".split(" "),
      devices: [
        ...[give(vf, ON_ROOT, "0x2"), port(1, "0x3"), give(e1000e!, "rp1", "0x0")],
        ...[port(2, "0x4"), give(vga!, "rp2", "0x0"), port(3, "0x5"), bridge("rp3", "0x0")],
        ...[give(e1000!, "br", "0x1"), give(rtl8139!, "br", "0x2"), give(edu!, "br", "0x3")],
        give(igb!, "br", "0x4"),
      ],
    },
  ];
}
