/**
 * Loaded into `viaduct` by NODE_OPTIONS: notes each file that it writes in $WRITE_TRACE, as a
 * person would type it, and kills it before its $KILL_AT-th write.
 */

import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";

const { openSync, writeSync, appendFileSync } = fs;
const { open } = fs.promises;
const trace = process.env["WRITE_TRACE"];
const killAt = Number(process.env["KILL_AT"] ?? "0");
const paths = new Map<number, string>();
let writes = 0;

fs.openSync = ((...args: Parameters<typeof openSync>) => {
  const fd = openSync(...args);
  paths.set(fd, String(args[0]));
  return fd;
}) as typeof openSync;

fs.writeSync = ((fd: number, ...rest: [string]) => {
  const path = paths.get(fd);
  // What it prints goes to descriptors that it did not open.
  if (path !== undefined) note(path, rest[0]);
  return writeSync(fd, ...rest);
}) as typeof writeSync;

fs.promises.open = (async (...args: Parameters<typeof open>) => {
  const file = await open(...args);
  const write = file.write.bind(file) as (text: string) => Promise<unknown>;
  const noted = (text: string) => {
    note(String(args[0]), text);
    return write(text);
  };
  return Object.assign(file, { write: noted });
}) as typeof open;

function note(path: string, text: string): void {
  writes += 1;
  if (writes === killAt) process.kill(process.pid, "SIGKILL");
  if (trace !== undefined) appendFileSync(trace, `echo '${text.trimEnd()}' > ${path}\n`);
}

syncBuiltinESMExports();
