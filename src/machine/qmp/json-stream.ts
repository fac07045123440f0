/**
 * JsonStream: JSON values out of a byte stream, one after the other. Clients write a value a line,
 * or values with nothing between, in pieces of any size. What is no JSON is refused once and
 * skipped to the end of its line, so that the next command is understood again.
 */

import { StringDecoder } from "node:string_decoder";

/** As many characters as one value may have; a `device_add` has some hundred. */
export const VALUE_LENGTH_MAX = 256 * 1024;
/** As deep as values may nest: far less than what `JSON.parse` can take. */
const DEPTH_MAX = 1024;

export type JsonItem = { readonly value: unknown } | { readonly error: string };

type State = "idle" | "structure" | "string" | "word" | "skip";

export class JsonStream {
  readonly #decoder = new StringDecoder("utf8");
  #state: State = "idle";
  #depth = 0;
  #escaped = false;
  /** The beginning of a value whose end has not come. */
  #pending = "";

  /** What `bytes` completes: values, and errors for what was none. */
  feed(bytes: Uint8Array): JsonItem[] {
    const text = this.#pending + this.#decoder.write(Buffer.from(bytes));
    const items: JsonItem[] = [];
    let start = 0;
    for (let at = this.#pending.length; at < text.length; at++) {
      const before = this.#state;
      const problem = this.#step(text[at]!);
      if (problem !== undefined) items.push({ error: problem });
      if (this.#state === "idle" && (before === "structure" || before === "word")) {
        // A structure ends with its bracket, a word before what follows it.
        if (before === "word") at -= 1;
        items.push(this.#parse(text.slice(start, at + 1), text[at + 1]));
      }
      if (this.#state === "idle" || this.#state === "skip") start = at + 1;
    }
    this.#pending = text.slice(start);
    if (this.#pending.length <= VALUE_LENGTH_MAX) return items;
    this.#pending = "";
    this.#state = "skip";
    return [...items, { error: `a value has more than ${VALUE_LENGTH_MAX} characters` }];
  }

  /** @returns what is wrong; the state is then the one to go on with */
  #step(character: string): string | undefined {
    switch (this.#state) {
      case "skip":
        if (character === "\n") this.#state = "idle";
        return undefined;
      case "idle":
        if (/\s/.test(character)) return undefined;
        this.#depth = 0;
        this.#state = /[[{]/.test(character) ? "structure" : "word";
        return this.#state === "word" ? undefined : this.#stepInStructure(character);
      case "word":
        if (/[\s[{]/.test(character)) this.#state = "idle";
        return undefined;
      case "string":
        return this.#stepInString(character);
      case "structure":
        return this.#stepInStructure(character);
    }
  }

  #stepInStructure(character: string): string | undefined {
    if (character === '"') this.#state = "string";
    else if (character === "{" || character === "[") this.#depth += 1;
    else if (character === "}" || character === "]") this.#depth -= 1;
    if (this.#depth === 0) this.#state = "idle";
    if (this.#depth <= DEPTH_MAX) return undefined;
    this.#state = "skip";
    return `a value nests deeper than ${DEPTH_MAX}`;
  }

  #stepInString(character: string): string | undefined {
    if (character === "\n") {
      this.#escaped = false;
      this.#state = "idle";
      return "a string has no end";
    }
    if (!this.#escaped && character === '"') this.#state = "structure";
    this.#escaped = !this.#escaped && character === "\\";
    return undefined;
  }

  #parse(text: string, next: string | undefined): JsonItem {
    try {
      return { value: JSON.parse(text) as unknown };
    } catch (error) {
      if (next !== "\n") this.#state = "skip";
      return { error: (error as Error).message };
    }
  }
}
