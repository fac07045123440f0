/**
 * `viaduct`: one file per verb beside this one. A verb is imported when it is called, so that
 * `viaduct --help` does not load a virtual machine.
 */

/** @returns the exit status: 0 done, 1 the host refused, 2 usage (docs/cli lists all). */
export async function main(args: readonly string[]): Promise<number> {
  process.stderr.write(`viaduct: unknown command "${args[0] ?? ""}"\n`);
  return 2;
}
