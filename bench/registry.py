"""The registry at size: a sweep without new data, its memory, and the worklist of all patients in the US who take clozapine."""

from __future__ import annotations

import gc
import resource
import sys
import tempfile
import time
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Engine, insert

from bench.data import NOW, order_sign
from cds_hooks.context import HOOKS
from cds_hooks.request import read_request
from service.alerts.case import remembered
from service.fhir import snapshot
from service.fhir.gather import from_prefetch
from service.fhir.queries import QUERIES
from service.options.options import SiteOptions
from service.options.site import site_with
from service.registry import worklist
from service.registry.sweep import start_run, sweep
from service.store.database import engine_for, upgrade
from service.store.roster_tables import RegisteredPatient

SIZES = (5_000, 20_000)
LISTED = 200_000
_TABLE = RegisteredPatient.__table__  # type: ignore[attr-defined]
_WATCH = site_with("bench", SiteOptions())


def _facts() -> str:
    """A patient as a hook call leaves one: 40 results, five medications."""
    read = read_request(order_sign(40, 5), "clozapine-order-sign", HOOKS["order-sign"])
    gathered = from_prefetch(read.prefetch, dict.fromkeys(QUERIES))[0]
    built = snapshot.build(patient_id="PATIENT", hook="sweep", zone=UTC, gathered=gathered)
    if not built.medications:  # the bench patient's resources name clz-p1
        built = snapshot.build(patient_id="clz-p1", hook="sweep", zone=UTC, gathered=gathered)
    return remembered.dump(msgspec.structs.replace(built, patient_id="PATIENT"))


def _fill(engine: Engine, first: int, count: int, facts: str) -> None:
    at = datetime(2026, 11, 1, tzinfo=UTC)
    for start in range(first, first + count, 2000):
        rows: list[dict[str, Any]] = [
            {
                "site": "bench", "patient_id": f"p{n}", "state": "on", "enrolled_at": at, "enrolled_by": "bench",
                "policy": "us-label-2025", "facts": facts.replace("PATIENT", f"p{n}"), "facts_at": at, "swept_run": 0, "sweeps": 0,
                "next_due": date(2026, 10, 1) + timedelta(days=n % 60), "last_anc": 3200.0, "interval_days": 30,
            }
            for n in range(start, min(start + 2000, first + count))
        ]  # fmt: skip
        with engine.begin() as connection:
            connection.execute(insert(_TABLE), rows)


def _peak_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)


def measure() -> dict[str, Any]:
    """Seconds, patients per second and peak memory of the second sweep (no new data) at two sizes; the worklist at 200 000."""
    facts = _facts()
    runs = []
    for size in SIZES:
        with tempfile.TemporaryDirectory(prefix="clozapine-bench-") as folder:
            url = f"sqlite:///{folder}/registry.db"
            upgrade(url)
            engine = engine_for(url)
            _fill(engine, 0, size, facts)
            sweep(engine, _WATCH, start_run(engine, "bench", NOW, NOW))
            gc.collect()
            again = NOW + timedelta(hours=1)
            started = time.perf_counter()
            sweep(engine, _WATCH, start_run(engine, "bench", again, again))
            seconds = time.perf_counter() - started
            runs.append(
                {"patients": size, "seconds": seconds, "per_second": size / seconds, "peak_mb": _peak_mb()}
            )
            engine.dispose()
    slope = (runs[1]["seconds"] - runs[0]["seconds"]) / (SIZES[1] - SIZES[0])
    with tempfile.TemporaryDirectory(prefix="clozapine-bench-") as folder:
        url = f"sqlite:///{folder}/registry.db"
        upgrade(url)
        engine = engine_for(url)
        _fill(engine, 0, LISTED, '{"patient_id":"PATIENT","hook":"sweep"}')
        pages = []
        after: worklist.Place | None = None
        with engine.connect() as connection:
            for _ in range(40):
                started = time.perf_counter()
                rows = worklist.page(
                    connection,
                    sites=["bench"],
                    status="overdue",
                    today=date(2026, 11, 20),
                    after=after,
                    limit=50,
                )
                pages.append((time.perf_counter() - started) * 1000)
                after = worklist.place_of(rows[-1])
        engine.dispose()
    return {
        "sweeps": runs,
        "ms_per_patient": slope * 1000,
        "minutes_for_200000": slope * LISTED / 60,
        "page_of_200000_ms": max(pages),
    }
