"""Reading a whole site anew with FHIR Bulk Data (``Patient/$export``), where the EHR's server has it.

The export is streamed into partitions on disk and put together patient by patient, so memory does not grow with it.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit
from zlib import crc32

import httpx
import msgspec
from msgspec import Struct
from sqlalchemy import Engine, select, update

from service.alerts.facts.patient import SourceState
from service.fhir.bounded import ACCEPTED, Answer, BodyRefused, ask, lines
from service.fhir.client import FetchFailed, FhirServer
from service.fhir.decode import lost_something, read_one, read_value
from service.fhir.gather import Gathered, SourceData
from service.fhir.queries import QUERIES
from service.fhir.references import Home, base_of, is_id, read_reference
from service.fhir.resources import Medication, Resource
from service.fhir.subjects import named_by_number
from service.options.site import Site
from service.registry.exchange import SOURCES, patient_of
from service.registry.moved import forget_elsewhere, owned
from service.registry.refresh import (
    OVERLAP,
    READING,
    WHOLE_EVERY,
    Refreshed,
    costing_itself,
    keep,
    merged_away,
    read_at,
    read_each,
    whole_is_due,
)
from service.store.roster_tables import RegisteredPatient
from service.store.times import aware

log = logging.getLogger("service.registry")
_patients = RegisteredPatient.__table__  # type: ignore[attr-defined]
_TYPES = (
    "Patient", "MedicationRequest", "MedicationStatement", "MedicationDispense", "MedicationAdministration", "Medication",
    "Observation", "DiagnosticReport", "Condition", "AllergyIntolerance",
)  # fmt: skip
#: Answers of a server that does not have the operation.
_NOT_HERE = frozenset({400, 404, 405, 501})
#: Answers that pass: the server asks for patience.
_LATER = frozenset({429, 502, 503, 504})
#: Looks that may fail one after the other before an export is given up.
_MOST_FAILURES = 5
_PARTITIONS = 64
_LONGEST_LINE = 5_000_000
#: One file, unpacked. It is read line by line and never held; the bound is on time and disk.
_LARGEST_FILE = 8_000_000_000
_PRODUCTS = "products"
#: A site that was read so recently (by another replica) is not read again.
_FRESH = timedelta(hours=12)
#: Who was read so much earlier than the others is behind them.
_BEHIND = timedelta(hours=12)
#: So many patients, or one of so many, are read alone; when more are behind everything is exported.
_FEW, _SHARE = 5, 20


class _File(Struct):
    """One file of an export."""

    type: str
    url: str


class _Manifest(Struct, rename="camel"):
    """What an export gives (Bulk Data, "Complete Status")."""

    output: list[_File]
    requires_access_token: bool = False
    error: list[_File] = []
    deleted: list[_File] = []


class _Found(Struct):
    """What the files hold for the registry, besides the lines of its patients on disk."""

    #: References of products that the records of registered patients name.
    named: set[str] = msgspec.field(default_factory=set)
    #: References of resources that the EHR deleted.
    deleted: set[str] = msgspec.field(default_factory=set)
    #: The server could not export everything.
    partial: bool = False


class _Request(Struct):
    """``Bundle.entry.request``."""

    method: str = ""
    url: str = ""


class _Entry(Struct):
    request: _Request | None = None


class _Deletions(Struct):
    """A Bundle that tells what was deleted."""

    entry: list[_Entry] = []


class _Issue(Struct):
    severity: str = "error"
    code: str = ""


class _Outcome(Struct):
    """An OperationOutcome of the file of errors."""

    issue: list[_Issue] = []


async def export(
    engine: Engine,
    site: Site,
    client: httpx.AsyncClient,
    now: datetime,
    *,
    token: Callable[[], Awaitable[str]],
    pause_seconds: float = 10.0,
    deadline: timedelta = timedelta(hours=2),
) -> Refreshed | None:
    """Read every registered patient of the site from one export; None when the server has no ``$export``.

    Args:
        engine: database.
        site: the site; its ``fhir_server`` is asked.
        client: HTTP client that reaches listed addresses only.
        now: the moment.
        token: gives the bearer token.
        pause_seconds: between two looks at the export's state, unless the server names another.
        deadline: an export that takes longer is given up.

    Raises FetchFailed when the export fails.
    """
    with engine.connect() as connection:
        rows = connection.execute(
            select(_patients.c.id, _patients.c.patient_id, *READING).where(
                _patients.c.site == site.name, _patients.c.state.in_(("on", "stopped"))
            )
        ).all()
    read = [aware(row.refreshed_at) for row in rows]
    if all(moment is not None and now - moment < _FRESH for moment in read):
        return Refreshed()
    whole, behind = _reading(rows, now)
    late = {row.patient_id for row in behind}
    known = {row.patient_id: row for row in rows if row.patient_id not in late}
    query = {"_type": ",".join(_TYPES)} | ({} if whole else {"_since": _since(known.values())})
    base = site.fhir_server.rstrip("/")
    begun = await _manifest(
        client, f"{base}/Patient/$export?{urlencode(query)}", token, pause_seconds, deadline
    )
    if begun is None:
        return None
    place, manifest = begun
    with tempfile.TemporaryDirectory(prefix="clozapine-export-") as name:
        folder = Path(name)
        try:
            async with asyncio.timeout(deadline.total_seconds()):
                found = await _download(client, manifest, token, folder, known, base)
        except TimeoutError:
            raise FetchFailed("the export took too long") from None
        with suppress(FetchFailed):  # the server may clear its disk; it will in time anyway
            await _ask(client, place, token, method="DELETE")
        server = FhirServer(site.fhir_server, client, await token())
        products = await _products(server, folder, found.named)
        done = await asyncio.to_thread(
            _keep_all, engine, site, folder, known, products, found, now, whole=whole
        )

    async def new_server() -> FhirServer:
        return FhirServer(site.fhir_server, client, await token())

    await read_each(engine, site, new_server, behind, now, done)
    return done


def _reading(rows: Sequence[Any], now: datetime) -> tuple[bool, list[Any]]:
    """Whether everything is exported; else, who is behind the others and is read alone: newly enrolled, or not read the last time.

    One patient whom the EHR does not know any more must not turn every night into a whole export.
    """
    wholly = [at for row in rows if (at := aware(row.read_whole_at)) is not None]
    read = [at for row in rows if (at := aware(row.refreshed_at)) is not None]
    if not wholly or not read or now - max(wholly) >= WHOLE_EVERY:
        return True, []
    newest = max(read)
    behind = [
        row
        for row in rows
        if row.read_whole_at is None
        or (at := aware(row.refreshed_at)) is None
        or newest - at > _BEHIND
        or whole_is_due(row, now - _BEHIND)
    ]
    return (True, []) if len(behind) > max(_FEW, len(rows) // _SHARE) else (False, behind)


def _since(rows: Any) -> str:
    """Where the last reading of all patients ended."""
    oldest = min(moment for row in rows if (moment := aware(row.refreshed_at)) is not None)
    return (oldest - OVERLAP).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


async def _authorization(token: Callable[[], Awaitable[str]]) -> dict[str, str]:
    return {"Authorization": f"Bearer {await token()}"}


async def _ask(
    client: httpx.AsyncClient,
    url: str,
    token: Callable[[], Awaitable[str]],
    *,
    method: str = "GET",
    **headers: str,
) -> Answer:
    """A request to the EHR's own server, with the token. Raises FetchFailed."""
    try:
        return await ask(client, method, url, headers={**await _authorization(token), **headers})
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise FetchFailed(f"the export could not be reached ({type(error).__name__})") from None
    except BodyRefused as why:
        raise FetchFailed(f"an answer about the export {why}") from None


