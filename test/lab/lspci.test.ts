/** `viaduct show` and its decoder against the real lspci: pciutils of Debian, in a prefix. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { configText, decodeConfig } from "../../src/pci/decode.ts";
import { lspciLines } from "./lspci-oracle.ts";
import { madeConfigSpaces } from "./made-config-spaces.ts";

test("configText says what lspci -vvv says of registers that no device has", async () => {
  const all = [...madeConfigSpaces(7), ...madeConfigSpaces(1234)];
  const theirs = await lspciLines(all.map(([, bytes]) => bytes));
  all.forEach(([name, bytes], at) => {
    const trim = (lines: readonly string[]) =>
      lines
        .filter((line) => !/^\t(?:Subsystem|!!!|DeviceName)/.test(line))
        .map((line) => line.trimEnd());
    assert.deepEqual(trim(configText(decodeConfig(bytes))), trim(theirs[at]!), name);
  });
});
