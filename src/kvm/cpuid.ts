/**
 * The CPUID a guest sees: what KVM supports on this host, made fit for a guest of `count` single-
 * threaded cores in one package. KVM answers with the host's own topology, which must not leak.
 * Intel SDM volume 2A "CPUID"; AMD APM volume 3 appendix E.
 */

import { KVM_CPUID_FLAG_SIGNIFCANT_INDEX, kvm_cpuid_entry2, kvm_cpuid2 } from "../abi/kvm-x86.ts";
import { setField } from "../layout/bits.ts";

export interface CpuTopology {
  /** Of this vCPU: its index. */
  readonly apicId: number;
  /** vCPUs of the guest. */
  readonly count: number;
  /** Whether it has the TSC deadline timer; older kernels have it without listing its bit. */
  readonly tscDeadline: boolean;
}

interface Leaf {
  readonly function: number;
  readonly index: number;
  readonly flags: number;
  eax: number;
  ebx: number;
  ecx: number;
  edx: number;
}

// Leaf 1.
const ECX_TSC_DEADLINE = 1 << 24;
const ECX_OSXSAVE = 1 << 27;
const ECX_HYPERVISOR = 2 ** 31;
const EDX_HTT = 1 << 28;
// Leaf 0x80000001.
const ECX_CMP_LEGACY = 1 << 1;
/** Level types of leaf 0xb, in ecx bits 15:8. */
const LEVEL_SMT = 1 << 8;
const LEVEL_CORE = 2 << 8;
/** `KVMKVMKVM` at 0x40000000; features at the next. */
const KVM_CPUID_SIGNATURE = 0x4000_0000;
const KVM_CPUID_FEATURES = 0x4000_0001;

/** @param supported `struct kvm_cpuid2` of KVM_GET_SUPPORTED_CPUID; @returns the same for KVM_SET_CPUID2 */
export function guestCpuid(supported: Uint8Array, topology: CpuTopology): Uint8Array {
  const leaves = readLeaves(supported);
  const had = (leaf: number) => leaves.some((entry) => entry.function === leaf);
  const kept = leaves.filter(({ function: leaf }) => leaf !== 0xb && leaf !== 0x1f);
  for (const leaf of kept) fit(leaf, topology);
  // Leaf 0x1f stays out: a guest then takes leaf 0xb, which says all there is to say.
  if (had(0xb)) kept.push(...extendedTopology(topology));
  return kvm_cpuid2.bytes({ nent: kept.length, entries: kept });
}

function readLeaves(table: Uint8Array): Leaf[] {
  const { nent } = kvm_cpuid2.at(table);
  return Array.from({ length: nent }, (_, at) => {
    const entry = kvm_cpuid_entry2.at(table, kvm_cpuid2.size + at * kvm_cpuid_entry2.size);
    const { function: leaf, index, flags, eax, ebx, ecx, edx } = entry;
    return { function: leaf, index, flags, eax, ebx, ecx, edx };
  });
}

function fit(leaf: Leaf, { apicId, count, tscDeadline }: CpuTopology): void {
  const idBits = Math.ceil(Math.log2(count));
  const idSpace = 2 ** idBits;
  switch (leaf.function) {
    case 1:
      leaf.ebx = setField(setField(leaf.ebx, 0xff00_0000, apicId), 0xff_0000, idSpace);
      leaf.ecx = (leaf.ecx | ECX_HYPERVISOR) >>> 0;
      // KVM sets it itself, when the guest sets CR4.OSXSAVE.
      leaf.ecx = (leaf.ecx & ~ECX_OSXSAVE) >>> 0;
      leaf.ecx = withFlag(leaf.ecx, ECX_TSC_DEADLINE, tscDeadline);
      leaf.edx = withFlag(leaf.edx, EDX_HTT, count > 1);
      break;
    case 4: {
      const level = (leaf.eax >>> 5) & 7;
      if ((leaf.eax & 0x1f) === 0) break;
      leaf.eax = setField(leaf.eax, 0xfc00_0000, Math.min(idSpace - 1, 63));
      leaf.eax = setField(leaf.eax, 0x03ff_c000, level >= 3 ? idSpace - 1 : 0);
      break;
    }
    case KVM_CPUID_SIGNATURE:
      leaf.eax = Math.max(leaf.eax, KVM_CPUID_FEATURES);
      break;
    case 0x8000_0001:
      if (leaf.ecx & ECX_CMP_LEGACY) leaf.ecx = withFlag(leaf.ecx, ECX_CMP_LEGACY, count > 1);
      break;
    case 0x8000_0008:
      leaf.ecx = setField(setField(leaf.ecx, 0xff, count - 1), 0xf000, idBits);
      break;
    case 0x8000_001d: {
      const level = (leaf.eax >>> 5) & 7;
      if ((leaf.eax & 0x1f) === 0) break;
      leaf.eax = setField(leaf.eax, 0x03ff_c000, level >= 3 ? idSpace - 1 : 0);
      break;
    }
    case 0x8000_001e:
      leaf.eax = apicId;
      // Core id is the APIC id; one thread per core; node 0 of one.
      leaf.ebx = apicId;
      leaf.ecx = 0;
      break;
    default:
  }
}

function withFlag(value: number, flag: number, on: boolean): number {
  return (on ? value | flag : value & ~flag) >>> 0;
}

/** Leaf 0xb: a thread level of one, a core level of `count`, an end. */
function extendedTopology({ apicId, count }: CpuTopology): Leaf[] {
  const level = (index: number, eax: number, ebx: number, type: number): Leaf => ({
    function: 0xb,
    index,
    flags: KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
    eax,
    ebx,
    ecx: type | index,
    edx: apicId,
  });
  return [
    level(0, 0, 1, LEVEL_SMT),
    level(1, Math.ceil(Math.log2(count)), count, LEVEL_CORE),
    level(2, 0, 0, 0),
  ];
}
