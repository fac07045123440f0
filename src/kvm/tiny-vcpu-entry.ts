/** The vCPU Worker of the tests of this folder; the map is in `tiny-machine.ts`. */

import { nativeSyscalls } from "../sys/native.ts";
import { runVcpuThread } from "./vcpu-loop.ts";

const THREAD_PORT = 0x10;
const THREAD_MMIO = 0xd000_0000;
const PAGE = 4096;

runVcpuThread(nativeSyscalls(), (shared) => {
  const words = shared as Int32Array;
  const mmioWord = (gpa: number) =>
    gpa >= THREAD_MMIO && gpa < THREAD_MMIO + PAGE ? 2 + (gpa - THREAD_MMIO) / 4 : undefined;
  return {
    pioRead: (port) => (port === THREAD_PORT ? Atomics.load(words, 1) : undefined),
    pioWrite: (port) => {
      if (port !== THREAD_PORT) return false;
      Atomics.add(words, 0, 1);
      return true;
    },
    mmioRead: (gpa) => {
      const at = mmioWord(gpa);
      return at === undefined ? undefined : Atomics.load(words, at);
    },
    mmioWrite: (gpa, _size, value) => {
      const at = mmioWord(gpa);
      if (at === undefined) return false;
      Atomics.store(words, at, value | 0);
      return true;
    },
  };
});
