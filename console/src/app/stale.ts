/** After an upgrade the files of an open page are gone from the server. */

const NAME = "polyforge.reloaded";
const QUIET_MS = 30_000;

/** Loads the console anew, and whether it did: not twice in a row, so that a missing file ends in an error and not in a loop. */
export function reloadOnce(page: Pick<Window, "sessionStorage" | "location">, now: () => number = Date.now): boolean {
  const last = Number(page.sessionStorage.getItem(NAME) ?? 0);
  if (now() - last < QUIET_MS) return false;
  page.sessionStorage.setItem(NAME, String(now()));
  page.location.reload();
  return true;
}
