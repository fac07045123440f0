/** The order of package versions (deb-version(7)). */

/** The order of one character in a non-digit part: `~` before the end, letters before the rest. */
function weight(character: string | undefined): number {
  if (character === undefined) return 0;
  if (character === "~") return -1;
  const code = character.charCodeAt(0);
  return /[A-Za-z]/.test(character) ? code : code + 256;
}

function compareParts(left: string, right: string): number {
  const pieces = (text: string) => text.match(/\d+|\D+/g) ?? [];
  // Non-digit and digit pieces alternate, beginning with a (possibly empty) non-digit one.
  const aligned = (text: string) => (/^\d/.test(text) ? ["", ...pieces(text)] : pieces(text));
  const [a, b] = [aligned(left), aligned(right)];
  for (let at = 0; at < Math.max(a.length, b.length); at++) {
    const [x, y] = [a[at] ?? "", b[at] ?? ""];
    if (at % 2 === 1) {
      const difference = Number(x) - Number(y);
      if (difference !== 0) return difference;
      continue;
    }
    for (let i = 0; i < Math.max(x.length, y.length); i++) {
      const difference = weight(x[i]) - weight(y[i]);
      if (difference !== 0) return difference;
    }
  }
  return 0;
}

/** Negative, zero or positive, as `left` is older than, equal to or newer than `right`. */
export function compareVersions(left: string, right: string): number {
  const split = (version: string) => {
    const [, epoch = "0", rest = ""] = /^(?:(\d+):)?(.*)$/.exec(version) ?? [];
    const dash = rest.lastIndexOf("-");
    return dash < 0
      ? { epoch: Number(epoch), upstream: rest, revision: "0" }
      : { epoch: Number(epoch), upstream: rest.slice(0, dash), revision: rest.slice(dash + 1) };
  };
  const [a, b] = [split(left), split(right)];
  return (
    a.epoch - b.epoch ||
    compareParts(a.upstream, b.upstream) ||
    compareParts(a.revision, b.revision)
  );
}
