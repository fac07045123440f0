/** Runs the conformance program inside L1: prints what the kernel's VFIO answers, line by line. */

import { conformanceProgram } from "../../src/sim/conformance.ts";
import { nativeSyscalls } from "../../src/sys/native.ts";

const [group = "", device = ""] = process.argv.slice(2);
const lines = conformanceProgram(nativeSyscalls(), Number(group), device);
process.stdout.write(`${lines.join("\n")}\n`);
