"""LiteLLM as a caller. Its pins and ours differ, so that it runs in an environment and a process of its own."""

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Generator
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Final

from tests.support.scripted.asks import Ask, Got
from tests.support.waiting import DEADLINE

ROOT: Final = Path(__file__).parents[3]
PYTHON: Final = ROOT / ".venv" / "litellm" / "bin" / "python"
MISSING: Final = "LiteLLM is not installed: run `make test`, which keeps it in .venv/litellm"
_START_SECONDS: Final = 240.0
_ANSWER_SECONDS: Final = 3 * DEADLINE
"""The client takes many times as long as others, and a busy machine stretches that."""


class ClientError(Exception):
    """What the client raised: the names of its class and those above, the headers that it tells, its words."""

    def __init__(self, classes: list[str], headers: dict[str, str], text: str) -> None:
        super().__init__(text)
        self.classes = classes
        self.headers = headers


class _Process:
    """The client's process, begun with the first question."""

    def __init__(self) -> None:
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - it lives as long as the process
        environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        self._running = subprocess.Popen(
            [PYTHON, "-m", "tests.support.scripted.litellm_child"],
            cwd=ROOT,
            env=environ
            | {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False", "HF_HUB_OFFLINE": "1"}
            | {"PYTHONFAULTHANDLER": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        self._patience = _START_SECONDS

    def ask(self, question: dict[str, Any]) -> Got:
        """What came of a question; ClientError for what the client raised."""
        assert self._running.stdin is not None
        assert self._running.stdout is not None
        with _killed_after(self._patience, self._running):
            self._running.stdin.write(json.dumps(question) + "\n")
            self._running.stdin.flush()
            line = self._running.stdout.readline()
        self._patience = _ANSWER_SECONDS
        assert line, f"LiteLLM's process ended: {self._said()}"
        told = json.loads(line)
        if "error" in told:
            raise ClientError(**told["error"])
        got = Got(**told["got"])
        got.calls = [(id_, name, arguments) for id_, name, arguments in got.calls]
        return got

    @property
    def ended(self) -> bool:
        """Whether it answers no more questions."""
        return self._running.poll() is not None

    def stop(self) -> None:
        """End it."""
        with contextlib.suppress(BrokenPipeError):
            self._running.communicate(timeout=DEADLINE)
        self._log.close()

    def _said(self) -> str:
        self._log.seek(0)
        return self._log.read()[-3000:]


@contextlib.contextmanager
def _killed_after(seconds: float, process: "subprocess.Popen[str]") -> Generator[None]:
    """Aborts the process when the block takes too long, so that reading from it ends and it tells where it hung."""
    timer = threading.Timer(seconds, process.send_signal, (signal.SIGABRT,))
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@cache
def _process() -> _Process:
    return _Process()


def _living_process() -> _Process:
    """The process of all questions; one that had to be killed costs its own question and no other."""
    if _process().ended:
        _process().stop()
        _process.cache_clear()
    return _process()


class LiteLLMChat:
    """`completion` with OpenAI's prefix: chat completions."""

    name = "litellm_chat"
    prefix: ClassVar[str] = "openai"
    call: ClassVar[str] = "completion"
    base: ClassVar[str] = "/v1"

    def __init__(self, url: str, key: str) -> None:
        self._api_base, self._key = f"{url}{self.base}", key

    def ask(self, model: str, ask: Ask, *, stream: bool) -> Got:
        """Through the process."""
        question = {
            "call": self.call,
            "model": f"{self.prefix}/{model}",
            "api_base": self._api_base,
            "key": self._key,
            "ask": dataclasses.asdict(ask),
            "stream": stream,
        }
        return _living_process().ask(question)

    def close(self) -> None:
        """End the process, which all these callers share."""
        if _process.cache_info().currsize:
            _process().stop()
            _process.cache_clear()


class LiteLLMAsynchronous(LiteLLMChat):
    """`acompletion`."""

    name = "litellm_asynchronous"
    call: ClassVar[str] = "acompletion"


class LiteLLMResponses(LiteLLMChat):
    """`responses` with OpenAI's prefix."""

    name = "litellm_responses"
    call: ClassVar[str] = "responses"


class LiteLLMMessages(LiteLLMChat):
    """`completion` with Anthropic's prefix: messages, asked and told in OpenAI's form."""

    name = "litellm_messages"
    prefix: ClassVar[str] = "anthropic"
    base: ClassVar[str] = ""
