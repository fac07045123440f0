/** Which of the lab's kernels a benchmark runs on. */

import { type KernelName, labKernelIsBuilt } from "../lab/kernel.ts";

/** @param wanted of `--kernel`; without it the lab kernel where it is built, else Debian's */
export async function kernelToMeasure(wanted: string | undefined): Promise<KernelName> {
  if (wanted === "lab" || wanted === "debian") return wanted;
  if (wanted !== undefined) throw new Error(`--kernel ${wanted}: neither "lab" nor "debian"`);
  return (await labKernelIsBuilt()) ? "lab" : "debian";
}
