/**
 * What verbs print, and how: text on standard output, progress and errors on standard error, colour
 * only for a person at a terminal, JSON with a version.
 */

/** The version of every JSON document printed; schema/viaduct.schema.json describes it. */
export const SCHEMA_VERSION = 1;

let watchesPipe = false;

/** Everything at once: a pipe that closes early (`| head`) ends the output, and is no error. */
export function print(text: string): void {
  if (!watchesPipe) {
    watchesPipe = true;
    process.stdout.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code !== "EPIPE") throw error;
    });
  }
  process.stdout.write(text.endsWith("\n") || text === "" ? text : `${text}\n`);
}

export function printJson(document: Readonly<Record<string, unknown>>): void {
  print(JSON.stringify({ schemaVersion: SCHEMA_VERSION, ...document }, jsonValue, 2));
}

/** 64-bit values are hexadecimal strings in JSON. */
function jsonValue(_key: string, value: unknown): unknown {
  return typeof value === "bigint" ? `0x${value.toString(16)}` : value;
}

export function wantsColour(stream: NodeJS.WriteStream = process.stdout): boolean {
  const refused = process.env["NO_COLOR"];
  return stream.isTTY === true && (refused === undefined || refused === "");
}

export type Tone = "good" | "warn" | "bad" | "quiet" | "strong";

const SGR: Readonly<Record<Tone, string>> = {
  good: "32",
  warn: "33",
  bad: "31",
  quiet: "2",
  strong: "1",
};

export function tint(text: string, tone: Tone): string {
  return wantsColour() ? `\u001b[${SGR[tone]}m${text}\u001b[0m` : text;
}
