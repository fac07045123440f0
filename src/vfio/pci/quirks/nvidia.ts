/**
 * NVIDIA graphics (spec/pci-quirks.md section 4): three ways to its config space, by VGA ports, by
 * a window of I/O BAR 5, and by mirrors in BAR 0. `nvidia-mirror.ts` has the last.
 */

import { layWindow } from "./config-window.ts";
import { layTrap, type QuirkSite } from "./quirk.ts";
import * as trace from "./trace.ts";

/** Where BAR 0 shows 256 bytes of config space: addresses of the back door and the window. */
export const MIRROR = 0x1800;
const MIRROR_MASK = 0xff;
/** Where BAR 0 shows all of it. */
export const EXTENDED_MIRROR = 0x8_8000;

type BackDoor = "NONE" | "SELECT" | "WINDOW" | "READ" | "WRITE";

const DATA_PORT = 0x3d0;
const INDEX_PORT = 0x3d4;

/** What a write to the index port does: the state it needs, and the one it leads to. */
const SELECTORS: Readonly<Record<number, { from: BackDoor; to: BackDoor }>> = {
  824: { from: "NONE", to: "SELECT" },
  1336: { from: "WINDOW", to: "READ" },
  1848: { from: "WINDOW", to: "WRITE" },
};

/** VGA ports 3d0 and 3d4: select, give an offset, select a direction, transfer. */
export function nvidiaPorts3d0({ fn }: QuirkSite): undefined {
  const vga = fn.vga!;
  let state: BackDoor = "NONE";
  let window = 0;
  const enter = (next: BackDoor): BackDoor => {
    const before = state;
    if (next !== before) trace.vfio_quirk_nvidia_3d0_state.emit({ name: fn.name, state: next });
    state = next;
    return before;
  };
  const inMirror = () => (window & ~MIRROR_MASK) === MIRROR;
  vga.layTrap(INDEX_PORT, 2, {
    read: (offset, size) => {
      enter("NONE");
      return vga.read(INDEX_PORT + offset, size);
    },
    write: (offset, size, value) => {
      const selector = SELECTORS[value];
      enter(selector?.from === state ? selector.to : "NONE");
      vga.write(INDEX_PORT + offset, size, value);
    },
  });
  vga.layTrap(DATA_PORT, 2, {
    read: (offset, size) => {
      const before = enter("NONE");
      const fromDevice = vga.read(DATA_PORT + offset, size);
      if (before !== "READ" || !inMirror()) return fromDevice;
      const at = window & MIRROR_MASK;
      const val = fn.readConfig(at, size);
      trace.vfio_quirk_nvidia_3d0_read.emit({ name: fn.name, offset: at, size, val });
      return val;
    },
    write: (offset, size, value) => {
      const before = enter("NONE");
      if (before === "SELECT") {
        window = value;
        enter("WINDOW");
      } else if (before === "WRITE" && inMirror()) {
        const at = window & MIRROR_MASK;
        fn.writeConfig(at, size, value);
        trace.vfio_quirk_nvidia_3d0_write.emit({ name: fn.name, offset: at, data: value, size });
        return;
      }
      vga.write(DATA_PORT + offset, size, value);
    },
  });
  trace.vfio_quirk_nvidia_3d0_probe.emit({ name: fn.name });
}

/** Registers of BAR 5. */
const MASTER = 0x0;
const ENABLE = 0x4;
const ADDRESS = 0x8;
const DATA = 0xc;

/** The window of BAR 5 is there while bit 0 of two registers is set. */
export function nvidiaBar5Window(site: QuirkSite): undefined {
  const { fn, region } = site;
  const switchWindow = layWindow(site, {
    address: ADDRESS,
    data: DATA,
    matches: [
      { match: MIRROR, mask: MIRROR_MASK },
      { match: EXTENDED_MIRROR, mask: fn.config.size - 1 },
    ],
  });
  switchWindow(false);
  const remembered = new Map([
    [MASTER, 0],
    [ENABLE, 0],
  ]);
  const update = () => {
    const enabled = [...remembered.values()].every((value) => (value & 1) !== 0);
    fn.bus.root.transaction(() => switchWindow(enabled));
    const state = enabled ? "Enable" : "Disable";
    trace.vfio_quirk_nvidia_bar5_state.emit({ name: fn.name, state });
  };
  for (const register of remembered.keys()) {
    const name = register === MASTER ? "master" : "enable";
    layTrap(
      site,
      { name: `nvidia ${name}`, offset: register, size: 4 },
      {
        read: (offset, size) => region.read(register + offset, size),
        write: (offset, size, value) => {
          region.write(register + offset, size, value);
          remembered.set(register, value);
          update();
        },
      },
    );
  }
  trace.vfio_quirk_nvidia_bar5_probe.emit({ name: fn.name });
}
