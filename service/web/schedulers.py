"""One scheduler per site, kept in step with the sites that are known."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import httpx
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.cron import CronTrigger
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from service.fhir.backend import BackendToken, credentials
from service.ops.metrics import Metrics
from service.options.site import Site
from service.registry.scheduler import Scheduler, TokenSource
from service.site.settings import SettingsError
from service.trail.audit import prune

log = logging.getLogger("service.registry")


class Schedulers:
    """The sweeps of all sites.

    Args:
        engine: database.
        clock: the moment.
        new_client: makes an HTTP client that reaches the addresses of a site (name) only.
        metrics: counts.
    """

    def __init__(
        self,
        engine: Engine,
        clock: Callable[[], datetime],
        new_client: Callable[[str], httpx.AsyncClient],
        metrics: Metrics,
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._new_client = new_client
        self._metrics = metrics
        self._running: dict[str, tuple[Site, Scheduler]] = {}
        self._troubles: dict[str, str] = {}
        self._housekeeping = BackgroundScheduler(timezone=UTC)

    def keep_house(self, retention_days: int) -> None:
        """Forget old calls once a night."""
        if not retention_days:
            return

        def forget() -> None:
            try:
                gone = prune(self._engine, self._clock(), retention_days)
            except SQLAlchemyError as error:
                log.warning("old calls could not be forgotten: %s", type(error).__name__)
            else:
                log.info("%d old calls forgotten", gone)

        self._housekeeping.add_job(
            forget, CronTrigger.from_crontab("10 3 * * *", timezone=UTC), coalesce=True
        )
        self._housekeeping.start()

    def make(self, site: Site) -> Scheduler:
        """A scheduler for a site. Raises SettingsError when its key file holds no key."""
        return Scheduler(
            self._engine,
            site,
            self._clock,
            lambda: self._new_client(site.name),
            tokens=tokens_of(site, self._clock),
            on_sweep=lambda summary: self._metrics.swept(summary.patients, summary.changes),
            on_delivery=self._metrics.delivered,
        )

    def sync(self, sites: Mapping[str, Site]) -> None:
        """Start what is new, stop what is gone, renew what changed. A site that cannot be watched is named by ``trouble``."""
        for name in [n for n, (site, _) in self._running.items() if sites.get(n) != site]:
            self._running.pop(name)[1].close()
        self._troubles = {n: why for n, why in self._troubles.items() if n in sites}
        for name, site in sites.items():
            if name in self._running or not site.options.sweep:
                continue
            try:
                scheduler = self.make(site)
            except SettingsError as error:
                if self._troubles.get(name) != str(error):
                    log.error("patients of %s are not watched: %s", name, error)
                self._troubles[name] = str(error)
                continue
            self._troubles.pop(name, None)
            scheduler.start(site.options.sweep)
            self._running[name] = (site, scheduler)

    def tell(self, site: str) -> None:
        """Send what waits in the outbox of a site now, where the site is watched."""
        running = self._running.get(site)
        if running is not None:
            running[1].deliver_now()

    def close(self) -> None:
        """Stop all."""
        if self._housekeeping.running:
            self._housekeeping.shutdown(wait=False)
        for _, scheduler in self._running.values():
            scheduler.close()
        self._running.clear()

    @property
    def trouble(self) -> str:
        """Why the patients of a site are not watched, or their last sweep stopped; empty when all is well."""
        found = {n: s.trouble for n, (_, s) in self._running.items() if s.trouble} | self._troubles
        return "; ".join(f"{name}: {why}" for name, why in sorted(found.items()))


def tokens_of(site: Site, clock: Callable[[], datetime]) -> TokenSource | None:
    """How the scheduler proves itself to the EHR; None when it has no credentials."""
    backend = site.options.backend
    if backend is None:
        return None
    try:
        known = credentials(
            backend.client_id,
            backend.token_url,
            backend.key_file,
            backend.key_id,
            backend.algorithm,
            backend.scope,
        )
    except ValueError as error:
        raise SettingsError(f"backend.key_file: {error}") from error
    return lambda client: BackendToken(known, client, clock)
