import assert from "node:assert/strict";
import { test } from "node:test";
import { parseCommand } from "./parse-command.ts";
import { command, runRequest } from "./run-options.ts";

function qmpOf(text: string): unknown {
  const request = runRequest(parseCommand(command, ["-kernel", "vmlinuz", "-qmp", text]));
  return request.kind === "run" ? request.options.qmp : undefined;
}

test("--qmp is spelled as in QEMU, and waits for a client where QEMU would", () => {
  const path = "/run/guest.sock";
  assert.deepEqual(qmpOf(`unix:${path}`), { path, wait: false });
  assert.deepEqual(qmpOf(`unix:${path},server=on,wait=off`), { path, wait: false });
  assert.deepEqual(qmpOf(`unix:${path},server=on`), { path, wait: true });
  assert.deepEqual(qmpOf(`unix:${path},server,wait=off`), { path, wait: false });
  assert.deepEqual(qmpOf(`unix:${path},wait=on`), { path, wait: true });
});

test("--qmp refuses what it does not do", () => {
  const refused: ReadonlyArray<readonly [string, RegExp]> = [
    ["tcp:localhost:4444", /not a Unix socket/],
    ["unix:", /not a Unix socket/],
    ["unix:/a,server=off", /always a server's/],
    ["unix:/a,server=maybe", /cannot take server=maybe/],
    ["unix:/a,nowait", /cannot take nowait/],
  ];
  for (const [text, message] of refused) {
    assert.throws(() => qmpOf(text), { code: "USAGE", message }, text);
  }
});
