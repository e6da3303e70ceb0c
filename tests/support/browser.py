"""Debian's Chromium, driven by Playwright: windows on the console that notice what people would not see.

A window fails its test for what a page writes to the console as an error (violations of the content policy are among
it), for exceptions, and for every request to another origin. Playwright's sync interface keeps an event loop of its own
running in the thread, so a module that uses it has no async tests, and the browser ends with the module.
"""

import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Error, Page, Request, expect, sync_playwright

ROOT: Final = Path(__file__).parents[2]
SCREENSHOTS: Final = ROOT / "build" / "screenshots"
AXE: Final = ROOT / "console" / "node_modules" / "axe-core" / "axe.min.js"
WIDE: Final = {"width": 1440, "height": 900}
NARROW: Final = {"width": 375, "height": 812}
PATIENCE_MS: Final = 60_000
FLAGS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Names lead nowhere: a page that asks for another host is told so, on every machine alike.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)
_PROGRAMS: Final = (
    "chromium",
    "google-chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
_OWN_SCHEMES: Final = ("data:", "blob:", "about:", "chrome:")
_USUAL: Final = ("/api/v1/me", "status of 401")
"""Every page first asks who is there; Chromium writes down the answer that nobody is as an error."""
_FINISH_ANIMATIONS: Final = """() => Promise.all([
  document.fonts.ready,
  ...document.getAnimations()
    .filter((each) => each.effect?.getComputedTiming().endTime !== Infinity)
    .map((each) => each.finished.catch(() => undefined)),
]).then(() => undefined)"""
_RUN_AXE: Final = "() => axe.run(document, {resultTypes: ['violations']}).then((found) => found.violations)"
_OVERFLOW: Final = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


class Window:
    """One person's browser on one site: a context with cookies of its own, and a page in it."""

    def __init__(self, context: BrowserContext, site: str, journey: str) -> None:
        self.context = context
        self.site = site
        self._journey = journey
        self._shots = 0
        self._wrong: list[str] = []
        self._forgiven: list[tuple[str, ...]] = [_USUAL]
        context.set_default_timeout(PATIENCE_MS)
        context.on("page", self._watch)
        self.page = context.new_page()

    def open(self, path: str = "/") -> Page:
        """Load a path of the site as one does who types it."""
        self.page.goto(self.site + path)
        return self.page

    def forgive(self, *parts: str) -> None:
        """From now on, a message that has all these parts in its text or its address is right: `"status of 402"`."""
        self._forgiven.append(parts)

    def settle(self) -> None:
        """Wait until fonts are there and what moves has come to rest; what turns for ever is left out."""
        self.page.evaluate(_FINISH_ANIMATIONS)

    def shoot(self, name: str, *, full_page: bool = False) -> Path:
        """Save what is seen as build/screenshots/<journey>-<number>-<name>.png."""
        self.settle()
        self._shots += 1
        path = SCREENSHOTS / f"{self._journey}-{self._shots}-{name}.png"
        self.page.screenshot(path=path, full_page=full_page)
        return path

    def shoot_failed(self) -> None:
        """Save what is seen last as build/screenshots/<journey>-failed.png."""
        if not self.page.is_closed():
            self.page.screenshot(path=SCREENSHOTS / f"{self._journey}-failed.png")

    def axe(self) -> None:
        """Fail for what axe finds serious or critical on the page as it is now."""
        if not AXE.is_file():
            raise AssertionError(f"{AXE} is missing: run `make console`")
        self.settle()
        self.page.evaluate(f"{AXE.read_text()}; undefined")
        found = [each for each in self.page.evaluate(_RUN_AXE) if each["impact"] in ("serious", "critical")]
        assert not found, f"axe on {self.page.url}:\n" + "\n".join(map(_describe, found))

    def fits(self) -> None:
        """Fail when the page scrolls sideways."""
        wider = self.page.evaluate(_OVERFLOW)
        assert wider <= 0, f"{self.page.url} is {wider} px wider than the window"

    def verify(self) -> None:
        """Fail for what has gone wrong so far, unseen."""
        wrong, self._wrong = self._wrong, []
        assert not wrong, "the browser saw:\n" + "\n".join(wrong)

    def _watch(self, page: Page) -> None:
        page.on("console", self._heard)
        page.on("pageerror", self._broke)
        page.on("request", self._asked)

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self._note(f"error: {message.text}", message.location["url"])

    def _broke(self, error: Error) -> None:
        self._note(f"exception: {error.stack or error.message}", "")

    def _asked(self, request: Request) -> None:
        if not request.url.startswith(_OWN_SCHEMES) and _origin(request.url) != _origin(self.site):
            self._note("a request to another origin", request.url)

    def _note(self, what: str, where: str) -> None:
        whole = f"{what} ({where})" if where else what
        if not any(all(part in whole for part in parts) for parts in self._forgiven):
            self._wrong.append(whole)


def find_chromium() -> str:
    """The browser's program; the test is skipped where there is none."""
    for name in _PROGRAMS:
        if found := shutil.which(name):
            return found
    pytest.skip("there is no Chromium: run `apt-get install chromium fonts-noto-core`, as `make test` does")


@contextmanager
def chromium() -> Generator[Browser]:
    """A browser without a screen."""
    program = find_chromium()
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def window(browser: Browser, site: str, journey: str, **options: Any) -> Generator[Window]:
    """A window for a block; at its end nothing may have gone wrong. `options` are those of `Browser.new_context`.

    A block that fails leaves a picture of what was seen last.
    """
    given: dict[str, Any] = {
        "viewport": WIDE,
        "locale": "en-GB",
        "timezone_id": "UTC",
        "reduced_motion": "reduce",
        **options,
    }
    context = browser.new_context(**given)
    opened = Window(context, site, journey)
    try:
        yield opened
        opened.verify()
    except BaseException:
        opened.shoot_failed()
        raise
    finally:
        context.close()


def _origin(url: str) -> str:
    parts = urlsplit(url)
    scheme = {"ws": "http", "wss": "https"}.get(parts.scheme, parts.scheme)
    return f"{scheme}://{parts.netloc}"


def _describe(found: dict[str, Any]) -> str:
    places = [f"    {' '.join(map(str, node['target']))}: {node['failureSummary']}" for node in found["nodes"][:5]]
    return "\n".join([f"  {found['impact']}: {found['help']} ({found['id']}, {len(found['nodes'])} places)", *places])
