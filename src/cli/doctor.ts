/**
 * `viaduct doctor`: what keeps devices from being assigned, with evidence, cause, fix and undo.
 */

import { readFileSync } from "node:fs";
import { type Diagnosis, diagnose, flat } from "../host/diagnose.ts";
import { findDevices } from "../host/find-device.ts";
import { CATALOGUE, entryOf } from "../host/findings/catalogue.ts";
import type { Finding } from "../host/findings/finding.ts";
import type { Host } from "../host/host.ts";
import { type KernelLog, logOf, logWith, readKernelLog } from "../host/kernel-log.ts";
import { readRom } from "../host/option-rom.ts";
import type { HostDevice } from "../host/pci-device.ts";
import type { HostTree } from "../host/tree.ts";
import { ViaductError } from "../sys/sys-error.ts";
import { type CommandDefinition, JSON_OPTION } from "./command.ts";
import { EXIT } from "./exit-status.ts";
import { ROOT_OPTION } from "./open-tree.ts";
import { parseSize } from "./options.ts";
import { print, printJson, type Tone, tint } from "./output.ts";
import type { ParsedCommand } from "./parse-command.ts";
import { Steps } from "./progress.ts";

export const command: CommandDefinition = {
  name: "doctor",
  summary: "what keeps devices from being assigned, and what to do",
  description: [
    `Checks the host, or the devices named, against a catalogue of problems. Each finding says what
    was read where, the cause, and commands to fix and to undo. Causes come before what they cause;
    the first is the one to fix first. A check that could not be made is SKIP, never PASS.`,
    `Only reads: nothing is opened, bound, written or reset, but with --probe-rom.`,
  ],
  operands: [
    {
      name: "DEVICE",
      about: "the devices meant to be assigned; without them the host and what VFIO drivers have",
      optional: true,
      repeatable: true,
      offers: "device",
    },
  ],
  options: [
    { flags: ["-q"], about: "only problems" },
    {
      flags: ["-v"],
      about: "evidence, cause and fix of harmless findings too; all skipped checks",
    },
    {
      flags: ["--log"],
      value: "FILE",
      about: "a kernel log of before, or a VMM's log, to look into too",
      offers: "file",
    },
    {
      flags: ["--probe-rom"],
      about: "read the option ROMs of the devices named: sysfs turns each on for a moment",
    },
    { flags: ["--memory"], value: "SIZE", about: "the guest's RAM that will be locked: 16G" },
    {
      flags: ["--fail-on"],
      value: "LEVEL",
      about: "exit with 1 from this level on: error (default), warn, never",
      offers: ["error", "warn", "never"],
    },
    { flags: ["--strict"], about: "a skipped check is a failure too" },
    ROOT_OPTION,
    JSON_OPTION,
  ],
  examples: [
    { about: "can this graphics card be assigned?", line: "viaduct doctor 01:00" },
    { about: "another's machine, from its report", line: "viaduct doctor --root report.tgz" },
    { about: "before a guest of 32 GiB", line: "viaduct doctor --memory 32G nvme0" },
  ],
};

export async function runOn(host: Host, parsed: ParsedCommand): Promise<number> {
  const failOn = parsed.value("--fail-on") ?? "error";
  if (!["error", "warn", "never"].includes(failOn)) {
    throw new ViaductError("USAGE", `--fail-on ${failOn}: not a level`, {
      nextStep: "Write error, warn or never.",
    });
  }
  const asked = [...new Set(parsed.operands.flatMap((text) => findDevices(host, text)))];
  const log = readLog(parsed, host.tree);
  const roms = probeRoms(parsed, asked);
  const context = { host, log, asked, roms, guestMemory: guestMemory(parsed) };
  const steps = new Steps();
  const diagnosis = diagnose(context, ({ number, code }) => {
    steps.next(`checking ${number} of ${CATALOGUE.length}: ${code}`);
  });
  if (parsed.has("--json")) printJson(diagnosisJson(diagnosis));
  else print(diagnosisText(diagnosis, { quiet: parsed.has("-q"), verbose: parsed.has("-v") }));
  return statusOf(diagnosis, failOn, parsed.has("--strict"));
}

function readLog(parsed: ParsedCommand, tree: HostTree): KernelLog {
  const log = readKernelLog(tree);
  const path = parsed.value("--log");
  if (path === undefined) return log;
  try {
    return logWith(log, logOf(readFileSync(path, "utf8")));
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    throw new ViaductError("DEVICE_NOT_FOUND", `--log ${path}: cannot be read: ${code}`, {
      cause,
      nextStep: "Name a file with the log's text; `dmesg > FILE` writes one.",
    });
  }
}

