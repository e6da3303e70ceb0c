"""Structured logs, from our own rooms and from libraries."""

import contextlib
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from polyforge.telemetry.lines import LineWriter
from polyforge.telemetry.logs import configure, get_logger, request_id
from polyforge.telemetry.masking import MASK


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("polyforge")
    before = (root.handlers[:], root.level, ours.level, sys.excepthook, threading.excepthook)
    yield
    root.handlers[:], root.level, ours.level, sys.excepthook, threading.excepthook = before
    logging.captureWarnings(False)


@contextlib.contextmanager
def logging_to(path: Path, level: str = "info") -> Generator[None]:
    with path.open("wb") as file:
        writer = LineWriter(file.fileno())
        writer.open()
        configure(level, "gateway-1", writer)
        yield
        writer.close()


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_says_when_who_what_and_the_particulars(tmp_path: Path) -> None:
    with logging_to(tmp_path / "log"):
        get_logger("polyforge.gateway.dispatch").warning("deployment cools down", deployment="gpt", seconds=5)
    [line] = lines_of(tmp_path / "log")
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "warning",
        "logger": "polyforge.gateway.dispatch",
        "process": "gateway-1",
        "event": "deployment cools down",
        "deployment": "gpt",
        "seconds": 5,
    }


def test_libraries_are_heard_from_warnings_upwards_in_the_same_form(tmp_path: Path) -> None:
    noisy = logging.getLogger("uvicorn.error")
    noisy.setLevel(logging.INFO)
    noisy.addHandler(logging.StreamHandler())
    with logging_to(tmp_path / "log"):
        noisy.info("Started server process [%d]", 1)
        noisy.error("failed in %s", "accept")
        logging.getLogger("sqlalchemy.engine").warning("slow")
    assert [(line["logger"], line["event"]) for line in lines_of(tmp_path / "log")] == [
        ("uvicorn.error", "failed in accept"),
        ("sqlalchemy.engine", "slow"),
    ]


def test_the_level_is_that_of_our_own_rooms(tmp_path: Path) -> None:
    with logging_to(tmp_path / "log", "error"):
        get_logger("polyforge.x").warning("hidden")
        get_logger("polyforge.x").error("shown")
    assert [line["event"] for line in lines_of(tmp_path / "log")] == ["shown"]


def test_the_request_that_is_served_is_named_on_every_line(tmp_path: Path) -> None:
    with logging_to(tmp_path / "log"):
        token = request_id.set("01J")
        logging.getLogger("asyncio").error("slow callback")
        request_id.reset(token)
        get_logger("polyforge.x").info("later")
    assert [line.get("request_id") for line in lines_of(tmp_path / "log")] == ["01J", None]


def test_exceptions_come_with_their_traceback_and_without_secrets(tmp_path: Path) -> None:
    with logging_to(tmp_path / "log"):
        try:
            raise ValueError("no access with sk-abcdefghijklmnop to postgresql://u:hunter2@h/x")
        except ValueError:
            get_logger("polyforge.x").exception("lookup failed", api_key="abc", headers={"Authorization": "xyz"})
    [line] = lines_of(tmp_path / "log")
    assert "Traceback" in line["exception"]
    assert line["api_key"] == line["headers"]["Authorization"] == MASK
    assert not any(secret in json.dumps(line) for secret in ("abcdefghijklmnop", "hunter2", "xyz"))


def test_fields_cannot_pose_as_the_line_itself(tmp_path: Path) -> None:
    with logging_to(tmp_path / "log"):
        get_logger("polyforge.x").info("true", level="critical", time="never")
    assert lines_of(tmp_path / "log")[0]["level"] == "info"


class Unspeakable:
    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__


@pytest.mark.parametrize("value", [object(), {1: {2, 3}}, "\ud800", b"\xff", Unspeakable()])
def test_nothing_that_is_logged_raises(tmp_path: Path, value: object) -> None:
    with logging_to(tmp_path / "log"):
        get_logger("polyforge.x").info("odd", value=value)
        logging.getLogger("lib").error("%s", value)
        logging.getLogger("lib").error("%d", "not a number")
    assert len(lines_of(tmp_path / "log")) == 3


def test_lines_in_events_stay_one_line(tmp_path: Path) -> None:
    with logging_to(tmp_path / "log"):
        get_logger("polyforge.x").info('a\n{"level":"critical"}')
    assert len(lines_of(tmp_path / "log")) == 1


PROGRAM = """
import threading, warnings
from polyforge.telemetry.logs import configure
configure("info", "gateway-0")
warnings.warn("old")
thread = threading.Thread(target=lambda: 1 / 0)
thread.start(); thread.join()
raise RuntimeError("sk-1234567890")
"""


def test_a_process_that_fails_says_so_in_json_too() -> None:
    ended = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, env=os.environ, check=False)
    lines = [json.loads(line) for line in ended.stderr.splitlines()]
    assert [line["event"] for line in lines][1:] == ["a thread failed", "the process failed"]
    assert "old" in lines[0]["event"]
    assert "sk-1234567890" not in ended.stderr.decode()
    assert ended.returncode == 1
