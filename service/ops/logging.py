"""One JSON line per event on standard output. Nothing of a patient is ever logged: no ids, no values, no tokens."""

from __future__ import annotations

import atexit
import logging
import sys
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import orjson
import structlog

_FLUSH_SECONDS = 0.25


class Lines:
    """Writes lines to standard output; information leaves within a quarter of a second, warnings and worse at once.

    A flush is a system call, and one for every answered call costs more than reading a small call's data.
    """

    def __init__(self) -> None:
        self._file = sys.stdout.buffer
        self._waiting = threading.Event()
        self._started = False
        atexit.register(self._flush)

    def info(self, line: bytes) -> None:
        """Write a line soon."""
        self._file.write(line + b"\n")
        if not self._started:
            self._started = True
            threading.Thread(target=self._run, name="log", daemon=True).start()
        self._waiting.set()

    def warning(self, line: bytes) -> None:
        """Write a line now."""
        self._file.write(line + b"\n")
        self._flush()

    debug = msg = info
    error = critical = exception = fatal = failure = warn = warning

    def _flush(self) -> None:
        with suppress(ValueError, OSError):  # closed at the end of the process
            self._file.flush()

    def _run(self) -> None:
        while True:
            self._waiting.wait()
            time.sleep(_FLUSH_SECONDS)
            self._waiting.clear()
            self._flush()


class _Direct:
    """Where the lines of calls go without structlog's processors: None unless JSON is configured."""

    lines: Lines | None = None


_direct = _Direct()
_log = structlog.get_logger("clozapine-cds")


def log_call(service: str, status: int, seconds: float, hook_instance: str) -> None:
    """One line for an answered call. It has a way of its own, because a call is answered in less than a millisecond."""
    milliseconds = round(seconds * 1000, 2)
    if _direct.lines is None:
        extra = {"hookInstance": hook_instance} if hook_instance else {}
        _log.info("call", service=service, status=status, ms=milliseconds, **extra)
        return
    fields: dict[str, Any] = {
        "service": service,
        "status": status,
        "ms": milliseconds,
        "hookInstance": hook_instance,
        "event": "call",
        "level": "info",
        "timestamp": datetime.now(UTC),
    }
    if not hook_instance:
        del fields["hookInstance"]
    _direct.lines.info(orjson.dumps(fields, option=orjson.OPT_UTC_Z))


def configure(level: str = "info", style: str = "json") -> None:
    """Set up logging for the process. ``style``: ``json`` or ``console`` (for people)."""
    threshold = getattr(logging, level.upper())
    logging.basicConfig(
        stream=sys.stdout, level=threshold, format="%(levelname)s %(name)s %(message)s", force=True
    )
    logging.getLogger("uvicorn.access").setLevel(logging.WARNING)  # its lines hold addresses; ours say more
    logging.getLogger("httpx").setLevel(logging.WARNING)  # its lines hold URLs with patient ids
    logging.getLogger("httpcore").setLevel(logging.WARNING)
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
    lines = Lines()
    _direct.lines = lines if threshold <= logging.INFO else None
    structlog.configure(
        processors=[*processors, structlog.processors.JSONRenderer(serializer=orjson.dumps)],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=lambda *_: lines,
        cache_logger_on_first_use=False,
    )
