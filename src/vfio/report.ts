/**
 * Where this layer says what a person should know and no error can carry: a mapping that was
 * skipped, a host that refused something optional. A machine gives its own; the default is stderr.
 */

export type Report = (message: string) => void;

export const reportToStderr: Report = (message) => {
  process.stderr.write(`viaduct: ${message}\n`);
};

const QUIET_MS = 1000;

/**
 * A report for what a guest can cause at will: at most one line a second; the next line says how
 * many were dropped.
 */
export function rateLimited(report: Report, now: () => number = Date.now): Report {
  let last = Number.NEGATIVE_INFINITY;
  let dropped = 0;
  return (message) => {
    const time = now();
    if (time - last < QUIET_MS) {
      dropped++;
      return;
    }
    last = time;
    report(dropped === 0 ? message : `${message} (and ${dropped} more like it)`);
    dropped = 0;
  };
}
