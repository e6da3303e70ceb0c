import { isThere, untilReachable } from "@/client/connection";

import { reloadOnce } from "./stale";

/** Reads a part of the console, however long the server is away; where the part is gone, as after an upgrade, the console is loaded anew. */
export async function readPart<Part>(load: () => Promise<Part>, page: Parameters<typeof reloadOnce>[0] = window): Promise<Part> {
  let failed = false;
  for (;;) {
    try {
      return await load();
    } catch (error) {
      if (!(await isThere())) await untilReachable();
      // It may have come back just now: what is gone is so a second time.
      else if (failed) {
        if (!reloadOnce(page)) throw error;
        return await new Promise<never>(() => undefined);
      }
      failed = true;
    }
  }
}
