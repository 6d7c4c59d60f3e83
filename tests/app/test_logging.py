"""The log: calls in one line each, in their order, before the warning that follows them."""

from __future__ import annotations

import io
import json
import logging
import sys
import threading
import time
from typing import Any

import pytest
import structlog

from service.ops import logging as log


class _Output:
    """A standard output whose bytes can be read."""

    def __init__(self) -> None:
        self.buffer = io.BytesIO()

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.buffer.getvalue().splitlines()]


@pytest.fixture
def output(monkeypatch: pytest.MonkeyPatch) -> _Output:
    found = _Output()
    monkeypatch.setattr(sys, "stdout", found)
    lines = log.Lines()
    monkeypatch.setattr(log._direct, "lines", lines)
    return found


def test_calls_leave_soon_and_in_order(output: _Output) -> None:
    for number in range(50):
        log.log_call("clozapine-order-sign", 200, number / 1000, f"i-{number}")
    log.log_call("discovery", 200, 0.1, "")
    until = time.monotonic() + 5
    while len(output.lines()) < 51 and time.monotonic() < until:
        time.sleep(0.02)
    lines = output.lines()
    assert [line.get("hookInstance") for line in lines] == [*(f"i-{n}" for n in range(50)), None]
    first = lines[1]
    assert first.pop("timestamp").endswith("Z")
    assert first == {
        "service": "clozapine-order-sign", "status": 200, "ms": 1.0, "hookInstance": "i-1", "event": "call", "level": "info",
    }  # fmt: skip


def test_a_warning_leaves_at_once_after_the_calls_before_it(output: _Output) -> None:
    assert log._direct.lines is not None
    log.log_call("clozapine-order-sign", 500, 0.001, "i-1")
    log._direct.lines.warning(b'{"event":"warning"}')
    assert [line["event"] for line in output.lines()] == ["call", "warning"]


def test_what_nobody_reads_does_not_fill_the_memory(output: _Output, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "_KEPT", 10)
    monkeypatch.setattr(sys, "stdout", output)
    lines = log.Lines()
    monkeypatch.setattr(log._direct, "lines", lines)
    with lines._writing:  # the other end does not take anything
        for number in range(25):
            log.log_call("clozapine-order-sign", 200, 0.001, f"i-{number}")
    lines.warning(b'{"event":"warning"}')
    assert [line.get("hookInstance") for line in output.lines()][:2] == ["i-15", "i-16"]


def test_a_line_that_cannot_be_written_takes_no_warning_with_it(output: _Output) -> None:
    assert log._direct.lines is not None

    class Full(io.BytesIO):
        refused = False

        def write(self, line: Any) -> int:
            if not self.refused:
                self.refused = True
                raise BlockingIOError
            return super().write(line)

    full = log._direct.lines._file = Full()  # type: ignore[assignment]
    log.log_call("clozapine-order-sign", 200, 0.001, "i-1")
    log._direct.lines.warning(b'{"event":"warning"}')
    assert b'"event":"warning"' in full.getvalue()
    log._direct.lines.warning(b'{"event":"another"}')
    assert b'"hookInstance":"i-1"' in full.getvalue()


def _raised() -> BaseException:
    try:
        try:
            int("Canary-Name")
        except ValueError as quoted:
            raise RuntimeError("Canary-Id") from quoted
    except RuntimeError as found:
        return found
    raise AssertionError


def test_the_trace_of_a_fault_names_kinds_and_places_and_quotes_nothing() -> None:
    told = io.StringIO()
    handler = logging.StreamHandler(told)
    handler.setFormatter(log.WithoutValues("%(levelname)s %(name)s %(message)s"))
    for name in ("cds_hooks", "uvicorn.error", "asyncio"):
        record = logging.makeLogRecord(
            {"name": name, "levelname": "ERROR", "msg": "Task failed\nfuture: <Task exception=%r>", "args": (_raised(),)}
        )  # fmt: skip
        if name != "asyncio":
            record.msg, record.args = "incident 7", ()
        error = _raised()
        record.exc_info = (type(error), error, error.__traceback__)
        handler.handle(record)
    assert "Canary" not in told.getvalue()
    assert told.getvalue().count("builtins.RuntimeError") == 3
    assert told.getvalue().count("builtins.ValueError") == 3
    assert told.getvalue().count("test_logging.py") >= 6
    assert "ERROR asyncio Task failed" in told.getvalue()
    assert "ERROR cds_hooks incident 7" in told.getvalue()


def test_a_service_logs_so(monkeypatch: pytest.MonkeyPatch) -> None:
    root, asyncios = logging.getLogger(), logging.getLogger("asyncio")
    before = root.handlers[:], root.level, asyncios.level, log._direct.lines
    told = io.TextIOWrapper(io.BytesIO(), write_through=True)
    monkeypatch.setattr(sys, "stdout", told)
    try:
        log.configure("debug")
        logging.getLogger("cds_hooks").debug("incident", exc_info=_raised())
        logging.getLogger("asyncio").warning("Executing <Handle f('Canary')> took 0.2 seconds")
        logging.getLogger("service.registry").error("calls could not be recorded: %s", "Timeout")
        logging.getLogger("alembic.runtime.migration").info("Context impl SQLiteImpl.")
        structlog.get_logger().warning("of structlog", site="north")
        assert [type(h.formatter) for h in root.handlers] == [log.AsJson]
    finally:
        logging.captureWarnings(False)
        sys.excepthook, threading.excepthook = sys.__excepthook__, threading.__excepthook__
        root.handlers[:], log._direct.lines = before[0], before[3]
        root.setLevel(before[1])
        asyncios.setLevel(before[2])
        structlog.reset_defaults()
    written = told.buffer.getvalue().decode()  # type: ignore[attr-defined]
    lines = [json.loads(line) for line in written.splitlines()]
    assert all({"timestamp", "level", "event"} <= set(line) for line in lines)
    assert [(line["event"], line["level"]) for line in lines] == [
        ("incident", "debug"), ("calls could not be recorded: Timeout", "error"), ("of structlog", "warning"),
    ]  # fmt: skip
    assert lines[0]["trace"][0] == "builtins.RuntimeError"
    assert "builtins.RuntimeError" in written
    assert "Canary" not in written
