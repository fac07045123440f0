/**
 * The interrupt controllers of a PC, in the kernel. `full`: two 8259, the I/O APIC, the 8254 timer
 * and the local APICs. `split`: the local APICs only; the machine emulates the I/O APIC and tells
 * KVM where its pins lead (`IrqRoutes.setPin`). A kernel built without KVM_IOAPIC has no `full`.
 */

import {
  KVM_CAP_SPLIT_IRQCHIP,
  KVM_CREATE_IRQCHIP,
  KVM_ENABLE_CAP,
  kvm_enable_cap,
} from "../abi/kvm.ts";
import {
  KVM_CREATE_PIT2,
  KVM_IOAPIC_NUM_PINS,
  KVM_PIT_SPEAKER_DUMMY,
  kvm_pit_config,
} from "../abi/kvm-x86.ts";
import { check, errnoOf, ViaductError } from "../sys/sys-error.ts";
import type { Vm } from "./vm.ts";

export type IrqchipMode = "full" | "split";

export interface CreatedIrqchip {
  readonly mode: IrqchipMode;
  /** Why the mode is not the one asked for. */
  readonly note: string | undefined;
}

/** What an unknown ioctl and an unknown capability answer. */
const NOT_THERE = new Set(["ENOTTY", "EINVAL"]);

/** @throws {ViaductError} KVM_FAILED */
export function createIrqchip(vm: Vm, mode: IrqchipMode): CreatedIrqchip {
  try {
    if (mode === "split") {
      enableSplit(vm);
      return { mode, note: undefined };
    }
    try {
      check(vm.sys.ioctl(vm.fd, KVM_CREATE_IRQCHIP, 0), "KVM_CREATE_IRQCHIP");
    } catch (error) {
      const reason = errnoOf(error);
      if (reason === undefined || !NOT_THERE.has(reason)) throw error;
      enableSplit(vm);
      const note = `KVM_CREATE_IRQCHIP: ${reason}; this kernel has only the split irqchip`;
      return { mode: "split", note };
    }
    const pit = kvm_pit_config.bytes({ flags: KVM_PIT_SPEAKER_DUMMY });
    check(vm.sys.ioctl(vm.fd, KVM_CREATE_PIT2, pit), "KVM_CREATE_PIT2");
    return { mode, note: undefined };
  } catch (error) {
    const options = NOT_THERE.has(errnoOf(error) ?? "")
      ? { cause: error, nextStep: "This KVM has no local APIC; a newer kernel is needed." }
      : { cause: error };
    const why = (error as Error).message;
    throw new ViaductError("KVM_FAILED", `KVM: Cannot create the ${mode} irqchip: ${why}`, options);
  }
}

/** The argument: how many GSIs are the emulated I/O APIC's, whose level interrupts exit at EOI. */
function enableSplit(vm: Vm): void {
  const cap = kvm_enable_cap.bytes({
    cap: KVM_CAP_SPLIT_IRQCHIP,
    args: [BigInt(KVM_IOAPIC_NUM_PINS), 0n, 0n, 0n],
  });
  check(vm.sys.ioctl(vm.fd, KVM_ENABLE_CAP, cap), "KVM_CAP_SPLIT_IRQCHIP");
}
