/**
 * DMA by a software device: it reads and writes the memory its container maps, with the
 * permissions of each mapping, and only while bus mastering is on.
 */

import type { DmaTable } from "./dma-table.ts";

export class SoftwareDma {
  readonly #memoryAt: (address: number, length: number) => ArrayBuffer;
  readonly #table: () => DmaTable | undefined;
  /** Accesses that the IOMMU stopped. */
  faults = 0;

  constructor(
    memoryAt: (address: number, length: number) => ArrayBuffer,
    table: () => DmaTable | undefined,
  ) {
    this.#memoryAt = memoryAt;
    this.#table = table;
  }

  /** @returns the bytes, or undefined where the IOMMU faults */
  read(iova: bigint, length: number): Uint8Array | undefined {
    const pieces = this.#pieces(iova, length, "read");
    if (pieces === undefined) return undefined;
    const into = new Uint8Array(length);
    let at = 0;
    for (const piece of pieces) {
      into.set(piece, at);
      at += piece.length;
    }
    return into;
  }

  /** @returns false where the IOMMU faults; then nothing was written */
  write(iova: bigint, from: Uint8Array): boolean {
    const pieces = this.#pieces(iova, from.length, "write");
    let at = 0;
    for (const piece of pieces ?? []) {
      piece.set(from.subarray(at, at + piece.length));
      at += piece.length;
    }
    return pieces !== undefined;
  }

  /** The host memory behind a range, which may span mappings. */
  #pieces(iova: bigint, length: number, access: "read" | "write"): Uint8Array[] | undefined {
    const table = this.#table();
    const pieces: Uint8Array[] = [];
    let at = iova;
    const end = iova + BigInt(length);
    while (at < end) {
      const mapping = table?.find(at);
      if (!mapping?.[access]) {
        this.faults++;
        return undefined;
      }
      const mappingEnd = mapping.iova + mapping.size;
      const size = Number((mappingEnd < end ? mappingEnd : end) - at);
      // SAFETY: what a container maps stays mapped in the process until it is unmapped there.
      const address = Number(mapping.vaddr + (at - mapping.iova));
      pieces.push(new Uint8Array(this.#memoryAt(address, size)));
      at += BigInt(size);
    }
    return pieces;
  }
}
