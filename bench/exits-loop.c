/*
 * The yardstick of exits.ts: the same guest loop, its exits answered by C. Reads lines
 * "COUNT HEXCODE" and answers each with the nanoseconds that one exit took: the loop at 0x1000 runs
 * until COUNT exits were answered, timed from the first to the last.
 */

#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>

#define RAM_SIZE 0x100000
#define CODE 0x1000
#define ECAM 0xd0000000u

static uint8_t config[4096];
static volatile uint32_t last_written, to_read = 0x1234;

static long check(long result, const char *what) {
  if (result < 0) {
    perror(what);
    exit(1);
  }
  return result;
}

static long now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000L + t.tv_nsec;
}

static void answer(struct kvm_run *run) {
  if (run->exit_reason == KVM_EXIT_IO) {
    uint8_t *data = (uint8_t *)run + run->io.data_offset;
    for (uint32_t i = 0; i < run->io.count; i++, data += run->io.size) {
      if (run->io.direction == KVM_EXIT_IO_OUT) memcpy((void *)&last_written, data, run->io.size);
      else memcpy(data, (void *)&to_read, run->io.size);
    }
  } else if (run->exit_reason == KVM_EXIT_MMIO) {
    uint64_t at = run->mmio.phys_addr;
    if (run->mmio.is_write) memcpy((void *)&last_written, run->mmio.data, 4);
    else if (at >= ECAM && at < ECAM + sizeof config) memcpy(run->mmio.data, config + (at - ECAM), 4);
    else memcpy(run->mmio.data, (void *)&to_read, 4);
  } else {
    fprintf(stderr, "exit reason %u\n", run->exit_reason);
    exit(1);
  }
}

int main(void) {
  int kvm = check(open("/dev/kvm", O_RDWR), "open /dev/kvm");
  int vm = check(ioctl(kvm, KVM_CREATE_VM, 0), "KVM_CREATE_VM");
  check(ioctl(vm, KVM_SET_TSS_ADDR, 0xfeffd000ul), "KVM_SET_TSS_ADDR");
  uint8_t *ram = mmap(0, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  struct kvm_userspace_memory_region slot = {
      .memory_size = RAM_SIZE, .userspace_addr = (uint64_t)ram};
  check(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &slot), "KVM_SET_USER_MEMORY_REGION");
  int vcpu = check(ioctl(vm, KVM_CREATE_VCPU, 0), "KVM_CREATE_VCPU");
  long size = check(ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), "KVM_GET_VCPU_MMAP_SIZE");
  struct kvm_run *run = mmap(0, size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);

  struct kvm_sregs sregs;
  check(ioctl(vcpu, KVM_GET_SREGS, &sregs), "KVM_GET_SREGS");
  struct kvm_segment flat = {.limit = 0xffffffff, .present = 1, .db = 1, .s = 1, .g = 1};
  flat.selector = 16;
  flat.type = 3;
  sregs.ds = sregs.es = sregs.ss = sregs.fs = sregs.gs = flat;
  flat.selector = 8;
  flat.type = 0xb;
  sregs.cs = flat;
  sregs.cr0 |= 1;
  check(ioctl(vcpu, KVM_SET_SREGS, &sregs), "KVM_SET_SREGS");

  static char code[4096];
  long count;
  while (scanf("%ld %4095s", &count, code) == 2) {
    for (size_t i = 0; code[2 * i]; i++) {
      unsigned byte;
      sscanf(code + 2 * i, "%2x", &byte);
      ram[CODE + i] = byte;
    }
    struct kvm_regs regs = {.rip = CODE, .rsp = 0x8000, .rflags = 2};
    check(ioctl(vcpu, KVM_SET_REGS, &regs), "KVM_SET_REGS");
    long start = 0;
    for (long done = 0; done < count; done++) {
      check(ioctl(vcpu, KVM_RUN, 0), "KVM_RUN");
      if (done == 0) start = now();
      answer(run);
    }
    printf("%.1f\n", (double)(now() - start) / (count - 1));
    fflush(stdout);
    /* Completes the last access, so that the next batch starts at its first instruction. */
    run->immediate_exit = 1;
    ioctl(vcpu, KVM_RUN, 0);
    run->immediate_exit = 0;
  }
  return 0;
}
