/** `'it'\''s'`: one shell word. */
export function quote(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`;
}
