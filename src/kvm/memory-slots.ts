/**
 * MemorySlots: the RAM-like sections of the guest's address space as memory slots of KVM. What is
 * in a slot runs without us; what is in none exits as MMIO. A slot covers whole pages: a BAR
 * smaller than a page, or one whose place in the page differs from the host's, stays trapped.
 */

import {
  KVM_CAP_NR_MEMSLOTS,
  KVM_MEM_READONLY,
  KVM_SET_USER_MEMORY_REGION,
  kvm_userspace_memory_region,
} from "../abi/kvm.ts";
import { hex } from "../memory/address.ts";
import type { MemoryListener, Section } from "../memory/address-space.ts";
import { check, ViaductError } from "../sys/sys-error.ts";
import type { Vm } from "./vm.ts";

const PAGE = 4096n;

/** Where a section's whole pages lie. */
export interface SlotPlace {
  readonly gpa: bigint;
  readonly size: bigint;
  readonly hva: number;
  readonly readOnly: boolean;
}

export class MemorySlots implements MemoryListener {
  /** As QEMU orders its listeners: KVM before VFIO's at 10 would gain nothing, so the same. */
  readonly priority = 10;
  readonly #vm: Vm;
  readonly #limit: number;
  readonly #slots = new Map<Section, number>();
  readonly #freed: number[] = [];
  #next = 0;
  readonly #arg = kvm_userspace_memory_region.bytes();
  readonly #view = kvm_userspace_memory_region.at(this.#arg);

  /** @param vm borrowed; slots vanish with it */
  constructor(vm: Vm) {
    this.#vm = vm;
    this.#limit = vm.extension(KVM_CAP_NR_MEMSLOTS);
  }

  /** Slots in use. */
  get count(): number {
    return this.#slots.size;
  }

  /** @throws {ViaductError} KVM_FAILED: no slot left, or KVM refused it */
  add(section: Section): void {
    const place = slotPlace(section);
    if (place === undefined) return;
    const slot = this.#freed.pop() ?? this.#next;
    if (slot >= this.#limit) {
      throw new ViaductError(
        "KVM_FAILED",
        `${section.region.name}: No memory slot left for ${hex(place.gpa)}: all ${this.#limit} in use`,
      );
    }
    try {
      this.#set(slot, place);
    } catch (error) {
      this.#freed.push(slot);
      throw new ViaductError(
        "KVM_FAILED",
        `${section.region.name}: Cannot set memory slot ${slot}: ${hex(place.size)} bytes at ` +
          `${hex(place.gpa)}: ${(error as Error).message}`,
        { cause: error },
      );
    } finally {
      if (slot === this.#next) this.#next += 1;
    }
    this.#slots.set(section, slot);
  }

  remove(section: Section): void {
    const slot = this.#slots.get(section);
    if (slot === undefined) return;
    this.#slots.delete(section);
    this.#freed.push(slot);
    // A VM that is gone has taken its slots with it.
    if (this.#vm.fd < 0) return;
    // KVM wants the address it was given: whole pages, also when the section starts within one.
    this.#set(slot, { gpa: pageUp(section.address), size: 0n, hva: 0, readOnly: false });
  }

  #set(slot: number, place: SlotPlace): void {
    const view = this.#view;
    view.slot = slot;
    view.flags = place.readOnly ? KVM_MEM_READONLY : 0;
    view.guest_phys_addr = place.gpa;
    view.memory_size = place.size;
    view.userspace_addr = BigInt(place.hva);
    // SAFETY: the region's owner keeps the memory mapped until the section is removed; KVM follows
    // this process's page tables, so a mapping that does go away faults in the guest alone.
    check(
      this.#vm.sys.ioctl(this.#vm.fd, KVM_SET_USER_MEMORY_REGION, this.#arg),
      `KVM_SET_USER_MEMORY_REGION slot ${slot}`,
    );
  }
}

const pageUp = (address: bigint): bigint => (address + PAGE - 1n) & -PAGE;

/** The whole pages of a section, when guest and host agree about where a page begins. */
export function slotPlace(section: Section): SlotPlace | undefined {
  const { region, address, size, offsetInRegion, readOnly } = section;
  if (region.memory === undefined) return undefined;
  const gpa = pageUp(address);
  const end = (address + size) & -PAGE;
  const hva = BigInt(region.memory.hva) + offsetInRegion + (gpa - address);
  if (gpa >= end || hva % PAGE !== 0n) return undefined;
  return { gpa, size: end - gpa, hva: Number(hva), readOnly };
}
