/**
 * A mutex in shared memory, for device state that vCPU Workers and the main thread both touch. Held
 * for a register access at a time, never across a system call that can block.
 */

const FREE = 0;
const HELD = 1;
const HELD_WITH_WAITERS = 2;

/** Runs `section` with the lock at `words[index]` held. Not reentrant. */
export function withLock<T>(words: Int32Array, index: number, section: () => T): T {
  if (Atomics.compareExchange(words, index, FREE, HELD) !== FREE) {
    while (Atomics.exchange(words, index, HELD_WITH_WAITERS) !== FREE) {
      Atomics.wait(words, index, HELD_WITH_WAITERS);
    }
  }
  try {
    return section();
  } finally {
    if (Atomics.exchange(words, index, FREE) === HELD_WITH_WAITERS) Atomics.notify(words, index, 1);
  }
}
