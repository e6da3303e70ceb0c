"""A console that stays open for a day, with a clock and events of the test's own: it keeps no more than at first."""

import json
import os
from typing import Any, Final, NamedTuple

import pytest
from playwright.sync_api import CDPSession, expect

from tests.support.browser import Window
from tests.support.site import Site

HOURS: Final = 24 if os.environ.get("POLYFORGE_SOAK") else 3
EVERY_SECONDS: Final = 5
HOUR: Final = 3_600
MEGABYTE: Final = 1_000_000

# Stands in for the stream of home: a new state of everything every few seconds of the page's own clock, now and then
# an end, after which the page comes back by itself.
_EVENTS: Final = """
const template = %s;
let count = 0;
const moved = (value) => {
  if (Number.isInteger(value)) return value + (count %% 9);
  if (Array.isArray(value)) return value.map(moved);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, moved(inner)]));
};
window.told = () => count;
window.EventSource = class extends EventTarget {
  constructor() {
    super();
    setTimeout(() => this.dispatchEvent(new Event("open")), 1);
    this.timer = setInterval(() => {
      count += 1;
      this.dispatchEvent(new MessageEvent("overview", { data: JSON.stringify(moved(template)) }));
      if (count %% 100 === 0) this.dispatchEvent(new Event("error"));
    }, %d);
  }
  close() {
    clearInterval(this.timer);
  }
};
"""


class Kept(NamedTuple):
    """What a page holds once its garbage is gone."""

    heap: int
    nodes: int
    listeners: int


def kept(session: CDPSession) -> Kept:
    """Ask the browser, after it has collected what nobody holds."""
    for _ in range(3):
        session.send("HeapProfiler.collectGarbage")
    counters: dict[str, Any] = session.send("Memory.getDOMCounters")
    return Kept(session.send("Runtime.getHeapUsage")["usedSize"], counters["nodes"], counters["jsEventListeners"])


def pass_an_hour(window: Window) -> None:
    """An hour of events on home, with a look at other pages in between."""
    page = window.page
    menu = page.get_by_role("navigation")
    for name, seconds in (("Usage", 60), ("Requests", 60), ("Models", 60), ("Home", HOUR - 180)):
        menu.get_by_role("link", name=name, exact=True).click()
        expect(page.get_by_role("heading", level=1)).to_have_text(name)
        page.clock.run_for(seconds * 1_000)


@pytest.mark.soak
@pytest.mark.timeout(3_600)
def test_a_day_open_leaks_nothing(site: Site, window: Window) -> None:
    overview = site.api("GET", "/overview", 200)
    window.page.clock.install()
    window.context.add_init_script(_EVENTS % (json.dumps(overview), EVERY_SECONDS * 1_000))
    site.sign_in(window)
    expect(window.page.get_by_role("heading", level=1)).to_have_text("Home")
    session = window.context.new_cdp_session(window.page)
    pass_an_hour(window)
    pass_an_hour(window)
    before = kept(session)
    for _ in range(HOURS - 2):
        pass_an_hour(window)
    after = kept(session)

    assert window.page.evaluate("told()") > HOURS * (HOUR - 300) / EVERY_SECONDS / 2
    assert after.nodes <= before.nodes * 1.05, (before, after)
    assert after.listeners <= before.listeners * 1.05, (before, after)
    assert after.heap <= before.heap * 1.1 + MEGABYTE, (before, after)
