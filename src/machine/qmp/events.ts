/** Events of the control socket: names and data of QEMU's QMP reference manual. */

import type { PlacedDevice } from "../devices.ts";
import type { Cause, MachineEvent } from "../machine-events.ts";
import type { JsonObject } from "./arguments.ts";

interface QmpEvent {
  readonly event: string;
  readonly data?: JsonObject;
}

const byGuest = (cause: Cause): boolean => cause.startsWith("guest");
const named = ({ id, path }: PlacedDevice) => ({ ...(id !== undefined && { device: id }), path });

/** @returns undefined: nothing that QEMU has an event for */
export function qmpEventOf(event: MachineEvent): QmpEvent | undefined {
  switch (event.type) {
    case "state":
      return stateEvent(event);
    case "reset":
      return { event: "RESET", data: { guest: byGuest(event.cause), reason: event.cause } };
    case "shutdown":
      return { event: "SHUTDOWN", data: { guest: byGuest(event.cause), reason: event.cause } };
    case "powerdown":
      return { event: "POWERDOWN" };
    case "device-deleted":
      return { event: "DEVICE_DELETED", data: named(event.device) };
    case "device-kept":
      return { event: "DEVICE_UNPLUG_GUEST_ERROR", data: named(event.device) };
  }
}

/** A reset neither stops nor resumes. */
function stateEvent({ state, before }: MachineEvent & { type: "state" }): QmpEvent | undefined {
  if (before === "resetting") return undefined;
  if (state === "running") return { event: "RESUME" };
  return state === "paused" || state === "internal-error" ? { event: "STOP" } : undefined;
}

/** The event with the host's time, as it is sent. */
export function stamped({ event, data }: QmpEvent, now: number = Date.now()): JsonObject {
  const timestamp = { seconds: Math.floor(now / 1000), microseconds: (now % 1000) * 1000 };
  return { event, ...(data !== undefined && { data }), timestamp };
}
