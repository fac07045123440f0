/**
 * What a vCPU's thread answers without asking the main thread: ports where nothing is, the serial
 * port, the PM timer, and reads of PCI config space, all from shared memory; and trapped accesses
 * that are one call of a device's file. Everything else is forwarded (kvm/vcpu-loop.ts).
 */

import type { InThreadExits } from "../kvm/exit-handler.ts";
import { AccessGateReader } from "../memory/access-gates.ts";
import { SharedConfigReader } from "../pci/shared-config.ts";
import type { Syscalls } from "../sys/syscalls.ts";
import { COM1_PORT, ECAM_SIZE, ECAM_START } from "./memory-map.ts";
import { pmTimer } from "./pm-timer.ts";
import { PORT } from "./port-kinds.ts";
import { Serial16550 } from "./serial-16550.ts";
import { TrapFileReader } from "./trap-files.ts";

/** Goes to the Worker as data; file descriptors are the process's. */
export interface FastPathState {
  readonly portKinds: Uint8Array;
  readonly config: SharedArrayBuffer;
  readonly serial: SharedArrayBuffer;
  /** `AccessGates.buffer`, and `TrapFiles.buffer` of the two address spaces. */
  readonly gates: SharedArrayBuffer;
  readonly memoryFiles: SharedArrayBuffer;
  readonly ioFiles: SharedArrayBuffer;
  /** eventfds: the serial port's interrupt, and a call to the main thread. */
  readonly serialIrqFd: number;
  readonly serialAttentionFd: number;
}

const ONE = new BigUint64Array([1n]);

export class FastPath implements InThreadExits {
  readonly #kinds: Uint8Array;
  readonly #config: SharedConfigReader;
  readonly #serial: Serial16550;
  readonly #memoryFiles: TrapFileReader;
  readonly #ioFiles: TrapFileReader;

  /** @param vcpu the thread's, 0 and up */
  constructor(state: FastPathState, sys: Syscalls, vcpu: number) {
    this.#kinds = state.portKinds;
    const gates = new AccessGateReader(state.gates);
    this.#memoryFiles = new TrapFileReader(state.memoryFiles, gates, sys, vcpu);
    this.#ioFiles = new TrapFileReader(state.ioFiles, gates, sys, vcpu);
    this.#config = new SharedConfigReader(state.config, sys);
    this.#serial = serialFor(state, sys);
  }

  /** @returns undefined = forward */
  pioRead(port: number, size: 1 | 2 | 4): number | undefined {
    switch (this.#kinds[port]) {
      case PORT.nothing:
        return size === 4 ? 0xffff_ffff : size === 2 ? 0xffff : 0xff;
      case PORT.serial:
        return size === 1 ? this.#serial.read(port - COM1_PORT) : undefined;
      case PORT.pciConfig:
        return this.#config.readPort(port, size);
      case PORT.pmTimer:
        return size === 4 ? pmTimer() : undefined;
      case PORT.file:
        return this.#ioFiles.read(port, size);
      default:
        return undefined;
    }
  }

  /** @returns false = forward */
  pioWrite(port: number, size: 1 | 2 | 4, value: number): boolean {
    switch (this.#kinds[port]) {
      case PORT.nothing:
        return true;
      case PORT.serial:
        if (size !== 1) return false;
        this.#serial.write(port - COM1_PORT, value);
        return true;
      case PORT.pciConfig:
        return this.#config.writePort(port, size, value);
      case PORT.file:
        return this.#ioFiles.write(port, size, value);
      default:
        return false;
    }
  }

  /** @returns undefined = forward */
  mmioRead(address: number, size: 1 | 2 | 4): number | undefined {
    const offset = address - ECAM_START;
    if (offset < 0 || offset >= ECAM_SIZE) return this.#memoryFiles.read(address, size);
    return this.#config.readEcam(offset, size);
  }

  /** Config writes change mappings and interrupts: the main thread's. */
  mmioWrite(address: number, size: 1 | 2 | 4, value: number): boolean {
    return this.#memoryFiles.write(address, size, value);
  }
}

/** The serial port as any thread has it: its signals are eventfds. */
export function serialFor(
  state: Pick<FastPathState, "serial" | "serialIrqFd" | "serialAttentionFd">,
  sys: Pick<Syscalls, "write">,
): Serial16550 {
  return new Serial16550(state.serial, {
    raise: () => void sys.write(state.serialIrqFd, ONE),
    outputReady: () => void sys.write(state.serialAttentionFd, ONE),
    inputWanted: () => void sys.write(state.serialAttentionFd, ONE),
  });
}
