/**
 * Runs the catalogue's checks over a host: findings ranked by cause, and what could not be checked.
 */

import { CATALOGUE } from "./findings/catalogue.ts";
import type { CatalogueEntry, CheckContext, Finding } from "./findings/finding.ts";

export type CheckState = "found" | "clear" | "unchecked";

export interface CheckResult {
  readonly entry: CatalogueEntry;
  readonly state: CheckState;
  /** Why it was not, or only in part, checked. */
  readonly reason?: string;
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

export function diagnose(context: CheckContext): Diagnosis {
  const results = CATALOGUE.map((entry) => runCheck(entry, context));
  const findings = rank(results);
  const first = findings.find((one) => one.severity !== "info" && one.isHarmless !== true);
  return { results, findings, first };
}

function runCheck(entry: CatalogueEntry, context: CheckContext): CheckResult {
  if (entry.check === undefined) {
    return { entry, state: "unchecked", reason: entry.unchecked ?? "", findings: [] };
  }
  const { found, skipped } = entry.check(context);
  const findings = found.map((one) => ({
    code: entry.code,
    severity: entry.severity,
    confidence: "proved" as const,
    ...one,
  }));
  const state = findings.length > 0 ? "found" : skipped === undefined ? "clear" : "unchecked";
  return { entry, state, findings, ...(skipped === undefined ? {} : { reason: skipped }) };
}

const WEIGHT = { error: 0, warning: 1, info: 2 } as const;

function rank(results: readonly CheckResult[]): Finding[] {
  const present = results.filter((result) => result.state === "found");
  const caused = new Set(present.flatMap(({ entry }) => entry.causes ?? []));
  const position = (finding: Finding) =>
    (finding.isHarmless === true ? 100 : 0) +
    WEIGHT[finding.severity] * 10 +
    (caused.has(finding.code) ? 5 : 0);
  return present
    .flatMap((result) => result.findings)
    .map((finding, at) => ({ finding, at }))
    .sort((a, b) => position(a.finding) - position(b.finding) || a.at - b.at)
    .map(({ finding }) => finding);
}

/** Text of the catalogue may be wrapped in the source. */
export function flat(text: string): string {
  return text.replace(/\s+/g, " ").trim();
}
