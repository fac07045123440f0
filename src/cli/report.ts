/**
 * `viaduct report`: everything that people are asked for when they ask for help, as a bundle that
 * `doctor --root` reads back, or as text for a post.
 */

import { writeFileSync } from "node:fs";
import { packBundle } from "../host/bundle.ts";
import { capture, redact, redactText } from "../host/capture.ts";
import { describe } from "../host/device-text.ts";
import { diagnose } from "../host/diagnose.ts";
import { entryOf } from "../host/findings/catalogue.ts";
import type { Host } from "../host/host.ts";
import { type KernelLog, readKernelLog } from "../host/kernel-log.ts";
import { PciIds } from "../host/pci-ids.ts";
import { ViaductError } from "../sys/sys-error.ts";
import { type CommandDefinition, JSON_OPTION } from "./command.ts";
import { EXIT } from "./exit-status.ts";
import { resetText } from "./host-view.ts";
import { ROOT_OPTION } from "./open-tree.ts";
import { print, printJson } from "./output.ts";
import type { ParsedCommand } from "./parse-command.ts";

export const command: CommandDefinition = {
  name: "report",
  summary: "what to send when asking for help",
  description: [
    `Writes a bundle of the host's sysfs, procfs, options and kernel log that "viaduct doctor --root
    FILE" reads on another machine; or with --markdown a text for a forum or an issue.`,
  ],
  operands: [],
  options: [
    {
      flags: ["-o"],
      value: "FILE",
      about: "where to (default viaduct-report.tgz)",
      offers: "file",
    },
    { flags: ["--markdown"], about: "text on standard output, no bundle" },
    {
      flags: ["--redact"],
      about: "hide hardware and IP addresses, UUIDs and serial numbers",
    },
    ROOT_OPTION,
    JSON_OPTION,
  ],
  examples: [
    { about: "a bundle to send", line: "viaduct report --redact -o my-host.tgz" },
    { about: "text to paste", line: "viaduct report --markdown --redact" },
    { about: "the other side", line: "viaduct doctor --root my-host.tgz" },
  ],
};

export async function runOn(host: Host, parsed: ParsedCommand): Promise<number> {
  const log = readKernelLog(host.tree);
  const isHidden = parsed.has("--redact");
  if (parsed.has("--markdown")) {
    const text = isHidden ? redactText(markdown(host, log)) : markdown(host, log);
    if (parsed.has("--json")) printJson({ markdown: text });
    else print(text);
    return EXIT.DONE;
  }
  const entries = capture(host, log);
  const text = new TextEncoder().encode(markdown(host, log));
  entries.set("/report.md", { kind: "file", bytes: text });
  const path = parsed.value("-o") ?? "viaduct-report.tgz";
  const bytes = packBundle(isHidden ? redact(entries) : entries);
  try {
    writeFileSync(path, bytes);
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code;
    throw new ViaductError("NO_PERMISSION", `${path}: cannot be written: ${code}`, { cause });
  }
  if (parsed.has("--json")) printJson({ file: path, files: entries.size, bytes: bytes.length });
  else print(`${path}: ${entries.size} files, ${bytes.length} bytes`);
  if (log.lines === undefined) process.stderr.write(`SKIP  kernel log: ${log.missing}\n`);
  return EXIT.DONE;
}

/** Lines of the kernel's log that people are asked for. */
const ASKED_FOR = /DMAR|IOMMU|AMD-Vi|vfio|remapping|\breset\b|efifb|BOOTFB|simple-framebuffer/i;
const LOG_LINES_MAX = 200;

function markdown(host: Host, log: KernelLog): string {
  const { tree } = host;
  const ids = PciIds.system();
  const { findings } = diagnose({ host, log, asked: [], guestMemory: undefined });
  const release = tree.text("/proc/sys/kernel/osrelease") ?? "unknown";
  const system = /^PRETTY_NAME="?([^"\n]*)/m.exec(tree.text("/etc/os-release") ?? "")?.[1];
  const board = ["board_vendor", "board_name", "bios_version"]
    .map((name) => tree.text(`/sys/class/dmi/id/${name}`))
    .filter((value) => value !== undefined);
  const section = (title: string, lines: readonly string[]) =>
    `### ${title}\n\n\`\`\`\n${lines.join("\n") || "(none)"}\n\`\`\`\n`;
  const devices = host.devices.map(
    (device) =>
      `${device.address} ${describe(device, ids, 2)} [group ${device.group ?? "none"}, ` +
      `driver ${device.driver ?? "none"}, override ${device.override ?? "none"}, ` +
      `reset ${resetText(device)}]`,
  );
  const groups = [...host.groups.values()].flatMap((group) =>
    group.devices.map(
      (device) => `IOMMU Group ${group.number} ${device.address} ${describe(device, ids, 2)}`,
    ),
  );
  const lines = log.lines?.filter((line) => ASKED_FOR.test(line)).slice(-LOG_LINES_MAX);
  const found = findings.map(
    (one) => `${one.severity}: ${one.code}: ${entryOf(one.code)!.title}: ${one.detail}`,
  );
  return [
    `## Host: ${system ?? "Linux"}, kernel ${release}\n`,
    ...(board.length > 0 ? [`Board: ${board.join(", ")}\n`] : []),
    section("viaduct doctor", found),
    section("Kernel command line", [tree.text("/proc/cmdline") ?? "not readable"]),
    section("Devices", devices),
    section("IOMMU groups", groups),
    section("Kernel log", lines ?? [`not readable: ${log.missing}`]),
  ].join("\n");
}
