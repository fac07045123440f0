/**
 * ResetCoordinator: machine reset over all assigned devices (spec/container.md section 13). Two
 * functions of one slot must be hot-reset once, so every device first says whether it needs it, and
 * the first to reset clears the marks of those it resets with it.
 */

export interface ResetParticipant {
  needsReset: boolean;
  /** Decides `needsReset`: no reset of its own, or only one by power state. */
  computeNeedsReset(): void;
  /** Hot-resets this device with those that depend on it, and clears their marks and its own. */
  hotResetMulti(): void;
}

export class ResetCoordinator {
  /** Newest first. */
  #participants: ResetParticipant[] = [];

  /** Takes a realized device in until the result is disposed. */
  add(participant: ResetParticipant): Disposable {
    this.#participants = [participant, ...this.#participants];
    return {
      [Symbol.dispose]: () => {
        this.#participants = this.#participants.filter((other) => other !== participant);
      },
    };
  }

  resetAll(): void {
    for (const participant of this.#participants) participant.computeNeedsReset();
    for (const participant of this.#participants) {
      if (participant.needsReset) participant.hotResetMulti();
    }
  }
}
