/** What a user reads when guest memory cannot be mapped for DMA, and what to do about it. */

import { RLIMIT_MEMLOCK, rlimit64 } from "../abi/resource.ts";
import { hex, type Iova } from "../memory/address.ts";
import { errnoText } from "../sys/errno-text.ts";
import { errnoOf, ViaductError } from "../sys/sys-error.ts";
import type { Syscalls } from "../sys/syscalls.ts";

export interface RefusedMap {
  /** The memory region's name. */
  readonly region: string;
  readonly iova: Iova;
  readonly size: bigint;
  readonly hva: number;
  /** All RAM the container maps: what has to be locked. */
  readonly ramBytes: bigint;
  readonly cause: unknown;
}

const REASONS: Readonly<Record<string, string>> = {
  EEXIST: "The range overlaps a mapping that is there: report this with the machine's memory map.",
  EINVAL:
    "The IOMMU does not reach this address, or it is reserved:" +
    " see reserved_regions of the group in /sys/kernel/iommu_groups.",
  ENOSPC: "Too many mappings: raise the dma_entry_limit parameter of vfio_iommu_type1.",
};

/** `pc.ram: VFIO_MAP_DMA failed: Cannot allocate memory ...` with the limit, the need, the command. */
export function dmaMapError(sys: Syscalls, refused: RefusedMap): ViaductError {
  const { region, iova, size, hva, ramBytes, cause } = refused;
  const message =
    `${region}: Cannot map ${hex(size)} bytes at IOVA ${hex(iova)} (from ${hex(hva)}):` +
    ` VFIO_MAP_DMA failed: ${errnoText(cause)}`;
  const code = errnoOf(cause) ?? "";
  const limit = code === "ENOMEM" ? memlockLimit(sys) : undefined;
  if (limit !== undefined && limit < ramBytes) {
    return new ViaductError(
      "MEMLOCK_LIMIT",
      `${message}; RLIMIT_MEMLOCK is ${mebibytes(limit)}, the guest's RAM needs ${mebibytes(ramBytes)}`,
      {
        cause,
        nextStep:
          `Raise the limit for this shell: sudo prlimit --pid $$ --memlock=${ramBytes}:${ramBytes}` +
          " (for good: memlock in /etc/security/limits.conf, LimitMEMLOCK= in a systemd unit).",
      },
    );
  }
  const nextStep = REASONS[code];
  const options = nextStep === undefined ? { cause } : { cause, nextStep };
  return new ViaductError("DMA_MAP_FAILED", message, options);
}

/** The soft limit in bytes; undefined when it cannot be read. */
function memlockLimit(sys: Syscalls): bigint | undefined {
  const old = rlimit64.bytes();
  if (sys.prlimit(0, RLIMIT_MEMLOCK, null, old) < 0) return undefined;
  return rlimit64.at(old).rlim_cur;
}

function mebibytes(bytes: bigint): string {
  const tenths = Number((bytes * 10n) / 2n ** 20n);
  return `${bytes} bytes (${tenths / 10} MiB)`;
}
