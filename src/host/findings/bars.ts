/**
 * The catalogue, codes 30 to 38: BARs, the option ROM and the boot display.
 */

import { ROM_CODE_EFI, romImages } from "../option-rom.ts";
import type { HostDevice } from "../pci-device.ts";
import type { HostTree } from "../tree.ts";
import {
  type CatalogueEntry,
  type CheckContext,
  type CheckOutcome,
  candidates,
  type Found,
  logCheck,
  NOTHING,
  skip,
  together,
} from "./finding.ts";

const PAGE = 4096n;
/** As drivers/firmware/sysfb*.c, drivers/video/fbdev/ and drivers/gpu/drm/sysfb/ claim it. */
const FRAMEBUFFER = /^(?:BOOTFB|efifb|simplefb|vesafb|simpledrm|efidrm|vesadrm|.*-framebuffer.*)$/;

function framebuffer(context: CheckContext): CheckOutcome {
  const logged = logCheck(/BAR \d+.*(?:can't|cannot) reserve \[mem/i, (match) => match[0])(context);
  const text = context.host.tree.text("/proc/iomem");
  if (text === undefined) return together(logged, skip("/proc/iomem not readable"));
  const ranges = text
    .split("\n")
    .map((line) => /^\s*([0-9a-f]+)-([0-9a-f]+) : (.*)$/.exec(line))
    .filter((match) => match !== null && FRAMEBUFFER.test(match[3]!.trim()))
    .map((match) => ({
      start: BigInt(`0x${match![1]}`),
      name: match![3]!,
      line: match![0].trim(),
    }));
  if (ranges.some(({ start }) => start === 0n)) {
    return together(logged, skip("/proc/iomem hides addresses; run as root"));
  }
  const found: Found[] = [];
  for (const device of candidates(context)) {
    for (const bar of device.resources) {
      const range = ranges.find(({ start }) => start >= bar.start && start < bar.start + bar.size);
      if (range === undefined) continue;
      found.push({
        device: device.address,
        detail: `the boot framebuffer (${range.name}) lies in BAR ${bar.index}`,
        evidence: [
          { path: "/proc/iomem", value: range.line },
          { path: `${device.path}/boot_vga`, value: device.isBootDisplay ? "1" : "0" },
        ],
      });
    }
  }
  return together(logged, { found });
}

/** The lines that a hook needs on this host: for the consoles and framebuffers that there are. */
function hookLines(tree: HostTree): string[] {
  const consoles = tree
    .names("/sys/class/vtconsole")
    .map((name) => `echo 0 > /sys/class/vtconsole/${name}/bind`);
  const framebuffers = ["efi-framebuffer", "simple-framebuffer", "vesa-framebuffer"].flatMap(
    (driver) =>
      tree
        .names(`/sys/bus/platform/drivers/${driver}`)
        .filter((name) => name.includes("."))
        .map((name) => `echo ${name} > /sys/bus/platform/drivers/${driver}/unbind`),
  );
  return [...consoles, ...framebuffers];
}

/** Hook scripts that name a console or framebuffer which this host does not have. */
function staleScript({ host }: CheckContext): CheckOutcome {
  const { tree } = host;
  const right = hookLines(tree);
  const found: Found[] = [];
  const look = (folder: string, depth: number) => {
    for (const name of tree.names(folder)) {
      const path = `${folder}/${name}`;
      if (tree.status(path).value?.kind === "folder") {
        if (depth < 6) look(path, depth + 1);
        continue;
      }
      const text = tree.text(path) ?? "";
      for (const [, target] of text.matchAll(/(\/sys\/class\/vtconsole\/vtcon\d+)/g)) {
        if (!tree.has(target!)) found.push(stale(path, target!, right));
      }
      const driver = /\/sys\/bus\/platform\/drivers\/(efi-framebuffer|simple-framebuffer)/.exec(
        text,
      );
      if (driver !== null && !tree.has(driver[0])) found.push(stale(path, driver[0], right));
    }
  };
  look("/etc/libvirt/hooks", 0);
  const unique = new Map(found.map((one) => [one.detail, one]));
  return { found: [...unique.values()] };
}

function stale(path: string, target: string, right: readonly string[]): Found {
  return {
    detail: `${path} uses ${target}, which is not there`,
    evidence: [
      { path, value: target },
      { path: target, value: "absent" },
    ],
    ...(right.length === 0 ? {} : { fix: [`# in ${path}, in place of its lines:`, ...right] }),
  };
}

function romUnreadable(context: CheckContext): CheckOutcome {
  const outcome = logCheck(
    /Invalid PCI ROM header signature: expecting 0xaa55, got 0x[0-9a-f]+/i,
    (match) => match[0],
  )(context);
  return {
    ...outcome,
    found: outcome.found.map((found) => {
      const device = context.host.device(found.device ?? "");
      return device !== undefined && isIntegrated(device)
        ? { ...found, severity: "info" as const, isHarmless: true }
        : found;
    }),
  };
}

/** Decided from the ROM's image, where it can be read: it was captured, or `--probe-rom` is given. */
function romNoUefi(context: CheckContext): CheckOutcome {
  const found: Found[] = [];
  const unread: string[] = [];
  for (const device of candidates(context)) {
    if (!device.isDisplay || !context.host.tree.has(`${device.path}/rom`)) continue;
    const rom = context.roms?.get(device.address) ?? capturedRom(context, device);
    if (rom === undefined) {
      unread.push(device.address);
      continue;
    }
    const kinds = romImages(rom);
    if (kinds.length === 0 || kinds.includes(ROM_CODE_EFI)) continue;
    found.push({
      device: device.address,
      detail: "its option ROM is for a legacy BIOS only",
      evidence: [{ path: `${device.path}/rom`, value: `images of type ${kinds.join(", ")}` }],
    });
  }
  if (unread.length === 0) return { found };
  return { found, skipped: `the ROM of ${unread.join(", ")} was not read; --probe-rom reads it` };
}

/** The running host's ROMs are read only when that was asked for. */
function capturedRom({ host }: CheckContext, device: HostDevice): Uint8Array | undefined {
  return host.tree.isLive ? undefined : host.tree.bytes(`${device.path}/rom`).value;
}

/** Intel's integrated graphics have no ROM of their own. */
function isIntegrated(device: HostDevice): boolean {
  return device.vendor === 0x8086 && device.isDisplay && device.address.endsWith(":00:02.0");
}

const NO_SPACE = /(?<!VF )BAR (\d+).*(?:can't assign; no space|failed to assign)/i;

/** A BAR that the kernel could place at a later try is none of these. */
function noSpaceLogged(context: CheckContext): CheckOutcome {
  const logged = logCheck(NO_SPACE, (match) => match[0])(context);
  const notes: string[] = [];
  const found = logged.found.filter(({ device: address, evidence }) => {
    const index = Number(NO_SPACE.exec(evidence[0]?.value ?? "")?.[1]);
    const device = context.host.device(address ?? "");
    const bar = device?.resources.find((one) => one.index === index);
    if (bar === undefined || bar.unassigned) return true;
    notes.push(`BAR ${index} of ${address} has an address by now: harmless`);
    return false;
  });
  return { ...logged, found, note: notes.length === 0 ? undefined : notes.join("; ") };
}

function noSpace(context: CheckContext): CheckOutcome {
  const logged = noSpaceLogged(context);
  const found: Found[] = [];
  for (const device of candidates(context)) {
    for (const bar of device.resources) {
      if (!bar.unassigned || bar.index > 5) continue;
      found.push({
        device: device.address,
        detail: `BAR ${bar.index} (${bar.size} bytes) has no address`,
        evidence: [{ path: `${device.path}/resource`, value: `line ${bar.index + 1}: no address` }],
      });
    }
  }
  return together(logged, { found });
}

function resizable(context: CheckContext): CheckOutcome {
  const found: Found[] = [];
  for (const device of candidates(context)) {
    for (const bar of device.resources) {
      const path = `${device.path}/resource${bar.index}_resize`;
      if (bar.index > 5 || bar.size <= 0x10000000n || !context.host.tree.has(path)) continue;
      found.push({
        device: device.address,
        detail: `BAR ${bar.index} was enlarged to ${bar.size >> 20n} MiB (ReBAR)`,
        evidence: [{ path, value: context.host.tree.text(path) ?? "present" }],
        confidence: "likely",
      });
    }
  }
  return { found };
}

function noMmap(context: CheckContext): CheckOutcome {
  const found: Found[] = [];
  for (const device of candidates(context)) {
    for (const bar of device.resources) {
      if (bar.index > 5 || bar.kind === "io" || bar.unassigned) continue;
      if (bar.size >= PAGE || bar.start % PAGE === 0n) continue;
      found.push({
        device: device.address,
        detail: `BAR ${bar.index} (${bar.size} bytes) shares its page, so each access is trapped`,
        evidence: [
          {
            path: `${device.path}/resource`,
            value: `BAR ${bar.index} at 0x${bar.start.toString(16)}`,
          },
        ],
        isHarmless: true,
      });
    }
  }
  return found.length === 0 ? NOTHING : { found };
}

export const BARS: readonly CatalogueEntry[] = [
  {
    number: 30,
    code: "BAR_RESERVED_BY_FB",
    severity: "error",
    title: "The boot framebuffer holds a BAR",
    symptoms: [
      /BAR \d+.*(?:can't|cannot) reserve \[mem/i,
      /vfio_region_write\(.*\) failed: Device or resource busy/i,
    ],
    cause: "The kernel draws the boot console in the card's memory and does not let go.",
    fix: [
      "# add initcall_blacklist=sysfb_init (or video=efifb:off) to the kernel's command line",
      "# or make another card the primary one in the BIOS",
    ],
    undo: ["# remove the parameter"],
    source:
      "drivers/firmware/sysfb_simplefb.c (BOOTFB); drivers/pci/pci-sysfs.c (boot_vga); " +
      "https://wiki.archlinux.org/title/PCI_passthrough_via_OVMF",
    check: framebuffer,
  },
  {
    number: 31,
    code: "FB_SCRIPT_STALE",
    severity: "warning",
    title: "A hook script is for another kernel",
    symptoms: [
      /vtconsole\/vtcon\d+\/bind: No such file/i,
      /efi-framebuffer.*(?:write error: No such device|No such file)/i,
    ],
    cause: "Guides for older kernels unbind a console or framebuffer that newer ones do not have.",
    fix: ["ls /sys/class/vtconsole /sys/bus/platform/drivers   # keep the lines for what exists"],
    undo: ["# the script's old lines"],
    source:
      "drivers/firmware/sysfb.c; https://github.com/QaidVoid/Complete-Single-GPU-Passthrough/issues/24",
    check: staleScript,
  },
  {
    number: 32,
    code: "ROM_UNREADABLE",
    severity: "warning",
    title: "The option ROM cannot be read",
    symptoms: [
      /Cannot read device rom at/i,
      /Skip option ROM probe with rombar=0, or load from file with romfile=/i,
      /Invalid PCI ROM header signature: expecting 0xaa55/i,
    ],
    cause: "The boot card's ROM is shadowed; integrated graphics have none, and need none.",
    fix: ["# give the ROM as a file: romfile=FILE, or do without: rombar=0"],
    undo: ["# leave out romfile= and rombar=0"],
    source: "https://github.com/yoonsikp/macOS-KVM-PCI-Passthrough/issues/2",
    check: romUnreadable,
  },
  {
    number: 33,
    code: "ROM_NO_UEFI",
    severity: "warning",
    title: "The option ROM has no UEFI part",
    symptoms: [/ROM_NO_UEFI/],
    cause: "An old video BIOS: OVMF shows nothing until the guest's own driver starts.",
    fix: ["# update the card's ROM, give a newer one with romfile=, or use SeaBIOS"],
    undo: ["# leave out romfile="],
    source: "https://wiki.archlinux.org/title/PCI_passthrough_via_OVMF",
    check: romNoUefi,
  },
  {
    number: 34,
    code: "ROM_DENYLISTED",
    severity: "info",
    title: "The VMM does not load this device's ROM",
    symptoms: [/Rom loading for device at .* has been disabled due to system instability issues/i],
    cause: "The device is on a list of those whose ROM makes trouble.",
    fix: ["# to load it all the same: rombar=1 or romfile="],
    undo: ["# leave out rombar= and romfile="],
    source: "https://www.qemu.org/docs/master/",
    check: logCheck(
      /Rom loading for device at .* has been disabled due to system instability issues/i,
      () => "the log of the VMM says so",
    ),
  },
  {
    number: 35,
    code: "BAR_NO_SPACE",
    severity: "error",
    title: "No room for a BAR",
    symptoms: [/BAR \d+.*can't assign; no space/i, /BAR \d+.*failed to assign/i],
    cause: "The window below 4 GiB is too small, or a resizable BAR was made too large.",
    fix: ["# turn on Above 4G Decoding in the BIOS, or add pci=realloc to the command line"],
    undo: ["# remove pci=realloc"],
    source: "https://github.com/LekKit/RVVM/issues/197",
    check: noSpace,
  },
  {
    number: 36,
    code: "REBAR_RISK",
    severity: "info",
    title: "A resizable BAR is large",
    symptoms: [/\bReBAR\b/i, /Resizable BAR/i],
    cause: "Some guests and firmware hang or fail with a BAR of several gigabytes.",
    fix: ["# only if the guest has trouble: turn Resizable BAR off in the BIOS"],
    undo: ["# turn it on again"],
    source:
      "Documentation/ABI/testing/sysfs-bus-pci (resourceN_resize); " +
      "https://github.com/Coopydood/ultimate-macOS-KVM/issues/114",
    check: resizable,
  },
  {
    number: 37,
    code: "BAR_NO_MMAP",
    severity: "info",
    title: "A small BAR cannot be mapped",
    symptoms: [/Failed to mmap .* BAR \d+\. Performance may be slow/i],
    cause: "It is smaller than a page and shares that page, so accesses are trapped. Harmless.",
    fix: ["# nothing to do; to align it: pci=resource_alignment=DEVICE"],
    undo: ["# remove pci=resource_alignment="],
    source: "drivers/vfio/pci/vfio_pci_core.c",
    check: noMmap,
  },
  {
    number: 38,
    code: "GUEST_CODE_43",
    severity: "info",
    title: "Windows stops the graphics driver: Code 43",
    symptoms: [/Code 43/i],
    cause: `The guest's driver refuses: NVIDIA before 465 in a VM that does not hide KVM, a missing
      battery for mobile cards, or the faults 30, 35 and 36.`,
    fix: ["# drivers from 465 on; else hide KVM and set a vendor id in the VM's configuration"],
    undo: ["# take the settings out again"],
    source: "https://github.com/fidpa/proxmox-gpu-passthrough",
    check: logCheck(/\bCode 43\b/i, () => "the log that was given says so", {
      confidence: "likely",
    }),
  },
];
