/**
 * Runs inside L1: opens each function that is named as an argument through the kernel's VFIO, and
 * prints what VFIO says of it, one JSON object a line. `zoo.test.ts` compares.
 */

import {
  VFIO_DEVICE_FLAGS_RESET,
  VFIO_PCI_INTX_IRQ_INDEX,
  VFIO_PCI_MSI_IRQ_INDEX,
  VFIO_PCI_MSIX_IRQ_INDEX,
} from "../../src/abi/vfio.ts";
import { createAddressSpace } from "../../src/memory/address-space.ts";
import { MemoryRegion } from "../../src/memory/region.ts";
import { nativeSyscalls } from "../../src/sys/native.ts";
import { openKernelDevice } from "../../src/vfio/open-device.ts";
import { VfioState } from "../../src/vfio/state.ts";

export interface DeviceFacts {
  /** Interrupts of each kind: INTx, MSI, MSI-X. */
  readonly irqs: readonly [number, number, number];
  /** Whether `VFIO_DEVICE_RESET` is there; it was then called. */
  readonly resets: boolean;
  /** Sizes of the nine PCI regions, 0 for what is not there. */
  readonly regions: readonly number[];
}

function factsOf(state: VfioState, host: string): DeviceFacts {
  const memory = createAddressSpace("none", new MemoryRegion("none", "container", 1n << 64n));
  using device = openKernelDevice(state, memory, { host }).device;
  const count = (index: number): number => device.irqInfo(index).count;
  const sizeOf = (index: number): number => {
    try {
      return device.regionInfo(index).size;
    } catch {
      return 0; // the VGA region of a function that has none
    }
  };
  const resets = (device.info.flags & VFIO_DEVICE_FLAGS_RESET) !== 0;
  if (resets) device.reset();
  return {
    irqs: [
      count(VFIO_PCI_INTX_IRQ_INDEX),
      count(VFIO_PCI_MSI_IRQ_INDEX),
      count(VFIO_PCI_MSIX_IRQ_INDEX),
    ],
    resets,
    regions: Array.from({ length: device.info.numRegions }, (_, index) => sizeOf(index)),
  };
}

const state = new VfioState(nativeSyscalls());
for (const host of process.argv.slice(2)) {
  process.stdout.write(`${JSON.stringify(factsOf(state, host))}\n`);
}
