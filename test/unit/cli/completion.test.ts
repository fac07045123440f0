/** Help, man pages and completion come from the same definitions, and every verb has them. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { candidates } from "../../../src/cli/completion.ts";
import { helpText, manPage } from "../../../src/cli/help-text.ts";
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

test("the bash script completes a code", () => {
  const folder = mkdtempSync(join(tmpdir(), "viaduct-bash-"));
  try {
    writeFileSync(join(folder, "viaduct"), `#!/bin/sh\nexec "${process.execPath}" "${bin}" "$@"\n`);
    chmodSync(join(folder, "viaduct"), 0o755);
    const script = [
      "source <(viaduct completion bash)",
      `COMP_LINE="viaduct explain GROUP_NOT"; COMP_POINT=\${#COMP_LINE}`,
      `_viaduct; echo "\${COMPREPLY[@]}"`,
    ].join("\n");
    const { stdout } = spawnSync("bash", ["-c", script], {
      encoding: "utf8",
      env: { ...process.env, PATH: `${folder}:${process.env["PATH"]}` },
    });
    assert.equal(stdout.trim(), "GROUP_NOT_VIABLE");
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
