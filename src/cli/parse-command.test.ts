import assert from "node:assert/strict";
import { test } from "node:test";
import { ViaductError } from "../sys/sys-error.ts";
import type { CommandDefinition } from "./command.ts";
import { parseCommand } from "./parse-command.ts";

const texts = { summary: "", description: [], operands: [], examples: [] };

const qemu: CommandDefinition = {
  ...texts,
  name: "run",
  spelling: "qemu",
  options: [
    { flags: ["--memory", "-m"], value: "SIZE", about: "RAM" },
    { flags: ["--device"], value: "DEVICE", repeatable: true, about: "a device" },
    { flags: ["--json"], value: "FILE", optionalValue: true, about: "events" },
    { flags: ["--no-reboot"], about: "end instead" },
  ],
};

const lspci: CommandDefinition = {
  ...texts,
  name: "list",
  operands: [{ name: "DEVICE", about: "a device", optional: true }],
  options: [
    { flags: ["-n"], about: "numbers", repeatable: true },
    { flags: ["-k"], about: "drivers" },
    { flags: ["-s"], value: "SLOT", about: "where" },
    { flags: ["--group"], value: "N", about: "a group" },
  ],
};

function refused(definition: CommandDefinition, args: readonly string[], message: RegExp): void {
  assert.throws(
    () => parseCommand(definition, args),
    (error: unknown) => {
      assert.ok(error instanceof ViaductError);
      assert.equal(error.code, "USAGE");
      assert.match(error.message, message);
      assert.equal(error.nextStep, `See viaduct ${definition.name} --help.`);
      return true;
    },
  );
}

test("qemu's spelling takes one dash or two, and a value after = or in the next argument", () => {
  const args = ["-m", "6G", "--device=a", "-device", "b,x=-1", "--json", "-no-reboot"];
  const parsed = parseCommand(qemu, args);
  assert.equal(parsed.value("--memory"), "6G");
  assert.deepEqual(parsed.values("--device"), ["a", "b,x=-1"]);
  assert.equal(parsed.value("--json"), "");
  assert.ok(parsed.has("--no-reboot"));
  assert.equal(parseCommand(qemu, ["-json=events"]).value("--json"), "events");
});

test("lspci's spelling runs switches together, with a value at their end", () => {
  const parsed = parseCommand(lspci, ["-nnks01:00.0", "--group=4", "eth0"]);
  assert.equal(parsed.count("-n"), 2);
  assert.ok(parsed.has("-k"));
  assert.equal(parsed.value("-s"), "01:00.0");
  assert.equal(parsed.value("--group"), "4");
  assert.deepEqual(parsed.operands, ["eth0"]);
  assert.deepEqual(parseCommand(lspci, ["--", "-n"]).operands, ["-n"]);
});

test("what is not known is refused, and what was meant is named", () => {
  refused(qemu, ["--memry", "1"], /--memry: unknown option; did you mean --memory\?/);
  refused(qemu, ["-devise", "1"], /-devise: unknown option; did you mean --device\?/);
  refused(qemu, ["--zzz"], /--zzz: unknown option$/);
  refused(qemu, ["-m"], /-m: a value is missing \(SIZE\)/);
  refused(qemu, ["-m", "1", "--memory", "2"], /--memory: given twice/);
  refused(qemu, ["--no-reboot=yes"], /takes no value/);
  refused(qemu, ["vmlinuz"], /vmlinuz: one argument too many/);
  refused(lspci, ["-nz"], /-z: unknown option$/);
  refused(lspci, ["--gr", "1"], /--gr: unknown option; did you mean --group\?/);
});
