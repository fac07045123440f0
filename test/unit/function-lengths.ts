/**
 * Finds the functions of a TypeScript file and how many lines each takes, without a parser: blanks
 * out what is not code, then looks at what stands before every opening brace. What the formatter
 * writes is understood; a return type with braces or parentheses in it is not, and hides its
 * function.
 */

export interface FoundFunction {
  /** Line of the function's name, or of the arrow's parameters, from 1. */
  readonly line: number;
  /** From that line to the closing brace. */
  readonly lines: number;
}

/** Words before a parenthesis that do not make a function of the block behind it. */
const CONTROL = new Set(["if", "for", "while", "switch", "catch", "with", "await"]);

export function functionsOf(source: string): FoundFunction[] {
  const code = blankNonCode(source);
  const found: FoundFunction[] = [];
  const open: number[] = [];
  for (let at = 0; at < code.length; at++) {
    if (code[at] === "{") open.push(at);
    if (code[at] !== "}") continue;
    const start = functionStart(code, open.pop() ?? 0);
    if (start === undefined) continue;
    const line = lineOf(code, start);
    found.push({ line, lines: lineOf(code, at) - line + 1 });
  }
  return found;
}

/** Where the function begins whose body opens at `brace`; undefined when it is another block. */
function functionStart(code: string, brace: number): number | undefined {
  let end = brace - 1;
  while (/\s/.test(code[end] ?? "")) end--;
  const isArrow = code.slice(end - 1, end + 1) === "=>";
  const head = code.slice(Math.max(0, end - 300), end + 1);
  const match = /\)\s*(?::[^;{}()=]*)?(?:=>)?$/.exec(head);
  if (!match) return isArrow ? end : undefined;
  const paren = matchingParen(code, end + 1 - head.length + match.index);
  const name = /([\w$#]+)\s*(?:<[^()]*>)?\s*$/.exec(code.slice(Math.max(0, paren - 200), paren));
  if (isArrow) return paren;
  if (!name || CONTROL.has(name[1]!)) return undefined;
  return paren;
}

function matchingParen(code: string, close: number): number {
  let depth = 0;
  for (let at = close; at >= 0; at--) {
    if (code[at] === ")") depth++;
    if (code[at] === "(") depth--;
    if (depth === 0) return at;
  }
  return 0;
}

function lineOf(code: string, at: number): number {
  let line = 1;
  for (let i = code.indexOf("\n"); i >= 0 && i < at; i = code.indexOf("\n", i + 1)) line++;
  return line;
}

/** A comment, string, template or regular expression, wherever one may begin. */
const NON_CODE = new RegExp(
  [
    String.raw`\/\*[\s\S]*?\*\/`,
    String.raw`\/\/[^\n]*`,
    String.raw`"(?:\\.|[^"\\\n])*"`,
    String.raw`'(?:\\.|[^'\\\n])*'`,
    "`(?:\\\\[\\s\\S]|[^`\\\\])*`",
    String.raw`(?<=[(,=:[!&|?{};+]\s*|return )\/(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\\n[])+\/`,
  ].join("|"),
  "g",
);

/** The same text with spaces in place of what is not code; lines stay where they are. */
function blankNonCode(source: string): string {
  return source.replace(NON_CODE, (text) => text.replace(/[^\n]/g, " "));
}
