"""The console is served from the files that its build left, and from nothing else."""

import gzip
import json
import os
from pathlib import Path
from typing import Any

import httpx
import pytest

from polyforge.server.console import files
from polyforge.server.console.building import STATE_FILE
from polyforge.server.console.encodings import choose_encoding
from polyforge.server.console.site import Console
from tests.support.application import client_of, console_application

PAGE = b"<!doctype html><title>Polyforge</title>"
SCRIPT = b"console.log('hello');" * 20
BROWSER = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "accept-encoding": "identity"}
PLAIN = {"accept-encoding": "identity"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A built console."""
    built = tmp_path / "static"
    (built / "assets").mkdir(parents=True)
    (built / "index.html").write_bytes(PAGE)
    (built / "favicon.svg").write_bytes(b"<svg/>")
    (built / ".stamp").write_text("of the build")
    (built / "assets" / "app-1a2b.js").write_bytes(SCRIPT)
    (built / "assets" / "app-1a2b.js.gz").write_bytes(gzip.compress(SCRIPT))
    (built / "assets" / "app-1a2b.js.br").write_bytes(b"brotli's")
    return built


@pytest.fixture
def web(folder: Path) -> httpx.AsyncClient:
    return client_of(console_application(Console(folder)))


@pytest.mark.parametrize("path", ["/", "/models", "/keys/some.one", "/auth/sign-in", "/v1beta"])
async def test_a_browser_gets_the_page_at_every_path_that_is_nobody_elses(web: httpx.AsyncClient, path: str) -> None:
    answer = await web.get(path, headers=BROWSER)
    assert (answer.status_code, answer.content) == (200, PAGE)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["x-request-id"]


async def test_the_page_may_run_our_own_code_and_be_in_nobody_elses(web: httpx.AsyncClient) -> None:
    headers = (await web.get("/", headers=BROWSER)).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert "camera=()" in headers["permissions-policy"]


@pytest.mark.parametrize("path", ["/v1/nothing", "/api/v1/nothing", "/assets/nothing.js", "/metrics/x"])
async def test_what_is_not_there_is_an_error_that_programs_read(web: httpx.AsyncClient, path: str) -> None:
    answer = await web.get(path, headers={**BROWSER, "authorization": "Bearer pf-none"})
    assert answer.status_code in (401, 404)
    assert "json" in answer.headers["content-type"]


async def test_a_program_gets_no_page_at_a_path_that_does_not_exist(web: httpx.AsyncClient) -> None:
    answer = await web.get("/models")
    assert answer.status_code == 404
    assert answer.json()["detail"] == "there is nothing at /models"
    assert (await web.get("/")).content == PAGE


async def test_files_with_a_hash_in_their_name_are_kept_for_ever(web: httpx.AsyncClient) -> None:
    script = await web.get("/assets/app-1a2b.js", headers=PLAIN)
    assert (script.status_code, script.content) == (200, SCRIPT)
    assert script.headers["content-type"] == "text/javascript; charset=utf-8"
    assert script.headers["cache-control"] == "public, max-age=31536000, immutable"
    icon = await web.get("/favicon.svg", headers=PLAIN)
    assert icon.headers["content-type"] == "image/svg+xml"
    assert icon.headers["cache-control"] == "no-cache"


async def test_the_smallest_form_that_is_taken_is_sent(web: httpx.AsyncClient) -> None:
    async def sent(accepted: str) -> tuple[str | None, bytes]:
        async with web.stream("GET", "/assets/app-1a2b.js", headers={"accept-encoding": accepted}) as answer:
            assert answer.headers["vary"] == "accept-encoding"
            return answer.headers.get("content-encoding"), b"".join([part async for part in answer.aiter_raw()])

    assert await sent("gzip, deflate, br") == ("br", b"brotli's")
    encoding, body = await sent("gzip, br;q=0.5")
    assert (encoding, gzip.decompress(body)) == ("gzip", SCRIPT)
    assert await sent("deflate") == (None, SCRIPT)
    plain = await web.get("/favicon.svg", headers={"accept-encoding": "br"})
    assert "content-encoding" not in plain.headers


async def test_what_the_caller_has_is_not_sent_again(web: httpx.AsyncClient) -> None:
    for path in ("/", "/assets/app-1a2b.js"):
        tag = (await web.get(path, headers=PLAIN)).headers["etag"]
        for known in (tag, f'"other", W/{tag}', "*"):
            again = await web.get(path, headers={**PLAIN, "if-none-match": known})
            assert (again.status_code, again.content) == (304, b"")
            assert again.headers["etag"] == tag
            assert "content-length" not in again.headers
            assert again.headers["cache-control"]
        assert (await web.get(path, headers={**PLAIN, "if-none-match": '"other"'})).status_code == 200
    zipped = await web.get("/assets/app-1a2b.js", headers={"accept-encoding": "gzip"})
    assert zipped.headers["etag"] != tag


async def test_only_reading_is_possible(web: httpx.AsyncClient) -> None:
    for path in ("/", "/assets/app-1a2b.js"):
        refused = await web.post(path, headers=BROWSER)
        assert refused.status_code == 405
        assert refused.headers["allow"] == "GET, HEAD"
        head = await web.head(path, headers=PLAIN)
        assert head.status_code == 200
        assert int(head.headers["content-length"]) == len((await web.get(path, headers=PLAIN)).content)


@pytest.mark.parametrize(
    "path",
    ["/assets/../../secret.txt", "/assets/..%2f..%2fsecret.txt", "/%2e%2e/secret.txt", "/.stamp"],
)
async def test_nothing_outside_of_the_build_can_be_reached(folder: Path, path: str) -> None:
    (folder.parent / "secret.txt").write_text("secret")
    (folder / "link.txt").symlink_to(folder.parent / "secret.txt")
    (folder / "linked").symlink_to(folder.parent)
    console = Console(folder)
    for asked in (path, "/link.txt", "/linked/secret.txt"):
        answer = await client_of(console_application(console)).get(asked)
        assert answer.status_code == 404
        assert "secret" not in answer.text.replace("secret.txt", "")


async def test_a_new_build_is_noticed_at_the_next_page(web: httpx.AsyncClient, folder: Path) -> None:
    await web.get("/", headers=BROWSER)
    fresh = folder.with_name("fresh")
    (fresh / "assets").mkdir(parents=True)
    (fresh / "index.html").write_bytes(b"another page")
    (fresh / "assets" / "app-3c4d.js").write_bytes(b"another script")
    os.rename(folder, folder.with_name("old"))
    os.rename(fresh, folder)
    assert (await web.get("/", headers=BROWSER)).content == b"another page"
    assert (await web.get("/assets/app-3c4d.js")).content == b"another script"
    assert (await web.get("/assets/app-1a2b.js")).status_code == 404


async def test_what_is_not_kept_in_memory_is_read_when_it_is_asked_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_KEPT_BYTES", len(PAGE))
    web = client_of(console_application(Console(folder)))
    assert (await web.get("/assets/app-1a2b.js", headers=PLAIN)).content == SCRIPT
    (folder / "assets" / "app-1a2b.js").unlink()
    assert (await web.get("/assets/app-1a2b.js", headers=PLAIN)).status_code == 404
    (folder / "index.html").unlink()
    assert (await web.get("/", headers=PLAIN)).content == PAGE


async def test_more_files_than_a_build_has_are_not_all_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_MOST_FILES", 2)
    assert set(files.read_table(folder)) == {"/favicon.svg", "/index.html"}


class Unbuilt:
    """A place where the console is not yet."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "static"
        self.state = folder / STATE_FILE
        self.web = client_of(console_application(Console(self.folder)))

    async def page(self) -> str:
        answer = await self.web.get("/", headers=BROWSER)
        assert answer.status_code == 503
        assert answer.headers["cache-control"] == "no-store"
        assert "script-src" not in answer.headers["content-security-policy"]
        return answer.text

    def say(self, state: str, pid: int, **more: Any) -> None:
        self.state.write_text(json.dumps({"state": state, "pid": pid, **more}))


async def test_without_a_build_the_page_says_what_to_do(tmp_path: Path) -> None:
    place = Unbuilt(tmp_path)
    assert "make console" in await place.page()
    assert (await place.web.get("/assets/app.js")).status_code == 404
    for nonsense in ("", "{", '{"state": 7}'):
        place.state.write_text(nonsense)
        assert "make console" in await place.page()


@pytest.mark.parametrize("path", ["/auth/verify", "/auth/reset", "/auth/invitation"])
async def test_links_of_messages_lead_into_the_console_once_there_is_one(folder: Path, path: str) -> None:
    web = client_of(console_application(Console(folder)))
    assert (await web.get(path, headers=BROWSER)).content == PAGE
    assert "link.js" in (await web.get(path)).text
    assert (await web.get("/auth/link.js", headers=PLAIN)).headers["content-type"].startswith("text/javascript")
    before_it_is_built = client_of(console_application(Console(folder / "nowhere")))
    assert "link.js" in (await before_it_is_built.get(path, headers=BROWSER)).text


async def test_while_it_is_being_built_the_page_comes_back_by_itself(tmp_path: Path) -> None:
    place = Unbuilt(tmp_path)
    place.say("building", os.getpid(), log="build/console.log")
    page = await place.page()
    assert "being built" in page
    assert "build/console.log" in page
    assert '<meta http-equiv="refresh"' in page
    place.folder.mkdir()
    (place.folder / "index.html").write_bytes(PAGE)
    assert (await place.web.get("/", headers=BROWSER)).content == PAGE


async def test_a_build_that_died_is_not_waited_for(tmp_path: Path) -> None:
    place = Unbuilt(tmp_path)
    place.say("building", 0)
    assert "is not built" in await place.page()


async def test_a_build_that_failed_says_why_and_where_more_is(tmp_path: Path) -> None:
    place = Unbuilt(tmp_path)
    place.say("failed", 1, log="build/console.log", problem="npm ended with 1: <disk full>")
    page = await place.page()
    assert "npm ended with 1: &lt;disk full&gt;" in page
    assert "build/console.log" in page
    assert "refresh" not in page


@pytest.mark.parametrize(
    ("accepted", "stored", "chosen"),
    [
        (None, {"br", "gzip", "identity"}, "identity"),
        (b"", {"br", "identity"}, "identity"),
        (b"gzip, br", {"br", "gzip", "identity"}, "br"),
        (b"x-gzip", {"br", "gzip", "identity"}, "gzip"),
        (b"BR;Q=0.2, gzip;q=0.9", {"br", "gzip", "identity"}, "gzip"),
        (b"br;q=0.5, identity", {"br", "identity"}, "identity"),
        (b"br;q=0", {"br", "identity"}, "identity"),
        (b"*", {"br", "identity"}, "br"),
        (b"*;q=0.1, br;q=0", {"br", "gzip", "identity"}, "gzip"),
        (b"identity;q=0", {"identity"}, "identity"),
        (b"br;q=nan, gzip;q=2", {"br", "gzip", "identity"}, "identity"),
        (b"br;q=1e9", {"br", "identity"}, "identity"),
        (b"a," * 40 + b"br", {"br", "identity"}, "identity"),
    ],
)
def test_the_encoding_is_the_one_that_the_caller_likes_best(
    accepted: bytes | None, stored: set[str], chosen: str
) -> None:
    assert choose_encoding(accepted, stored) == chosen
