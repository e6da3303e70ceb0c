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
VALUES: Final = frozenset({"object", "array", "string", "concatenated string", "sliced string", "closure", "number"})

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
const stream = (signal) => {
  let timer;
  const words = new TextEncoder();
  return new ReadableStream({
    start(controller) {
      signal.addEventListener("abort", () => {
        clearInterval(timer);
        controller.error(signal.reason);
      });
      timer = setInterval(() => {
        count += 1;
        controller.enqueue(words.encode(`event: overview\\ndata: ${JSON.stringify(moved(template))}\\n\\n`));
        if (count %% 100 !== 0) return;
        clearInterval(timer);
        controller.close();
      }, %d);
    },
    cancel() {
      clearInterval(timer);
    },
  });
};
const asked = window.fetch;
window.fetch = async (request, options) =>
  request.url?.endsWith("/overview/stream") ? new Response(stream(request.signal)) : asked(request, options);
"""


class Kept(NamedTuple):
    """What a page holds once its garbage is gone: bytes of values, without the browser's compiled code and records."""

    values: int
    nodes: int
    listeners: int


def kept(session: CDPSession) -> Kept:
    """Ask the browser, which collects what nobody holds before it takes a snapshot."""
    parts: list[str] = []

    def take(event: dict[str, Any]) -> None:
        parts.append(event["chunk"])

    session.on("HeapProfiler.addHeapSnapshotChunk", take)
    session.send("HeapProfiler.takeHeapSnapshot", {"reportProgress": False})
    session.remove_listener("HeapProfiler.addHeapSnapshotChunk", take)
    counters: dict[str, Any] = session.send("Memory.getDOMCounters")
    return Kept(bytes_of_values(json.loads("".join(parts))), counters["nodes"], counters["jsEventListeners"])


def bytes_of_values(snapshot: dict[str, Any]) -> int:
    """The sum of the sizes of a snapshot's values; its nodes are one list of numbers, a few for each node."""
    meta = snapshot["snapshot"]["meta"]
    names, fields = meta["node_types"][0], meta["node_fields"]
    kind, size, step = fields.index("type"), fields.index("self_size"), len(fields)
    numbers: list[int] = snapshot["nodes"]
    sizes = zip(numbers[kind::step], numbers[size::step], strict=True)
    return sum(each for number, each in sizes if names[number] in VALUES)


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
    assert after.nodes <= before.nodes * 1.1, (before, after)
    assert after.listeners <= before.listeners * 1.1, (before, after)
    assert after.values <= before.values * 1.05, (before, after)
