"""Completing the data of a call: prefetch first, the FHIR server for the rest, within one deadline (cds-hooks checklist P1–P6)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from msgspec import Raw, Struct

from service.alerts.facts import ReadProblem, SourceState
from service.fhir.client import FetchFailed, FhirServer
from service.fhir.decode import Decoded, Value, read_value, sound, source_left_out
from service.fhir.resources import (
    Medication,
    MedicationAdministration,
    MedicationDispense,
    MedicationRequest,
    MedicationStatement,
    Resource,
)

#: Pages of one search that are followed at most; the searches are sorted newest first.
_MAX_PAGES = 20
#: Prefetch keys that are worth one query of their own when the client says null (P2: blood counts).
_CONFIRMED_WHEN_NULL = frozenset({"counts"})
_ABSENT = Raw(b"")
_NULL = Raw(b"null")
#: A resource of another type in place of a search result (Patient read) is not a Bundle.
_MEDICATION_RECORDS = (MedicationRequest, MedicationStatement, MedicationDispense, MedicationAdministration)


class SourceData(Struct):
    """What is known from one source."""

    state: SourceState
    resources: list[Resource]
    problems: list[ReadProblem]


class Gathered(Struct):
    """The data of one call, by source."""

    sources: dict[str, SourceData]

    def state(self, source: str) -> SourceState:
        """State of a source; one that was never asked for is unavailable."""
        data = self.sources.get(source)
        return data.state if data is not None else "unavailable"

    @property
    def problems(self) -> list[ReadProblem]:
        """Everything that could not be read."""
        return [p for data in self.sources.values() for p in data.problems]


class _Task(Struct):
    """Work left for the FHIR server: a query, or the next page."""

    source: str
    query: str


def from_prefetch(
    prefetch: Mapping[str, Value | Raw | None], queries: Mapping[str, str | None]
) -> tuple[Gathered, list[_Task]]:
    """Read what the client sent, values read already and values as they came; also the queries that remain."""
    sources: dict[str, SourceData] = {}
    tasks: list[_Task] = []
    for source, query in queries.items():
        value = prefetch.get(source, _ABSENT)
        if value is None or (type(value) is Raw and value == _NULL):
            sources[source] = SourceData("complete", [], [])
            if source in _CONFIRMED_WHEN_NULL and query is not None:
                tasks.append(_Task(source, query))
            continue
        if type(value) is not Raw or len(value):
            decoded = _decoded(value, source)
        else:
            sources[source] = SourceData("unavailable", [], [])
            if query is not None:
                tasks.append(_Task(source, query))
            continue
        data = sources[source] = SourceData("complete", decoded.resources, decoded.problems)
        if decoded.failed:
            data.state = "unavailable"
        elif decoded.partial:
            data.state = "incomplete"
        if decoded.next_link:
            data.state = "incomplete"
            tasks.append(_Task(source, decoded.next_link))
    return Gathered(sources), tasks


def _decoded(value: Value | Raw, source: str) -> Decoded:
    """What was sent for a source; what nobody expected costs the source, never the call."""
    try:
        return read_value(value, source) if isinstance(value, Raw) else sound(value, source)
    except Exception as error:
        return Decoded([], [source_left_out(source, error)], failed=True)


def _take(data: SourceData, decoded: Decoded) -> None:
    data.resources += decoded.resources
    data.problems += decoded.problems
    if decoded.failed:
        data.state = "unavailable"
    elif decoded.partial:
        data.state = "incomplete"


async def gather(
    prefetch: Mapping[str, Value | Raw | None],
    queries: Mapping[str, str | None],
    server: FhirServer | None,
    deadline_seconds: float,
    orders: Raw | None = None,
) -> Gathered:
    """The data of a call.

    Args:
        prefetch: what the client sent.
        queries: source -> query with its tokens filled (None: it cannot be filled).
        server: the client's FHIR server, if it may be asked.
        deadline_seconds: for all fetching together; what is not there by then is declared missing.
        orders: the orders of the hook's context: the products they refer to are read too.
    """
    gathered, tasks = from_prefetch(prefetch, queries)
    if server is None:
        for task in tasks:
            data = gathered.sources[task.source]
            if data.state == "incomplete":
                data.problems.append(ReadProblem(task.source, "", "only the first page was sent"))
        return gathered
    try:
        async with asyncio.timeout(deadline_seconds):
            await asyncio.gather(*(_fetched(server, task, gathered.sources[task.source]) for task in tasks))
            await _resolve_medications(server, gathered, orders)
    except TimeoutError:
        pass  # every source that is not complete already says so
    for task in tasks:
        data = gathered.sources[task.source]
        if data.state != "complete" and not data.problems:
            data.problems.append(
                ReadProblem(
                    task.source, "", "the FHIR server did not answer in time", matters=bool(data.resources)
                )
            )
    return gathered


async def _fetched(server: FhirServer, task: _Task, data: SourceData) -> None:
    """As :func:`_fetch`; what nobody expected costs the source, never the call."""
    try:
        await _fetch(server, task, data)
    except Exception as error:
        data.problems.append(source_left_out(task.source, error))
        if data.state == "complete":
            data.state = "incomplete"


async def _fetch(server: FhirServer, task: _Task, data: SourceData) -> None:
    """Run one query and follow its pages; what has arrived is kept when the deadline cuts in."""
    confirming = data.state == "complete"
    query = task.query
    seen: set[str] = set()
    for _ in range(_MAX_PAGES):
        if query in seen:
            data.problems.append(ReadProblem(task.source, "", "the pages of the search lead in a circle"))
            return
        seen.add(query)
        try:
            decoded = read_value(await server.get(query), task.source)
        except FetchFailed as why:
            if not confirming:
                data.problems.append(ReadProblem(task.source, "", str(why), matters=bool(data.resources)))
            return
        before = data.state
        _take(data, decoded)
        if decoded.failed:
            data.state = "unavailable" if before == "unavailable" else "incomplete"
            return
        if not decoded.next_link:
            data.state = "incomplete" if decoded.partial else "complete"
            return
        data.state = "incomplete"
        query = decoded.next_link
    data.problems.append(ReadProblem(task.source, "", "the search has too many pages"))


async def _resolve_medications(server: FhirServer, gathered: Gathered, orders: Raw | None) -> None:
    """Read the Medication resources that records and orders refer to and nobody sent."""
    known: set[str] = set()
    wanted: set[str] = set()
    ordered = read_value(orders, "draftOrders").resources if orders is not None and len(orders) else []
    for resources in (ordered, *(data.resources for data in gathered.sources.values())):
        for resource in resources:
            if type(resource) is Medication:
                known.add(f"Medication/{resource.id}")
            elif isinstance(resource, _MEDICATION_RECORDS) and resource.medicationReference is not None:
                reference = resource.medicationReference.reference or ""
                if "/" in reference and not reference.startswith("#"):
                    wanted.add("/".join(reference.split("/")[-2:]))
    missing = sorted(r for r in wanted - known if r.startswith("Medication/"))[:50]
    target = gathered.sources.get("medications")
    if not missing or target is None:
        return

    async def read(reference: str) -> None:
        try:
            target.resources.extend(read_value(await server.get(reference), "medications").resources)
        except FetchFailed:
            return  # the record's own reference.display is used; otherwise it is named as not recognised
        except Exception as error:
            target.problems.append(source_left_out("medications", error))

    await asyncio.gather(*(read(reference) for reference in missing))
