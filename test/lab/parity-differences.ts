/** Two guests' lines, less what is allowed to differ. */

import type { AllowedDifference } from "./parity-allowed.ts";

export interface Differences {
  /** `-` before a line that the first alone has, `+` before one that the second alone has. */
  readonly left: string[];
  /** The patterns that a line that differed matched. */
  readonly used: Set<RegExp>;
}

/** The lines that `some` has more often than `others`. */
function beyond(some: readonly string[], others: readonly string[]): string[] {
  const counts = new Map<string, number>();
  for (const line of others) counts.set(line, (counts.get(line) ?? 0) + 1);
  return some.filter((line) => {
    const count = counts.get(line) ?? 0;
    counts.set(line, count - 1);
    return count <= 0;
  });
}

/** What a pattern matches says nothing; a line that it matches as a whole is not there. */
function without(lines: readonly string[], pattern: RegExp): string[] {
  return lines.map((line) => line.replace(pattern, "~")).filter((line) => line !== "~");
}

export function differences(
  first: readonly string[],
  second: readonly string[],
  allowed: readonly AllowedDifference[],
): Differences {
  let [less, more] = [beyond(first, second), beyond(second, first)];
  const used = new Set<RegExp>();
  for (const pattern of allowed.flatMap(({ patterns }) => patterns)) {
    if ([...less, ...more].some((line) => line.search(pattern) >= 0)) used.add(pattern);
    const [fewer, others] = [without(less, pattern), without(more, pattern)];
    [less, more] = [beyond(fewer, others), beyond(others, fewer)];
  }
  return { left: [...less.map((line) => `- ${line}`), ...more.map((line) => `+ ${line}`)], used };
}
