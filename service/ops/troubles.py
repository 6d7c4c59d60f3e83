"""Faults that last: a line when one begins or changes, one when it is over, none for each call that meets it."""

from __future__ import annotations

import logging
import threading


class Troubles:
    """What is out of order now, by what it concerns.

    Args:
        log: where it is said.
        level: of the line that a trouble begins; its end is information.
    """

    def __init__(self, log: logging.Logger, level: int = logging.ERROR) -> None:
        self._log = log
        self._level = level
        self._now: dict[str, str] = {}
        self._lock = threading.Lock()

    def says(self, what: str, why: str) -> None:
        """Whatever it is now; ``why`` empty: all is well."""
        if self._now.get(what, "") == why:  # nearly always, and without a lock
            return
        with self._lock:
            before = self._now.pop(what, "")
            if why:
                self._now[what] = why
        if why and why != before:
            self._log.log(self._level, "%s: %s", what, why)
        elif before and not why:
            self._log.info("%s: well again", what)
