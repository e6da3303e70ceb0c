"""The journal of steps, kept by DBOS: the only module that knows it.

What DBOS does here: it keeps the result of each step, and refuses to keep one of a run that was taken over. A run of a
job is one of its workflows, and has an id that is used once: whoever takes a job over cancels the earlier runs, reads
what they completed, and begins a run of its own. So no id ever runs twice, the order of steps does not matter, and
nothing here needs the queues, the schedules and the recovery of DBOS, which would hand a run to whichever process looks
first.
"""

import asyncio
import logging
import sqlite3
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import msgspec
import psycopg
from dbos import DBOS, DBOSConfig, Serializer, SetWorkflowID, error
from sqlalchemy import Engine as SqlEngine
from sqlalchemy import create_engine, event
from sqlalchemy.exc import SQLAlchemyError

from polyforge.database.settings import DatabaseSettings
from polyforge.jobs.journal import Fenced, Kept
from polyforge.kernel.errors import Unavailable
from polyforge.kernel.ids import new_ulid

SQLITE_FILE: Final = "jobs.sqlite"
SCHEMA: Final = "dbos"
_NAME: Final = "polyforge"
# A process takes over runs of its own version only, and a release that reads steps as the one before it wrote them is
# none that has to wait for it: this rises only when what `step` keeps, or under which names, changes.
_VERSION: Final = "1"
_THREADS: Final = 32
_CONNECTIONS: Final = 5
_STATEMENT_SECONDS: Final = 60
_CLOSE_SECONDS: Final = 20.0
_PAGE: Final = 50
"""Steps at a time: DBOS reads their results with them, each of up to a megabyte."""

T = TypeVar("T")
Body = Callable[[], Awaitable[None]]
_bodies: Final[dict[str, Body]] = {}
"""What the runs of this process do, by their ids; DBOS wants its workflows to be known before it starts."""


class _Json(Serializer):
    """Steps give JSON, and DBOS keeps it as it is; its own choice would be pickle."""

    def serialize(self, data: Any) -> str:
        return data.decode() if isinstance(data, bytes) else msgspec.json.encode(data, enc_hook=str).decode()

    def deserialize(self, serialized_data: str) -> Any:
        return serialized_data.encode()

    def name(self) -> str:
        return "polyforge_json"


class _NotKept(BaseException):
    """Carries what a step raised past DBOS, which keeps every Exception as the step's outcome."""

    def __init__(self, raised: Exception) -> None:
        super().__init__(raised)
        self.raised = raised


@DBOS.workflow(name="polyforge.job")
async def _run(run_id: str) -> None:
    await _bodies[run_id]()


