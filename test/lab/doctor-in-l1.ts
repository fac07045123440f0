/**
 * One fault on a real kernel, seen three ways: what `viaduct doctor` finds, what starting a guest
 * with the device says (Viaduct and QEMU), and what `viaduct explain` makes of those words.
 */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { resolve } from "node:path";
import { cacheDirectory } from "../../lab/cache.ts";
import { qemuCommandInside, viaductCommand } from "../../lab/guest-run.ts";
import type { Kernel } from "../../lab/kernel.ts";
import type { L1 } from "../../lab/l1.ts";
import { quote } from "../../lab/quote.ts";
import type { Evidence, Finding } from "../../src/host/findings/finding.ts";

const program = resolve(import.meta.dirname, "../../../bin/viaduct.js");

export const AS_NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];

/** A finding as `doctor --json` prints it: with its commands. */
export interface ToldFinding extends Finding {
  readonly fix: readonly string[];
  readonly undo: readonly string[];
}

export interface ToldDiagnosis {
  readonly findings: readonly ToldFinding[];
  readonly fixFirst: string | null;
  readonly checks: ReadonlyArray<{ code: string; state: string; reason: string | null }>;
}

/** Lets every user of L1 start a guest: the cache is the test's user's alone, and so is KVM. */
export async function shareGuest(l1: L1, lab: Kernel, initrd: string): Promise<void> {
  const above = cacheDirectory().split("/");
  const folders = above.map((_, at) => above.slice(0, at + 1).join("/")).slice(1);
  await l1.sh(`cp ${lab.bzImage} /tmp/kernel; cp ${initrd} /tmp/initrd
    chmod 644 /tmp/kernel /tmp/initrd; chmod a+rx ${folders.map(quote).join(" ")}
    chmod 666 /dev/kvm /dev/vfio/vfio`);
}

/** Runs `viaduct` in L1. @param as put before it: another user, another limit */
export function viaduct(l1: L1, args: readonly string[], as: readonly string[] = []) {
  return l1.run([...as, "node", program, ...args]);
}

export async function doctor(
  l1: L1,
  args: readonly string[],
  as: readonly string[] = [],
): Promise<ToldDiagnosis> {
  const { status, stdout, stderr } = await viaduct(l1, ["doctor", "--json", ...args], as);
  assert.ok(status === 0 || status === 1, stderr);
  return JSON.parse(stdout) as ToldDiagnosis;
}

/** The doctor finds `code`, and what it shows for it is so. */
export async function finds(
  l1: L1,
  code: string,
  args: readonly string[],
  as: readonly string[] = [],
): Promise<ToldFinding> {
  const { findings } = await doctor(l1, args, as);
  const found = findings.filter((finding) => finding.code === code);
  assert.ok(found.length > 0, `no ${code} among ${findings.map((one) => one.code).join()}`);
  for (const { evidence } of found) {
    assert.ok(evidence.length > 0, `${code} without evidence`);
    for (const one of evidence) assert.equal(await shows(l1, one, as), one.value, one.path);
  }
  return found[0]!;
}

/** The doctor looked for each of `codes` and found none of them. */
export async function findsNone(
  l1: L1,
  codes: readonly string[],
  args: readonly string[],
  as: readonly string[] = [],
): Promise<void> {
  const { findings, checks } = await doctor(l1, args, as);
  const found = findings.filter(({ code }) => codes.includes(code));
  assert.deepEqual(found, []);
  for (const code of codes) {
    const check = checks.find((one) => one.code === code);
    assert.equal(check?.state, "clear", `${code}: ${check?.reason}`);
  }
}

/** Reads again what a finding shows. @returns the evidence's own value when it is there */
async function shows(l1: L1, { path, value }: Evidence, as: readonly string[]): Promise<string> {
  const text = await l1.run([...as, "/bin/sh", "-c", LOOK, "look", path]);
  const seen = text.stdout.trim();
  if (value === "present") return seen === "absent" ? seen : value;
  if (value === "none" || value === "(empty)" || value === "empty") {
    return seen === "absent" || seen === "" ? value : seen;
  }
  return seen === value || seen.split("\n").some((line) => line.includes(value)) ? value : seen;
}

