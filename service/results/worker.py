"""The worker: a thread that judges what arrives as soon as it is stored, and has what changed told at once."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from service.ops.troubles import Troubles
from service.options.site import Site
from service.results import inbox
from service.results.judging import Judged, judge_waiting

log = logging.getLogger("service.results")
#: What another process stored is found so soon; what this one stored wakes the worker.
_LOOK_SECONDS = 1.0
#: While the oldest that waits is older, health says so.
_LATE_SECONDS = 300


class Worker:
    """Judges what waits in the inbox.

    Args:
        engine: database.
        site_named: gives a site by name, None for an unknown one.
        clock: the moment.
        tell: sends what waits in the outbox of a site, now.
        on_judged: told of every round that did something.
    """

    def __init__(
        self,
        engine: Engine,
        site_named: Callable[[str], Site | None],
        clock: Callable[[], datetime],
        *,
        tell: Callable[[str], None] = lambda site: None,
        on_judged: Callable[[Judged], None] = lambda judged: None,
    ) -> None:
        self._engine = engine
        self._site_named = site_named
        self._clock = clock
        self._tell = tell
        self._on_judged = on_judged
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="results", daemon=True)
        self._troubles = Troubles(log)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> None:
        """Something was stored."""
        self._wake.set()

    def close(self) -> None:
        """Stop; what is under way is finished, or is done again by the next."""
        self._closing.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(10)

    @property
    def trouble(self) -> str:
        """What is wrong with the inbox; empty when all is well. Raises SQLAlchemyError."""
        with self._engine.connect() as connection:
            rows, oldest, aside = inbox.waiting(connection)
        if oldest is not None and (self._clock() - oldest).total_seconds() > _LATE_SECONDS:
            return f"{rows} deliveries of results wait to be judged, the oldest since {oldest:%Y-%m-%d %H:%M} UTC"
        return f"{aside} deliveries of results could not be judged and were put aside" if aside else ""

    def _run(self) -> None:
        while not self._closing.is_set():
            self._wake.clear()
            try:
                judged = judge_waiting(
                    self._engine,
                    self._site_named,
                    self._clock,
                    stop=self._closing.is_set,
                )
            except SQLAlchemyError as error:
                self._troubles.says("results that arrived cannot be judged", type(error).__name__)
            else:
                self._troubles.says("results that arrived cannot be judged", "")
                if judged.deliveries or judged.failed or judged.unknown:
                    self._on_judged(judged)
                for site in sorted(judged.sites):
                    self._tell(site)
            self._wake.wait(_LOOK_SECONDS)
