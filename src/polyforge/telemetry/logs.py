"""Structured logs: one JSON object per line on standard error, whoever logs.

Our own rooms log through `get_logger`; uvicorn, SQLAlchemy and other libraries through the standard library's logging
arrive in the same form. The hot path does not log here: it has `polyforge.telemetry.access`.
"""

import logging
import os
import sys
import threading
import traceback
from contextvars import ContextVar
from types import TracebackType
from typing import Final

import msgspec

from polyforge.telemetry.lines import LineWriter, encoder, timestamp
from polyforge.telemetry.masking import mask_fields, mask_text

request_id: Final[ContextVar[str]] = ContextVar("request_id", default="")
"""Id of the request that is being served; lines that are logged meanwhile carry it, whoever logs them."""

_OURS = "polyforge"
_FIELDS = "polyforge_fields"
_LONGEST_TEXT = 8_000
_STDERR = 2


class Log:
    """A named source of log lines: what happened as a sentence, the particulars as fields."""

    __slots__ = ("_logger",)

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def debug(self, event: str, **fields: object) -> None:
        """Something that only matters while looking for a fault."""
        self._log(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: object) -> None:
        """Something that is as it should be and worth knowing."""
        self._log(logging.INFO, event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """Something that was coped with and should not last."""
        self._log(logging.WARNING, event, fields)

    def error(self, event: str, **fields: object) -> None:
        """Something that failed."""
        self._log(logging.ERROR, event, fields)

    def exception(self, event: str, **fields: object) -> None:
        """Something that failed, with the traceback of the exception that is being handled."""
        self._log(logging.ERROR, event, fields, exc_info=True)

    def _log(self, level: int, event: str, fields: dict[str, object], exc_info: bool = False) -> None:
        if self._logger.isEnabledFor(level):
            self._logger.log(level, event, exc_info=exc_info, extra={_FIELDS: fields})


def get_logger(name: str) -> Log:
    """The logger of a module; `name` is its `__name__`."""
    return Log(name)


def configure(level: str, process: str, writer: LineWriter | None = None) -> None:
    """Send every log line of this process, as JSON, through `writer`, or straight to standard error without one.

    `level` (debug, info, warning, error) is for our own rooms; libraries are heard from warnings upwards.
    """
    root = logging.getLogger()
    for handler in root.handlers[:]:
        root.removeHandler(handler)
    root.addHandler(JsonHandler(process, writer))
    root.setLevel(logging.WARNING)
    ours = logging.getLogger(_OURS)
    ours.setLevel(level.upper())
    for name, logger in logging.Logger.manager.loggerDict.items():
        if isinstance(logger, logging.Logger) and name != _OURS:
            _route_to_root(name, logger)
    logging.captureWarnings(True)
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_in_thread


def _route_to_root(name: str, logger: logging.Logger) -> None:
    for handler in logger.handlers[:]:
        logger.removeHandler(handler)
    logger.propagate = True
    if not name.startswith(_OURS + ".") and logger.level not in (logging.NOTSET, *_ABOVE_INFO):
        logger.setLevel(logging.NOTSET)


_ABOVE_INFO = (logging.WARNING, logging.ERROR, logging.CRITICAL)


class JsonHandler(logging.Handler):
    """Turns log records into JSON lines without secrets."""

    def __init__(self, process: str, writer: LineWriter | None = None) -> None:
        super().__init__()
        self._process = process
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record. Never raises: a log line is not worth a failure."""
        try:
            line = self.render(record)
        except Exception as error:  # noqa: BLE001  whatever a library put into its record, logging it fails nobody
            line = self._note_unreadable(record, error)
        if self._writer is not None and self._writer.alive:
            self._writer.put(msgspec.Raw(line))
        else:
            _write_to_stderr(line + b"\n")

    def _note_unreadable(self, record: logging.LogRecord, error: Exception) -> bytes:
        line = {
            "time": timestamp(record.created),
            "level": "error",
            "logger": record.name,
            "process": self._process,
            "event": f"a log line could not be rendered: {type(error).__name__}",
            "source": f"{record.pathname}:{record.lineno}",
        }
        return encoder.encode(line)

    def render(self, record: logging.LogRecord) -> bytes:
        """The line for a record, without its newline."""
        line: dict[str, object] = {
            "time": timestamp(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": self._process,
            "event": record.getMessage()[:_LONGEST_TEXT],
        }
        if serving := request_id.get():
            line["request_id"] = serving
        fields: dict[str, object] = getattr(record, _FIELDS, {})
        line.update({name: value for name, value in mask_fields(fields).items() if name not in line})
        if record.exc_info and record.exc_info[1] is not None:
            line["exception"] = "".join(traceback.format_exception(record.exc_info[1]))[-_LONGEST_TEXT:]
        return mask_text(_encode(line))


def _encode(line: dict[str, object]) -> bytes:
    try:
        return encoder.encode(line)
    except UnicodeEncodeError:
        return encoder.encode({name: repr(value)[:_LONGEST_TEXT] for name, value in line.items()})


def _write_to_stderr(line: bytes) -> None:
    try:
        os.write(_STDERR, line)
    except OSError:
        return


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    logging.getLogger(_OURS).critical("the process failed", exc_info=(kind, error, trace))


def _log_uncaught_in_thread(failure: threading.ExceptHookArgs) -> None:
    error = failure.exc_value
    if error is None or isinstance(error, SystemExit):
        return
    logging.getLogger(_OURS).critical(
        "a thread failed",
        exc_info=(type(error), error, error.__traceback__),
        extra={_FIELDS: {"thread": str(failure.thread)}},
    )
