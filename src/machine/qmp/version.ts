/** What we say we are: our own version (package.json's, which a test compares), in QEMU's form. */

export const VERSION = {
  qemu: { major: 0, minor: 1, micro: 0 },
  package: "viaduct",
} as const;
