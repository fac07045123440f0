/** What small guests do with devices of several kinds: shell for `lab/guest.sh`. */

import assert from "node:assert/strict";
import { JOBS } from "../../lab/guest-jobs.ts";
import type { GuestRun } from "../../lab/guest-run.ts";

/** Speaks through eth0; tells its interrupts before and after. */
const NETWORK = `
tries=0
while [ ! -e /sys/class/net/eth0 ] && [ $tries -lt 100 ]; do sleep 0.1; tries=$((tries + 1)); done
say "driver $(basename $(readlink /sys/class/net/eth0/device/driver))"
ip addr add 10.0.2.15/24 dev eth0
ip link set eth0 up
tries=0
until ping -c 1 -W 1 10.0.2.2 >/dev/null 2>&1 || [ $tries -ge 30 ]; do tries=$((tries + 1)); done
grep eth0 /proc/interrupts | while read -r line; do say "before $line"; done
say "received $(ping -c 5 -i 0.2 -W 5 10.0.2.2 | grep -o '[0-9]* packets received')"
grep eth0 /proc/interrupts | while read -r line; do say "after $line"; done
`;

const SATA = `
wait_for /dev/sda
say "sha256 $(sha256sum /dev/sda | cut -d' ' -f1)"
grep ahci /proc/interrupts | while read -r line; do say "after $line"; done
`;

export const DEVICE_JOBS = {
  network: { script: NETWORK },
  diskAndNetwork: { drivers: ["nvme"], script: `${JOBS.nvmeQuick.script}${NETWORK}` },
  sata: { script: SATA },
};

/** How often an interrupt line of the guest counted, over all its vCPUs. */
function count(line: string): number {
  const counts = /^\S+ +\S+:((?: +\d+)+)/.exec(line)?.[1];
  assert.ok(counts, line);
  return counts.split(/ +/).reduce((sum, each) => sum + Number(each), 0);
}

/** Interrupts of one controller, as `/proc/interrupts` names it, that the guest told `when`. */
export function interrupts(run: GuestRun, when: "before" | "after", chip: string): number {
  const lines = run.lines.filter((line) => line.startsWith(`${when} `) && line.includes(chip));
  assert.ok(lines.length > 0, `no interrupt of ${chip} ${when}\n${run.console}${run.stderr}`);
  return lines.reduce((sum, line) => sum + count(line), 0);
}
