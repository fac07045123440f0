/** `npm run bench -- NAME [option...]`: the benchmarks by name; docs/benchmarks.md describes them. */

const BENCHMARKS: Readonly<Record<string, () => Promise<unknown>>> = {
  doctor: () => import("./doctor.ts"),
  exits: () => import("./exits.ts"),
  passthrough: () => import("./passthrough.ts"),
  trace: () => import("./trace.ts"),
  "slow-path": () => import("./slow-path.ts"),
};

const [name = ""] = process.argv.splice(2, 1);
const load = Object.hasOwn(BENCHMARKS, name) ? BENCHMARKS[name] : undefined;
if (load === undefined) {
  const names = Object.keys(BENCHMARKS).join("|");
  process.stderr.write(`usage: npm run bench -- ${names} [option...]\n`);
  process.exitCode = 2;
} else {
  await load();
}
