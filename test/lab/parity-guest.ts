/**
 * What a guest shows of its PCI functions: `lspci -vvv -xxxx -nn`, `/proc/iomem` and
 * `/proc/interrupts`, told once before any driver is loaded and once with the drivers at work.
 */

import { gunzipSync } from "node:zlib";
import type { GuestJob } from "../../lab/guest.ts";
import { type GuestRun, said } from "../../lab/guest-run.ts";
import { lspciFiles } from "../../lab/pciutils.ts";

export const MOMENTS = ["untouched", "driven"] as const;
export type Moment = (typeof MOMENTS)[number];

export interface GuestView {
  readonly lspci: string;
  readonly iomem: string;
  readonly interrupts: string;
}

/** Compressed: each byte on a serial port costs an exit. */
const SCRIPT = `
show() { echo "== $1"; cat; }
tell() {
  { lspci -D -nn -vvv -xxxx 2>/dev/null | show lspci
    show iomem </proc/iomem
    show interrupts </proc/interrupts
  } | gzip -9 | base64 >/tmp/view
  while read -r line; do say "$1 $line"; done </tmp/view
  say "$1-ends $(cut -d' ' -f1 /proc/uptime)"
}
tell untouched
load_drivers
sleep 2
for card in /sys/class/net/eth*; do ip link set $(basename $card) up; done
sleep 1
tell driven
`;

export async function parityJob(drivers: readonly string[]): Promise<GuestJob> {
  return { drivers, driversByJob: true, script: SCRIPT, files: await lspciFiles() };
}

/** What the guest told at a moment. @throws when it did not get so far */
export function viewAt(run: GuestRun, moment: Moment): GuestView {
  said(run, `${moment}-ends`);
  const start = `${moment} `;
  const base64 = run.lines.filter((line) => line.startsWith(start));
  const packed = Buffer.from(base64.map((line) => line.slice(start.length)).join(""), "base64");
  const sections = new Map(
    gunzipSync(packed)
      .toString()
      .split(/^== /m)
      .map((text) => {
        const end = text.indexOf("\n");
        return [text.slice(0, end), text.slice(end + 1)] as const;
      }),
  );
  const section = (name: string) => sections.get(name) ?? "";
  return {
    lspci: section("lspci"),
    iomem: section("iomem"),
    interrupts: section("interrupts"),
  };
}
