"""Evaluating a request or a Bundle from a file, without a server: what ``clozapine-cds check`` does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
from msgspec import Raw, Struct

from cds_hooks import HOOKS, Card, ProtocolError
from cds_hooks.request import HookRequest, read_request
from service.alerts.cards import cards_of
from service.alerts.evaluate import evaluate
from service.alerts.facts import ReadProblem, SourceState
from service.alerts.finding import Finding
from service.fhir import snapshot as fhir_snapshot
from service.fhir.decode import read_value
from service.fhir.gather import Gathered, SourceData, gather
from service.fhir.queries import QUERIES
from service.hooks.render import render_all
from service.hooks.required import require_data
from service.hooks.site import Site
from service.hooks.unchecked import summary_of


class CheckError(ValueError):
    """A file that cannot be evaluated; the message says why."""


class Checked(Struct, frozen=True):
    """Result of one file."""

    hook: str
    cards: list[Card]
    findings: list[Finding]


def check_file(path: Path, site: Site, as_of: datetime, hook: str | None) -> Checked:
    """Evaluate a CDS Hooks request, or with ``hook`` a FHIR Bundle. Raises CheckError."""
    try:
        body = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
        content = orjson.loads(body)
    except OSError as error:
        raise CheckError(f"{path}: {error.strerror}") from None
    except orjson.JSONDecodeError as error:
        raise CheckError(f"{path}: not valid JSON: {error}") from None
    if not isinstance(content, dict):
        raise CheckError(f"{path}: a JSON object is expected: a CDS Hooks request or a FHIR Bundle")
    if content.get("resourceType") == "Bundle":
        if hook is None:
            raise CheckError(
                f"{path}: this is a Bundle; say which hook to play with --hook (for example --hook patient-view)"
            )
        return _said(path, lambda: _check_bundle(body, content, site, as_of, hook))
    name = content.get("hook")
    if not isinstance(name, str) or name not in HOOKS:
        raise CheckError(f"{path}: hook must be one of {', '.join(HOOKS)}")
    try:
        request = read_request(body, f"clozapine-{name}", HOOKS[name])
    except ProtocolError as error:
        raise CheckError(f"{path}: {error.message}") from None
    return _said(path, lambda: _check_request(request, site, as_of))


def _said(path: Path, check: Callable[[], Checked]) -> Checked:
    """The result, or the sentence that a card would say. Raises CheckError, also for what nobody expected: it must not look like nothing found."""
    try:
        return check()
    except CheckError:
        raise
    except ProtocolError as error:
        raise CheckError(f"{path}: {summary_of(error.code)} {error.message}") from None
    except Exception as error:
        raise CheckError(f"{path}: {summary_of('exception')} ({type(error).__name__})") from error


def _check_request(request: HookRequest, site: Site, as_of: datetime) -> Checked:
    gathered = asyncio.run(
        gather(request.prefetch, dict.fromkeys(QUERIES), None, 0.0, own_server=request.fhir_server)
    )
    return _cards(
        gathered, site, as_of, request.hook, request.context.patient_id, request.context.orders,
        request.context.selections if request.hook == "order-select" else None,
    )  # fmt: skip


def _check_bundle(body: bytes, content: dict[str, Any], site: Site, as_of: datetime, hook: str) -> Checked:
    if hook not in HOOKS:
        raise CheckError(f"--hook must be one of {', '.join(HOOKS)}")
    decoded = read_value(body, "bundle")
    if decoded.failed:
        raise CheckError("the Bundle could not be read: " + "; ".join(p.reason for p in decoded.problems))
    entries = content.get("entry")
    resources = (
        [e.get("resource") for e in entries if isinstance(e, dict)] if isinstance(entries, list) else []
    )
    patients = [r for r in resources if isinstance(r, dict) and r.get("resourceType") == "Patient"]
    if len(patients) != 1:
        raise CheckError(f"the Bundle must hold one Patient; it holds {len(patients)}")
    patient_id = str(patients[0].get("id") or "")
    drafts = [
        {"resource": r}
        for r in resources
        if isinstance(r, dict)
        and r.get("resourceType") in ("MedicationRequest", "ServiceRequest")
        and r.get("status") == "draft"
    ]
    orders = Raw(orjson.dumps({"resourceType": "Bundle", "type": "collection", "entry": drafts}))
    problems = list(decoded.problems)
    if decoded.next_link:
        problems.append(ReadProblem("bundle", "", "only the first page is in the file"))
    # A Bundle is the whole record and every source was looked at, unless a part of it is missing: nobody knows which.
    state: SourceState = "incomplete" if decoded.partial or decoded.next_link else "complete"
    gathered = Gathered({key: SourceData(state, [], []) for key in QUERIES})
    if decoded.server:
        gathered.servers.add(decoded.server)
    gathered.sources["medications"] = SourceData(state, decoded.resources, problems)
    return _cards(gathered, site, as_of, hook, patient_id, orders, None)


def _cards(
    gathered: Gathered,
    site: Site,
    as_of: datetime,
    hook: str,
    patient_id: str,
    orders: Raw,
    selections: tuple[str, ...] | None,
) -> Checked:
    snapshot = fhir_snapshot.build(
        patient_id=patient_id,
        hook=hook,
        zone=site.zone,
        gathered=gathered,
        orders=orders,
        selections=selections,
        maps=site.maps,
        smoke_free_wards=site.smoke_free_wards,
        pathway=site.pathway,
        not_sent=site.not_sent,
    )
    require_data(gathered, snapshot)
    findings = evaluate(snapshot, site.policy, as_of)
    texts = cards_of(findings, hook, site.card_limit)
    return Checked(hook, list(render_all(texts, site, patient_id, orders)), findings)
