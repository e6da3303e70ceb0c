/** After an upgrade the files of an open page are gone from the server. */

const NAME = "polyforge.reloaded";
const QUIET_MS = 30_000;

/** Load the page anew when one of its files is gone; not twice in a row, so that a missing file ends in an error and not in a loop. */
export function reloadWhenStale(page: Pick<Window, "addEventListener" | "sessionStorage" | "location">, now: () => number = Date.now): void {
  page.addEventListener("vite:preloadError", (event: Event) => {
    const last = Number(page.sessionStorage.getItem(NAME) ?? 0);
    if (now() - last < QUIET_MS) return;
    page.sessionStorage.setItem(NAME, String(now()));
    event.preventDefault();
    page.location.reload();
  });
}