def _origin(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port: who a token was made for. Raises ValueError."""
    parts = urlsplit(url)
    ports = {"https": 443, "http": 80}
    return parts.scheme, (parts.hostname or "").lower(), parts.port or ports.get(parts.scheme)


def _is_at(base: str, url: str) -> bool:
    """Whether an address is on the server itself: the token is shown to nobody else, and nothing is asked of anybody else to be deleted."""
    try:
        return _origin(base) == _origin(url)
    except ValueError:
        return False


async def _manifest(
    client: httpx.AsyncClient,
    url: str,
    token: Callable[[], Awaitable[str]],
    pause_seconds: float,
    deadline: timedelta,
) -> tuple[str, _Manifest] | None:
    """Where the export is, and its files, once it is ready."""

    async def pause(answer: Answer | None) -> None:
        told = answer.headers.get("retry-after", "") if answer is not None else ""
        await asyncio.sleep(min(float(told), 120.0) if told.isdecimal() else pause_seconds)

    try:
        async with asyncio.timeout(deadline.total_seconds()):
            kick_off = {"Accept": "application/fhir+json", "Prefer": "respond-async"}
            while (answer := await _ask(client, url, token, **kick_off)).status in _LATER:
                await pause(answer)
            if answer.status in _NOT_HERE:
                return None
            told = answer.headers.get("content-location", "")
            if answer.status != 202 or not told:
                raise FetchFailed(f"the export was not begun: the server answered {answer.status}")
            place = _place(url, told)
            failures = 0
            while True:
                looked: Answer | None = None
                try:
                    looked = await _ask(client, place, token, Accept="application/json")
                except FetchFailed:
                    failures += 1
                    if failures > _MOST_FAILURES:
                        raise
                else:
                    failures = 0
                    if looked.status != 202 and looked.status not in _LATER:
                        break
                await pause(looked)
    except TimeoutError:
        raise FetchFailed("the export took too long") from None
    if looked.status != 200:
        raise FetchFailed(f"the export failed: the server answered {looked.status}")
    try:
        return place, msgspec.json.decode(looked.content, type=_Manifest)
    except (msgspec.DecodeError, RecursionError):
        raise FetchFailed("the export's manifest cannot be read") from None


def _place(kick_off: str, told: str) -> str:
    """Where the state of the export is. Raises FetchFailed for another server: it would be shown the token."""
    try:
        place = urljoin(kick_off, told)
    except ValueError:
        place = ""
    if not _is_at(kick_off, place):
        raise FetchFailed("the export is said to be on another server")
    return place


async def _lines(
    client: httpx.AsyncClient, url: str, token: Callable[[], Awaitable[str]] | None
) -> AsyncGenerator[bytes | None]:
    """The lines of one file, None for one that is too long. Raises FetchFailed."""
    headers = ACCEPTED | {"Accept": "application/fhir+ndjson"}
    if token is not None:
        headers |= await _authorization(token)
    try:
        async with client.stream("GET", url, headers=headers) as response:
            if response.status_code != 200:
                raise FetchFailed(f"a file of the export was answered with {response.status_code}")
            async with aclosing(lines(response, _LONGEST_LINE, _LARGEST_FILE)) as found:
                async for line in found:
                    yield line
    except BodyRefused as why:
        raise FetchFailed(f"a file of the export {why}") from None


def _is_address(url: str) -> bool:
    """False for what no file can be read from: it costs that file, and the export is one in part."""
    try:
        httpx.URL(url)
        return bool(urlsplit(url).hostname)
    except (httpx.InvalidURL, ValueError):
        return False


async def _download(
    client: httpx.AsyncClient,
    manifest: _Manifest,
    token: Callable[[], Awaitable[str]],
    folder: Path,
    known: dict[str, Any],
    base: str,
) -> _Found:
    """Stream every file and keep the lines of registered patients, by partition, and of products. Raises FetchFailed."""
    found = _Found()
    own_base = base_of(base)
    files = [(folder / str(n)).open("wb") for n in range(_PARTITIONS)]
    products = (folder / _PRODUCTS).open("wb")

    async def each(outputs: list[_File]) -> AsyncGenerator[bytes]:
        """The lines of files; a file or a line that cannot be read makes the export one in part."""
        for output in outputs:
            if not _is_address(output.url):
                found.partial = True
                continue
            # A file elsewhere must not be shown the token, whatever the manifest says.
            shown = token if manifest.requires_access_token and _is_at(base, output.url) else None
            async with aclosing(_lines(client, output.url, shown)) as lines_of_it:
                async for line in lines_of_it:
                    if line is None:
                        found.partial = True
                    else:
                        yield line

    try:
        async with aclosing(each([o for o in manifest.output if o.type in _TYPES])) as resources:
            async for line in resources:
                resource, _ = read_one(line, "export")
                if type(resource) is Medication:
                    products.write(line + b"\n")
                    continue
                patient = patient_of(resource, own_base) if resource is not None else ""
                if resource is not None and not patient and named_by_number(resource):
                    found.partial = True  # whose it is cannot be told here, and it must not be taken for none
                if resource is not None and patient in known:
                    found.named |= _named_by(resource, own_base)
                    files[crc32(patient.encode()) % _PARTITIONS].write(line + b"\n")
        async with aclosing(each(manifest.deleted)) as deletions:
            async for line in deletions:
                found.deleted |= _deleted_by(line)
        async with aclosing(each(manifest.error)) as outcomes:
            async for line in outcomes:
                found.partial = found.partial or _is_error(line)
    except httpx.HTTPError as error:
        raise FetchFailed(f"the export broke off ({type(error).__name__})") from None
    finally:
        for file in (*files, products):
            file.close()
    return found


def _named_by(resource: Resource, own_base: str) -> set[str]:
    """``Medication/id`` that a record refers to on the EHR's own server."""
    reference = getattr(resource, "medicationReference", None)
    key = Home(frozenset({own_base})).key(reference.reference) if reference is not None else ""
    target = read_reference(key)
    return {key} if target.form == "relative" and target.type == "Medication" and is_id(target.id) else set()


def _deleted_by(line: bytes) -> set[str]:
    try:
        bundle = msgspec.json.decode(line, type=_Deletions)
    except (msgspec.DecodeError, RecursionError):
        return set()
    requests = (entry.request for entry in bundle.entry if entry.request is not None)
    return {read_reference(r.url).local for r in requests if r.method == "DELETE"} - {""}


def _is_error(line: bytes) -> bool:
    """True unless the outcome only informs or warns."""
    try:
        outcome = msgspec.json.decode(line, type=_Outcome)
    except (msgspec.DecodeError, RecursionError):
        return True
    return lost_something([{"severity": i.severity, "code": i.code} for i in outcome.issue])


async def _products(server: FhirServer, folder: Path, named: set[str]) -> dict[str, Medication]:
    """The products that records refer to: of the export, or read one by one (an export of what changed lacks the others)."""
    found: dict[str, Medication] = {}
    for resource in _resources(folder / _PRODUCTS):
        if type(resource) is Medication and f"Medication/{resource.id}" in named:
            found[f"Medication/{resource.id}"] = resource
    for reference in sorted(named - found.keys()):
        try:
            read = read_value(await server.get(reference), "medications").resources
        except FetchFailed:
            continue  # the record's own words are used, or what was known of it
        for resource in read:
            if type(resource) is Medication:
                found[reference] = resource
    return found


def _resources(path: Path) -> Iterator[Resource]:
    with path.open("rb") as file:
        for line in file:
            resource, _ = read_one(line.rstrip(), "export")
            if resource is not None:
                yield resource


def _keep_all(
    engine: Engine,
    site: Site,
    folder: Path,
    known: dict[str, Any],
    products: dict[str, Medication],
    found: _Found,
    now: datetime,
    *,
    whole: bool,
) -> Refreshed:
    done = Refreshed()
    own_base = base_of(site.fhir_server)
    unread = dict(known)
    # What the server could not export is not there; what it left out must not be taken for none.
    state: SourceState = "incomplete" if found.partial else "complete"
    deleted = frozenset(found.deleted)

    owners: dict[str, str] = {}

    def take(patient: str, sources: dict[str, list[Resource]]) -> None:
        if not whole:
            owners.update(owned((r for found in sources.values() for r in found), patient, own_base))
        gathered = Gathered(
            {key: SourceData(state, sources.get(key, []), []) for key in QUERIES}, servers={own_base}
        )
        with costing_itself(site, done):
            keep(engine, site, unread.pop(patient), gathered, now, whole=whole, deleted=deleted)
            done.partly += found.partial

    for n in range(_PARTITIONS):
        people: dict[str, dict[str, list[Resource]]] = {}
        gone: set[str] = set()
        for resource in _resources(folder / str(n)):
            patient = patient_of(resource, own_base)
            if merged_away(resource):
                gone.add(patient)
            sources = people.setdefault(patient, {})
            sources.setdefault(SOURCES.get(type(resource), "counts"), []).append(resource)
            sources.setdefault("medications", []).extend(
                products[reference] for reference in _named_by(resource, own_base) if reference in products
            )
        for patient, sources in people.items():
            if patient not in gone and f"Patient/{patient}" not in deleted:
                take(patient, sources)
    # Whom the EHR deleted is not read any more; that is no end of treatment.
    erased = [patient for patient in unread if f"Patient/{patient}" in deleted]
    for patient in erased:
        unread.pop(patient)
        done.failed += 1
    if not whole and deleted:
        for patient in list(unread):
            take(patient, {})
    forget_elsewhere(engine, site, owners, now)
    if whole:
        done.failed += len(unread)  # the EHR does not know them any more: they keep what is known
    elif not found.partial:
        with engine.begin() as connection:
            for row in unread.values():
                connection.execute(
                    update(_patients).where(_patients.c.id == row.id).values(**read_at(now, whole=False))
                )
    return done
