/**
 * The catalogue, codes 39 to 44: locked memory and DMA.
 */

import {
  type CatalogueEntry,
  type CheckContext,
  type CheckOutcome,
  type Found,
  logCheck,
  NOTHING,
  together,
} from "./finding.ts";

const LIMITS = "/proc/self/limits";
const ENTRY_LIMIT = "/sys/module/vfio_iommu_type1/parameters/dma_entry_limit";
const ENTRY_DEFAULT = 65535;
const CAP_IPC_LOCK = 14n;
/** What a small guest needs, where the user gave no size. */
const SMALL_GUEST = 1n << 30n;

function capabilities({ host }: CheckContext): bigint | undefined {
  const text = host.tree.text("/proc/self/status") ?? "";
  const match = /^CapEff:\s*([0-9a-f]+)$/m.exec(text);
  return match === null ? undefined : BigInt(`0x${match[1]}`);
}

function mayLock(context: CheckContext): boolean {
  return (((capabilities(context) ?? 0n) >> CAP_IPC_LOCK) & 1n) === 1n;
}

function memlock(context: CheckContext): CheckOutcome {
  const logged = logCheck(/RLIMIT_MEMLOCK \(\d+\) exceeded/i, (match) => match[0])(context);
  const text = context.host.tree.text(LIMITS);
  const match = /^Max locked memory\s+(\S+)/m.exec(text ?? "");
  if (match === null) return together(logged, { found: [], skipped: `${LIMITS} not readable` });
  if (match[1] === "unlimited" || mayLock(context)) return logged;
  const limit = BigInt(/^\d+$/.test(match[1]!) ? match[1]! : "0");
  const needed = context.guestMemory ?? SMALL_GUEST;
  if (limit >= needed) return logged;
  const kilobytes = needed / 1024n;
  return together(logged, {
    found: [
      {
        detail: `${limit} bytes may be locked, a guest of ${needed >> 20n} MiB needs ${needed}`,
        evidence: [{ path: LIMITS, value: match[0] }],
        fix: [
          `echo '* - memlock ${kilobytes}' > /etc/security/limits.d/vfio.conf   # log in again`,
          `prlimit --pid $$ --memlock=${needed}   # for this shell only, as root`,
        ],
        undo: ["rm /etc/security/limits.d/vfio.conf"],
      },
    ],
  });
}

function container(context: CheckContext): CheckOutcome {
  const { tree } = context.host;
  const sign = ["/.dockerenv", "/run/.containerenv"].find((path) => tree.has(path));
  const groups = tree.text("/proc/1/cgroup") ?? "";
  if (sign === undefined && !/kubepods|docker|libpod/.test(groups)) return NOTHING;
  const held = capabilities(context);
  if (held === undefined) return { found: [], skipped: "/proc/self/status not readable" };
  if (((held >> CAP_IPC_LOCK) & 1n) === 1n) return NOTHING;
  return {
    found: [
      {
        detail: "in a container without CAP_IPC_LOCK",
        evidence: [
          { path: sign ?? "/proc/1/cgroup", value: sign === undefined ? groups : "present" },
          { path: "/proc/self/status", value: `CapEff: ${held.toString(16)}` },
        ],
      },
    ],
  };
}

function entryLimit(context: CheckContext): CheckOutcome {
  const logged = logCheck(/possibly running out of DMA mappings/i, (match) => match[0])(context);
  const text = context.host.tree.text(ENTRY_LIMIT);
  const limit = Number(text ?? Number.NaN);
  if (!(limit < ENTRY_DEFAULT)) return logged;
  return together(logged, {
    found: [
      {
        // A small guest is mapped in a few pieces, so only a limit of none is sure to stop it.
        severity: limit === 0 ? "error" : "warning",
        confidence: limit === 0 ? "proved" : "likely",
        detail: `only ${limit} DMA mappings are allowed (the default is ${ENTRY_DEFAULT})`,
        evidence: [{ path: ENTRY_LIMIT, value: text ?? "" }],
      },
    ],
  });
}

/** Bits of DMA address of Intel's IOMMUs: MGAW, bits 16 to 21 of the capability register. */
function intelWidths({ host }: CheckContext): Array<{ path: string; value: string; bits: number }> {
  return host.tree.names("/sys/class/iommu").flatMap((name) => {
    const path = `/sys/class/iommu/${name}/intel-iommu/cap`;
    const value = host.tree.text(path);
    if (value === undefined || !/^[0-9a-f]+$/i.test(value)) return [];
    return [{ path, value, bits: Number((BigInt(`0x${value}`) >> 16n) & 0x3fn) + 1 }];
  });
}

/** Bits of physical address of the processor, where a guest's firmware may put BARs. */
function processorBits({ host }: CheckContext): { value: string; bits: number } | undefined {
  const match = /^address sizes\s*: (\d+) bits physical.*$/m.exec(
    host.tree.text("/proc/cpuinfo") ?? "",
  );
  return match === null ? undefined : { value: match[0], bits: Number(match[1]) };
}