class Engine:
    """Keeps steps in a SQLite file beside the database, or in a schema of the same PostgreSQL; one per process."""

    def __init__(self, settings: DatabaseSettings, data: Path) -> None:
        self._settings = settings
        self._data = data
        self._sql: SqlEngine | None = None
        self._executor_id = new_ulid()

    @property
    def executor_id(self) -> str:
        """Unique for each start of a process: a second process with the same one made a live step run twice."""
        return self._executor_id

    async def open(self) -> None:
        """Connect, and bring the tables up to date. Unavailable when the database does not answer."""
        try:
            await asyncio.to_thread(self._launch)
        except (SQLAlchemyError, sqlite3.Error, psycopg.Error) as problem:
            await self.close()
            raise Unavailable("the journal of jobs cannot be reached; try again", retry_after=1.0) from problem

    async def close(self) -> None:
        """Stop at once; a step that is going on is done again by whoever takes its run over."""
        # DBOS has made its own threads those of the loop, and ends them; others go on using threads meanwhile.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor())
        await asyncio.to_thread(self._destroy)

    async def run(self, run_id: str, body: Body) -> None:
        """Run `body` under an id that no run had before."""
        _bodies[run_id] = body
        try:
            with SetWorkflowID(run_id, workflow_id_reuse_policy="reject"):
                handle = await DBOS.start_workflow_async(_run, run_id)
            await handle.get_result()
        except error.DBOSException as refused:
            # It was taken over meanwhile, so that its end is not kept either.
            raise Fenced(run_id) from refused
        finally:
            del _bodies[run_id]

    async def step(self, name: str, work: Callable[[], Awaitable[bytes]]) -> bytes:
        """Do `work` and keep what it gives."""

        async def kept() -> bytes:
            try:
                return await work()
            except Exception as raised:
                raise _NotKept(raised) from raised

        try:
            return await DBOS.run_step_async({"name": name}, kept)
        except _NotKept as problem:
            raise problem.raised from problem.raised.__cause__
        except (error.DBOSWorkflowCancelledError, error.DBOSWorkflowConflictIDError) as refused:
            raise Fenced(name) from refused

    async def fence(self, run_ids: Sequence[str]) -> None:
        """From now on nothing more is kept of these runs."""
        if run_ids:
            await _outside(DBOS.cancel_workflows_async(list(run_ids)))

    async def kept(self, run_ids: Sequence[str]) -> dict[str, Kept]:
        """The completed steps of these runs by name."""
        found: dict[str, Kept] = {}
        for run_id in run_ids:
            place = 0
            while True:
                listing = DBOS.list_workflow_steps_async(run_id, load_output=False, limit=_PAGE, offset=place)
                page = await _outside(listing)
                for step in page:
                    found[step["function_name"]] = Kept(run_id, place)
                    place += 1
                if len(page) < _PAGE:
                    break
        return found

    async def value(self, kept: Kept) -> bytes:
        """What a step gave."""
        page = await _outside(DBOS.list_workflow_steps_async(kept.run_id, limit=1, offset=kept.place))
        if not page:
            raise Fenced(kept.run_id)
        return cast(bytes, page[0]["output"])

    async def forget(self, run_ids: Sequence[str]) -> None:
        """Let go of what was kept of these runs."""
        if run_ids:
            await _outside(DBOS.delete_workflows_async(list(run_ids)))

    def _launch(self) -> None:
        self._sql = _sqlite(self._data) if self._settings.dialect == "sqlite" else _postgres(self._settings)
        config: DBOSConfig = {
            "name": _NAME,
            "system_database_engine": self._sql,
            "dbos_system_schema": SCHEMA,
            "serializer": _Json(),
            "application_version": _VERSION,
            "executor_id": self._executor_id,
            "max_executor_threads": _THREADS,
            # Nothing of ours is sent through it, so nothing has to listen.
            "use_listen_notify": False,
            "scheduler_polling_interval_sec": 3_600.0,
            "enable_otlp": False,
            "log_level": "ERROR",
        }
        DBOS(config=config)
        _quieten()
        DBOS.launch()

    def _destroy(self) -> None:
        DBOS.destroy()
        if self._sql is not None:
            self._sql.dispose()
            self._sql = None


async def _outside(call: Coroutine[Any, Any, T]) -> T:
    """Have DBOS do something that is no step: what it is asked within a run it keeps as a step of that run."""
    return await asyncio.create_task(call, context=Context())


def _quieten() -> None:
    """Let DBOS log where everything of this process is logged."""
    logger = logging.getLogger("dbos")
    logger.handlers.clear()
    logger.propagate = True


def _sqlite(data: Path) -> SqlEngine:
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = data / SQLITE_FILE
    engine = create_engine(f"sqlite:///{path}", pool_size=_CONNECTIONS, max_overflow=0, hide_parameters=True)

    def set_up(connection: Any, _entry: object) -> None:
        connection.isolation_level = "IMMEDIATE"
        # NORMAL: when the power fails the last steps may be done again, with their idempotency keys; kill -9 loses
        # none.
        for pragma in ("busy_timeout = 30000", "journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON"):
            connection.execute(f"PRAGMA {pragma}")

    event.listen(engine, "connect", set_up)
    return engine


def _postgres(settings: DatabaseSettings) -> SqlEngine:
    address = settings.address()
    patience = max(1, round(settings.timeout_seconds))

    def connect() -> psycopg.Connection[Any]:
        # The address goes to the driver as it is, so that what libpq knows (sslmode, ...) means the same here.
        connection = psycopg.connect(address, connect_timeout=patience, application_name="polyforge jobs")
        connection.execute("SELECT set_config('statement_timeout', %s, false)", (f"{_STATEMENT_SECONDS}s",))
        connection.commit()
        return connection

    return create_engine(
        "postgresql+psycopg://",
        creator=connect,
        pool_size=_CONNECTIONS,
        max_overflow=0,
        pool_timeout=_STATEMENT_SECONDS,
        pool_pre_ping=True,
        hide_parameters=True,
    )
