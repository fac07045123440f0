/** The benchmark's result as Markdown, for a terminal and for docs/benchmarks.md. */

import type { MapFigures } from "./map-dma.ts";
import type { Compared, Counts, ExitFigures, Summary } from "./passthrough-report.ts";

export type Row = readonly (string | number)[];

function cell(value: string | number): string {
  if (typeof value === "string") return value;
  if (Number.isInteger(value)) return String(value);
  return Math.abs(value) < 10 ? value.toFixed(2) : value.toFixed(0);
}

/** The first column to the left, the others to the right. */
export function table(head: Row, rows: readonly Row[]): string {
  const cells = [head, ...rows].map((row) => row.map(cell));
  const widths = cells[0]!.map((_, at) => Math.max(...cells.map((row) => row[at]!.length)));
  const line = (row: readonly string[]) => {
    const padded = row.map((text, at) =>
      at === 0 ? text.padEnd(widths[at]!) : text.padStart(widths[at]!),
    );
    return `| ${padded.join(" | ")} |`;
  };
  const rule = widths.map((width, at) =>
    at === 0 ? "-".repeat(width) : `${"-".repeat(width - 1)}:`,
  );
  return [line(cells[0]!), line(rule), ...cells.slice(1).map(line)].join("\n");
}

function comparison(rows: readonly Compared[]): string {
  return table(
    ["", "unit", "Viaduct", "QEMU", "ratio", "quartiles", "pairs"],
    rows.map(({ what, unit, viaduct, qemu, ratio, low, high, pairs }) => [
      what,
      unit,
      viaduct,
      qemu,
      ratio.toFixed(2),
      `${low.toFixed(2)} to ${high.toFixed(2)}`,
      pairs,
    ]),
  );
}

function exits({ userspace, statistics, own }: ExitFigures): string {
  const rows = (kind: string, viaduct: Counts, qemu: Counts | undefined): Row[] => {
    const names = [...new Set([...Object.keys(viaduct), ...Object.keys(qemu ?? {})])].sort();
    return names.map((name) => [
      `${kind}: ${name}`,
      viaduct[name] ?? 0,
      qemu ? (qemu[name] ?? 0) : "",
    ]);
  };
  return table(
    ["", "Viaduct", "QEMU"],
    [
      ...rows("to user space", userspace.viaduct, userspace.qemu),
      ...rows("own counter", own, undefined),
      ...rows("KVM statistic", statistics.viaduct, statistics.qemu),
    ],
  );
}

function mappings(mapping: readonly MapFigures[]): string {
  return table(
    ["", "Viaduct ms", "C ms", "ratio"],
    mapping.flatMap(({ gib, ours, c, firstRatio, againRatio }) => [
      [`${gib} GiB, pages new`, ours.firstMs, c.firstMs, firstRatio.toFixed(2)],
      [`${gib} GiB, pages there`, ours.againMs, c.againMs, againRatio.toFixed(2)],
      [`${gib} GiB, unmapped`, ours.unmapMs, c.unmapMs, (ours.unmapMs / c.unmapMs).toFixed(2)],
    ]),
  );
}

export function tables(result: Summary): string {
  const { where, rounds, boot, bootWork, coldBoot, phases, io, memory, mapping, targets } = result;
  const parts = [
    table(
      ["measured", ""],
      [
        ...Object.entries(where).map(
          ([name, value]): Row => [name, typeof value === "string" ? value : JSON.stringify(value)],
        ),
        ["boots of each", rounds],
      ],
    ),
    `Boot\n\n${comparison([boot, bootWork, coldBoot])}`,
    `Where Viaduct's boot goes\n\n${table(
      ["", "ms"],
      phases.map(({ name, ms }) => [name, ms]),
    )}`,
    `Reading the NVMe disk in the guest, direct I/O, one at a time\n\n${comparison(io)}`,
    `Exits of the boot, to the first userspace line\n\n${exits(result.bootExits)}`,
    `Exits per 1,000 random reads, steady state\n\n${exits(result.steadyExits)}`,
    `Memory of the process without guest RAM\n\n${comparison(memory)}`,
    ...(mapping ? [`Mapping guest RAM for DMA\n\n${mappings(mapping)}`] : []),
    `Targets\n\n${table(
      ["", "measured", "holds"],
      targets.map(({ what, measured, holds }) => [what, measured.toFixed(2), holds ? "yes" : "NO"]),
    )}`,
  ];
  return `${parts.join("\n\n")}\n`;
}
