/** The middle value; of an even number the upper one of the two. */
export function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!;
}

export interface Spread {
  /** The median. */
  readonly ratio: number;
  /** Quartiles. */
  readonly low: number;
  readonly high: number;
}

/** What is said of a number of paired ratios. */
export function spread(ratios: readonly number[]): Spread {
  const sorted = ratios.toSorted((a, b) => a - b);
  const at = (part: number) => sorted[Math.round(part * (sorted.length - 1))]!;
  return { ratio: median(ratios), low: at(0.25), high: at(0.75) };
}
