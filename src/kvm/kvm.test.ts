import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { promisify } from "node:util";
import { KVM_CAP_TSC_DEADLINE_TIMER } from "../abi/kvm.ts";
import { kvm_run } from "../abi/kvm-run.ts";
import { kvm_cpuid_entry2, kvm_cpuid2 } from "../abi/kvm-x86.ts";
import { failEachCall, Ledger } from "../sim/ledger.ts";
import { nativeSyscalls } from "../sys/native.ts";
import { Owner } from "../sys/owner.ts";
import { SysError, ViaductError } from "../sys/sys-error.ts";
import { guestCpuid } from "./cpuid.ts";
import { Kvm } from "./kvm.ts";
import { RUN_PAGE_OFFSETS } from "./run-page.ts";
import { skipWithoutKvm } from "./tiny-machine.ts";

const limit = { skip: skipWithoutKvm, timeout: 20_000 };

for (const [errno, code] of [
  ["ENOENT", "KVM_MISSING"],
  ["ENXIO", "KVM_MISSING"],
  ["EACCES", "NO_PERMISSION"],
] as const) {
  test(`Kvm.open: ${errno} is ${code}, with the next step`, () => {
    const ledger = new Ledger(nativeSyscalls());
    ledger.failAt(1, errno);
    assert.throws(
      () => Kvm.open(ledger),
      (error) =>
        error instanceof ViaductError && error.code === code && error.nextStep !== undefined,
    );
  });
}

test("Kvm, Vm, irqchip, routes, vCPU: whichever call fails, nothing is held", limit, () => {
  const failed = failEachCall(
    nativeSyscalls,
    (sys) => {
      using owner = new Owner();
      const vm = owner.own(owner.own(Kvm.open(sys)).createVm());
      vm.createIrqchip("full");
      owner.own(vm.createVcpu(0));
      vm.routes.add({ address: 0xfee0_0000n, data: 0x30 });
      return owner.move();
    },
    (error) => assert(error instanceof ViaductError || error instanceof SysError, String(error)),
  );
  assert(failed >= 12, `${failed} calls`);
});

test("createIrqchip: a kernel without the full one gives the split one and says so", limit, () => {
  const ledger = new Ledger(nativeSyscalls());
  using kvm = Kvm.open(ledger);
  using vm = kvm.createVm();
  ledger.failAt(1, "ENOTTY");
  const { mode, note } = vm.createIrqchip("full");
  assert.equal(mode, "split");
  assert.match(note!, /KVM_CREATE_IRQCHIP: ENOTTY/);
});

test("RUN_PAGE_OFFSETS are those of struct kvm_run", () => {
  for (const [path, offset] of Object.entries(RUN_PAGE_OFFSETS)) {
    const [outer, inner] = path.split(".") as ["io", "port" | undefined];
    const place = kvm_run.places.find(({ name }) => name === outer)!;
    const field = place.type.kind === "struct" && inner ? place.type.offsetof(inner) : 0;
    assert.equal(offset, place.offset + field, path);
  }
});

test("guestCpuid: the guest sees its own processors, and a hypervisor", limit, () => {
  using kvm = Kvm.open(nativeSyscalls());
  const supported = kvm.supportedCpuid();
  const tscDeadline = kvm.extension(KVM_CAP_TSC_DEADLINE_TIMER) > 0;
  const table = guestCpuid(supported, { apicId: 2, count: 4, tscDeadline });
  const leaf = (wanted: number, subleaf = 0) => {
    for (let at = 0; at < kvm_cpuid2.at(table).nent; at++) {
      const entry = kvm_cpuid_entry2.at(table, kvm_cpuid2.size + at * kvm_cpuid_entry2.size);
      if (entry.function === wanted && entry.index === subleaf) return entry;
    }
    return undefined;
  };
  const basic = leaf(1)!;
  assert.equal(basic.ebx >>> 24, 2);
  assert.equal((basic.ebx >>> 16) & 0xff, 4);
  assert.notEqual(basic.ecx & (1 << 31), 0);
  assert.equal(basic.ecx & (1 << 27), 0);
  assert.equal((basic.ecx & (1 << 24)) !== 0, tscDeadline);
  assert.equal(leaf(0xb, 1)?.ebx ?? 4, 4);
  assert.equal(leaf(0xb, 1)?.edx ?? 2, 2);
  assert.equal(leaf(0x1f), undefined);
  using vm = kvm.createVm();
  vm.createIrqchip("full");
  using vcpu = vm.createVcpu(2);
  vcpu.setCpuid(table);
});

test("Vcpu: state goes in and comes out", limit, () => {
  using kvm = Kvm.open(nativeSyscalls());
  using vm = kvm.createVm();
  vm.createIrqchip("full");
  using vcpu = vm.createVcpu(0);
  vcpu.setCpuid(guestCpuid(kvm.supportedCpuid(), { apicId: 0, count: 1, tscDeadline: true }));
  vcpu.setRegs({ rax: 0x1122_3344_5566_7788n });
  vcpu.setRegs({ rbx: 5n });
  assert.equal(vcpu.getRegs().rax, 0x1122_3344_5566_7788n);
  const EFER = 0xc000_0080;
  const SYSENTER_CS = 0x174;
  vcpu.setMsrs([{ index: SYSENTER_CS, data: 8n }]);
  assert.deepEqual(vcpu.getMsrs([SYSENTER_CS, EFER]), [
    { index: SYSENTER_CS, data: 8n },
    { index: EFER, data: 0n },
  ]);
  assert.throws(() => vcpu.setMsrs([{ index: 0x1234_5678, data: 0n }]), /MSR 0x12345678/);
  vcpu.mpState = 3;
  assert.equal(vcpu.mpState, 3);
});

for (const how of ["exit", "return"] as const) {
  test(`a process with running vCPUs ends at process.${how}`, limit, async () => {
    const program = new URL("tiny-program.js", import.meta.url).pathname;
    const { stdout } = await promisify(execFile)(process.execPath, [program, how], {
      timeout: 10_000,
    });
    assert.equal(stdout, "running\n");
  });
}
