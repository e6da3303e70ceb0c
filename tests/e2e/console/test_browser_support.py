"""The windows of the journeys notice what they are there to notice."""

import functools
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.support.browser import NARROW, window

HEAD = '<!doctype html><html lang="en"><head><title>A page</title><link rel="icon" href="data:,">'
WHOLE = f"{HEAD}</head><body><main><h1>A page</h1></main></body></html>"


class Handler(SimpleHTTPRequestHandler):
    """Files of a folder, under the console's content policy."""

    def end_headers(self) -> None:
        self.send_header("content-security-policy", "default-src 'self'; style-src 'self'; img-src 'self' data:")
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class calls it so
        """Say nothing."""


@pytest.fixture
def pages(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder and where it is served."""
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(tmp_path))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield tmp_path, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_good_page_passes(browser: Browser, pages: tuple[Path, str]) -> None:
    folder, url = pages
    (folder / "page.html").write_text(WHOLE)
    with window(browser, url, "support") as opened:
        opened.open("/page.html")
        opened.axe()
        opened.fits()
        first, second = opened.shoot("page"), opened.shoot("again")
        assert (first.name, second.name) == ("support-1-page.png", "support-2-again.png")
        assert first.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("script", "complaint"),
    [
        ("console.error('it broke')", "error: it broke"),
        ("setTimeout(() => { throw new Error('unseen') })", "exception: Error: unseen"),
        ("fetch('https://elsewhere.example/').catch(() => 0)", "a request to another origin|violates"),
        ("fetch('/nothing').catch(() => 0)", "status of 404"),
        ("document.body.insertAdjacentHTML('beforeend', '<p style=\"color: red\">red</p>')", "violates|Refused"),
    ],
)
def test_what_goes_wrong_unseen_fails(browser: Browser, pages: tuple[Path, str], script: str, complaint: str) -> None:
    folder, url = pages
    (folder / "page.html").write_text(WHOLE.replace("</main>", '</main><script src="script.js"></script>'))
    (folder / "script.js").write_text(f"{script};\nsetTimeout(() => {{ document.title = 'done' }}, 100)")
    with window(browser, url, "support") as opened:
        expect(opened.open("/page.html")).to_have_title("done")
        opened.page.wait_for_load_state("networkidle")
        with pytest.raises(AssertionError, match=complaint):
            opened.verify()
    with window(browser, url, "support") as opened:
        opened.forgive("")
        expect(opened.open("/page.html")).to_have_title("done")


def test_what_is_found_at_the_end_fails_the_test(browser: Browser, pages: tuple[Path, str]) -> None:
    _, url = pages
    with pytest.raises(AssertionError, match="status of 404"), window(browser, url, "support") as opened:
        opened.open("/nothing.html")


def test_what_keeps_people_out_fails(browser: Browser, pages: tuple[Path, str]) -> None:
    folder, url = pages
    (folder / "page.html").write_text(WHOLE.replace("</main>", "<input></main>"))
    with window(browser, url, "support") as opened:
        opened.open("/page.html")
        with pytest.raises(AssertionError, match=r"critical: .*label.*\n +input: "):
            opened.axe()


def test_a_page_that_is_too_wide_fails(browser: Browser, pages: tuple[Path, str]) -> None:
    folder, url = pages
    (folder / "page.html").write_text(
        WHOLE.replace("</main>", '<img width="500" height="9" alt="" src="data:,"></main>')
    )
    with window(browser, url, "support", viewport=NARROW) as opened:
        opened.open("/page.html")
        with pytest.raises(AssertionError, match="px wider than the window"):
            opened.fits()
