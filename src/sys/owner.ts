/**
 * Owner: releases what it owns in reverse order of acquisition, on every path out of a scope.
 * `DisposableStack` without Node 24.
 */

export class Owner implements Disposable {
  #releases: Array<() => void> = [];

  /** Takes charge of `resource` and hands it back. */
  own<T extends Disposable>(resource: T): T {
    this.#releases.push(() => resource[Symbol.dispose]());
    return resource;
  }

  /** Runs `release` when this owner is disposed. */
  defer(release: () => void): void {
    this.#releases.push(release);
  }

  /**
   * Hands everything to a new owner; this one then owns nothing. The last act of a successful
   * `open()`.
   */
  move(): Owner {
    const heir = new Owner();
    heir.#releases = this.#releases;
    this.#releases = [];
    return heir;
  }

  /**
   * Releases everything, also when a release throws; throws the first error afterwards. Idempotent.
   */
  [Symbol.dispose](): void {
    let failed = false;
    let firstError: unknown;
    for (let release = this.#releases.pop(); release; release = this.#releases.pop()) {
      try {
        release();
      } catch (error) {
        firstError = failed ? firstError : error;
        failed = true;
      }
    }
    if (failed) throw firstError;
  }
}
