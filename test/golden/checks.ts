/**
 * What `src/abi/` says, as questions to a C compiler: reflects over the exports of each module and
 * gives one C expression with the value it must have. Structs give their size, the offset, size and
 * signedness of every field, nested ones included; UPPER_CASE exports give constants and ioctl
 * numbers.
 */

import { type FieldPlace, Struct } from "../../src/layout/struct.ts";

/** A C expression and what it must be; a string for a string constant. */
export interface Check {
  readonly module: string;
  readonly expression: string;
  readonly expected: bigint | string;
}

/** Modules of src/abi/ and the headers that they declare. */
export const MODULES: ReadonlyArray<readonly [module: string, ...headers: string[]]> = [
  ["vfio", "linux/vfio.h"],
  ["vfio-feature", "linux/vfio.h"],
  ["vfio-iommu", "linux/vfio.h"],
  ["vfio-ccw", "linux/vfio_ccw.h"],
  ["vfio-zdev", "linux/vfio_zdev.h"],
  ["iommufd", "linux/iommufd.h"],
  ["kvm", "linux/kvm.h"],
  ["kvm-exit", "linux/kvm.h"],
  ["kvm-run", "linux/kvm.h"],
  ["kvm-x86", "linux/kvm.h"],
  ["pci-regs", "linux/pci_regs.h"],
  ["pci-express-regs", "linux/pci_regs.h"],
  ["pci-ext-regs", "linux/pci_regs.h"],
  ["userfaultfd", "linux/userfaultfd.h"],
  ["eventfd", "linux/eventfd.h"],
  ["epoll", "linux/eventpoll.h"],
  ["fcntl", "linux/fcntl.h"],
  ["mman", "linux/mman.h", "linux/memfd.h"],
  ["signal", "asm/signal.h"],
  ["resource", "linux/resource.h"],
];

/** Every check of one module. */
export async function checksOf(module: string): Promise<Check[]> {
  const exports = (await import(`../../src/abi/${module}.js`)) as Record<string, unknown>;
  return Object.entries(exports).flatMap(([name, value]) => {
    if (value instanceof Struct) return structChecks(module, name, value);
    if (!/^_?[A-Z]/.test(name) || typeof value === "function") return [];
    const expected = typeof value === "string" ? value : BigInt(value as number | bigint);
    return [{ module, expression: name, expected }];
  });
}

type Declared = { readonly size: number; readonly places: readonly FieldPlace[] };

function structChecks(module: string, tag: string, declared: Declared): Check[] {
  const check = (expression: string, expected: number): Check => {
    return { module, expression, expected: BigInt(expected) };
  };
  const fields = (path: string, base: number, { places }: Declared): Check[] =>
    places.flatMap(({ name, offset, type }) => {
      // Spelled-out padding has no name in C.
      if (name.startsWith("_pad")) return [];
      const at = path === "" ? name : `${path}.${name}`;
      const checks = [check(`__builtin_offsetof(struct ${tag}, ${at})`, base + offset)];
      const isFlexible = type.size === 0;
      if (!isFlexible) checks.push(check(`sizeof(((struct ${tag} *)0)->${at})`, type.size));
      if (type.kind === "scalar") {
        checks.push(check(`IS_SIGNED(((struct ${tag} *)0)->${at})`, type.signed ? 1 : 0));
      }
      const isAnonymous = type.kind === "struct" && type.name === "";
      return isAnonymous ? [...checks, ...fields(at, base + offset, type)] : checks;
    });
  return [check(`sizeof(struct ${tag})`, declared.size), ...fields("", 0, declared)];
}
