"""Runs the rows: one gateway after the other, each with an upstream of its own that nothing has happened to yet."""

import shutil
import tempfile
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.measure import machine
from benchmarks.processes import StartFailed, cores
from benchmarks.results import TargetInfo
from benchmarks.runner import say
from benchmarks.scorecard.gateways import GATEWAYS, Services
from benchmarks.scorecard.judging import Judgement, NotOffered, Unclear, wrong
from benchmarks.scorecard.results import FORMAT, Cell, RowInfo, Scorecard
from benchmarks.scorecard.rows import MODELS, Row, Stage
from benchmarks.targets import Absent, Site
from tests.support.behaviours import Behaviour, Exchange, Play
from tests.support.ports import refusing_port
from tests.support.upstream import Received, Upstream

PASS = b'{"action": "allow", "verdict": true}'
LITELLM_PASS = b'{"action": "NONE"}'


class GuardService(Upstream):
    """A guardrail service that objects to nothing, in the words of every gateway."""

    def note(self, request: Received) -> Behaviour:
        """Write the question down and let it pass."""
        super().note(request)
        return Play(_pass)


async def _pass(exchange: Exchange) -> None:
    body = LITELLM_PASS if "litellm" in exchange.path else PASS
    await exchange.head(200, {"content-type": "application/json"}, len(body))
    await exchange.body(body)
    await exchange.end()


def run(names: Sequence[str], rows: Sequence[Row]) -> Scorecard:
    """Every row on every gateway, in a folder that is removed afterwards."""
    about = machine()
    folder = Path(tempfile.mkdtemp(prefix="polyforge-scorecard-"))
    infos: list[TargetInfo] = []
    cells: list[Cell] = []
    try:
        for name in names:
            (folder / name).mkdir()
            info, found = _gateway(name, rows, folder / name)
            infos.append(info)
            cells += found
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Scorecard(
        format=FORMAT,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=about,
        gateways=infos,
        rows=[RowInfo(row.name, row.title, row.right) for row in rows],
        cells=cells,
    )


def _gateway(name: str, rows: Sequence[Row], folder: Path) -> tuple[TargetInfo, list[Cell]]:
    with _surroundings() as (upstream, guard, services):
        gateway = GATEWAYS[name](services)
        target = gateway.target
        say(f"\n{target.title}: starting")
        try:
            target.install()
            version = target.version()
            base = upstream.url.removesuffix("/v1")
            target.start(Site({"whole": base}, base, folder, cores()[0]))
            stage = Stage(gateway, upstream, guard)
            cells = [_cell(row, stage, name) for row in rows]
            return TargetInfo(name, target.title, version), cells
        except (Absent, StartFailed, OSError) as error:
            say(f"{target.title}: ABSENT: {error}")
            return TargetInfo(name, target.title, absent=str(error)), []
        finally:
            target.stop()


@contextmanager
def _surroundings() -> Generator[tuple[Upstream, Upstream, Services]]:
    with ExitStack() as stack:
        upstream, guard = Upstream(), GuardService()
        for server in (upstream, guard):
            server.start()
            stack.callback(server.stop)
        dead = stack.enter_context(refusing_port())
        guard_url = guard.url.removesuffix("/v1")
        yield upstream, guard, Services(upstream, guard_url, f"http://127.0.0.1:{dead}", MODELS)


def _cell(row: Row, stage: Stage, name: str) -> Cell:
    judged = _judged(row, stage)
    say(f"  {row.title:32} {judged.verdict:12} {judged.observed}")
    return Cell(row.name, name, judged.verdict, judged.observed)


def _judged(row: Row, stage: Stage) -> Judgement:
    if not _lives(stage):
        return Judgement("unclear", "the gateway had ended in an earlier row")
    judged = _tried(row, stage)
    return judged if _lives(stage) else wrong("the gateway ended")


def _tried(row: Row, stage: Stage) -> Judgement:
    try:
        return row.trial(stage)
    except NotOffered as reason:
        return Judgement("not offered", str(reason))
    except (Unclear, AssertionError, LookupError, ValueError, OSError, StartFailed) as error:
        return Judgement("unclear", str(error) or repr(error))


def _lives(stage: Stage) -> bool:
    try:
        stage.gateway.target.check()
    except StartFailed:
        return False
    return True
