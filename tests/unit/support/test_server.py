"""The fixture that starts `polyforge up`, tried on a stand-in program."""

import sqlite3
import sys
from pathlib import Path

import pytest

from tests.support.server import Key, Polyforge, stopping
from tests.support.waiting import eventually

SCRIPT = """
import os, signal, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", "polyforge.server"])
def end(*_):
    {end}
signal.signal(signal.SIGTERM, end)
print("ready http://127.0.0.1:12345 in 0.1 s", flush=True)
while True:
    signal.pause()
"""
OBEYS = SCRIPT.format(end="child.kill(); child.wait(); sys.exit(0)")
LEAVES_A_CHILD = SCRIPT.format(end="os._exit(0)")
FAILS = "import sys; print('database.url: no such host'); sys.exit(2)"


class StandIn(Polyforge):
    """Runs a script in the place of `polyforge up`."""

    def __init__(self, folder: Path, script: str) -> None:
        super().__init__(folder, {"models": {}})
        self._script = script

    def _command(self) -> list[str]:
        return [sys.executable, "-c", self._script]


def test_starts_finds_its_processes_and_stops(tmp_path: Path) -> None:
    with stopping(StandIn(tmp_path, OBEYS)) as server:
        assert server.url == "http://127.0.0.1:12345"
        (gateway,) = eventually(lambda: server.pids("gateway"))
        assert server.kill("gateway") == gateway
    assert not server.running


def test_says_why_it_did_not_start(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"exit code 2\)\ndatabase.url: no such host"):
        StandIn(tmp_path, FAILS).start()


def test_complains_of_processes_left_behind(tmp_path: Path) -> None:
    server = StandIn(tmp_path, LEAVES_A_CHILD).start()
    server.patience = 0.2
    eventually(lambda: server.pids("gateway"))
    with pytest.raises(AssertionError, match=r"left running: .*polyforge.server"):
        server.stop()


def test_audit_counts_usage_records_again(tmp_path: Path) -> None:
    server = StandIn(tmp_path, OBEYS)
    server.data.mkdir()
    rows = sqlite3.connect(server.data / "polyforge.db")
    rows.execute("CREATE TABLE usage_records (id TEXT, key_id TEXT)")
    rows.execute("INSERT INTO usage_records VALUES ('1', 'k')")
    rows.commit()
    assert server.settled(Key("k", "pf-x")) == [{"id": "1", "key_id": "k"}]
    server.audit()
    rows.execute("INSERT INTO usage_records VALUES ('2', 'k')")
    rows.commit()
    rows.close()
    with pytest.raises(AssertionError, match="appeared or vanished"):
        server.audit()
