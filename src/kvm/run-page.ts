/**
 * RunPage: `struct kvm_run` of one vCPU (linux/kvm.h), shared by KVM, the vCPU's thread and the main
 * thread. KVM writes it inside KVM_RUN; between two KVM_RUNs whoever answers the exit does.
 * `immediateExit` is the one byte that any thread sets at any time.
 *
 * Offsets are constants here, so that a vCPU's Worker need not load the struct declarations; a test
 * compares them with `kvm_run` of abi/kvm-run.ts.
 */

/** `offsetof(struct kvm_run, ...)` of what we use. */
export const RUN_PAGE_OFFSETS = {
  immediate_exit: 1,
  exit_reason: 8,
  "io.direction": 32,
  "io.size": 33,
  "io.port": 34,
  "io.count": 36,
  "io.data_offset": 40,
  "mmio.phys_addr": 32,
  "mmio.data": 40,
  "mmio.len": 48,
  "mmio.is_write": 52,
  "internal.suberror": 32,
  "internal.ndata": 36,
  "internal.data": 40,
  "fail_entry.hardware_entry_failure_reason": 32,
  "system_event.type": 32,
  "eoi.vector": 32,
} as const;

const AT = RUN_PAGE_OFFSETS;

export class RunPage {
  readonly #u8: Uint8Array;
  readonly #u16: Uint16Array;
  readonly #u32: Uint32Array;
  readonly #u64: BigUint64Array;

  /** @param byteOffset page-aligned in memory, hence a multiple of 8 */
  constructor(buffer: SharedArrayBuffer, byteOffset: number, length: number) {
    this.#u8 = new Uint8Array(buffer, byteOffset, length);
    this.#u16 = new Uint16Array(buffer, byteOffset, length / 2);
    this.#u32 = new Uint32Array(buffer, byteOffset, length / 4);
    this.#u64 = new BigUint64Array(buffer, byteOffset, length / 8);
  }

  /** Makes the running, or the next, KVM_RUN return EINTR. */
  setImmediateExit(on: boolean): void {
    Atomics.store(this.#u8, AT.immediate_exit, on ? 1 : 0);
  }

  get exitReason(): number {
    return this.#u32[AT.exit_reason / 4]!;
  }

  /** KVM_EXIT_IO: true for OUT. */
  get ioIsWrite(): boolean {
    return this.#u8[AT["io.direction"]] !== 0;
  }

  get ioSize(): 1 | 2 | 4 {
    return this.#u8[AT["io.size"]] as 1 | 2 | 4;
  }

  get ioPort(): number {
    return this.#u16[AT["io.port"] / 2]!;
  }

  /** Units of a string instruction; 1 otherwise. */
  get ioCount(): number {
    return this.#u32[AT["io.count"] / 4]!;
  }

  /** Where unit `index` of the port data lies, for `load` and `store`. */
  ioDataOffset(index: number): number {
    // The offset is below 2^32 (a page or two), so its low half is all of it.
    return this.#u32[AT["io.data_offset"] / 4]! + index * this.ioSize;
  }

  /** KVM_EXIT_MMIO: the guest-physical address, exact up to 2^53, where KVM's 52 bits end. */
  get mmioAddress(): number {
    const at = AT["mmio.phys_addr"] / 4;
    return this.#u32[at + 1]! * 0x1_0000_0000 + this.#u32[at]!;
  }

  get mmioLength(): number {
    return this.#u32[AT["mmio.len"] / 4]!;
  }

  get mmioIsWrite(): boolean {
    return this.#u8[AT["mmio.is_write"]] !== 0;
  }

  /** Where byte `index` of the MMIO data lies, for `load` and `store`. */
  mmioDataOffset(index: number): number {
    return AT["mmio.data"] + index;
  }

  /** Little-endian data at `offset`; `size` 1, 2 or 4, aligned to its size where KVM put it. */
  load(offset: number, size: number): number {
    if (size === 4 && offset % 4 === 0) return this.#u32[offset / 4]!;
    if (size === 1) return this.#u8[offset]!;
    if (size === 2 && offset % 2 === 0) return this.#u16[offset / 2]!;
    const lower = size / 2;
    return this.load(offset, lower) + this.load(offset + lower, lower) * 2 ** (8 * lower);
  }

  store(offset: number, size: number, value: number): void {
    if (size === 4 && offset % 4 === 0) this.#u32[offset / 4] = value;
    else if (size === 1) this.#u8[offset] = value;
    else if (size === 2 && offset % 2 === 0) this.#u16[offset / 2] = value;
    else {
      const lower = size / 2;
      this.store(offset, lower, value);
      this.store(offset + lower, lower, Math.floor(value / 2 ** (8 * lower)));
    }
  }

  get systemEventType(): number {
    return this.#u32[AT["system_event.type"] / 4]!;
  }

  get eoiVector(): number {
    return this.#u8[AT["eoi.vector"]]!;
  }

  get internalSuberror(): number {
    return this.#u32[AT["internal.suberror"] / 4]!;
  }

  get internalData(): bigint[] {
    const count = Math.min(this.#u32[AT["internal.ndata"] / 4]!, 16);
    const at = AT["internal.data"] / 8;
    return [...this.#u64.subarray(at, at + count)];
  }

  /** KVM_EXIT_FAIL_ENTRY and KVM_EXIT_UNKNOWN: what the processor said. */
  get hardwareReason(): bigint {
    return this.#u64[AT["fail_entry.hardware_entry_failure_reason"] / 8]!;
  }
}
