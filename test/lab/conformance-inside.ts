/** Runs the conformance programs inside L1: prints what the kernel's VFIO answers, line by line. */

import { nativeSyscalls } from "../../src/sys/native.ts";
import { runConformance, type SubjectName } from "../conformance/suite.ts";

const [subject, group, deviceName = ""] = process.argv.slice(2);
const place = { subject: subject as SubjectName, groupNumber: Number(group), deviceName };
process.stdout.write(`${runConformance(nativeSyscalls(), place).join("\n")}\n`);
