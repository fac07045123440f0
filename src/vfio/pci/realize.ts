/**
 * Realize: from an attached device to a function that a guest can use. The steps are numbered as in
 * spec/pci.md section 2; `owner` learns at each step how to undo it, so that a failure and the normal
 * exit (section 19) run the same list backwards. Steps 1 to 6, which attach the device, are
 * `openKernelDevice`; step 7 is `populate`.
 */

import { errnoName } from "../../abi/errno.ts";
import * as pci from "../../abi/pci-regs.ts";
import { hex } from "../../memory/address.ts";
import { functionOf } from "../../pci/bus.ts";
import { walkCapabilities } from "../../pci/capabilities.ts";
import { textOfErrno } from "../../sys/errno-text.ts";
import { Owner } from "../../sys/owner.ts";
import { ViaductError } from "../../sys/sys-error.ts";
import { rebuildCapabilities } from "./capabilities.ts";
import { rebuildExtendedCapabilities } from "./extended-capabilities.ts";
import { takePartInHotResets } from "./hot-reset.ts";
import { effectiveIds, overrideIds } from "./ids.ts";
import { type MsixLayout, readMsixLayout } from "./msix-layout.ts";
import { type Relocated, relocateMsix } from "./msix-relocation.ts";
import { watchErrors, watchRemovalRequests } from "./notifiers.ts";
import { setUpIgd } from "./quirks/igd.ts";
import { setUpIgdCompat } from "./quirks/igd-compat.ts";
import { chooseDeviceReset, setUpQuirks } from "./quirks/set-up.ts";
import { registerRom } from "./rom.ts";
import type { VfioPciFunction } from "./vfio-pci.ts";
import { LegacyVga } from "./vga.ts";

const CLASS_ETHERNET = 0x0200;

/**
 * Steps 8 to 25.
 * @throws {ViaductError} of the step that failed, without the device's name in front
 */
export function realize(fn: VfioPciFunction, owner: Owner): void {
  const { config } = fn;
  fillShadow(fn); // Step 8.
  config.emuMask.fill(0); // Step 9.
  config.emuMask.fill(0xff, pci.PCI_BASE_ADDRESS_0, pci.PCI_CARDBUS_CIS);
  config.emuMask.fill(0xff, pci.PCI_ROM_ADDRESS, pci.PCI_ROM_ADDRESS + 4);
  overrideIds(config, fn.properties, fn.multifunction); // Step 10.
  fn.ids = effectiveIds(config);
  // Step 11: host addresses must never leak.
  config.bytes.fill(0, pci.PCI_BASE_ADDRESS_0, pci.PCI_CARDBUS_CIS);
  config.bytes.fill(0, pci.PCI_ROM_ADDRESS, pci.PCI_ROM_ADDRESS + 4);
  registerRom(fn); // Step 12.
  fn.assignedBars.readTypes(); // Step 13.
  const { physical, relocated } = earlyMsix(fn); // Step 14.
  fn.assignedBars.register(physical, relocated?.bar); // Step 15.
  // Step 16, the host IOMMU for a virtual one, has no virtual IOMMU here.
  // What lies over BARs and VGA ranges goes after the capabilities (19.1).
  const traps = owner.own(new Owner());
  owner.defer(() => tearDownCapabilities(fn));
  const msix = relocated?.layout ?? physical;
  if (rebuildCapabilities(fn, msix)) rebuildExtendedCapabilities(fn); // Step 17.
  setUpIgd(fn, traps); // Step 18.
  showVga(fn, traps); // Step 19.
  setUpQuirks(fn, traps);
  setUpIgdCompat(fn); // Step 20.
  emulateMessages(fn); // Step 21.
  enableIntx(fn, owner); // Step 22.
  refuseUnsupported(fn); // Steps 23 and 24.
  owner.own(takePartInHotResets(fn));
  ownIfThere(owner, watchErrors(fn)); // Step 25.
  ownIfThere(owner, watchRemovalRequests(fn));
  chooseDeviceReset(fn);
}

/** What was asked for and cannot be had must not be passed over in silence. */
function refuseUnsupported(fn: VfioPciFunction): void {
  const { properties } = fn;
  if (properties.display === "on") refuse("device doesn't support any (known) display method");
  if (properties.ramfb) refuse("ramfb=on requires display=on");
  if (properties.xres !== 0 || properties.yres !== 0) {
    refuse("xres and yres properties require display=on");
  }
  if (properties["enable-migration"] === "on" && properties.failover_pair_id === undefined) {
    refuse("VFIO migration is not supported for this device");
  }
  if (properties.failover_pair_id !== undefined) refuseFailover(fn);
}

