"""A whole backtest: two passes over the export, then the partitions, in one or several processes."""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from datetime import date
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Literal

from msgspec import Struct

from service.alerts.facts.patient import SourceState
from service.backtest.chart import Reading
from service.backtest.export import MEDICATION_RECORDS, OF_PATIENT, ExportFile, files_of
from service.backtest.known import ResultsKnown
from service.backtest.partition import Partitioned, partition
from service.backtest.relevance import patients_on_clozapine, store_products
from service.backtest.replay import At, Plan, Protocol, replay
from service.backtest.tally import Tally
from service.ops import garbage
from service.options.site import Site

#: Which resource type each prefetch key of the service is read from.
_TYPE_OF = {
    "patient": "Patient",
    "medications": "MedicationRequest",
    "statements": "MedicationStatement",
    "dispenses": "MedicationDispense",
    "administrations": "MedicationAdministration",
    "counts": "Observation",
    "labs": "Observation",
    "vitals": "Observation",
    "smoking": "Observation",
    "conditions": "Condition",
    "allergies": "AllergyIntolerance",
}
OPTIONAL_TYPES = tuple(sorted(OF_PATIENT - {"Patient", "DiagnosticReport"}))
#: Memory of an evaluating process is a small multiple of this.
_PARTITION_BYTES = 8_000_000

Step = Literal["products", "patients", "sort", "evaluate"]
#: Told of a step's progress: the step, how much was done since, how much there is in all.
Progress = Callable[[Step, int, int], None]


class Options(Struct, frozen=True, kw_only=True):
    """What is asked of a backtest."""

    directory: Path
    protocols: tuple[Protocol, ...]
    #: Whose zone, local codes and options apply.
    site: Site
    at: At = "order"
    first: date | None = None
    last: date | None = None
    jobs: int = 1
    results: ResultsKnown = "issued"
    #: Resource types of which the hospital keeps none: an absent file means none, not unknown.
    none_of: frozenset[str] = frozenset()
    #: Where the sorted copy of the patients' data is kept while this runs; the system's directory by default.
    work_directory: Path | None = None
    partition_bytes: int = _PARTITION_BYTES


class Outcome(Struct, frozen=True):
    """What a backtest gave."""

    options: Options
    tally: Tally
    export: Partitioned
    files: int
    #: Resource types that are not in the export and were not declared as kept by nobody.
    missing_types: tuple[str, ...]
    seconds_reading: float
    seconds_evaluating: float


def _quiet(step: Step, done: int, total: int) -> None:
    """No progress."""


def backtest(
    options: Options, progress: Progress = _quiet, clock: Callable[[], float] = perf_counter
) -> Outcome:
    """Run the rules over an export. Raises ExportError when the directory is not one.

    ``clock`` gives the seconds that the outcome tells.
    """
    files = files_of(options.directory)
    started = clock()
    with tempfile.TemporaryDirectory(prefix="clozapine-cds-backtest-", dir=options.work_directory) as name:
        work = Path(name)

        def of_types(*types: str) -> tuple[list[ExportFile], int]:
            chosen = [f for f in files if not f.type_name or f.type_name in types]
            return chosen, sum(f.size for f in chosen)

        chosen, size = of_types("Medication")
        products = store_products(
            chosen, work / "products.db", options.site.maps.codes, _told(progress, "products", size)
        )
        chosen, size = of_types(*MEDICATION_RECORDS)
        relevant = patients_on_clozapine(
            chosen, products, options.site.maps.codes, _told(progress, "patients", size)
        )
        size = sum(f.size for f in files)
        sorted_out = partition(files, relevant, work, options.partition_bytes, _told(progress, "sort", size))
        read = clock()
        states, missing = _states(sorted_out.types, options.none_of)
        reading = Reading(options.site, options.results, states)
        plan = Plan(options.protocols, reading, work / "products.db", options.at, options.first, options.last)
        tally = Tally()
        tally.faults.merge(sorted_out.faults)
        for part in _replayed(sorted_out.paths, plan, options.jobs):
            tally.merge(part)
            progress("evaluate", 1, len(sorted_out.paths))
    return Outcome(options, tally, sorted_out, len(files), missing, read - started, clock() - read)


def _told(progress: Progress, step: Step, total: int) -> Callable[[int], None]:
    def on_bytes(count: int) -> None:
        progress(step, count, total)

    progress(step, 0, total)
    return on_bytes


def _states(types: set[str], none_of: frozenset[str]) -> tuple[dict[str, SourceState], tuple[str, ...]]:
    """An absent type of resource was not exported, which is not the same as that there is none (clinical.md 3.6)."""
    absent = {t for t in _TYPE_OF.values() if t not in types and t not in none_of}
    states: dict[str, SourceState] = {
        key: "unavailable" if type_name in absent else "complete" for key, type_name in _TYPE_OF.items()
    }
    return states, tuple(sorted(absent))


@contextmanager
def _pool(jobs: int) -> Iterator[ProcessPoolExecutor]:
    # A fresh process inherits no open file, lock or thread of this one.
    pool = ProcessPoolExecutor(
        jobs, mp_context=multiprocessing.get_context("spawn"), initializer=garbage.tune
    )
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _replayed(paths: list[Path], plan: Plan, jobs: int) -> Iterator[Tally]:
    work = partial(replay, plan=plan)
    if jobs == 1 or len(paths) == 1:
        yield from map(work, paths)
        return
    with _pool(min(jobs, len(paths))) as pool:
        for future in as_completed([pool.submit(work, path) for path in paths]):
            yield future.result()
