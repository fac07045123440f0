/**
 * What the verbs that change the host share: `--dry-run`, `--force`, the journal, and how they tell
 * what they do.
 */

import {
  applyChanges,
  type Change,
  changeText,
  type HostWriter,
  LiveWriter,
} from "../host/changes.ts";
import type { Host } from "../host/host.ts";
import { JOURNAL_PATH, Journal } from "../host/journal.ts";
import { ViaductError } from "../sys/sys-error.ts";
import type { OptionDefinition } from "./command.ts";
import { print, printJson } from "./output.ts";
import type { ParsedCommand } from "./parse-command.ts";
import { waitingFor } from "./progress.ts";

export const DRY_RUN: OptionDefinition = {
  flags: ["--dry-run"],
  about: "print the exact writes, and make none",
};

export const FORCE: OptionDefinition = {
  flags: ["--force"],
  about: "also what the host needs: its network, disk or console",
};

/**
 * What is to be changed must be the running host, unless nothing is changed.
 * @throws {ViaductError} USAGE
 */
export function checkChangeable({ tree }: Host, parsed: ParsedCommand): void {
  if (tree.isLive || parsed.has("--dry-run")) return;
  throw new ViaductError("USAGE", `${tree.name}: a captured tree cannot be changed`, {
    nextStep: "Add --dry-run to see what would be done there.",
  });
}

export function journal(): Journal {
  return new Journal(process.env["VIADUCT_JOURNAL"] ?? JOURNAL_PATH);
}

/**
 * Makes the changes, or with `--dry-run` prints them.
 * @param before what must be on disk before the first one
 * @param atLast made after them, also when one but the first failed
 */
export async function carryOut(
  parsed: ParsedCommand,
  changes: readonly Change[],
  before: () => void,
  atLast: readonly Change[] = [],
): Promise<void> {
  const isDry = parsed.has("--dry-run");
  const lines = [...changes, ...atLast].map(changeText);
  if (parsed.has("--json")) printJson({ dryRun: isDry, changes: lines });
  else if (lines.length > 0) print(lines.join("\n"));
  if (isDry || lines.length === 0) return;
  before();
  const live = new LiveWriter();
  const writer: HostWriter = {
    apply: (change) => waitingFor(changeText(change), live.apply(change)),
  };
  await applyChanges(writer, changes, atLast);
}
