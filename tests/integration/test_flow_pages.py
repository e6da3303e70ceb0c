"""The pages of published flows as people see them, in Chromium; what runs is played, but for the last.

Playwright's sync interface keeps a loop running in this thread, so the site has a thread of its own, and no test here
is async.
"""

import asyncio
import json
import shutil
import socket
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from playwright.sync_api import Browser, Route, expect

from polyforge.database.settings import DatabaseSettings
from polyforge.kernel.clock import FakeClock
from polyforge.server.http import send_whole
from polyforge.server.pages import headers_of, is_page, read_page
from tests.conftest import Serve
from tests.support.behaviours import Answer
from tests.support.browser import NARROW, Window, chromium, window
from tests.support.databases import Place
from tests.support.flow_rooms import FlowRooms, caller
from tests.support.flows import answering
from tests.support.people import PASSWORD
from tests.support.principals import install_default
from tests.support.published import PublishedFlows, many_fields, publish
from tests.support.server import ALL
from tests.support.settings import settings, solo
from tests.support.upstream import Upstream
from tests.support.waiting import DEADLINE
from tests.unit.tenancy.samples import NOW

KEY = "pf-good"


class Site:
    """Pages, and the API behind a key."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._server = uvicorn.Server(uvicorn.Config(self, lifespan="off", log_level="warning"))
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="site")
        self._ready = threading.Event()

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(DEADLINE)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(DEADLINE)

    async def _serve(self) -> None:
        database = Place(DatabaseSettings(), self._data).database()
        await database.open()
        await install_default(database, FakeClock(NOW))
        rooms = FlowRooms(database)
        self.flows = PublishedFlows(rooms)
        for slug, document in (("ask", answering()), ("write", many_fields())):
            await publish(rooms, slug, document)
            await self.flows.publishing.publish(caller(), slug, "prod", tool=False, page=True)
        self._ready.set()
        await self._server.serve(sockets=[self._socket])
        await database.close()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        path = scope["path"]
        if is_page(path):
            kind, body = await read_page(path)
            await send_whole(send, 200, [(b"content-type", kind), *headers_of(path)], body)
        elif path == "/favicon.ico":
            await send_whole(send, 200, [], b"")
        elif dict(scope["headers"]).get(b"authorization") != f"Bearer {KEY}".encode():
            told = json.dumps({"detail": "this key does not work"}).encode()
            await send_whole(send, 401, [(b"content-type", b"application/problem+json")], told)
        elif path.startswith("/api/v1/flow-runs/") and path.endswith("/result"):
            run = self.flows.runs.runs[path.split("/")[-2]]
            told = json.dumps({"state": run.state, "outputs": None, "error": None}).encode()
            await send_whole(send, 200, [(b"content-type", b"application/json")], told)
        elif path.startswith("/api/v1/flow-runs/") and path.endswith("/events"):
            await send_whole(send, 200, [(b"content-type", b"text/event-stream")], b"retry: 1000\n\n")
        elif path.endswith("/cancel"):
            await self.flows.runs.cancel(caller(), path.split("/")[-2])
            self.flows.runs.open.set()
            await send_whole(send, 200, [(b"content-type", b"application/json")], b"{}")
        else:
            await self.flows(scope, receive, send)


@pytest.fixture(scope="module")
def site(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Generator[Site]:
    data = tmp_path_factory.mktemp("site") / "data"
    shutil.copytree(sqlite_template, data)
    made = Site(data)
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def browser() -> Generator[Browser]:
    with chromium() as opened:
        yield opened


def enter(opened: Window, path: str) -> None:
    """Open a page, and give the key that it asks for."""
    opened.open(path)
    opened.page.get_by_label("API key").fill(KEY)
    opened.page.get_by_role("button", name="Go on").click()


@pytest.mark.parametrize(("scheme", "size"), [("light", "wide"), ("dark", "narrow")])
def test_a_form_is_filled_in_and_answered(site: Site, browser: Browser, scheme: Any, size: str) -> None:
    options = {"viewport": NARROW} if size == "narrow" else {}
    with window(browser, site.url, f"flow-form-{scheme}", color_scheme=scheme, **options) as opened:
        page = opened.page
        opened.open("/flows/write@prod")
        expect(page.get_by_label("API key")).to_be_visible()
        opened.shoot("entry")
        opened.axe()
        enter(opened, "/flows/write@prod")
        expect(page.get_by_role("heading", name="Write about a topic")).to_be_visible()
        page.get_by_label("Topic").fill("hills <b>and</b> rivers")
        expect(page.get_by_label("How many words")).to_have_value("100")
        page.get_by_label("Write formally").check()
        page.get_by_label("Tags").fill('["green"')
        page.get_by_role("button", name="Run").click()
        expect(page.get_by_role("alert")).to_contain_text("Tags")
        page.get_by_label("Tags").fill('["green"]')
        opened.shoot("filled")
        opened.axe()
        page.get_by_role("button", name="Run").click()
        expect(page.get_by_role("status")).to_have_text("Done.")
        expect(page.locator("#outputs pre.text")).to_have_text("On hills <b>and</b> rivers")
        given = json.loads(page.locator("#outputs pre:not(.text)").inner_text())
        assert given == {"topic": "hills <b>and</b> rivers", "words": 100, "formal": True, "tags": ["green"]}
        opened.fits()
        opened.shoot("answered", full_page=True)
        opened.axe()


def test_a_talk_is_answered_and_a_run_can_be_stopped(site: Site, browser: Browser) -> None:
    with window(browser, site.url, "flow-chat") as opened:
        page = opened.page
        enter(opened, "/flows/ask@prod")
        page.get_by_label("Your message").fill("trees")
        page.keyboard.press("Enter")
        expect(page.locator("#talk .assistant")).to_contain_text("About trees.")
        page.get_by_label("Your message").fill("hang")
        page.get_by_role("button", name="Send").click()
        expect(page.locator("#talk .assistant")).to_have_count(2)
        opened.shoot("running")
        opened.axe()
        page.get_by_role("button", name="Stop").click()
        expect(page.get_by_role("status")).to_have_text("Stopped.")
        expect(page.get_by_role("alert")).to_have_text("")
        expect(page.get_by_role("button", name="Send")).to_be_enabled()
        expect(page.locator("#talk .unanswered")).to_contain_text("Stopped before it was answered.")
        opened.shoot("stopped")


@pytest.mark.parametrize(("scheme", "size"), [("light", "wide"), ("dark", "narrow")])
def test_a_failed_turn_says_so_where_it_stands_and_is_tried_again(
    site: Site, browser: Browser, scheme: Any, size: str
) -> None:
    options = {"viewport": NARROW} if size == "narrow" else {}
    with window(browser, site.url, f"flow-failed-{scheme}", color_scheme=scheme, **options) as opened:
        page = opened.page
        enter(opened, "/flows/ask@prod")
        box, turns = page.get_by_label("Your message"), page.locator("#talk .turn")
        box.fill("trees")
        page.keyboard.press("Enter")
        expect(turns.first).to_contain_text("About trees.")
        expect(page.get_by_role("button", name="Send")).to_be_enabled()
        box.fill("fail")
        page.keyboard.press("Enter")
        failed = page.locator("#talk .turn.failed")
        expect(failed.locator(".user")).to_contain_text("fail")
        expect(failed.locator(".unanswered")).to_contain_text("Not answered. chat: it took too long (try it again)")
        expect(page.get_by_role("alert")).to_have_text("")
        opened.fits()
        opened.shoot("failed")
        opened.axe()
        box.fill("meanwhile")
        failed.get_by_role("button", name="Change it").click()
        expect(turns).to_have_count(1)
        expect(box).to_have_value("fail\nmeanwhile")
        box.fill("fail")
        page.keyboard.press("Enter")
        expect(failed).to_have_count(1)
        box.fill("meanwhile")
        site.flows.runs.failing.clear()
        failed.get_by_role("button", name="Try again").click()
        expect(turns).to_have_count(2)
        expect(turns.last).to_contain_text("About fail.")
        expect(failed).to_have_count(0)
        expect(box).to_have_value("meanwhile")
        site.flows.runs.failing.add("fail")


def test_a_turn_whose_answer_was_lost_on_the_way_is_found_again(site: Site, browser: Browser) -> None:
    """It runs once, though the page was told nothing of it."""
    with window(browser, site.url, "flow-lost") as opened:
        opened.forgive("net::ERR")
        page, began = opened.page, len(site.flows.runs.runs)
        enter(opened, "/flows/ask@prod")

        def lose(route: Route) -> None:
            route.fetch()
            route.abort()

        page.route("**/flows/ask%40prod/run", lose)
        page.get_by_label("Your message").fill("trees")
        page.keyboard.press("Enter")
        expect(page.locator("#talk .unanswered")).to_contain_text("The server cannot be reached")
        page.unroute("**/flows/ask%40prod/run")
        page.get_by_role("button", name="Try again").click()
        expect(page.locator("#talk .assistant")).to_contain_text("About trees.")
        assert len(site.flows.runs.runs) == began + 1


def test_a_page_follows_its_run_where_the_stream_is_cut(site: Site, browser: Browser) -> None:
    with window(browser, site.url, "flow-cut") as opened:
        page = opened.page
        enter(opened, "/flows/ask@prod")
        site.flows.streams.most = 0
        page.get_by_label("Your message").fill("hang")
        page.keyboard.press("Enter")
        expect(page.get_by_role("button", name="Stop")).to_be_visible()
        page.get_by_role("button", name="Stop").click()
        expect(page.get_by_role("status")).to_have_text("Stopped.")
        site.flows.streams.most = 10


def test_a_wrong_key_and_a_page_that_is_not_there_say_so(site: Site, browser: Browser) -> None:
    with window(browser, site.url, "flow-refused") as opened:
        opened.forgive("status of 401")
        opened.forgive("status of 404")
        page = opened.page
        opened.open("/flows/ask@prod")
        page.get_by_label("API key").fill("pf-bad")
        page.get_by_role("button", name="Go on").click()
        expect(page.get_by_role("alert")).to_have_text("this key does not work")
        enter(opened, "/flows/none@prod")
        expect(page.get_by_role("alert")).to_contain_text("has no page")
        expect(page.locator("#form")).to_be_hidden()


def test_who_is_signed_in_needs_no_key(serve: Serve, upstream: Upstream, browser: Browser) -> None:
    upstream.script("assistant", Answer("It scatters the light.", gap=0.05))
    server = serve(settings(upstream, solo("assistant")), roles=ALL)
    document = answering() | {"name": "Ask", "description": "Answers a question."}
    assert server.api("POST", "/flows", {"slug": "ask", "document": document}).status == 201
    assert server.api("POST", "/flows/ask/commit", {"message": "first"}).status in (200, 201)
    assert server.api("PUT", "/flows/ask/aliases/prod", {"version": "1"}).status in (200, 201)
    assert server.api("PUT", "/flows/ask/publications/prod", {"page": True}).status == 200
    user = {"email": "ann@example.org", "name": "Ann", "password": PASSWORD, "role": "developer"}
    assert server.api("POST", "/users", user).status == 201
    with window(browser, server.url, "flow-signed-in") as opened:
        signed_in = opened.context.request.post(
            f"{server.url}/api/v1/auth/sign-in", data={"email": user["email"], "password": PASSWORD}
        )
        assert signed_in.ok
        page = opened.open("/flows/ask@prod")
        expect(page.get_by_role("heading", name="Ask")).to_be_visible()
        page.get_by_label("Your message").fill("Why is the sky blue?")
        page.keyboard.press("Enter")
        expect(page.locator("#talk .assistant")).to_contain_text("It scatters the light.")
        expect(page.get_by_role("button", name="Send")).to_be_enabled()
        opened.shoot("answered")
        opened.axe()
