/** Help, man pages and completion come from the same definitions, and every verb has them. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { candidates } from "../../../src/cli/completion.ts";
import { helpText, manPage } from "../../../src/cli/help-text.ts";
import { manPages } from "../../../src/cli/man-pages.ts";
import { VERBS } from "../../../src/cli/verbs.ts";

const bin = resolve(import.meta.dirname, "../../../../bin/viaduct.js");

test("every verb with a definition has help and a man page that name all its options", async () => {
  for (const [name, entry] of Object.entries(VERBS)) {
    const { command } = await entry.load();
    if (command === undefined) continue;
    assert.equal(command.name, name);
    assert.equal(command.summary, entry.summary, name);
    assert.ok(command.examples.length > 0, name);
    const [help, page] = [helpText(command), manPage(command)];
    for (const flag of command.options.flatMap((option) => option.flags)) {
      assert.ok(help.includes(flag), `${name} ${flag}`);
      assert.ok(page.includes(flag.replaceAll("-", "\\-")), `${name} ${flag} in the man page`);
    }
    assert.ok(
      help.split("\n").every((line) => line.length <= 100),
      name,
    );
  }
});

test("candidates offers verbs, options, codes and the words of an option", async () => {
  const values = async (...words: string[]) => (await candidates(words)).map(([value]) => value);
  assert.deepEqual(await values("li"), ["list"]);
  assert.ok((await values("list", "--g")).includes("--group"));
  assert.deepEqual(await values("explain", "GROUP_NOT"), ["GROUP_NOT_VIABLE"]);
  assert.deepEqual(await values("doctor", "--fail-on", ""), ["error", "warn", "never"]);
  assert.deepEqual(await values("reattach", "--a"), ["--all"]);
  assert.deepEqual(await values("nonsense", ""), []);
});

test("docs/man is what the definitions say: npm run man writes it", async () => {
  const folder = resolve(import.meta.dirname, "../../../../docs/man");
  const pages = await manPages();
  assert.deepEqual(readdirSync(folder).sort(), [...pages.keys()].sort());
  for (const [name, text] of pages)
    assert.equal(readFileSync(join(folder, name), "utf8"), text, name);
});

test("man(1) can format every page without a warning", { skip: missing("groff") }, async () => {
  for (const [name, text] of await manPages()) {
    const { stdout, stderr } = spawnSync("groff", ["-man", "-Tutf8", "-ww", "-z"], { input: text });
    assert.equal(`${stdout}${stderr}`, "", name);
  }
});

/** Runs a shell with `viaduct` on its path. */
function inShell(shell: string, args: readonly string[]): string {
  const folder = mkdtempSync(join(tmpdir(), "viaduct-shell-"));
  try {
    writeFileSync(join(folder, "viaduct"), `#!/bin/sh\nexec "${process.execPath}" "${bin}" "$@"\n`);
    chmodSync(join(folder, "viaduct"), 0o755);
    const { stdout, stderr } = spawnSync(shell, args, {
      encoding: "utf8",
      env: { ...process.env, HOME: folder, PATH: `${folder}:${process.env["PATH"]}` },
    });
    assert.equal(stderr, "");
    return stdout.trim();
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function missing(program: string): string | false {
  return spawnSync(program, ["--version"]).error === undefined
    ? false
    : `${program} is not installed`;
}

/** What bash makes of a line, with programmable completion as it runs for a person. */
function bashCompletes(line: string): string[] {
  const script = [
    "source <(viaduct completion bash)",
    `COMP_LINE='${line}'; COMP_POINT=\${#COMP_LINE}`,
    `_viaduct; printf '%s\\n' "\${COMPREPLY[@]}"`,
  ].join("\n");
  return inShell("bash", ["-c", script]).split("\n");
}

test("bash completes verbs, options, their values and codes", { skip: missing("bash") }, () => {
  assert.deepEqual(bashCompletes("viaduct doc"), ["doctor"]);
  assert.deepEqual(bashCompletes("viaduct explain GROUP_NOT"), ["GROUP_NOT_VIABLE"]);
  assert.deepEqual(bashCompletes("viaduct doctor --fail-on "), ["error", "warn", "never"]);
  assert.deepEqual(bashCompletes("viaduct run --irqchip s"), ["split"]);
});

const aDevice = readdirOrNone("/sys/bus/pci/devices").at(-1);

function readdirOrNone(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    // A machine without PCI.
    return [];
  }
}

test("bash completes a live address past its colons", {
  skip: aDevice === undefined ? "this machine has no PCI device" : missing("bash"),
}, () => {
  const typed = aDevice!.slice(0, 9);
  // bash has cut the word at its last colon, and puts what follows that.
  const rest = bashCompletes(`viaduct show ${typed}`);
  assert.ok(rest.includes(aDevice!.slice(aDevice!.lastIndexOf(":") + 1)), rest.join());
  // An endpoint, not a bridge, can stand in a device option.
  const options = bashCompletes(`viaduct run --device vfio-pci,host=${typed}`);
  assert.ok(
    options.every((one) => one === "" || rest.includes(one)),
    options.join(),
  );
});

test("fish completes codes with what they mean", { skip: missing("fish") }, () => {
  const script = "viaduct completion fish | source; complete -C 'viaduct explain GROUP_NOT'";
  assert.equal(inShell("fish", ["-c", script]), "GROUP_NOT_VIABLE\tThe IOMMU group is not viable");
});

test("zsh completes codes with what they mean", { skip: missing("zsh") }, () => {
  // Where a person would see a menu, _describe shows what it was given.
  const script = [
    "compdef() { :; }",
    `_describe() { print -l -- "\${(@P)2}"; }`,
    "source <(viaduct completion zsh)",
    "words=(viaduct explain GROUP_NOT); CURRENT=3; _viaduct",
  ].join("\n");
  assert.equal(inShell("zsh", ["-fc", script]), "GROUP_NOT_VIABLE:The IOMMU group is not viable");
});
