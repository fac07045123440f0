/**
 * Runs the catalogue's checks over a host: findings ranked by cause, and what could not be checked.
 */

import { CATALOGUE } from "./findings/catalogue.ts";
import type { CatalogueEntry, CheckContext, Finding, Found } from "./findings/finding.ts";
import { slotOf } from "./pci-address.ts";

export type CheckState = "found" | "clear" | "unchecked";

export interface CheckResult {
  readonly entry: CatalogueEntry;
  readonly state: CheckState;
  /** Why it was not, or only in part, checked. */
  readonly reason?: string;
  /** What looks like a fault and is none. */
  readonly note?: string;
  readonly findings: readonly Finding[];
}

export interface Diagnosis {
  /** One for each entry, in order of number. */
  readonly results: readonly CheckResult[];
  /** Causes before what they cause, errors before warnings. */
  readonly findings: readonly Finding[];
  /** The one to fix first. */
  readonly first: Finding | undefined;
}

/** @param onCheck hears of each entry before it is checked */
export function diagnose(
  context: CheckContext,
  onCheck: (entry: CatalogueEntry) => void = () => {},
): Diagnosis {
  const results = CATALOGUE.map((entry) => {
    onCheck(entry);
    return runCheck(entry, context);
  });
  const findings = rank(results);
  const first = findings.find((one) => one.severity !== "info" && one.isHarmless !== true);
  return { results, findings, first };
}

function runCheck(entry: CatalogueEntry, context: CheckContext): CheckResult {
  const { check } = entry;
  if (check === undefined) {
    return { entry, state: "unchecked", reason: entry.unchecked ?? "", findings: [] };
  }
  const { value: outcome, missed } = context.host.tree.noticingMisses(() => check(context));
  const { found, skipped, note } = outcome;
  const findings = found.map((one) => ({
    code: entry.code,
    severity: entry.severity,
    confidence: "proved" as const,
    ...one,
    fix: (one.fix ?? entry.fix).map((step) => forFinding(step, one)),
    undo: (one.undo ?? entry.undo).map((step) => forFinding(step, one)),
  }));
  const reason = skipped ?? missedText(missed);
  const state = findings.length > 0 ? "found" : reason === undefined ? "clear" : "unchecked";
  return {
    entry,
    state,
    findings,
    ...(reason === undefined ? {} : { reason }),
    ...(note === undefined ? {} : { note }),
  };
}

function missedText(paths: readonly string[]): string | undefined {
  const [first, ...more] = new Set(paths);
  if (first === undefined) return undefined;
  return `${first}${more.length > 0 ? ` and ${more.length} more` : ""} could not be read`;
}

/** A step of the catalogue with this finding's device in it, so that it can be copied. */
function forFinding(step: string, { device, group }: Found): string {
  let text = step;
  if (device !== undefined) {
    text = text.replace(/\b(?:DEVICE|PF|VF)\b/g, device).replace(/\bSLOT\b/g, slotOf(device));
  }
  return group === undefined ? text : text.replace(/\/dev\/vfio\/N\b/g, `/dev/vfio/${group}`);
}

const WEIGHT = { error: 0, warning: 1, info: 2 } as const;

function rank(results: readonly CheckResult[]): Finding[] {
  const present = new Map(
    results
      .filter(({ state }) => state === "found")
      .map(({ entry, findings }) => [entry.code, { entry, weight: weightOf(findings), depth: 0 }]),
  );
  // A cause is as grave as the worst that it causes, and comes before it. Chains are short.
  for (let pass = 0; pass < CHAIN_MAX; pass++) {
    for (const cause of present.values()) {
      for (const code of cause.entry.causes ?? []) {
        const effect = present.get(code);
        if (effect === undefined) continue;
        cause.weight = Math.min(cause.weight, effect.weight);
        effect.depth = Math.max(effect.depth, cause.depth + 1);
      }
    }
  }
  const position = (finding: Finding) => {
    if (finding.isHarmless === true) return 100;
    const { weight, depth } = present.get(finding.code)!;
    return (depth === 0 ? weight : Math.max(weight, WEIGHT[finding.severity])) * 10 + depth;
  };
  return results
    .flatMap((result) => result.findings)
    .map((finding, at) => ({ finding, at }))
    .sort((a, b) => position(a.finding) - position(b.finding) || a.at - b.at)
    .map(({ finding }) => finding);
}

const CHAIN_MAX = 4;

/** Of the gravest that is no false alarm. */
function weightOf(findings: readonly Finding[]): number {
  const real = findings.filter(({ isHarmless }) => isHarmless !== true);
  return Math.min(WEIGHT.info, ...real.map(({ severity }) => WEIGHT[severity]));
}

/** Text of the catalogue may be wrapped in the source. */
export function flat(text: string): string {
  return text.replace(/\s+/g, " ").trim();
}
