"""Several processes behind one socket: ``serve --workers N``. Each serves by itself; this one starts them, and starts anew what has ended.

The processes inherit the listening socket, so that the operating system gives a connection to whichever is free, and one that ends takes no
connection with it that waits to be accepted. They see one another's metrics and health through files (``service.ops.siblings``).
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType

import structlog

from service.ops.siblings import fold

log = structlog.get_logger("clozapine-cds")
#: A process that ended sooner than this after its start is not started anew at once.
_SHORT_LIFE_SECONDS = 5.0
_TURN_SECONDS = 0.1
#: Exit status of a process that cannot serve at all: another would end as well.
NEVER_STARTED = 3


class Workers:
    """The processes.

    Args:
        listening: the socket they accept from.
        many: how many.
    """

    def __init__(self, listening: socket.socket, many: int) -> None:
        self._listening = listening
        self._running: dict[int, tuple[subprocess.Popen[bytes], float]] = {}
        self._numbers = range(1, many + 1)
        self._rests_until: dict[int, float] = {}
        self._signal = 0
        #: Closed with this process, however it ends; the others then stop as well.
        self._life, self._held = os.pipe()

    def run(self) -> int:
        """Start them and keep them until a signal comes; gives the exit status."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._told)
        with tempfile.TemporaryDirectory(prefix="clozapine-cds-") as folder:
            status = 0
            while not self._signal and not status:
                status = self._tend(Path(folder))
                time.sleep(_TURN_SECONDS)
            self._stop(self._signal or signal.SIGTERM)
        return status

    def _told(self, number: int, _: FrameType | None) -> None:
        if self._signal:  # once more: do not wait
            for process, _began in self._running.values():
                process.send_signal(number)
        self._signal = number

    def _tend(self, folder: Path) -> int:
        """Start whoever does not run; gives the status of one that can never run, else 0."""
        for number in self._numbers:
            found = self._running.get(number)
            if found is not None:
                process, began = found
                status = process.poll()
                if status is None:
                    continue
                del self._running[number]
                fold(folder, process.pid)
                if status == NEVER_STARTED:
                    return status
                log.error("a worker ended and is started anew", worker=number, status=status)
                if time.monotonic() - began < _SHORT_LIFE_SECONDS:
                    self._rests_until[number] = time.monotonic() + _SHORT_LIFE_SECONDS
            if time.monotonic() >= self._rests_until.get(number, 0.0):
                self._running[number] = self._start(number, folder), time.monotonic()
        return 0

    def _start(self, number: int, folder: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 - this program
            [
                sys.executable, "-P", "-m", "service.web.worker",
                str(self._listening.fileno()), str(self._life), str(number), str(len(self._numbers)), str(folder),
            ],
            pass_fds=(self._listening.fileno(), self._life),
            start_new_session=True,  # a Ctrl+C comes from here, once
        )  # fmt: skip

    def _stop(self, number: int) -> None:
        for process, _ in self._running.values():
            process.send_signal(number)
        for process, _ in self._running.values():
            process.wait()
