import assert from "node:assert/strict";
import { test } from "node:test";
import { chooseMirror, debianMirror, parseSources } from "./apt-sources.ts";

const STANZAS = `Types: deb
# a comment between fields
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main

Types: deb
Enabled: no
URIs: http://off.example/debian
Suites: trixie
`;

test("parseSources reads deb822 stanzas and leaves disabled ones out", () => {
  assert.deepEqual(parseSources(STANZAS), [
    { uri: "http://mirror.example/debian", suites: ["bookworm", "bookworm-updates"] },
    { uri: "http://mirror.example/debian-security", suites: ["bookworm-security"] },
  ]);
});

test("parseSources reads one-line entries, with options and without", () => {
  const text = `# deb http://commented.example/debian stable main
deb [arch=amd64 signed-by=/k.gpg] https://a.example/x stable main
  deb http://b.example/debian/ bookworm main contrib
deb-src http://c.example/debian bookworm main
`;
  assert.deepEqual(parseSources(text), [
    { uri: "https://a.example/x", suites: ["stable"] },
    { uri: "http://b.example/debian/", suites: ["bookworm"] },
  ]);
});

test("chooseMirror takes Debian's archive, not a vendor's or the security archive", () => {
  const vendor = { uri: "https://vendor.example/node", suites: ["nodistro"] };
  assert.equal(
    chooseMirror([vendor, ...parseSources(STANZAS).reverse()]),
    "http://mirror.example/debian",
  );
  assert.equal(chooseMirror([vendor]), undefined);
});

test("debianMirror prefers the environment's, without a slash at its end", () => {
  const before = process.env["VIADUCT_LAB_MIRROR"];
  process.env["VIADUCT_LAB_MIRROR"] = "http://named.example/debian/";
  try {
    assert.equal(debianMirror(), "http://named.example/debian");
  } finally {
    if (before === undefined) delete process.env["VIADUCT_LAB_MIRROR"];
    else process.env["VIADUCT_LAB_MIRROR"] = before;
  }
});
