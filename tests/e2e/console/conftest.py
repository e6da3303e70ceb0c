"""Journeys through the console: the built one, served by a real server, in a real browser.

A test takes `site` and `window`, or several from `windows`; a module may say what the installation is like by a fixture
`site_settings` of its own. Wait with `expect(locator)`; `page.wait_for_function` is against the content policy.
Screenshots are in build/screenshots; a journey that fails leaves one of each of its windows.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.conftest import Serve
from tests.support.browser import ROOT, Window, chromium
from tests.support.browser import window as open_window
from tests.support.settings import settings, solo
from tests.support.site import Site
from tests.support.upstream import Upstream

Windows = Callable[..., Window]
TOKENS = {"input": 1.0, "cached_input": 0.5, "output": 2.0}
_BUILD_SECONDS = 1_800
_FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Tell the windows of a test whether it failed: fixtures are not told."""
    report = yield
    if report.when == "call":
        item.stash[_FAILED] = report.failed
    return report


@pytest.fixture(scope="session")
def built_console() -> None:
    """The console is built from the sources as they are; with POLYFORGE_CONSOLE=as-built, whatever was built last."""
    if os.environ.get("POLYFORGE_CONSOLE") == "as-built":
        return
    command = [sys.executable, str(ROOT / "tools" / "build_console.py"), "build"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_BUILD_SECONDS)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium."""
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def site_settings(upstream: Upstream) -> dict[str, Any]:
    """What polyforge.yaml says; two models of a scripted provider, priced by the token."""
    upstream.models = ["gpt-upstream", "llama-upstream"]
    return settings(upstream, {**solo("assistant", price=TOKENS), **solo("rival", price=TOKENS)})


@pytest.fixture(scope="module")
def empty_site(built_console: None, serve: Serve, upstream: Upstream, site_settings: dict[str, Any]) -> Site:
    """An installation that nobody has an account of."""
    return Site(serve(site_settings), upstream)


@pytest.fixture(scope="module")
def site(empty_site: Site) -> Site:
    """An installation with its first user, Ada, who may do everything."""
    empty_site.found()
    return empty_site


@pytest.fixture
def windows(request: pytest.FixtureRequest, browser: Browser, empty_site: Site) -> Iterator[Windows]:
    """Opens windows, each a browser of its own, with options such as `color_scheme="dark"` or `viewport=NARROW`."""
    journey = request.node.name.removeprefix("test_").translate(str.maketrans("[]/ ", "----")).strip("-")
    shown: list[Window] = []
    with ExitStack() as opened:

        def another(name: str = "", **options: Any) -> Window:
            title = f"{journey}-{name}" if name else journey
            shown.append(opened.enter_context(open_window(browser, empty_site.url, title, **options)))
            return shown[-1]

        yield another
        if request.node.stash.get(_FAILED, False):
            for window in shown:
                window.shoot_failed()


@pytest.fixture
def window(windows: Windows) -> Window:
    """One window, in which nobody has signed in."""
    return windows()
