/**
 * What the host tells of the device besides its interrupts (spec/pci.md 14D and 14E): an error it
 * cannot recover from (AER), and that the host wants the device back.
 */

import { VFIO_PCI_ERR_IRQ_INDEX, VFIO_PCI_REQ_IRQ_INDEX } from "../../abi/vfio.ts";
import { EventFd } from "../../sys/event-fd.ts";
import { Owner } from "../../sys/owner.ts";
import { attempt } from "./interrupts.ts";
import type { VfioPciFunction } from "./vfio-pci.ts";

/** On an error the VM stops; undefined when the device cannot say. */
export function watchErrors(fn: VfioPciFunction): Disposable | undefined {
  if (!fn.facts.errorRecovery) return undefined;
  return watch(fn, VFIO_PCI_ERR_IRQ_INDEX, "error detection", () => {
    fn.report(
      `vfio ${fn.name}: Unrecoverable error detected. ` +
        "Please collect any data possible and then kill the guest",
    );
    fn.env.onUnrecoverableError(fn);
  });
}

/** The kernel repeats the request until the device is released. */
export function watchRemovalRequests(fn: VfioPciFunction): Disposable | undefined {
  if (!fn.properties["x-req"] || !hasRequestIrq(fn)) return undefined;
  return watch(fn, VFIO_PCI_REQ_IRQ_INDEX, "device request notification", () =>
    fn.env.onRemovalRequest(fn),
  );
}

function hasRequestIrq(fn: VfioPciFunction): boolean {
  try {
    return fn.device.irqInfo(VFIO_PCI_REQ_IRQ_INDEX).count >= 1;
  } catch {
    // A kernel before 4.2: the device then goes when it goes.
    return false;
  }
}

/** Arms an eventfd; a refusal is reported and means that there will be no events. */
function watch(
  fn: VfioPciFunction,
  index: number,
  what: string,
  happened: () => void,
): Disposable | undefined {
  let armed: Owner | undefined;
  attempt(fn.report, `vfio ${fn.name}: failed to set up ${what}`, () => {
    using owner = new Owner();
    const event = owner.own(EventFd.create(fn.sys));
    const drainAndTell = () => {
      if (event.drain()) happened();
    };
    owner.own(fn.env.loop.watch(event.fd, drainAndTell));
    fn.device.setIrqEventfds(index, "trigger", 0, [event.fd]);
    owner.defer(() => {
      attempt(fn.report, `vfio ${fn.name}: failed to end ${what}`, () =>
        fn.device.setIrqEventfds(index, "trigger", 0, [-1]),
      );
    });
    armed = owner.move();
  });
  return armed;
}