/** What is at a path of evidence, in the words that findings use. */
const LOOK = `
case "$1" in
  log) dmesg ;;
  /proc/*/fd) ls -l "$1" ;;
  /dev/*) stat -L -c "mode %04a, uid %u, gid %g" "$1" 2>/dev/null || echo absent ;;
  *) if [ -L "$1" ] && [ ! -f "$1" ]; then basename "$(readlink "$1")"
     elif [ -d "$1" ]; then echo $(ls "$1")
     elif [ -e "$1" ]; then cat "$1"
     else echo absent; fi ;;
esac`;

/** Starting a guest with a device that is refused. */
export function startWith(l1: L1, device: string, as: readonly string[] = []) {
  return l1.run([...as, ...viaductWith(device)], { timeoutMs: START_MS });
}

/** The same under QEMU, stopped before the guest's first instruction. */
export async function qemuWith(l1: L1, device: string, as: readonly string[] = []) {
  return l1.run([...as, ...(await stoppedQemuWith(device))], { timeoutMs: START_MS });
}

/**
 * What QEMU says of a device that it does take; ended when it has said it. It resets devices when
 * it starts, Viaduct when the guest is reset.
 */
export async function qemuSays(l1: L1, device: string, words: string): Promise<string> {
  const command = (await stoppedQemuWith(device)).map(quote).join(" ");
  return l1.sh(`: >/tmp/said
    ${command} >/dev/null 2>>/tmp/said & pid=$!
    until grep -q ${quote(words)} /tmp/said || ! kill -0 $pid 2>/dev/null; do sleep 0.2; done
    kill $pid 2>/dev/null
    cat /tmp/said`);
}

const GUEST = { bzImage: "/tmp/kernel", initrd: "/tmp/initrd", append: "", memory: "64M" };
const START_MS = 120_000;

function viaductWith(device: string): string[] {
  return viaductCommand({ ...GUEST, devices: [`vfio-pci,host=${device}`] });
}

function stoppedQemuWith(device: string): Promise<string[]> {
  const devices = [`vfio-pci,host=${device}`];
  return qemuCommandInside({ ...GUEST, devices, extra: ["-S"] });
}

interface Explanation {
  readonly entries: ReadonlyArray<{ readonly code: string }>;
}

/** `viaduct explain -`, on this machine: it needs nothing of the host. */
function explanationsOf(text: string): readonly Explanation[] {
  const args = [program, "explain", "--json", "-"];
  const { status, stdout, stderr } = spawnSync(process.execPath, args, {
    input: text,
    encoding: "utf8",
  });
  assert.equal(status, 0, `${text}\n${stderr}`);
  return (JSON.parse(stdout) as { explanations: readonly Explanation[] }).explanations;
}

/** Of one line of `text`, `code` is the first explanation. */
export function explains(text: string, code: string): void {
  const first = explanationsOf(text).map(({ entries }) => entries[0]?.code);
  assert.ok(first.includes(code), `${text}\nis explained as ${first.join()}, not ${code}`);
}

/** `code` is among the explanations of a text that alone does not decide. */
export function mentions(text: string, code: string): void {
  const all = explanationsOf(text).flatMap(({ entries }) => entries.map((entry) => entry.code));
  assert.ok(all.includes(code), `${text}\nis explained as ${all.join()}, not ${code}`);
}

/** Types the commands that a finding gives, as the user they are for. */
export async function follow(l1: L1, commands: readonly string[]): Promise<void> {
  for (const command of commands.filter((line) => !line.startsWith("#"))) {
    const script = `viaduct() { node ${quote(program)} "$@"; }; ${command}`;
    await l1.sh(script);
  }
}
