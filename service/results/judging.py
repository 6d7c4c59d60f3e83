"""A result that arrived, judged at once: put to what the registry knows of the patient, with the rules and the alerts of the sweep."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import orjson
from msgspec import Struct
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from service.fhir import snapshot as fhir_snapshot
from service.fhir.decode import read_one
from service.fhir.gather import Gathered, SourceData
from service.fhir.queries import QUERIES
from service.fhir.resources import Resource
from service.options.site import Site
from service.registry.evaluation import reevaluate
from service.registry.roster import enrol
from service.results import inbox
from service.store.times import aware

log = logging.getLogger("service.results")
_BATCH = 50
#: A site that nobody knows for so long was taken away.
_UNKNOWN_FOR = timedelta(minutes=10)


class _NotEvaluated(Exception):
    """The rules failed on what is known of the patient."""


class Judged(Struct):
    """What a round of judging did."""

    deliveries: int = 0
    unknown: int = 0
    failed: int = 0
    aside: int = 0
    #: Sites whose alerts changed: their outbox may hold something.
    sites: set[str] = set()
    #: From acceptance to judgement, of each delivery.
    seconds: list[float] = []

    @property
    def progress(self) -> int:
        """How much was done; what is put aside at once, because its site is gone, holds up nobody who comes after it."""
        return self.deliveries + self.unknown + self.failed + self.aside

    @property
    def outcomes(self) -> dict[str, int]:
        """How many of each outcome."""
        found = {"done": self.deliveries, "unknown": self.unknown, "failed": self.failed, "aside": self.aside}
        return {name: count for name, count in found.items() if count}


def judge_waiting(
    engine: Engine,
    site_named: Callable[[str], Site | None],
    clock: Callable[[], datetime],
    *,
    stop: Callable[[], bool] = lambda: False,
) -> Judged:
    """Judge what waits, patient by patient, each in a transaction of its own: their facts, their alerts, the outbox and the inbox together.

    A worker that dies leaves its patient to the next. One that cannot be judged is tried again later and costs nobody else.
    Raises SQLAlchemyError when the database cannot be used.
    """
    done = Judged()
    others: set[str] = set()  # sites that this process does not know, or not yet
    while not stop():
        with engine.connect() as connection:
            patients = inbox.next_patients(connection, clock(), _BATCH, others)
        before = (done.progress, len(others))
        for site_name, patient_id in patients:
            if stop():
                break
            if site_name not in others and not _one(
                engine, site_named(site_name), site_name, patient_id, clock(), done
            ):
                others.add(site_name)
        if not patients or (done.progress, len(others)) == before:
            return done
    return done


def _one(
    engine: Engine,
    site: Site | None,
    site_name: str,
    patient_id: str,
    now: datetime,
    done: Judged,
) -> bool:
    """False for a site that another process may know: one that was just added is known to each a little later."""
    ids: list[int] = []
    try:
        with engine.begin() as connection:
            rows = inbox.hold(connection, site_name, patient_id)
            if not rows:
                return True
            ids = [row.id for row in rows]
            if site is None:
                if any(
                    at is not None and now - at < _UNKNOWN_FOR for at in (aware(r.received_at) for r in rows)
                ):
                    return False
                inbox.judged(connection, ids, "aside", now, "the site is not known any more")
                done.aside += len(ids)
                return True
            parts = [part for row in rows for part in orjson.loads(row.body)]
            newest = [p for p in parts if not _noted_older(connection, site_name, patient_id, p)]
            gathered, refs = _gathered(newest)
            facts = fhir_snapshot.build(
                patient_id=patient_id, hook="sweep", zone=site.zone, gathered=gathered, maps=site.maps
            )
            row_id = enrol(connection, site.name, site.policy, facts, now, by="results", reread=refs)
            if row_id is None:
                inbox.judged(connection, ids, "unknown", now, "the patient is not watched")
                done.unknown += len(ids)
                return True
            evaluated = reevaluate(connection, site, row_id, now, by="results")
            if evaluated.unreadable:
                raise _NotEvaluated
            inbox.judged(connection, ids, "done", now)
            done.deliveries += len(ids)
            done.seconds += [(now - at).total_seconds() for row in rows if (at := aware(row.received_at))]
            if evaluated.changes:
                done.sites.add(site.name)
    except SQLAlchemyError as error:
        if getattr(error, "connection_invalidated", False) or not ids:
            raise
        _failed(engine, ids, site_name, error, now, done)
    except Exception as error:
        _failed(engine, ids, site_name, error, now, done)
    return True


def _noted_older(connection: Connection, site: str, patient_id: str, part: dict[str, Any]) -> bool:
    if inbox.is_older(connection, site, part):
        return True
    inbox.note_version(connection, site, patient_id, part)
    return False


def _failed(
    engine: Engine, ids: Sequence[int], site: str, error: Exception, now: datetime, done: Judged
) -> None:
    log.error("a result that arrived at %s could not be judged: %s", site, type(error).__name__)
    done.failed += 1
    done.aside += inbox.try_again(engine, ids, type(error).__name__, now)


def _gathered(parts: Sequence[dict[str, Any]]) -> tuple[Gathered, set[str]]:
    """What was sent, as a reading that is not whole: it adds to what is known and replaces nothing but itself."""
    resources: dict[str, Resource] = {}
    refs: set[str] = set()
    for part in parts:
        refs.add(part["ref"])
        resources.pop(part["ref"], None)
        if part["resource"] is None:
            continue
        resource, _ = read_one(orjson.dumps(part["resource"]), "medications")
        if resource is not None:
            resources[part["ref"]] = resource
    sources = {key: SourceData("incomplete", [], []) for key in QUERIES}
    # The snapshot sorts resources by their type; products travel with the records that name them.
    sources["medications"] = SourceData("incomplete", list(resources.values()), [])
    return Gathered(sources), refs
