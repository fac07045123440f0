/**
 * The vCPU Worker of `exits.ts`: answers every exit itself, or leaves every exit to the main thread,
 * as the batch says; notes when the first and the last exit of a batch came.
 */

import type { InThreadExits, PortSize } from "../src/kvm/exit-handler.ts";
import { runVcpuThread } from "../src/kvm/vcpu-loop.ts";
import { SharedConfigReader } from "../src/pci/shared-config.ts";
import { nativeSyscalls } from "../src/sys/native.ts";
import { CONFIG_PAGE, type ExitsBatch, now, TO_READ, WORD } from "./exits-batch.ts";

const PAGE = 4096;

class BenchExits implements InThreadExits {
  readonly #words: Int32Array;
  readonly #times: Float64Array;
  readonly #config: SharedConfigReader;

  constructor({ words, times, config }: ExitsBatch) {
    this.#words = words;
    this.#times = times;
    this.#config = new SharedConfigReader(config, nativeSyscalls());
  }

  pioRead(): number | undefined {
    return this.#mine() ? TO_READ : undefined;
  }

  pioWrite(_port: number, _size: PortSize, value: number): boolean {
    this.#words[WORD.LAST_WRITTEN] = value;
    return this.#mine();
  }

  mmioRead(gpa: number, size: PortSize): number | undefined {
    if (!this.#mine()) return undefined;
    if (gpa >= CONFIG_PAGE && gpa < CONFIG_PAGE + PAGE) {
      return this.#config.readEcam(gpa - CONFIG_PAGE, size);
    }
    return TO_READ;
  }

  mmioWrite(_gpa: number, _size: PortSize, value: number): boolean {
    this.#words[WORD.LAST_WRITTEN] = value;
    return this.#mine();
  }

  /** Whether this thread answers; the last exit of a batch goes to the main thread, to end it. */
  #mine(): boolean {
    const words = this.#words;
    if (words[WORD.FORWARD] !== 0) return false;
    const done = words[WORD.DONE]!;
    words[WORD.DONE] = done + 1;
    if (done === 0) this.#times[0] = now();
    if (done !== words[WORD.COUNT]! - 1) return true;
    this.#times[1] = now();
    return false;
  }
}

runVcpuThread(nativeSyscalls(), (shared) => new BenchExits(shared as ExitsBatch));
