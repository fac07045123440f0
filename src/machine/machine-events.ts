/**
 * What a running machine tells those who control it, in the words of QEMU's monitor (qmp/events.ts
 * puts them on the wire).
 */

import type { PlacedDevice } from "./devices.ts";
import type { RunState } from "./run-state.ts";

/** Who brought about a reset, or the end. */
export type Cause =
  | "guest-reset"
  | "guest-shutdown"
  | "guest-panic"
  | "host-error"
  | "host-qmp-quit"
  | "host-qmp-system-reset"
  | "host-signal"
  | "host-ui";

export type MachineEvent =
  | { readonly type: "state"; readonly state: RunState; readonly before: RunState }
  | { readonly type: "reset"; readonly cause: Cause }
  | { readonly type: "shutdown"; readonly cause: Cause }
  | { readonly type: "powerdown" }
  | { readonly type: "device-deleted"; readonly device: PlacedDevice }
  | { readonly type: "device-kept"; readonly device: PlacedDevice };
