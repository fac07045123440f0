/**
 * From a line that somebody pasted to an entry of the catalogue. The wrappers of QEMU, libvirt,
 * KubeVirt and DPDK are peeled off, then text and errno are matched; nothing is asked of the host.
 */

import { errnoNumber } from "../abi/errno.ts";
import { textOfErrno } from "../sys/errno-text.ts";
import { CATALOGUE, entryOf } from "./findings/catalogue.ts";
import type { CatalogueEntry } from "./findings/finding.ts";

export interface Explanation {
  /** The line without its wrappers. */
  readonly core: string;
  /** Best first. */
  readonly entries: readonly CatalogueEntry[];
  /** The errno that the line names. */
  readonly errno: string | undefined;
  /** What to add when the line alone does not decide. */
  readonly question: string | undefined;
}

/** Each takes off one layer; tried again and again until none fits. */
const WRAPPERS: readonly RegExp[] = [
  /^\s*(?:error|warning|fatal):\s*/i,
  /^.*?\bLibvirtError\(.*?Message='(?<core>.*)'\)"?\s*$/is,
  /^.*?\binternal error: (?:qemu|process) unexpectedly closed the monitor(?: \([^)]*\))?:?\s*/is,
  /^.*?\binternal error: process exited while connecting to monitor(?: \([^)]*\))?:?\s*/is,
  /^.*?\bunsupported configuration:\s*/i,
  /^\s*\[?\s*\d+\.\d+\]?\s+/,
  /^\d{4}-\d\d-\d\d[T ][\d:.,]+(?:Z|[+-]\d{2}:?\d{2})?:?\s*/,
  /^[A-Z][a-z]{2}\s+\d+ \d\d:\d\d:\d\d \S+ [\w.-]+(?:\[\d+\])?:\s*/,
  /^\s*(?:\S*\/)?qemu(?:-system-\w+|-kvm)?(?:\[\d+\])?:\s*/i,
  /^\s*kvm:\s*/i,
  /^\s*-device\s+\{[^}]*\}:\s*/,
  /^\s*-device\s+\S+:\s+/,
  /^\s*(?:vfio|vfio-pci|pci)\s+[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]:\s*/i,
  /^\s*[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]:?\s+/i,
  /^\s*failed to setup container for group \d+:\s*/i,
  /^\s*memory listener initialization failed:\s*(?:Region \S+:\s*)?/i,
  /^\s*EAL:\s*/,
  /^\s*virt-install:\s*/i,
  /^\s*viaduct:\s*/,
];

const LAYERS_MAX = 20;

/** Takes the wrappers off a line. */
export function peel(line: string): string {
  let core = line.trim();
  for (let layer = 0; layer < LAYERS_MAX; layer++) {
    const before = core;
    for (const wrapper of WRAPPERS) {
      const match = wrapper.exec(core);
      if (match === null) continue;
      core = (match.groups?.["core"] ?? core.slice(match[0].length)).trim();
      break;
    }
    if (core === before) break;
  }
  return core;
}

/** By name, by the C library's words and by number, as programs print them. */
const ERRNOS: ReadonlyArray<readonly [string, RegExp]> = [
  "EPERM",
  "EINVAL",
  "ENOMEM",
  "EBUSY",
  "EACCES",
  "ENOENT",
  "ENODEV",
  "ENOSPC",
  "ENOTTY",
].map((name) => {
  const number = errnoNumber(name);
  const pattern = `${textOfErrno(name)}|\\b${name}\\b|\\berror -?${number}\\b|= -${number}\\b`;
  return [name, new RegExp(pattern, "i")] as const;
});

/** Where an errno alone leaves several causes. */
const AMBIGUOUS: Readonly<Record<string, readonly [readonly string[], string]>> = {
  EPERM: [
    ["INTR_REMAP_MISSING", "RMRR_DEVICE"],
    `The kernel's log decides: "No interrupt remapping" or "RMRR" (dmesg | grep -iE vfio\\|rmrr).`,
  ],
  EINVAL: [
    ["FIRMWARE_1TO1", "IOVA_WIDTH"],
    `The kernel's log decides: a 1:1 mapping of the firmware, the address width of the IOMMU, or
    calls in the wrong order (a mapping before the IOMMU type is set).`,
  ],
  ENOMEM: [["MEMLOCK_LOW"], "Compare the limit (ulimit -l) with the guest's RAM."],
};

/** What a line means; entries is empty when nothing is known of it. */
export function explainLine(line: string): Explanation {
  const core = peel(line);
  const errno = ERRNOS.find(([, pattern]) => pattern.test(core))?.[0];
  const scored: Array<{ entry: CatalogueEntry; length: number }> = [];
  for (const entry of CATALOGUE) {
    let length = 0;
    for (const symptom of entry.symptoms) {
      for (const text of [core, line]) {
        length = Math.max(length, symptom.exec(text)?.[0].length ?? 0);
      }
    }
    if (length > 0) scored.push({ entry, length });
  }
  const entries = scored.sort((a, b) => b.length - a.length).map(({ entry }) => entry);
  const isVfio = /vfio|iommu|container|dma|group/i.test(core);
  const known = AMBIGUOUS[errno ?? ""];
  if (known === undefined || !isVfio) return { core, entries, errno, question: undefined };
  const more = known[0].map((code) => entryOf(code)!).filter((entry) => !entries.includes(entry));
  const isDecided = entries.length > 0 && !/set iommu|container/i.test(core);
  if (isDecided) return { core, entries, errno, question: undefined };
  return { core, entries: [...entries, ...more], errno, question: known[1] };
}
