/**
 * The published schema (schema/viaduct.schema.json), compiled by ajv in its strict mode.
 */

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

interface Validate {
  (value: unknown): boolean;
  readonly errors?: ReadonlyArray<{ readonly instancePath: string; readonly message?: string }>;
}

interface Ajv {
  compile(schema: object): Validate;
}

// CommonJS, whose default export an import would see one level too deep.
const { Ajv2020 } = createRequire(import.meta.url)("ajv/dist/2020.js") as {
  Ajv2020: new (options: object) => Ajv;
};

/** What is wrong with a document: one line for each fault, with its place; none: it is valid. */
export function validator(root: string): (document: unknown) => string[] {
  const path = join(root, "schema/viaduct.schema.json");
  const schema = JSON.parse(readFileSync(path, "utf8")) as object;
  const validate = new Ajv2020({ allErrors: true, allowUnionTypes: true }).compile(schema);
  return (document) =>
    validate(document)
      ? []
      : (validate.errors ?? []).map(({ instancePath, message }) => `${instancePath}: ${message}`);
}
