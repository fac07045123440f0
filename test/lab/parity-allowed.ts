/**
 * What a guest of Viaduct may see otherwise than a guest of QEMU. Each entry has a reason and the
 * parts of lines (parity-lines.ts) that it makes meaningless; a pattern for a whole line allows one
 * to have it alone. A pattern that no difference matches fails the test.
 */

export interface AllowedDifference {
  readonly reason: string;
  readonly patterns: readonly RegExp[];
}

export const ALLOWED: readonly AllowedDifference[] = [
  {
    reason: `Where BARs, ROMs and windows lie, and how much room a window has for what may be plugged
      in, is SeaBIOS's choice under QEMU and Linux's under Viaduct. What has how much and inside of
      what is compared. Linux writes a ROM's address when it reads the ROM.`,
    patterns: [
      /(?<=Region \d: (?:Memory|I\/O ports) at )[0-9a-f]+/,
      /(?<=Expansion ROM at )[0-9a-f]+(?: \[virtual\])?/,
      /(?<=header0\+(?:1[0-9a-f]|2[04]) = )[0-9a-f]{7}(?=[0-9a-f]$)/,
      /(?<=header1\+10 = )[0-9a-f]{7}(?=[0-9a-f]$)/,
      /^.*header[01]\+[0-9a-f]+ upper = .*$/,
      /^.*header0\+30 = .*$/,
      /^.*(?:I\/O|Memory|Prefetchable memory) behind bridge: .*$/,
      /^.*iomem: PCI Bus \S+ has .*$/,
      /(?<=header1\+1c = [0-9a-f]{4})[0-9a-f]{4}/,
      /(?<=header1\+24 = )[0-9a-f]{3}|(?<=header1\+24 = [0-9a-f]{4})[0-9a-f]{3}/g,
      /^.*header1\+2[08c] = .*$/,
    ],
  },
  {
    reason: `SeaBIOS lets every function decode I/O and memory and report system errors, and leaves
      the disks it looked at as bus masters. Without firmware a function decodes what its driver
      asks for: nothing before there is one, and no I/O where the driver wants memory alone.`,
    patterns: [
      /(?<= Control: )I\/O[+-]/,
      /(?<=^untouched .* Control: .*)Mem[+-] BusMaster[+-]/,
      /(?<=^driven \S+ 1234:.* Control: .*)Mem[+-]/,
      /(?<= Control: .*)SERR[+-]/,
      /^untouched .* Latency: 0$/,
      /(?<=Region \d: I\/O ports at \S+)(?: \[disabled\])?(?= \[size)/,
      /(?<=^(?:untouched|driven \S+ 1234:).* Region \d: Memory .*\))(?: \[disabled\])?(?= \[size)/,
      /(?<=header[01]\+04 = [0-9a-f]{4})[0-9a-f]{4}/,
    ],
  },
  {
    reason: "The numbers of interrupts and vectors: the chipsets route and use others.",
    patterns: [
      /(?<=Interrupt: pin [A-D] routed to IRQ )\d+/,
      /(?<=header[01]\+3c = [0-9a-f]{6})[0-9a-f]{2}/,
      /(?<=Address: [0-9a-f]{16} {2}Data: )[0-9a-f]{4}/,
      /(?<=cap 05\+0c = [0-9a-f]{4})[0-9a-f]{4}/,
    ],
  },
  {
    reason: "Keyboard, mouse, HPET and disk controller of QEMU's chipset.",
    patterns: [
      /^.*interrupt: IO-APIC edge (?:i8042|timer)$/,
      /^.*interrupt: PCI-MSI-0000:00:1f\.2 .*$/,
    ],
  },
  {
    reason: `QEMU's root port refuses to enable the interrupt of a changed link, which it must have
      where it reports the link (PCI Express 7.5.3.10), and shows the power indicator off on a slot
      that is occupied and has power.`,
    patterns: [
      /(?<=1b36:000c SltCtl:.*)LinkChg[+-]/,
      /(?<=1b36:000c Control: AttnInd Off, )PwrInd \w+/,
      /(?<=1b36:000c cap 10\+18 = [0-9a-f]{4})[0-9a-f]{4}/,
    ],
  },
  {
    reason: `QEMU's bridge claims to forward to functions by ARI, which only ports can (PCI Express
      7.5.3.15).`,
    patterns: [/(?<=1b36:000e cap 10\+24 = [0-9a-f]{6})[0-9a-f]{2}/],
  },
  {
    reason: `QEMU's bridge has the standard hot-plug controller, with a BAR, an interrupt and numbers
      for the slots behind it. What is behind Viaduct's is there from the start.`,
    patterns: [
      /^.*1b36:000e (?:Capabilities: \[40\] Hot-plug|Kernel driver|Interrupt|Region 0).*$/,
      /^.*1b36:000e AtomicOpsCap: .*$/,
      /^.*1b36:000e (?:cap 0c\+|cap 05\+0[4c]|header1\+10 =).*$/,
      /(?<=1b36:000e Capabilities: \[8c\] MSI: )Enable[+-]/,
      /(?<=1b36:000e Address: )[0-9a-f]{16}/,
      /(?<=1b36:000e cap 05\+00 = 01)[0-9a-f]{2}/,
      /(?<=1b36:000e Control: .*)DisINTx[+-]/,
      /(?<=1b36:000e cap 10\+00 = 0072)[0-9a-f]{2}/,
      /(?<=1b36:000e header1\+3c = [0-9a-f]{4})[0-9a-f]{2}/,
      // Behind such a bridge is what has another slot than 0 on another bus than 0.
      /^\w+ 0000:(?!00)[0-9a-f]{2}:(?!00)[0-9a-f]{2}\.\d .* Physical Slot: .*$/,
      /^.*interrupt: \S+ 0-edge shpchp$/,
      /^.*iomem: (?:shpchp has|\S+ 1b36:000e has 0x100 in) .*$/,
    ],
  },
  {
    reason: `SeaBIOS makes one graphics card the one that has the addresses of VGA, and Linux then
      takes the copy at 0xc0000 for its ROM.`,
    patterns: [
      /(?<= BridgeCtl: .* )VGA[+-]/,
      /(?<=1b36:000c header1\+3c = 000)[0-9a-f]/,
      /^.*iomem: \S+ 1234:1111 has 0x20000 in .*$/,
    ],
  },
];
