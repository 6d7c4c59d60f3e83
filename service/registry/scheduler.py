"""The scheduler (APScheduler): refresh, sweep and delivery of a site, on time, once across replicas.

Its jobs run in threads of their own with their own event loop, and the sweep itself in a process of its own: a hook call
never waits for any of them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime, tzinfo
from multiprocessing import get_context

import httpx
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.cron import CronTrigger
from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError

from service.fhir.client import FetchFailed
from service.ops.troubles import Troubles
from service.options.site import Site
from service.registry import bulk, delivery, people
from service.registry.refresh import Refreshed, refresh
from service.registry.sweep import Summary, is_finished, start_run, sweep
from service.store.database import engine_for

log = logging.getLogger("service.registry")
#: A planned sweep that could not begin in time is still made up for so long afterwards.
_GRACE_SECONDS = 6 * 3600
_DELIVERY_SECONDS = 30
#: Gives tokens for the EHR, asked for over the client it is handed.
TokenSource = Callable[[httpx.AsyncClient], Callable[[], Awaitable[str]]]


class Scheduler:
    """Runs the sweeps of one site.

    Args:
        engine: database.
        site: the site.
        clock: the moment.
        new_client: makes an HTTP client that reaches the addresses of the site only.
        tokens: gives bearer tokens for the EHR; None = the EHR is not read anew.
        on_sweep: told of every sweep that ended.
        on_delivery: told what was delivered.
    """

    def __init__(
        self,
        engine: Engine,
        site: Site,
        clock: Callable[[], datetime],
        new_client: Callable[[], httpx.AsyncClient],
        *,
        tokens: TokenSource | None = None,
        on_sweep: Callable[[Summary], None] = lambda s: None,
        on_delivery: Callable[[dict[str, int]], None] = lambda d: None,
    ) -> None:
        self._troubles = Troubles(log, logging.WARNING)
        self._engine = engine
        self._site = site
        self._clock = clock
        self._new_client = new_client
        self._tokens = tokens
        self._on_sweep = on_sweep
        self._on_delivery = on_delivery
        self._scheduler = BackgroundScheduler(timezone=UTC)
        self._notes: list[str] = []
        #: Why the last sweep did not end well; empty when it did.
        self.trouble = ""

    def start(self, schedule: str) -> None:
        """Begin; ``schedule`` is five cron fields in the site's time zone."""
        trigger = CronTrigger.from_crontab(schedule, timezone=self._site.zone)
        self._scheduler.add_job(
            self._planned,
            trigger,
            id="sweep",
            coalesce=True,
            max_instances=1,
            misfire_grace_time=_GRACE_SECONDS,
        )
        self._scheduler.add_job(
            self._deliver,
            "interval",
            seconds=_DELIVERY_SECONDS,
            id="outbox",
            coalesce=True,
            max_instances=1,
        )
        self._scheduler.start()

    def close(self) -> None:
        """Stop; a sweep at work is left to its process, whose open transaction ends with it."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)

    def _planned(self) -> None:
        planned = planned_minute(self._clock(), self._site.zone)
        self._notes.clear()
        try:
            if is_finished(self._engine, self._site.name, planned):
                return  # the hour that comes twice
            asyncio.run(self.run(planned))
            self.trouble = "; ".join(self._notes)
        except Exception as error:
            self.trouble = f"the last sweep stopped ({type(error).__name__})"
            log.error("sweep of %s: %s", self._site.name, self.trouble)

    def deliver_now(self) -> None:
        """Do not wait for the next turn of the outbox."""
        if self._scheduler.running:
            self._scheduler.modify_job("outbox", next_run_time=datetime.now(UTC))

    def _deliver(self) -> None:
        asyncio.run(self.deliver())

    async def run(self, planned_for: datetime) -> Summary:
        """Refresh, sweep, deliver; joins the run if another replica began it. Raises SQLAlchemyError."""
        now = self._clock()
        if self._site.fhir_server and self._tokens is not None:
            async with self._new_client() as client:
                try:
                    async with alone(self._engine, f"refresh {self._site.name}"):
                        read = await read_anew(self._engine, self._site, client, now, self._tokens(client))
                    log.info(
                        "sweep of %s: %d patients read anew, %d failed",
                        self._site.name,
                        read.patients,
                        read.failed,
                    )
                    if read.failed or read.partly:
                        self._notes.append(f"{read.failed + read.partly} patients could not be read anew")
                except FetchFailed as why:
                    self._notes.append(f"patients could not be read anew: {why}")
                    log.warning("sweep of %s goes on with what is known: %s", self._site.name, why)
        run = start_run(self._engine, self._site.name, planned_for, now)
        url = self._engine.url.render_as_string(hide_password=False)
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as processes:
            summary = await asyncio.wrap_future(processes.submit(sweep_in_process, url, self._site, run))
        log.info("sweep of %s: %d patients, alerts %s", self._site.name, summary.patients, summary.changes)
        if summary.unreadable or summary.faults:
            self._notes.append(
                f"{summary.unreadable} patients could not be evaluated, {summary.faults} rules failed"
            )
        self._on_sweep(summary)
        await self.deliver()
        return summary

    async def deliver(self) -> None:
        """Open alerts again that nobody has in hand any more, and send what waits in the outbox."""
        try:
            with self._engine.begin() as connection:
                people.give_back(connection, self._site, self._clock())
        except SQLAlchemyError as error:
            self._troubles.says(
                f"alerts of {self._site.name} cannot be taken back from who has them in hand",
                type(error).__name__,
            )
        else:
            self._troubles.says(
                f"alerts of {self._site.name} cannot be taken back from who has them in hand", ""
            )
        async with self._new_client() as client:
            token = self._tokens(client) if self._tokens is not None else None
            try:
                done = await delivery.deliver(
                    self._engine,
                    self._site,
                    client,
                    self._clock(),
                    token=token,
                )
            except (SQLAlchemyError, FetchFailed) as error:
                self._troubles.says(f"the outbox of {self._site.name} cannot be sent", type(error).__name__)
                return
        self._troubles.says(f"the outbox of {self._site.name} cannot be sent", "")
        if any(done.values()):
            log.info("outbox of %s: %s", self._site.name, done)
            self._on_delivery(done)


def planned_minute(now: datetime, zone: tzinfo) -> datetime:
    """The minute that names a run, UTC: replicas wake at the same one and share it.

    In the night when the clock goes back an hour comes twice; a minute of it names one run, however often it comes.
    """
    return now.astimezone(zone).replace(second=0, microsecond=0, fold=0).astimezone(UTC)


async def read_anew(
    engine: Engine,
    site: Site,
    client: httpx.AsyncClient,
    now: datetime,
    token: Callable[[], Awaitable[str]],
    on_patient: Callable[[], None] = lambda: None,
) -> Refreshed:
    """Read a site's patients: with Bulk Data where that is wanted and to be had, else one by one. Raises FetchFailed."""
    if site.bulk:
        try:
            read = await bulk.export(engine, site, client, now, token=token)
        except FetchFailed as why:
            log.warning("%s: patients are read one by one, %s", site.name, why)
        else:
            if read is not None:
                return read
            log.info("%s: the server has no $export, patients are read one by one", site.name)
    return await refresh(engine, site, client, now, token=token, on_patient=on_patient)


@asynccontextmanager
async def alone(engine: Engine, work: str, pause_seconds: float = 5.0) -> AsyncIterator[None]:
    """Do a piece of work while no other replica does the same; wait for one that does (PostgreSQL; with SQLite there is one).

    Without it every replica would read every patient, and the first to finish would sweep what the others still read.
    """
    if engine.dialect.name != "postgresql":
        yield
        return
    key = {"work": f"clozapine-cds {work}"}
    connection = await asyncio.to_thread(engine.connect)
    try:
        connection = connection.execution_options(isolation_level="AUTOCOMMIT")
        ask = text("SELECT pg_try_advisory_lock(hashtextextended(:work, 0))")
        while True:
            if connection.execute(ask, key).scalar_one():
                break
            await asyncio.sleep(pause_seconds)
        yield
    finally:
        connection.invalidate()  # the lock ends with the connection, whatever happened on it
        connection.close()


def sweep_in_process(url: str, site: Site, run: int) -> Summary:
    """A worker's part of a run, in a process of its own."""
    engine = engine_for(url)
    try:
        return sweep(engine, site, run)
    finally:
        engine.dispose()
