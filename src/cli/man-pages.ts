/**
 * The man pages as files: one for each verb, and one that names them all.
 */

import { manPage, overviewPage } from "./help-text.ts";
import { VERBS } from "./verbs.ts";

/** File name -> roff. */
export async function manPages(): Promise<Map<string, string>> {
  const pages = new Map([["viaduct.1", overviewPage(Object.entries(VERBS))]]);
  for (const [name, entry] of Object.entries(VERBS)) {
    const { command } = await entry.load();
    pages.set(`viaduct-${name}.1`, manPage(command));
  }
  return pages;
}
