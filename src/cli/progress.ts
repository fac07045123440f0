/**
 * Nothing waits silently: what takes more than a second says on standard error what it waits for.
 */

const FIRST_MS = 1000;
const AGAIN_MS = 5000;

function say(what: string, sinceMs: number): void {
  const seconds = Math.round((performance.now() - sinceMs) / 1000);
  process.stderr.write(`viaduct: ${what} ... ${seconds} s\n`);
}

/** Waits for `work`; from the first second on it says so, then every five. */
export async function waitingFor<T>(what: string, work: T | Promise<T>): Promise<T> {
  const start = performance.now();
  let again: NodeJS.Timeout | undefined;
  const first = setTimeout(() => {
    say(what, start);
    again = setInterval(() => say(what, start), AGAIN_MS);
  }, FIRST_MS);
  try {
    return await work;
  } finally {
    clearTimeout(first);
    clearInterval(again);
  }
}

/** The same for work that does not yield: it tells of each step, and a line is printed when due. */
export class Steps {
  private readonly start = performance.now();
  private saidAt = this.start;

  /** @param what the step that begins now */
  next(what: string): void {
    const now = performance.now();
    if (now - this.saidAt < (this.saidAt === this.start ? FIRST_MS : AGAIN_MS)) return;
    this.saidAt = now;
    say(what, this.start);
  }
}