function iovaWidth(context: CheckContext): CheckOutcome {
  const logged = logCheck(/iommu width \(\d+\) is not sufficient/i, (match) => match[0])(context);
  const found: Found[] = [];
  const narrow = intelWidths(context).sort((a, b) => a.bits - b.bits)[0];
  if (narrow === undefined) return logged;
  const { path, value, bits } = narrow;
  const processor = processorBits(context);
  if (processor !== undefined && processor.bits > bits) {
    found.push({
      severity: "warning",
      detail: `DMA addresses have ${bits} bits, the processor's ${processor.bits}: firmware may put BARs out of reach`,
      evidence: [
        { path, value },
        { path: "/proc/cpuinfo", value: processor.value },
      ],
      confidence: "likely",
    });
  }
  if (context.guestMemory !== undefined && context.guestMemory > 1n << BigInt(bits)) {
    found.push({
      detail: `the guest's memory is larger than ${bits} bits of DMA address`,
      evidence: [{ path, value }],
    });
  }
  return together(logged, { found });
}

export const DMA: readonly CatalogueEntry[] = [
  {
    number: 39,
    code: "MEMLOCK_LOW",
    severity: "error",
    title: "Too little memory may be locked",
    symptoms: [
      /VFIO_MAP_DMA(?: failed)?: Cannot allocate memory/i,
      /RLIMIT_MEMLOCK \(\d+\) exceeded/i,
      /dma_map\(.*\) = -12/i,
      /VFIO_MAP_DMA.*ENOMEM/i,
    ],
    cause:
      "All of a guest's memory is pinned for DMA, and the limit for locked memory is below it.",
    fix: ["prlimit --pid PID --memlock=BYTES   # the guest's RAM; times devices with a vIOMMU"],
    undo: ["# the old limit: prlimit --pid PID --memlock"],
    source: "https://github.com/cloud-hypervisor/cloud-hypervisor/issues/165",
    check: memlock,
  },
  {
    number: 40,
    code: "MEMLOCK_CONTAINER",
    severity: "error",
    title: "A container may not lock memory",
    symptoms: [/cannot limit locked memory of process .*Operation not permitted/i],
    cause: "The container lacks CAP_IPC_LOCK or CAP_SYS_RESOURCE, or its memory is overcommitted.",
    fix: ["# add IPC_LOCK and SYS_RESOURCE to the container, and no memory overcommit"],
    undo: ["# take the capabilities away"],
    source: "https://github.com/kubevirt/kubevirt/issues/17694",
    causes: ["MEMLOCK_LOW"],
    check: container,
  },
  {
    number: 41,
    code: "DMA_ENTRY_LIMIT",
    severity: "error",
    title: "Too many DMA mappings",
    symptoms: [
      /VFIO_MAP_DMA(?: failed)?: No space left on device/i,
      /possibly running out of DMA mappings/i,
      /VFIO_MAP_DMA.*ENOSPC/i,
      /dma_map\(.*\) = -28 \(No space left on device\)/i,
    ],
    cause:
      "Each container may have a limited number of mappings, and memory is mapped in small parts.",
    fix: ["echo 1048576 > /sys/module/vfio_iommu_type1/parameters/dma_entry_limit"],
    undo: ["echo 65535 > /sys/module/vfio_iommu_type1/parameters/dma_entry_limit"],
    source: "https://github.com/spdk/spdk/issues/915",
    check: entryLimit,
  },
  {
    number: 42,
    code: "IOVA_WIDTH",
    severity: "error",
    title: "DMA addresses are too narrow",
    symptoms: [
      /iommu width \(\d+\) is not sufficient for the mapped address/i,
      /dma_map\(.*\) = -22 \(Invalid argument\)/i,
    ],
    cause: "This IOMMU reaches fewer address bits than the guest's memory or BARs need.",
    fix: ["# nested: intel-iommu,aw-bits=48; else a smaller guest, or BARs below the limit"],
    undo: ["# the old aw-bits, the old size"],
    source:
      "Documentation/ABI/testing/sysfs-class-iommu-intel-iommu (cap); " +
      "drivers/iommu/intel/iommu.h (cap_mgaw); https://github.com/cloud-hypervisor/cloud-hypervisor/issues/7030",
    check: iovaWidth,
  },
  {
    number: 43,
    code: "P2P_BAR_WARNING",
    severity: "info",
    title: "BARs are not mapped for DMA between devices",
    symptoms: [
      /PCI peer-to-peer transactions on BARs are not supported/i,
      /IOMMU_IOAS_MAP failed: Bad address, PCI BAR\?/i,
    ],
    cause:
      "Only DMA from one device to another is missing; for one device it is no error. Harmless.",
    fix: ["# nothing to do"],
    undo: ["# nothing to undo"],
    source: "https://github.com/kata-containers/kata-containers/issues/12861",
    check: logCheck(
      /PCI peer-to-peer transactions on BARs are not supported|PCI BAR\?/i,
      (match) => match[0],
      { isHarmless: true },
    ),
  },
  {
    number: 44,
    code: "IOMMU_FAULT",
    severity: "warning",
    title: "The IOMMU stopped DMA of a device",
    symptoms: [
      /DMAR: \[DMA (?:Read|Write)[^\]]*\] Request device \[[^\]]+\] fault addr/i,
      /AMD-Vi: Event logged \[IO_PAGE_FAULT/i,
      /DMAR: DRHD: handling fault status/i,
    ],
    cause:
      "The device used an address that nobody mapped: a driver's bug, or DMA left over by a reset.",
    fix: ["viaduct reset DEVICE   # then look which driver set up that address"],
    undo: ["# none: a reset cannot be taken back"],
    source: "https://github.com/Dasharo/dasharo-issues/issues/641",
    check: logCheck(
      /(?:DMAR: \[DMA (?:Read|Write)[^\]]*\] Request|AMD-Vi: Event logged \[IO_PAGE_FAULT).*/i,
      (match) => match[0].slice(0, 120),
    ),
  },
];
