/** What the small guests of the tests, the benchmark and `npm start` do: shell for `guest.sh`. */

/** Tells which PCI functions the guest sees and what serves their interrupts. */
const REPORT = `
say "kernel $(uname -r)"
say "cpus $(nproc)"
say "memory $(awk '/MemTotal/{print $2}' /proc/meminfo)"
for device in /sys/bus/pci/devices/*; do
  driver=none
  [ -e $device/driver ] && driver=$(basename $(readlink $device/driver))
  say "pci $(basename $device) $(cat $device/vendor):$(cat $device/device) driver=$driver"
done
`;

const INTERRUPTS = `
grep -E 'PCI-MSI|IO-APIC.*fasteoi' /proc/interrupts | while read -r line; do say "irq $line"; done
`;

/** Reads all of an NVMe disk, then writes to it and reads that back past the page cache. */
const NVME = `
wait_for /dev/nvme0n1
say "disk $(cat /sys/block/nvme0n1/size)"
say "sha256 $(sha256sum /dev/nvme0n1 | cut -d' ' -f1)"
dd if=/dev/urandom of=/tmp/pattern bs=1M count=4 2>/dev/null
dd if=/tmp/pattern of=/dev/nvme0n1 bs=1M seek=8 conv=fsync 2>/dev/null
echo 3 >/proc/sys/vm/drop_caches
written=$(sha256sum </tmp/pattern)
back=$(dd if=/dev/nvme0n1 bs=1M skip=8 count=4 2>/dev/null | sha256sum)
[ "$written" = "$back" ] && say "readback equal" || say "readback DIFFERS"
`;

/** As `NVME`, on the first megabytes only. */
const NVME_QUICK = `
wait_for /dev/nvme0n1
dd if=/dev/urandom of=/tmp/pattern bs=1M count=4 2>/dev/null
dd if=/tmp/pattern of=/dev/nvme0n1 bs=1M seek=8 conv=fsync 2>/dev/null
echo 3 >/proc/sys/vm/drop_caches
written=$(sha256sum </tmp/pattern)
back=$(dd if=/dev/nvme0n1 bs=1M skip=8 count=4 2>/dev/null | sha256sum)
[ "$written" = "$back" ] && say "readback equal" || say "readback DIFFERS"
`;

/** The first boot is told from the second by a mark on the disk. */
const REBOOT_ONCE = `
wait_for /dev/nvme0n1
if [ "$(dd if=/dev/nvme0n1 bs=8 count=1 2>/dev/null)" = "rebooted" ]; then
  say "second boot"
else
  printf rebooted | dd of=/dev/nvme0n1 bs=8 conv=notrunc,fsync 2>/dev/null
  say "first boot"
  reboot -f
  sleep 60
fi
`;

export const JOBS = {
  /** Only boots. */
  boot: { drivers: [], script: REPORT },
  nvme: { drivers: ["nvme"], script: `wait_for /dev/nvme0n1\n${REPORT}${NVME}${INTERRUPTS}` },
  nvmeQuick: { drivers: ["nvme"], script: `${NVME_QUICK}${INTERRUPTS}` },
  reboot: { drivers: [], script: 'say "rebooting now"\nreboot -f\nsleep 60\n' },
  rebootOnce: { drivers: ["nvme"], script: REBOOT_ONCE },
  /** Needs `reboot=t` on the kernel command line: Linux then resets by a triple fault. */
  tripleFault: { drivers: [], script: 'say "faulting now"\nreboot -f\nsleep 60\n' },
  /** Says what is typed on the console. */
  readLine: { drivers: [], script: 'say ready\nread -r line\nsay "heard $line"\n' },
} as const;
