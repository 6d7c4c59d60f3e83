"""Reading a whole site anew with FHIR Bulk Data (``Patient/$export``), where the EHR's server has it.

The export is streamed into partitions on disk and put together patient by patient, so memory does not grow with it.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from zlib import crc32

import httpx
from sqlalchemy import Engine, select

from service.fhir.client import FetchFailed
from service.fhir.decode import read_one
from service.fhir.gather import Gathered, SourceData
from service.fhir.queries import QUERIES
from service.fhir.resources import Resource
from service.registry.exchange import SOURCES, patient_of
from service.registry.refresh import OVERLAP, Refreshed, keep
from service.registry.roster import aware
from service.registry.roster_tables import RegisteredPatient
from service.registry.watch import Watch

_patients = RegisteredPatient.__table__  # type: ignore[attr-defined]
_TYPES = (
    "Patient", "MedicationRequest", "MedicationStatement", "MedicationDispense", "MedicationAdministration", "Medication",
    "Observation", "DiagnosticReport", "Condition", "AllergyIntolerance",
)  # fmt: skip
#: Answers of a server that does not have the operation.
_NOT_HERE = frozenset({400, 404, 405, 501})
_PARTITIONS = 64
_LONGEST_LINE = 5_000_000


async def export(
    engine: Engine,
    watch: Watch,
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
        watch: the site; its ``fhir_server`` is asked.
        client: HTTP client that reaches listed addresses only.
        now: the moment.
        token: gives the bearer token.
        pause_seconds: between two looks at the export's state, unless the server names another.
        deadline: an export that takes longer is given up.

    Raises FetchFailed when the export fails.
    """
    with engine.connect() as connection:
        rows = connection.execute(
            select(_patients.c.id, _patients.c.patient_id, _patients.c.refreshed_at).where(
                _patients.c.site == watch.site, _patients.c.state.in_(("on", "stopped"))
            )
        ).all()
    if not rows:
        return Refreshed()
    known = {row.patient_id: row for row in rows}
    since = _since(rows)
    query = {"_type": ",".join(_TYPES)} | ({"_since": since} if since else {})
    base = watch.fhir_server.rstrip("/")
    manifest = await _manifest(
        client, f"{base}/Patient/$export?{urlencode(query)}", token, pause_seconds, deadline
    )
    if manifest is None:
        return None
    with tempfile.TemporaryDirectory(prefix="clozapine-export-") as folder:
        await _download(client, manifest, token, Path(folder), known)
        return await asyncio.to_thread(_keep_all, engine, watch, Path(folder), known, not since, now)


def _since(rows: Any) -> str:
    """Where the last reading of all patients ended; empty when one was never read."""
    moments = [aware(row.refreshed_at) for row in rows]
    if any(moment is None for moment in moments):
        return ""
    oldest = min(moment for moment in moments if moment is not None)
    return (oldest - OVERLAP).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


async def _ask(
    client: httpx.AsyncClient, url: str, token: Callable[[], Awaitable[str]], **headers: str
) -> httpx.Response:
    try:
        return await client.get(url, headers={"Authorization": f"Bearer {await token()}", **headers})
    except httpx.HTTPError as error:
        raise FetchFailed(f"the export could not be reached ({type(error).__name__})") from None


async def _manifest(
    client: httpx.AsyncClient,
    url: str,
    token: Callable[[], Awaitable[str]],
    pause_seconds: float,
    deadline: timedelta,
) -> list[tuple[str, str]] | None:
    """(type, URL) of every file, once the export is ready."""
    answer = await _ask(client, url, token, Accept="application/fhir+json", Prefer="respond-async")
    if answer.status_code in _NOT_HERE:
        return None
    place = answer.headers.get("content-location", "")
    if answer.status_code != 202 or not place:
        raise FetchFailed(f"the export was not begun: the server answered {answer.status_code}")
    try:
        async with asyncio.timeout(deadline.total_seconds()):
            while (answer := await _ask(client, place, token, Accept="application/json")).status_code == 202:
                told = answer.headers.get("retry-after", "")
                await asyncio.sleep(min(float(told), 120.0) if told.isdigit() else pause_seconds)
    except TimeoutError:
        raise FetchFailed("the export took too long") from None
    if answer.status_code != 200:
        raise FetchFailed(f"the export failed: the server answered {answer.status_code}")
    try:
        output = answer.json()["output"]
        return [(str(file["type"]), str(file["url"])) for file in output if file["type"] in _TYPES]
    except (ValueError, KeyError, TypeError):
        raise FetchFailed("the export's manifest cannot be read") from None


async def _download(
    client: httpx.AsyncClient,
    manifest: list[tuple[str, str]],
    token: Callable[[], Awaitable[str]],
    folder: Path,
    known: dict[str, Any],
) -> None:
    """Stream every file and keep the lines of registered patients, by partition. Raises FetchFailed."""
    files = [(folder / str(n)).open("wb") for n in range(_PARTITIONS)]
    try:
        for _, url in manifest:
            headers = {"Authorization": f"Bearer {await token()}", "Accept": "application/fhir+ndjson"}
            async with client.stream("GET", url, headers=headers) as response:
                if response.status_code != 200:
                    raise FetchFailed(f"a file of the export was answered with {response.status_code}")
                async for line in response.aiter_lines():
                    if not line or len(line) > _LONGEST_LINE:
                        continue
                    content = line.encode()
                    resource, _ = read_one(content, "export")
                    patient = patient_of(resource) if resource is not None else ""
                    if patient in known:
                        files[crc32(patient.encode()) % _PARTITIONS].write(content + b"\n")
    except httpx.HTTPError as error:
        raise FetchFailed(f"the export broke off ({type(error).__name__})") from None
    finally:
        for file in files:
            file.close()


def _keep_all(
    engine: Engine, watch: Watch, folder: Path, known: dict[str, Any], whole: bool, now: datetime
) -> Refreshed:
    done = Refreshed()
    for path in sorted(folder.iterdir()):
        people: dict[str, dict[str, list[Resource]]] = {}
        with path.open("rb") as file:
            for line in file:
                resource, _ = read_one(line.rstrip(), "export")
                if resource is not None:
                    source = SOURCES.get(type(resource), "counts")
                    people.setdefault(patient_of(resource), {}).setdefault(source, []).append(resource)
        for patient, sources in people.items():
            gathered = Gathered({key: SourceData("complete", sources.get(key, []), []) for key in QUERIES})
            keep(engine, watch, known[patient], gathered, now, whole=whole)
            done.patients += 1
    return done
