/**
 * A program of its own for the tests of this folder: starts a guest that never exits, and ends
 * either by `process.exit()` in the middle of it or by stopping it and returning.
 */

import { asm, TinyMachine } from "./tiny-machine.ts";

const machine = new TinyMachine({ irqchip: "full", vcpus: 2 });
machine.load([asm.incDword(0x2000), asm.spin]);
machine.load([asm.sti, asm.hlt], 0x4000, 1);
machine.threads.resume();
while (machine.word(0x2000) === 0) await new Promise((resolve) => setTimeout(resolve, 1));
process.stdout.write("running\n");
if (process.argv[2] === "exit") process.exit(0);
await machine.end();
