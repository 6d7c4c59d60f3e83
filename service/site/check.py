"""Trying out the connection to an EHR: its keys, its FHIR server, the searches (``clozapine-cds ehr check``)."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import orjson
from msgspec import Raw, Struct

from cds_hooks.context import Context
from cds_hooks.keys import KeySet, KeySetError, read_key_set
from cds_hooks.prefetch import fill
from service.fhir.client import FetchFailed, FhirServer
from service.fhir.decode import Decoded, read_value
from service.fhir.gather import Gathered, SourceData
from service.fhir.queries import QUERIES
from service.fhir.references import base_of
from service.hooks.site_facts import site_facts
from service.ops.outbound import OutboundError
from service.options.forms import NEEDED
from service.options.site import Site
from service.site.ehrs import EhrSettings
from service.site.trust import Directory

#: Gaps of a record that are named: the most frequent ones.
_GAPS_SHOWN = 10


class Tried(Struct, frozen=True):
    """One thing that was tried, in a sentence."""

    fine: bool
    says: str


async def check_ehr(
    ehr: EhrSettings, site: Site, directory: Directory, patient_id: str = "", token: str = ""
) -> list[Tried]:
    """Everything that can be tried without the EHR calling. Searches are run when a patient is named.

    Args:
        ehr: its settings.
        site: the same, resolved: its zone, its own codes and units.
        directory: gives guarded HTTP clients; the key server of ``ehr`` may be called for the time of the check.
        patient_id: a test patient of the EHR.
        token: an access token for the FHIR server.
    """
    with directory.also_listing(ehr):
        found = await _keys(ehr, directory)
        if not ehr.fhir_servers:
            found.append(Tried(True, "FHIR: no server is listed; the service relies on prefetch alone."))
        for url in ehr.fhir_servers:
            fhir = FhirServer(url, directory.fhir_client(ehr.name, url), token)
            found += await _fhir(fhir, site, patient_id)
        return found


async def check_keys(ehr: EhrSettings, directory: Directory) -> list[Tried]:
    """The keys of an EHR alone."""
    with directory.also_listing(ehr):
        return await _keys(ehr, directory)


async def _keys(ehr: EhrSettings, directory: Directory) -> list[Tried]:
    where = ehr.jwks_uri or ehr.jwks_file or "the settings"
    try:
        found = read_key_set(await directory.key_source(ehr)())
    except OutboundError as why:
        return [Tried(False, f"Keys: {where}: {why}.")]
    except KeySetError as why:
        return [Tried(False, f"Keys: {where} cannot be used: {why}.")]
    except OSError as why:
        return [Tried(False, f"Keys: {where} cannot be read: {why.strerror}.")]
    return [
        _usable(ehr, where, found),
        *(Tried(True, f"Keys: left out: {reason}.") for reason in found.left_out),
    ]


def _usable(ehr: EhrSettings, where: str, found: KeySet) -> Tried:
    usable = sorted({kid for kid, algorithm in found.keys if algorithm in ehr.algorithms})
    if usable:
        return Tried(True, f"Keys: {where} holds {len(usable)} usable (kid {', '.join(usable)}).")
    wanted = ", ".join(ehr.algorithms)
    return Tried(False, f"Keys: {where} holds no key for {wanted}; calls of this EHR will get 401.")


def _proposal(failed: list[str], not_sent: tuple[str, ...]) -> Tried:
    """The setting for what a site does not have; people decide, nothing is learned silently."""
    keys = ", ".join(f'"{key}"' for key in (*not_sent, *failed))
    return Tried(
        True,
        f"Setting: if this EHR does not have {', '.join(failed)} at all, and prefetch does not send them either, set "
        f"not_sent = [{keys}]; else a card names them whenever clozapine may be in question.",
    )


async def _fhir(server: FhirServer, site: Site, patient_id: str) -> list[Tried]:
    url = server.base_url
    try:
        statement = orjson.loads(await server.get("metadata"))
    except FetchFailed as why:
        return [Tried(False, f"FHIR: {url}/metadata: {why}.")]
    except orjson.JSONDecodeError:
        return [Tried(False, f"FHIR: {url}/metadata did not answer with JSON.")]
    if not isinstance(statement, dict) or statement.get("resourceType") != "CapabilityStatement":
        return [Tried(False, f"FHIR: {url}/metadata is not a CapabilityStatement.")]
    version = str(statement.get("fhirVersion") or "not given")[:20]
    fine = version.startswith("4.")
    says = f"FHIR: {url} answers, FHIR version {version}" + (
        "." if fine else "; this service reads R4 (4.x)."
    )
    found = [Tried(fine, says), *_capabilities(statement)]
    if patient_id:
        context = Context(patient_id=patient_id)
        answers = await asyncio.gather(*(_search(server, key, context) for key in QUERIES))
        searched = [tried for tried, _ in answers]
        failed = [
            key
            for key, tried in zip(QUERIES, searched, strict=True)
            if not tried.fine and key not in NEEDED and key not in site.options.not_sent
        ]
        # Where not even orders and counts can be read, something else is wrong.
        needed = all(t.fine for key, t in zip(QUERIES, searched, strict=True) if key in NEEDED)
        read = {key: data for key, (_, data) in zip(QUERIES, answers, strict=True) if data is not None}
        proposed = [_proposal(failed, site.options.not_sent)] if failed and needed else []
        return found + searched + proposed + _gaps(patient_id, server.base_url, read, site)
    return [
        *found,
        Tried(True, "Searches: not tried; name a test patient with --patient (and --token-file)."),
    ]


def _capabilities(statement: dict[str, Any]) -> list[Tried]:
    """What the server says it cannot do, query by query."""
    rest = statement.get("rest")
    server = rest[0] if isinstance(rest, list) and rest and isinstance(rest[0], dict) else {}
    listed = server.get("resource")
    resources = {
        r["type"]: r
        for r in (listed if isinstance(listed, list) else [])
        if isinstance(r, dict) and "type" in r
    }
    if not resources:
        return [Tried(False, "FHIR: the CapabilityStatement lists no resources.")]
    found = []
    for key, query in QUERIES.items():
        path, _, parameters = query.partition("?")
        type_name = path.partition("/")[0]
        resource = resources.get(type_name)
        if resource is None:
            found.append(
                Tried(
                    False,
                    f"FHIR: {type_name} is not offered; {key} will be missing unless prefetch sends it.",
                )
            )
            continue
        offered = {p.get("name") for p in resource.get("searchParam") or () if isinstance(p, dict)}
        wanted = {p.partition("=")[0] for p in parameters.split("&") if p and not p.startswith("_")}
        if offered and (lacking := sorted(wanted - offered)):
            found.append(
                Tried(False, f"FHIR: {type_name} cannot be searched by {', '.join(lacking)} ({key}).")
            )
    return found


def _gaps(patient_id: str, base_url: str, read: dict[str, Decoded], site: Site) -> list[Tried]:
    """What of the record nobody understands, the most frequent first: codes to map, units to name, products to send."""
    sources = {
        key: SourceData("complete", data.resources, data.problems, data.aside) for key, data in read.items()
    }
    gathered = Gathered(sources, servers={base} if (base := base_of(base_url)) else set())
    ledger = site_facts(
        site, gathered, patient_id=patient_id, hook="patient-view", orders=Raw(b""), in_words=True
    ).ledger
    sums = ledger.sums()
    says = (
        f"Record: {sums['given']} resources: {sums['read']} read, {sums['irrelevant']} irrelevant, "
        f"{sums['not understood']} not understood."
    )
    gaps = Counter((e.source, e.kind, e.why) for e in ledger.entries if e.fate == "not understood")
    return [
        Tried(True, says),
        *(
            Tried(True, f"Not understood: {many} × {source}, {kind}: {why}.")
            for (source, kind, why), many in gaps.most_common(_GAPS_SHOWN)
        ),
    ]


async def _search(server: FhirServer, key: str, context: Context) -> tuple[Tried, Decoded | None]:
    query = fill(QUERIES[key], context)
    assert query is not None
    try:
        read = read_value(await server.get(query), key)
    except FetchFailed as why:
        return Tried(False, f"Search {key}: {why}."), None
    if read.failed:
        return Tried(
            False, f"Search {key}: the server answered with an OperationOutcome or something unreadable."
        ), None
    if read.next_link:
        try:
            server.address(read.next_link)
        except FetchFailed:
            # A FHIR server behind a proxy that was not told its public address writes its inner one into the links.
            return Tried(
                False,
                f"Search {key}: the next page is said to be on another server than the one listed; only first pages will be read.",
            ), read
    more = ", more on further pages" if read.next_link else ""
    return Tried(True, f"Search {key}: {len(read.resources)} resources that are used{more}."), read