function guestMemory(parsed: ParsedCommand): bigint | undefined {
  const text = parsed.value("--memory");
  return text === undefined ? undefined : BigInt(parseSize("--memory", text));
}

/** Option ROMs of the devices asked about, read by turning each on for a moment. */
function probeRoms(parsed: ParsedCommand, devices: readonly HostDevice[]) {
  if (!parsed.has("--probe-rom")) return undefined;
  const roms = new Map<string, Uint8Array>();
  for (const device of devices) {
    const rom = readRom(device);
    if (rom !== undefined) roms.set(device.address, rom);
  }
  return roms;
}

function statusOf(diagnosis: Diagnosis, failOn: string, strict: boolean): number {
  const real = diagnosis.findings.filter((finding) => finding.isHarmless !== true);
  const errors = real.some((finding) => finding.severity === "error");
  const warnings = real.some((finding) => finding.severity === "warning");
  const skipped = diagnosis.results.some(
    (result) => result.reason !== undefined && result.entry.check !== undefined,
  );
  if (failOn === "never") return EXIT.DONE;
  if (errors || (failOn === "warn" && warnings)) return EXIT.REFUSED;
  return strict && skipped ? EXIT.REFUSED : EXIT.DONE;
}

function diagnosisJson({ results, findings, first }: Diagnosis) {
  return {
    findings: findings.map((finding) => {
      const entry = entryOf(finding.code)!;
      return {
        ...finding,
        number: entry.number,
        title: entry.title,
        cause: flat(entry.cause),
        source: entry.source,
        isHarmless: finding.isHarmless ?? false,
      };
    }),
    fixFirst: first?.code ?? null,
    checks: results.map(({ entry, state, reason, note }) => ({
      code: entry.code,
      number: entry.number,
      state,
      reason: reason ?? null,
      note: note ?? null,
    })),
  };
}

interface TextStyle {
  readonly quiet: boolean;
  readonly verbose: boolean;
}

function diagnosisText(diagnosis: Diagnosis, style: TextStyle): string {
  const { results, findings, first } = diagnosis;
  const lines: string[] = [];
  for (const finding of findings) {
    const isDetailed = finding.isHarmless !== true || style.verbose;
    if (style.quiet && finding.severity === "info") continue;
    lines.push(...findingLines(finding, isDetailed));
  }
  const tried = results.filter(({ entry }) => entry.check !== undefined);
  const partly = tried.filter(({ reason }) => reason !== undefined);
  if (!style.quiet) {
    for (const { entry, reason } of partly) {
      lines.push(`${tint("SKIP", "quiet")}  ${entry.code}: could not check: ${reason}`);
    }
    if (style.verbose) {
      for (const { entry, reason } of results.filter((one) => one.entry.check === undefined)) {
        lines.push(`${tint("SKIP", "quiet")}  ${entry.code}: ${reason}`);
      }
    }
    for (const { entry, note } of tried.filter(({ state }) => state === "clear")) {
      const harmless = note === undefined ? "" : `; ${note}`;
      lines.push(`${tint("PASS", "good")}  ${entry.code}: not found${harmless}`);
    }
  }
  if (first !== undefined) {
    const entry = entryOf(first.code)!;
    lines.push("", tint(`Fix this first: ${first.code}: ${entry.title}`, "strong"));
    for (const step of first.fix) lines.push(`    ${step}`);
  } else {
    lines.push(
      "",
      partly.length > 0 ? "Nothing found in what could be checked." : "Nothing found.",
    );
  }
  return lines.join("\n");
}

const WORDS: Readonly<Record<Finding["severity"], readonly [string, Tone]>> = {
  error: ["FAIL", "bad"],
  warning: ["WARN", "warn"],
  info: ["INFO", "quiet"],
};

function findingLines(finding: Finding, isDetailed: boolean): string[] {
  const entry = entryOf(finding.code)!;
  const [word, tone] =
    finding.isHarmless === true ? (["PASS", "good"] as const) : WORDS[finding.severity];
  const place = finding.device === undefined ? "" : ` ${finding.device}`;
  const harmless = finding.isHarmless === true ? " (harmless)" : "";
  const head = `${tint(word, tone)}  ${finding.code}${place}: ${finding.detail}${harmless}`;
  if (!isDetailed) return [head];
  const lines = [head, `      ${entry.title} (${finding.confidence})`];
  for (const { path, value } of finding.evidence) lines.push(`      seen:  ${path}: ${value}`);
  lines.push(`      cause: ${flat(entry.cause)}`);
  for (const step of finding.fix) lines.push(`      fix:   ${step}`);
  for (const step of finding.undo) lines.push(`      undo:  ${step}`);
  lines.push(`      see:   ${entry.source}`);
  return lines;
}
