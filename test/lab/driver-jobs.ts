/** What guests of drivers.test.ts do: shell for `lab/guest.sh`. */

import type { TcpPeer } from "../../lab/tcp-peer.ts";

const RAISE_NETWORK = `
tries=0
while [ ! -e /sys/class/net/eth0 ] && [ $tries -lt 100 ]; do sleep 0.1; tries=$((tries + 1)); done
say "driver $(basename $(readlink /sys/class/net/eth0/device/driver))"
ip addr add 10.0.2.15/24 dev eth0
ip link set eth0 up
tries=0
until ping -c 1 -W 1 10.0.2.2 >/dev/null 2>&1 || [ $tries -ge 30 ]; do tries=$((tries + 1)); done
say "received $(ping -c 5 -i 0.2 -W 5 10.0.2.2 | grep -o '[0-9]* packets received')"
`;

/** @param upMib what the guest sends, in MiB */
export function trafficJob({ sends, takes }: TcpPeer, upMib: number): string {
  return `${RAISE_NETWORK}
begin=$(cut -d' ' -f1 /proc/uptime)
say "down $(nc 10.0.2.2 ${sends} </dev/null | sha256sum | cut -d' ' -f1)"
say "took $begin $(cut -d' ' -f1 /proc/uptime)"
dd if=/dev/urandom of=/tmp/up bs=1M count=${upMib} 2>/dev/null
nc 10.0.2.2 ${takes} </tmp/up
say "up-sum $(sha256sum /tmp/up | cut -d' ' -f1)"
grep eth0 /proc/interrupts | while read -r line; do say "after $line"; done
`;
}

/** The whole of the first disk that the SCSI layer has, and who serves it. */
export const USB_DISK = `
wait_for /dev/sda
say "path $(readlink /sys/block/sda)"
say "sha256 $(sha256sum /dev/sda | cut -d' ' -f1)"
grep xhci /proc/interrupts | while read -r line; do say "after $line"; done
`;

/** `edu-driver` on the edu device, interrupts by uio_pci_generic. */
export const EDU = `
echo 1234 11e8 > /sys/bus/pci/drivers/uio_pci_generic/new_id
for device in /sys/bus/pci/devices/*; do
  [ "$(cat $device/vendor):$(cat $device/device)" = 0x1234:0x11e8 ] || continue
  edu-driver $device | while read -r line; do say "edu $line"; done
done
`;

/** The SHA-256 of a function's ROM; `$1` is its folder. It answers where memory is decoded. */
export const ROM_SUM = `
rom_sum() {
  echo 1 >$1/enable
  echo 1 >$1/rom && sha256sum <$1/rom | cut -d' ' -f1
  echo 0 >$1/rom
  echo 0 >$1/enable
}
`;

export const VGA_ROM = `${ROM_SUM}
for device in /sys/bus/pci/devices/*; do
  [ "$(cat $device/class)" = 0x030000 ] && say "rom $(rom_sum $device)"
done
`;
