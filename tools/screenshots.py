"""Writes the pictures of the console that the README and the docs show: `make screenshots`.

It starts a server of its own with a provider that answers from a list, has keys call it for a while, signs in, and
takes a picture of each page in Debian's Chromium. The pictures lie in docs/images.
"""

import asyncio
import json
import random
import secrets
import sys
import tempfile
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import yaml
from playwright.sync_api import Browser, Page, sync_playwright
from running import Server, running

ROOT: Final = Path(__file__).resolve().parent.parent
IMAGES: Final = ROOT / "docs" / "images"
CHROMIUM: Final = "/usr/bin/chromium"
FLAGS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
SIZE: Final = {"width": 1360, "height": 850}
CALL_SECONDS: Final = 30
CALLS: Final = 160
SEED: Final = 7
SETTLED_MS: Final = 2_000
PAGES: Final = {"home": "/", "models": "/models", "usage": "/usage?period=today"}
ADMIN: Final = {"email": "ada@example.com", "name": "Ada Lovelace"}

QUESTION: Final = "Our shop sells hiking boots. Write one sentence for the newsletter about the new waterproof model."
ANSWERS: Final = {
    "large": (
        "Rain on the ridge, mud in the valley: the new **Fjell 2** keeps your feet dry in both, "
        "weighs less than its forerunner, and can be resoled when you have worn it as far as you hoped to."
    ),
    "small": "Meet the Fjell 2: fully waterproof, lighter than ever, and ready for any trail you choose.",
}
KEYS: Final = (("Newsletter", 40.0), ("Support bot", 25.0), ("Search", None), ("Nightly reports", 10.0))
DEPLOYMENTS: Final = {
    "assistant": ("large", {"input": 2.5, "output": 10.0}),
    "quick": ("small", {"input": 0.15, "output": 0.6}),
}


class Provider(BaseHTTPRequestHandler):
    """Speaks OpenAI's chat completions: the answers above, a pause between words, and now and then an error."""

    def do_POST(self) -> None:
        asked: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if "fail" in json.dumps(asked["messages"]):
            self._whole(500, {"error": {"message": "the model is being restarted", "type": "server_error"}})
            return
        words = ANSWERS[asked["model"]].split(" ")
        usage = {"prompt_tokens": 410, "completion_tokens": len(words) * 2, "total_tokens": 410 + len(words) * 2}
        if not asked.get("stream"):
            message = {"role": "assistant", "content": " ".join(words)}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            self._whole(200, {**self._head(asked, "chat.completion"), "choices": [choice], "usage": usage})
            return
        self._stream(asked, words, usage)

    def _head(self, asked: dict[str, Any], kind: str) -> dict[str, Any]:
        return {"id": "chatcmpl-1", "object": kind, "created": int(time.time()), "model": asked["model"]}

    def _whole(self, status: int, answer: dict[str, Any]) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, asked: dict[str, Any], words: list[str], usage: dict[str, int]) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        head = self._head(asked, "chat.completion.chunk")
        for index, word in enumerate(words):
            time.sleep(0.02)
            delta = {"content": word if index == 0 else f" {word}"}
            self._event({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
        self._event({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": usage})
        self.wfile.write(b"data: [DONE]\n\n")

    def _event(self, value: dict[str, Any]) -> None:
        self.wfile.write(b"data: " + json.dumps(value).encode() + b"\n\n")
        self.wfile.flush()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        """Nobody reads it."""


@contextmanager
def provider() -> Generator[str]:
    """The provider's address, while it answers."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Provider)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        thread.join()


@contextmanager
def platform(folder: Path, upstream: str) -> Generator[Server]:
    """A server with that provider."""
    config = folder / "polyforge.yaml"
    config.write_text(yaml.safe_dump(settings(upstream)), encoding="utf-8")
    with running(folder, "--config", str(config)) as server:
        yield server


def settings(upstream: str) -> dict[str, Any]:
    """One provider, and two models with prices."""
    models = {
        name: {"task": "chat", "deployments": [{"provider": "lab", "model": model, "cost": price}], "price": price}
        for name, (model, price) in DEPLOYMENTS.items()
    }
    return {"providers": {"lab": {"use": "openai", "base_url": upstream, "api_key": "unused"}}, "models": models}


def call(server: Server, path: str, body: dict[str, Any], key: str | None = None) -> dict[str, Any]:
    """One request to the server; HTTPError when it is refused."""
    headers = {"authorization": f"Bearer {key or server.admin_key}", "content-type": "application/json"}
    with urlopen(Request(f"{server.url}{path}", json.dumps(body).encode(), headers), timeout=CALL_SECONDS) as answer:
        return json.load(answer)


def make_traffic(server: Server) -> None:
    """Keys with budgets, and what they called; the same each time."""
    choose = random.Random(SEED)
    keys = [
        call(server, "/api/v1/keys", {"name": name, "budget_usd": budget, "budget_period": "month"})["key"]
        for name, budget in KEYS
    ]
    plans = [
        (choose.choices(keys, (5, 3, 6, 1))[0], choose.random(), choose.choice(list(DEPLOYMENTS))) for _ in range(CALLS)
    ]
    asyncio.run(call_all(server, plans))


async def call_all(server: Server, plans: list[tuple[str, float, str]]) -> None:
    """A few at once, as traffic comes."""
    room = asyncio.Semaphore(6)

    async def one(key: str, luck: float, model: str) -> None:
        async with room:
            await asyncio.to_thread(ask, server, key, luck, model)

    await asyncio.gather(*(one(*plan) for plan in plans))


def ask(server: Server, key: str, luck: float, model: str) -> None:
    """One call: some embed, some chat, a few fail."""
    try:
        if luck < 0.35:  # noqa: PLR2004
            call(server, "/v1/embeddings", {"model": "polyforge/static-minilm", "input": [QUESTION] * 8}, key)
            return
        text = "fail" if luck > 0.97 else QUESTION  # noqa: PLR2004
        call(server, "/v1/chat/completions", {"model": model, "messages": [{"role": "user", "content": text}]}, key)
    except HTTPError as error:
        error.close()


def sign_in(browser: Browser, server: Server) -> Page:
    """A page of the console for its first user."""
    password = secrets.token_urlsafe(18)
    call(server, "/api/v1/users", {**ADMIN, "password": password})
    page = browser.new_page(viewport=SIZE, device_scale_factor=1.5, color_scheme="light")  # pyright: ignore[reportArgumentType]
    page.goto(f"{server.url}/sign-in")
    page.get_by_label("E-mail").fill(ADMIN["email"])
    page.get_by_label("Password", exact=True).fill(password)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.get_by_role("navigation").wait_for()
    return page


def chat(page: Page, server: Server) -> None:
    """Two models answer the same question."""
    page.goto(f"{server.url}/chat")
    page.get_by_role("button", name="Add model").click()
    page.get_by_placeholder("Write a message").fill(QUESTION)
    page.get_by_role("button", name="Send", exact=True).click()
    page.get_by_text("resoled").wait_for()
    take(page, "chat")


def take(page: Page, name: str) -> None:
    """Write one picture, once the page has had time to fetch what it shows; some go on fetching for ever."""
    page.wait_for_timeout(SETTLED_MS)
    page.screenshot(path=IMAGES / f"{name}.png")
    print(f"docs/images/{name}.png")


def main() -> int:
    """Every picture."""
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, provider() as upstream, platform(Path(folder), upstream) as server:
        make_traffic(server)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
            page = sign_in(browser, server)
            for name, path in PAGES.items():
                page.goto(f"{server.url}{path}")
                take(page, name)
            chat(page, server)
            browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
