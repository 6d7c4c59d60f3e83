"""Completing the data of a call: prefetch first, the FHIR server for the rest, within one deadline (cds-hooks checklist P1–P6)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Container, Iterable, Mapping

from msgspec import Raw, Struct

from service.alerts.facts.ledger import Entry
from service.alerts.facts.patient import ReadProblem, SourceState
from service.alerts.facts.reason import Reason, because
from service.alerts.say.language import english
from service.fhir.client import FetchFailed, Refused, Server
from service.fhir.decode import Decoded, Value, read_value, sound, source_left_out
from service.fhir.queries import QUERIES
from service.fhir.references import Home, base_of, base_of_resource, is_id, read_reference
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
#: Products that one call fetches at most.
_MOST_PRODUCTS = 50
#: Prefetch keys that are worth one query of their own when the client says null (P2: blood counts).
_CONFIRMED_WHEN_NULL = frozenset({"counts"})
ONLY_FIRST_PAGE = because("server.first-page-only")
#: Orders and statements that are in force, or may be.
_RUNNING = frozenset({"active", "draft", "on-hold", "intended", "unknown", "in-progress", "", None})
_NO_ANSWER = because("server.no-answer-in-time")
_TOO_LATE = because("product.not-fetched", why=_NO_ANSWER)
_NO_QUERIES: dict[str, str | None] = dict.fromkeys(QUERIES)
_ABSENT = Raw(b"")
_NULL = Raw(b"null")
#: A resource of another type in place of a search result (Patient read) is not a Bundle.
_MEDICATION_RECORDS = (MedicationRequest, MedicationStatement, MedicationDispense, MedicationAdministration)


class SourceData(Struct):
    """What is known from one source."""

    state: SourceState
    resources: list[Resource]
    problems: list[ReadProblem]
    #: What came and is not among the resources (for the ledger).
    aside: list[Entry] = []


class Gathered(Struct):
    """The data of one call, by source."""

    sources: dict[str, SourceData]
    #: Bases (``references.base_of``) of the EHR's own server: the call's, and what its searchsets say of themselves.
    servers: set[str] = set()
    #: Products that were fetched because records refer to them.
    products: list[Medication] = []
    #: Product (``Medication/7``) that records refer to -> why it could not be fetched.
    failed: dict[str, Reason] = {}

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
    prefetch: Mapping[str, Value | Raw | None],
    queries: Mapping[str, str | None],
    own_server: str = "",
    not_sent: Container[str] = (),
) -> tuple[Gathered, list[_Task]]:
    """Read what the client sent, values read already and values as they came; also the queries that remain.

    What the site does not have (``not_sent``) is not asked for, but used when it comes all the same.
    """
    sources: dict[str, SourceData] = {}
    servers = {base} if (base := base_of(own_server)) else set()
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
            if query is not None and source not in not_sent:
                tasks.append(_Task(source, query))
            continue
        data = sources[source] = SourceData("complete", decoded.resources, decoded.problems, decoded.aside)
        if decoded.server:
            servers.add(decoded.server)
        if decoded.failed:
            data.state = "unavailable"
        elif (
            decoded.partial
            or _is_cut_short(data, decoded, source)
            or _is_another_answer(data, decoded, source)
        ):
            data.state = "incomplete"
        if decoded.next_link:
            data.state = "incomplete"
            tasks.append(_Task(source, decoded.next_link))
    return Gathered(sources, servers), tasks


def _is_another_answer(data: SourceData, decoded: Decoded, source: str) -> bool:
    """Whether one resource of another type stands in the place of what was asked for, such as the Patient; then that is noted."""
    asked = re.split(r"[?/]", QUERIES.get(source, ""), maxsplit=1)[0]
    if not decoded.alone or not asked or (came := type(decoded.resources[0]).__name__) == asked:
        return False
    data.problems.append(ReadProblem(source, "", because("server.another-answer", came=came, asked=asked)))
    return True


_ASKED = re.compile(r"&_count=(\d+)")


def _is_cut_short(data: SourceData, decoded: Decoded, source: str) -> bool:
    """Whether a Bundle holds less than it says there is, and less than a page, and no way to the rest; then that is noted."""
    asked = _ASKED.search(QUERIES.get(source, ""))
    page = int(asked.group(1)) if asked is not None else 0
    if decoded.next_link or not decoded.entries < min(decoded.total, page):
        return False
    why = because("server.sent-in-part", sent=decoded.entries, total=decoded.total)
    data.problems.append(ReadProblem(source, "", why))
    return True


def only_sent(prefetch: Mapping[str, Value | Raw | None], own_server: str = "") -> Gathered:
    """The data of a call that nothing can be fetched for: what the client sent is all there is."""
    gathered, following = from_prefetch(prefetch, _NO_QUERIES, own_server)
    for page in following:
        data = gathered.sources[page.source]
        if data.state == "incomplete":
            data.problems.append(ReadProblem(page.source, "", ONLY_FIRST_PAGE))
    return gathered


def _decoded(value: Value | Raw, source: str) -> Decoded:
    """What was sent for a source; what nobody expected costs the source, never the call."""
    try:
        return read_value(value, source) if isinstance(value, Raw) else sound(value, source)
    except Exception as error:
        problem = source_left_out(source, error)
        aside = [Entry(source, "", "not understood", "fault", english().reason(problem.reason))]
        return Decoded([], [problem], failed=True, aside=aside)


def _take(data: SourceData, decoded: Decoded) -> None:
    data.resources += decoded.resources
    data.problems += decoded.problems
    data.aside += decoded.aside
    if decoded.failed:
        data.state = "unavailable"
    elif decoded.partial:
        data.state = "incomplete"


class _Products:
    """Fetches the Medication resources that records refer to, each as soon as a record names it, beside the searches.

    A product of another server is never looked for here: the same id may be another drug.
    """

    def __init__(self, server: Server, gathered: Gathered, tasks: asyncio.TaskGroup) -> None:
        self._server = server
        self._gathered = gathered
        self._tasks = tasks
        self._known: set[str] = set()
        self._asked: set[str] = set()

    def look_for(self, resources: Iterable[Resource]) -> None:
        """Begin to fetch what these records refer to and nobody has sent; of many products those of running orders come first."""
        home = Home(frozenset(self._gathered.servers))
        records = []
        for resource in resources:
            if type(resource) is Medication:
                self._known.update(home.keys_of("Medication", resource.id, resource.full_url))
            elif isinstance(resource, _MEDICATION_RECORDS) and resource.medicationReference is not None:
                records.append(resource)
        for record in sorted(records, key=lambda r: r.status not in _RUNNING):
            assert record.medicationReference is not None
            key = home.key(record.medicationReference.reference, holder=record.full_url)
            target = read_reference(key)
            if target.form != "relative" or target.type != "Medication" or not is_id(target.id):
                continue
            beside = f"{base_of_resource(record.full_url)}/{key}"
            if key in self._asked or not self._known.isdisjoint((key, beside)):
                continue
            if len(self._asked) >= _MOST_PRODUCTS:
                self._gathered.failed[key] = because("product.too-many")
                continue
            self._asked.add(key)
            self._gathered.failed[key] = _TOO_LATE
            self._tasks.create_task(self._fetch(key, target.id))

    async def _fetch(self, key: str, identifier: str) -> None:
        try:
            found = read_value(await self._server.get(key), "medications").resources
        except FetchFailed as why:
            self._gathered.failed[key] = because("product.not-fetched", why=why.reason)
            return
        except Exception as error:  # what nobody expected costs the product, never the call
            fault = because("left-out.service-failed", error=type(error).__name__)
            self._gathered.failed[key] = because("product.not-fetched", why=fault)
            return
        for resource in found:
            if type(resource) is Medication and resource.id in (identifier, None):
                resource.id = identifier
                self._gathered.products.append(resource)
                self._gathered.failed.pop(key, None)
                return
        self._gathered.failed[key] = because("product.not-fetched", why=because("server.something-else"))


async def gather(
    prefetch: Mapping[str, Value | Raw | None],
    queries: Mapping[str, str | None],
    server: Server | None,
    deadline_seconds: float,
    orders: Raw | None = None,
    *,
    own_server: str = "",
    not_sent: Container[str] = (),
) -> Gathered:
    """The data of a call.

    Args:
        prefetch: what the client sent.
        queries: source -> query with its tokens filled (None: it cannot be filled).
        server: the client's FHIR server, if it may be asked.
        deadline_seconds: for all fetching together; what is not there by then is declared missing.
        orders: the orders of the hook's context: the products they refer to are read too.
        own_server: base URL of the client's FHIR server as the call names it, also where it may not be asked.
        not_sent: sources that the site does not have.
    """
    if server is None:
        return only_sent(prefetch, own_server)
    gathered, tasks = from_prefetch(prefetch, queries, own_server or server.base_url, not_sent)
    try:
        async with asyncio.timeout(deadline_seconds), asyncio.TaskGroup() as group:
            products = _Products(server, gathered, group)
            sent = [r for data in gathered.sources.values() for r in data.resources]
            drafts = read_value(orders, "draftOrders").resources if orders is not None and len(orders) else []
            products.look_for([*drafts, *sent])
            for task in tasks:
                group.create_task(_fetched(server, task, gathered, products))
    except TimeoutError:
        pass  # every source that is not complete already says so
    for task in tasks:
        data = gathered.sources[task.source]
        if data.state != "complete" and not data.problems:
            data.problems.append(ReadProblem(task.source, "", _NO_ANSWER, matters=bool(data.resources)))
    return gathered


async def _fetched(server: Server, task: _Task, gathered: Gathered, products: _Products) -> None:
    """As :func:`_fetch`; what nobody expected costs the source, never the call."""
    try:
        await _fetch(server, task, gathered, products)
    except Exception as error:
        data = gathered.sources[task.source]
        data.problems.append(source_left_out(task.source, error))
        if data.state == "complete":
            data.state = "incomplete"


#: Parameters without which a search brings the same, only in another order or in other pages; one is left out at a time.
_SPARED = (re.compile(r"&_sort=[^&]*"), re.compile(r"&_count=[^&]*"))


def plainer(query: str) -> str:
    """A query without ``_sort``, or of one that has none without ``_count``; empty when neither is there to be left out."""
    for parameter in _SPARED:
        if parameter.search(query):
            return parameter.sub("", query)
    return ""


async def _page(server: Server, query: str, *, first: bool) -> bytes:
    """One page. A search that the server refuses is put once more, without the order it was to come in. Raises FetchFailed."""
    try:
        return await server.get(query)
    except Refused:
        if not first or not (again := plainer(query)):
            raise
    return await server.get(again)


async def _fetch(server: Server, task: _Task, gathered: Gathered, products: _Products) -> None:
    """Run one query and follow its pages; what has arrived is kept when the deadline cuts in."""
    data = gathered.sources[task.source]
    confirming = data.state == "complete"
    query = task.query
    seen: set[str] = set()
    for _ in range(_MAX_PAGES):
        if query in seen:
            data.problems.append(ReadProblem(task.source, "", because("server.circle")))
            return
        seen.add(query)
        try:
            decoded = read_value(await _page(server, query, first=query == task.query), task.source)
        except FetchFailed as why:
            if not confirming:
                data.problems.append(ReadProblem(task.source, "", why.reason, matters=bool(data.resources)))
            return
        before = data.state
        if decoded.server:
            gathered.servers.add(decoded.server)
        _take(data, decoded)
        products.look_for(decoded.resources)
        if decoded.failed:
            data.state = "unavailable" if before == "unavailable" else "incomplete"
            return
        if not decoded.next_link:
            short = query == task.query and (
                _is_cut_short(data, decoded, task.source) or _is_another_answer(data, decoded, task.source)
            )
            data.state = "incomplete" if decoded.partial or short else "complete"
            return
        data.state = "incomplete"
        query = decoded.next_link
    data.problems.append(ReadProblem(task.source, "", because("server.too-many-pages")))
