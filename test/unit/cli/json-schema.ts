/**
 * As much of JSON Schema as schema/viaduct.schema.json uses: type, const, enum, pattern,
 * properties, required, additionalProperties, items.
 */

interface Schema {
  readonly type?: string | readonly string[];
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly pattern?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: boolean | Schema;
  readonly items?: Schema;
}

/** What is wrong with `value`: one line for each fault, with its place; empty when it is valid. */
export function faultsOf(value: unknown, schema: Schema, place = "$"): string[] {
  const types = schema.type === undefined ? [] : [schema.type].flat();
  if (types.length > 0 && !types.some((type) => isType(value, type))) {
    return [`${place}: ${JSON.stringify(value)} is not ${types.join(" or ")}`];
  }
  if (schema.const !== undefined && value !== schema.const) return [`${place}: wrong constant`];
  if (schema.enum !== undefined && !schema.enum.includes(value)) {
    return [`${place}: ${JSON.stringify(value)} is none of ${schema.enum.join()}`];
  }
  if (typeof value === "string") {
    const fits = schema.pattern === undefined || new RegExp(schema.pattern).test(value);
    return fits ? [] : [`${place}: "${value}" does not match ${schema.pattern}`];
  }
  if (Array.isArray(value)) {
    const { items } = schema;
    return items === undefined
      ? []
      : value.flatMap((item, at) => faultsOf(item, items, `${place}[${at}]`));
  }
  if (typeof value !== "object" || value === null) return [];
  return objectFaults(value as Record<string, unknown>, schema, place);
}

function objectFaults(value: Record<string, unknown>, schema: Schema, place: string): string[] {
  const faults = (schema.required ?? [])
    .filter((name) => !Object.hasOwn(value, name))
    .map((name) => `${place}: ${name} is missing`);
  for (const [name, member] of Object.entries(value)) {
    const known = schema.properties?.[name];
    const rest = schema.additionalProperties;
    if (known !== undefined) faults.push(...faultsOf(member, known, `${place}.${name}`));
    else if (rest === false) faults.push(`${place}: ${name} is not in the schema`);
    else if (typeof rest === "object") faults.push(...faultsOf(member, rest, `${place}.${name}`));
  }
  return faults;
}

function isType(value: unknown, type: string): boolean {
  switch (type) {
    case "null":
      return value === null;
    case "array":
      return Array.isArray(value);
    case "integer":
      return Number.isInteger(value);
    case "object":
      return typeof value === "object" && value !== null && !Array.isArray(value);
    default:
      return typeof value === type;
  }
}