/** The primary of a virtio-net standby pair (1.5). */
function refuseFailover(fn: VfioPciFunction): void {
  if (!fn.bus.isExpress) refuse("failover primary device must be on PCIExpress bus");
  if (fn.readConfig(pci.PCI_CLASS_DEVICE, 2) !== CLASS_ETHERNET) {
    refuse("failover primary device is not an Ethernet device");
  }
  if (fn.multifunction || functionOf(fn.devfn) !== 0) {
    refuse("failover: primary device must be in its own PCI slot");
  }
}

function refuse(message: string): never {
  throw new ViaductError("DEVICE_UNSUPPORTED", message);
}

function ownIfThere(owner: Owner, resource: Disposable | undefined): void {
  if (resource) owner.own(resource);
}

function showVga(fn: VfioPciFunction, owner: Owner): void {
  const { vga: info } = fn.facts;
  if (!info || !fn.ids.isVga || fn.vga) return;
  const vga = owner.own(new LegacyVga(fn, info));
  fn.vga = vga;
}

function fillShadow(fn: VfioPciFunction): void {
  const { config, deviceConfig } = fn;
  // The kernel fills ordinary memory; the shadow is shared with the vCPUs' threads.
  const bytes = new Uint8Array(Math.min(config.size, deviceConfig.region.size));
  const result = deviceConfig.readBytes(0, bytes);
  if (result !== bytes.length) {
    const what =
      result < 0 ? textOfErrno(errnoName(-result)) : `${result} of ${bytes.length} bytes`;
    throw new ViaductError("REGION_FAILED", `failed to read device config space: ${what}`);
  }
  config.bytes.set(bytes);
}

/** Where the MSI-X structures are, and where the user wants them; empty without MSI-X. */
function earlyMsix(fn: VfioPciFunction): { physical?: MsixLayout; relocated?: Relocated } {
  const entry = walkCapabilities(fn.config.bytes).find(({ id }) => id === pci.PCI_CAP_ID_MSIX);
  if (!entry) return {};
  const { name, device, deviceConfig: config, ids, facts, properties, hostPage } = fn;
  const { bars } = facts;
  const relocation = properties["x-msix-relocation"];
  const physical = readMsixLayout({ device, config, bars, ids, relocation }, entry.offset);
  if (relocation === "off") return { physical };
  const typeOf = (index: number) => fn.assignedBars.type(index);
  const question = { name, ids, bars, typeOf, hostPage };
  return { physical, relocated: relocateMsix(question, physical, relocation) };
}

function emulateMessages(fn: VfioPciFunction): void {
  const { emuMask } = fn.config;
  const { msi, msix } = fn.interrupts;
  if (msix) {
    const { offset } = msix.capability;
    emuMask.fill(0xff, offset, offset + pci.PCI_CAP_MSIX_SIZEOF);
  }
  if (msi) {
    const { offset, size } = msi.capability;
    emuMask.fill(0xff, offset, offset + size);
  }
}

function enableIntx(fn: VfioPciFunction, owner: Owner): void {
  const pin = fn.guestRead(pci.PCI_INTERRUPT_PIN, 1);
  if (pin < 0) {
    throw new ViaductError(
      "REGION_FAILED",
      `failed to read the interrupt pin: ${textOfErrno(errnoName(-pin))}`,
    );
  }
  owner.defer(() => leaveInterrupts(fn));
  if (pin === 0) return;
  if (pin > 4) {
    throw new ViaductError("DEVICE_UNSUPPORTED", `invalid interrupt pin ${hex(pin)}`);
  }
  owner.own(fn.onIntxRouteChange(() => fn.interrupts.intx.update()));
  fn.interrupts.intx.enable();
}

/** MSI and MSI-X bring INTx back when they go, so this leaves it for the last time too. */
function leaveInterrupts(fn: VfioPciFunction): void {
  fn.interrupts.disable();
}

function tearDownCapabilities(fn: VfioPciFunction): void {
  fn.interrupts.msix?.capability[Symbol.dispose]();
  fn.interrupts.msix = undefined;
  fn.interrupts.msi?.capability.remove();
  fn.interrupts.msi = undefined;
  fn.hideAtomicOps?.();
  fn.hideAtomicOps = undefined;
}
