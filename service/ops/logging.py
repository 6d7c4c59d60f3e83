"""One JSON line per event on standard output. Nothing of a patient is ever logged: no ids, no values, no tokens."""

from __future__ import annotations

import atexit
import logging
import sys
import threading
import time
import traceback
from collections import deque
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import orjson
import structlog

_FLUSH_SECONDS = 0.25
_KEPT = 100_000
_MOST_TRACE_LINES = 200


#: service, status, milliseconds, hookInstance, when, whether a failure was said by a card.
_Answered = tuple[str, int, float, str, datetime, bool]


class Lines:
    """Writes lines to standard output; those of answered calls leave within a quarter of a second, warnings and worse at once.

    A call only leaves word that it was answered: written together, many lines cost a third of what each costs by itself, and a flush is
    a system call.
    """

    def __init__(self) -> None:
        self._file = sys.stdout.buffer
        # Where nobody takes the lines they must not fill the memory: the oldest go.
        self._answered: deque[_Answered] = deque(maxlen=_KEPT)
        self._waiting = threading.Event()
        self._writing = threading.Lock()
        self._started = False
        atexit.register(self._write, b"")

    def answered(self, call: _Answered) -> None:
        """Write the line of a call soon."""
        self._answered.append(call)
        if not self._waiting.is_set():
            if not self._started:
                self._started = True
                threading.Thread(target=self._run, name="log", daemon=True).start()
            self._waiting.set()

    def info(self, line: bytes) -> None:
        """Write a line now, after those that wait."""
        self._write(line + b"\n")

    debug = msg = warning = warn = error = critical = exception = fatal = failure = info

    def _write(self, line: bytes) -> None:
        # One at a time: lines keep their order, and none is torn.
        with self._writing:
            with suppress(ValueError, OSError):  # closed at the end of the process
                for _ in range(len(self._answered)):
                    self._file.write(_line(self._answered[0]))
                    self._answered.popleft()
            with suppress(ValueError, OSError):
                self._file.write(line)
                self._file.flush()

    def _run(self) -> None:
        while True:
            self._waiting.wait()
            time.sleep(_FLUSH_SECONDS)
            self._waiting.clear()
            self._write(b"")


def _line(call: _Answered) -> bytes:
    service, status, milliseconds, hook_instance, at, said_by_card = call
    fields: dict[str, Any] = {
        "service": service,
        "status": status,
        "ms": milliseconds,
        "hookInstance": hook_instance,
        "event": "call",
        "level": "info",
        "timestamp": at,
    }
    if not hook_instance:
        del fields["hookInstance"]
    if said_by_card:
        fields["saidBy"] = "card"
    return orjson.dumps(fields, option=orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE)


class _Direct:
    """Where the lines of calls go without structlog's processors: None unless JSON is configured."""

    lines: Lines | None = None


_direct = _Direct()
_log = structlog.get_logger("clozapine-cds")


def log_call(
    service: str, status: int, seconds: float, hook_instance: str, said_by_card: bool = False
) -> None:
    """One line for an answered call; a failure said by a card, with 200, keeps its status here. It has a way of its own, because a call is answered in less than a millisecond."""
    milliseconds = round(seconds * 1000, 2)
    if _direct.lines is not None:
        _direct.lines.answered(
            (service, status, milliseconds, hook_instance, datetime.now(UTC), said_by_card)
        )
        return
    extra = {"hookInstance": hook_instance} if hook_instance else {}
    if said_by_card:
        extra["saidBy"] = "card"
    _log.info("call", service=service, status=status, ms=milliseconds, **extra)


class WithoutValues(logging.Formatter):
    """What kind of fault, and where: never what it says, for the text of an exception may quote a record."""

    def format(self, record: logging.LogRecord) -> str:
        """See logging."""
        if record.name == "asyncio":
            # Its further lines show tasks and callbacks with what they were called with.
            first = record.getMessage().partition("\n")[0]
            record = logging.makeLogRecord(record.__dict__ | {"msg": first, "args": ()})
        return super().format(record)

    def formatException(self, ei: Any) -> str:
        """Types and places of an exception and of those behind it."""
        lines: list[str] = []
        error: BaseException | None = ei[1]
        while error is not None and len(lines) < _MOST_TRACE_LINES:
            kind = type(error)
            lines.append(f"{kind.__module__}.{kind.__qualname__}")
            lines += [
                f"  {f.filename}:{f.lineno} {f.name}" for f in traceback.extract_tb(error.__traceback__)
            ]
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        return "\n".join(lines)


class AsJson(WithoutValues):
    """The same as one JSON line, whoever wrote it."""

    def format(self, record: logging.LogRecord) -> str:
        """See logging."""
        fields: dict[str, Any] = {
            "event": super().format(record),
            "logger": record.name,
            "level": record.levelname.lower(),
            "timestamp": datetime.fromtimestamp(record.created, UTC),
        }
        if record.exc_text:
            fields["event"] = fields["event"].removesuffix(record.exc_text).rstrip("\n")
            fields["trace"] = record.exc_text.splitlines()
        return orjson.dumps(fields, option=orjson.OPT_UTC_Z).decode()


class _Behind(logging.Handler):
    """Writes where the lines of calls are written, so that all keep their order."""

    def __init__(self, lines: Lines) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        """See logging."""
        try:
            self._lines.info(self.format(record).encode())
        except Exception:
            self.handleError(record)


def _tell_uncaught() -> None:
    """What nobody catches is a line of the log, too."""

    def told(kind: type[BaseException], error: BaseException | None, where: str) -> None:
        if error is not None and not issubclass(kind, KeyboardInterrupt | SystemExit):
            logging.getLogger("uncaught").critical("%s", where, exc_info=(kind, error, error.__traceback__))

    sys.excepthook = lambda kind, error, _: told(kind, error, "the process ended")
    threading.excepthook = lambda a: told(a.exc_type, a.exc_value, "a thread ended")


def configure(level: str = "info", style: str = "json") -> None:
    """Set up logging for the process. ``style``: ``json`` or ``console`` (for people)."""
    threshold = getattr(logging, level.upper())
    lines = Lines()
    output: logging.Handler = _Behind(lines) if style == "json" else logging.StreamHandler(sys.stdout)
    output.setFormatter(AsJson() if style == "json" else WithoutValues("%(levelname)s %(name)s %(message)s"))
    logging.captureWarnings(True)
    logging.basicConfig(handlers=[output], level=threshold, force=True)
    # Its warnings of slow callbacks show what those were called with.
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    logging.getLogger("uvicorn.access").setLevel(logging.WARNING)  # its lines hold addresses; ours say more
    logging.getLogger("httpx").setLevel(logging.WARNING)  # its lines hold URLs with patient ids
    logging.getLogger("httpcore").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)  # two lines for every probe of the database
    logging.getLogger("apscheduler").setLevel(logging.WARNING)  # two lines a minute and site
    processors: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    _direct.lines = None
    if style == "console":
        structlog.configure(
            processors=[*processors, structlog.dev.ConsoleRenderer()],
            wrapper_class=structlog.make_filtering_bound_logger(threshold),
            cache_logger_on_first_use=False,
        )
        return
    _tell_uncaught()
    _direct.lines = lines if threshold <= logging.INFO else None
    structlog.configure(
        processors=[*processors, structlog.processors.JSONRenderer(serializer=orjson.dumps)],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=lambda *_: lines,
        cache_logger_on_first_use=False,
    )
