/** Progress of what takes over a second: one line on stderr for each step, with its time. */

const started = Date.now();

export function progress(text: string): void {
  if (process.env["VIADUCT_QUIET"] === "1") return;
  const seconds = ((Date.now() - started) / 1000).toFixed(1).padStart(6);
  process.stderr.write(`lab ${seconds} s  ${text}\n`);
}
