/** What a run of Viaduct must leave as it was in L1, and the devices tests put there. */

import assert from "node:assert/strict";
import type { L1 } from "../../lab/l1.ts";

/** Who drives what, who holds VFIO or KVM, which processes of ours live, and what is mounted. */
const STATE = `
ls -l /sys/bus/pci/devices/*/driver 2>/dev/null | awk '{print $9, $11}'
grep -H . /sys/bus/pci/devices/*/driver_override
ls -l /proc/[0-9]*/fd 2>/dev/null | grep -E '/dev/(vfio/|kvm)|anon_inode:(kvm|\\[vfio)' || true
pgrep -f '[v]iaduct.js' || true
ls /dev/vfio /dev/shm
`;

/** One text to compare; equal before and after a run that is over. */
export function hostState(l1: L1): Promise<string> {
  return l1.sh(STATE);
}

/** L1's kernel has reported no mistake, nor a guest's TSC that stands still (docs/lab.md). */
export async function kernelIsWell(l1: L1): Promise<void> {
  const bad = /BUG:|WARNING:|Oops|general protection|refcount_t|blocked for more than|TSC rate/;
  const lines = (await l1.dmesg()).split("\n").filter((line) => bad.test(line));
  assert.deepEqual(lines, []);
}

/** A network card whose other end is QEMU's user network: gateway 10.0.2.2. */
export async function plugNetworkCard(l1: L1, device: string): Promise<string> {
  const netdev = `net-${device}`;
  await l1.hmp(`netdev_add user,id=${netdev}`);
  return l1.plug(device, { netdev });
}

/**
 * A root port without a slot: a bus reset below it is one of the bus, and not of a slot, which
 * Linux makes whoever else is in it.
 */
export const SLOTLESS_PORT = {
  device: "pcie-root-port,id=slotless,bus=pcie.0,addr=0x1b,chassis=31,x-speed=5,hotplug=off",
  address: "0000:00:1b.0",
} as const;

/** The network interface of a function, once its driver has made it. */
export function interfaceOf(l1: L1, address: string): Promise<string> {
  return l1.sh(`for try in $(seq 300); do
    ls /sys/bus/pci/devices/${address}/net 2>/dev/null && exit 0; sleep 0.1
  done; exit 1`);
}

/** The function that is there from the start below root port `port`. */
export function coldDevice(l1: L1, port: string): Promise<string> {
  return l1.sh(`basename /sys/bus/pci/devices/${port}/0000:*.0`);
}
