"""A Bundle or Parameters becomes one question: which patient, which moment, which orders, what is on record.

Strict about the envelope (a wrong one is refused), lenient about resources: one that is not valid R4 is reported, and what
the rules can read of it is used, because leaving out a count of 400/µL for a misspelt element would be the greater harm.
"""

from __future__ import annotations

from datetime import datetime, tzinfo
from typing import Any

import orjson
from fhir.resources.R4B import get_fhir_model_class
from msgspec import Raw, Struct

from cds_hooks import HOOKS
from cds_hooks.errors import BadRequest
from service.alerts.facts.ledger import Entry
from service.alerts.facts.patient import ReadProblem
from service.alerts.facts.reason import because
from service.alerts.say.language import english
from service.fhir.decode import (
    heard,
    lost_something,
    names_clozapine,
    not_read,
    of_other_type,
    read_one,
    reference_of,
    unreadable,
)
from service.fhir.gather import ONLY_FIRST_PAGE, Gathered, SourceData
from service.fhir.queries import QUERIES
from service.fhir.references import read_reference
from service.fhir.resources import AnyResource, OperationOutcome, Resource
from service.fhir.snapshot import DRAFTS
from service.fhir.times import read_moment
from service.operation.issues import Issue, faults
from service.operation.parameters import Parameters, read_parameters

_READ = frozenset(str(t.__struct_config__.tag) for t in AnyResource.__args__)
_YEARS = (1900, 2999)
_ORDERS = frozenset({"MedicationRequest", "ServiceRequest"})
#: The source that a whole record is filed under; the snapshot sorts resources by their type.
_RECORD = "medications"
DRAFTED = "medication-verify"
CHART = "patient-view"

Json = dict[str, Any]


class Question(Struct, frozen=True, kw_only=True):
    """One question to the rules."""

    patient_id: str
    event: str
    as_of: datetime | None
    gathered: Gathered
    #: Bundle of the orders that are asked about.
    orders: Raw
    #: Faults of what was sent, for the answer.
    issues: list[Issue]
    #: ``Type/id`` as the rules call a resource -> the reference the sender used (``urn:uuid:…``).
    sent_as: dict[str, str]


class _Entry(Struct):
    index: int
    resource: Json
    full_url: str


def read_question(body: bytes, zone: tzinfo) -> Question:
    """The question in a request body.

    Args:
        body: a Bundle (collection or searchset) or Parameters holding one.
        zone: the site's time zone, for an ``asOf`` without a zone.

    Raises BadRequest naming the element, what is expected there and what to do.
    """
    parameters = read_parameters(_json(body))
    where = parameters.bundle_at
    entries = _entries(parameters.bundle, where)
    sent_as = _resolve(entries)
    issues: list[Issue] = []
    patient_id = _patient_of(parameters, entries, sent_as)
    wanted = _wanted(parameters, entries, sent_as)
    records: list[Resource] = []
    problems: list[ReadProblem] = []
    aside: list[Entry] = []
    drafts: list[Json] = []
    partial = _note_pages(parameters.bundle, where, issues, problems)
    for entry in entries:
        told = len(problems)
        resource = _read(entry, where, issues, problems)
        if isinstance(resource, OperationOutcome):
            aside.append(heard(_RECORD))
            partial = _note_outcome(entry, where, issues, problems) or partial
            continue
        asked = _reference(entry.resource) in wanted or (
            type_of(entry.resource) in _ORDERS and entry.resource.get("status") == "draft"
        )
        if asked:
            drafts.append(entry.resource)
        elif resource is not None:
            records.append(resource)
        else:
            aside.append(_left_aside(entry.resource, problems[told:]))
    drafts += parameters.order_resources
    sound = [draft for draft in drafts if _in_json(draft) is not None]
    if len(sound) < len(drafts):
        problems.append(ReadProblem(DRAFTS, "", _NESTED))
    orders = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": d} for d in sound]}
    return Question(
        patient_id=patient_id,
        event=_event(parameters, drafts),
        as_of=_as_of(parameters, zone),
        gathered=_gathered(parameters.unavailable, records, problems, aside, partial=partial),
        orders=Raw(orjson.dumps(orders)),
        issues=issues,
        sent_as=sent_as,
    )


def _json(body: bytes) -> Json:
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise BadRequest(
            "The body is not valid JSON, or is nested too deeply. Send a FHIR R4 Bundle or Parameters as JSON in UTF-8."
        ) from None
    if not isinstance(content, dict):
        raise BadRequest("The body must be a JSON object: a FHIR R4 Bundle or Parameters.")
    return content


def _entries(bundle: Json, where: str) -> list[_Entry]:
    check_type(bundle, where)
    listed = bundle.get("entry", [])
    if not isinstance(listed, list):
        raise BadRequest("Bundle.entry must be a list.", f"{where}.entry", "structure")
    entries = []
    for index, item in enumerate(listed):
        if not isinstance(item, dict):
            raise BadRequest(
                "Each Bundle.entry must be an object with a resource.", f"{where}.entry[{index}]", "structure"
            )
        resource = item.get("resource")
        if resource is None:
            continue
        if not isinstance(resource, dict):
            raise BadRequest(
                "Bundle.entry.resource must be a resource.", f"{where}.entry[{index}].resource", "structure"
            )
        full_url = item.get("fullUrl")
        entries.append(_Entry(index, resource, full_url if isinstance(full_url, str) else ""))
    return entries


def type_of(resource: Json) -> str:
    """The resource's type; empty when it names none."""
    type_name = resource.get("resourceType")
    return type_name if isinstance(type_name, str) else ""


def _reference(resource: Json) -> str:
    return f"{type_of(resource)}/{resource.get('id')}"


def _resolve(entries: list[_Entry]) -> dict[str, str]:
    """Make ``urn:`` references inside the Bundle into ``Type/id``, as the rules read them; gives the way back."""
    known: dict[str, str] = {}
    sent_as: dict[str, str] = {}
    for entry in entries:
        target = read_reference(entry.full_url)
        if target.form != "urn":
            continue
        if not isinstance(entry.resource.get("id"), str):
            entry.resource["id"] = target.id
        known[target.text] = _reference(entry.resource)
        sent_as[known[target.text]] = entry.full_url
    if known:
        for entry in entries:
            _rewrite(entry.resource, known)
    return sent_as


def _rewrite(node: Any, known: dict[str, str]) -> None:
    stack = [node]
    while stack:
        here = stack.pop()
        if isinstance(here, list):
            stack += here
        elif isinstance(here, dict):
            target = here.get("reference")
            if isinstance(target, str) and (local := known.get(read_reference(target).text)) is not None:
                here["reference"] = local
            stack += here.values()


def _patient_of(parameters: Parameters, entries: list[_Entry], sent_as: dict[str, str]) -> str:
    if parameters.patient:
        name = _as_read(parameters.patient, sent_as)
        return read_reference(name).id or name
    patients = {
        str(e.resource["id"])
        for e in entries
        if e.resource.get("resourceType") == "Patient" and e.resource.get("id")
    }
    if not patients:
        patients = {subject for e in entries if (subject := _subject(e.resource))}
    if len(patients) != 1:
        found = "names no patient" if not patients else f"holds {len(patients)} patients"
        raise BadRequest(
            f"The Bundle {found}; one is expected. Send the record of one patient with its Patient resource, or Parameters whose "
            "parameter “patient” says who is meant.",
            f"{parameters.bundle_at}.entry",
            "business-rule",
        )
    return str(next(iter(patients)))


def _as_read(name: str, sent_as: dict[str, str]) -> str:
    """A reference as the rules know it."""
    return next((reference for reference, url in sent_as.items() if url == name), name)


def _subject(resource: Json) -> str:
    """id of the patient that a resource is about."""
    subject = resource.get("subject") or resource.get("patient")
    reference = subject.get("reference") if isinstance(subject, dict) else None
    if not isinstance(reference, str):
        return ""
    target = read_reference(reference)
    return target.id if target.type == "Patient" else ""


def _wanted(parameters: Parameters, entries: list[_Entry], sent_as: dict[str, str]) -> set[str]:
    """References of the orders that the parameter ``order`` names."""
    named = (_as_read(name, sent_as) for name in parameters.order_references)
    wanted = {read_reference(name).local or name for name in named}
    if wanted - {_reference(e.resource) for e in entries}:
        raise BadRequest(
            "The parameter “order” names a resource that is not in the Bundle. Put the MedicationRequest into the Bundle, or send it "
            "as the parameter's resource.",
            "Parameters.parameter",
            "not-found",
        )
    return wanted


def _note_pages(bundle: Json, where: str, issues: list[Issue], problems: list[ReadProblem]) -> bool:
    links = bundle.get("link")
    for link in links if isinstance(links, list) else ():
        if isinstance(link, dict) and link.get("relation") == "next":
            issues.append(
                Issue(
                    "error",
                    "incomplete",
                    "Only the first page of a search was sent; what the other pages hold was not checked. Send all pages as one "
                    "collection.",
                    f"{where}.link",
                )
            )
            problems.append(ReadProblem(_RECORD, "", ONLY_FIRST_PAGE))
            return True
    return False


def _note_outcome(entry: _Entry, where: str, issues: list[Issue], problems: list[ReadProblem]) -> bool:
    """An OperationOutcome among the resources: True when it says that something failed."""
    listed = entry.resource.get("issue")
    if not lost_something(listed):
        return False
    issues.append(
        Issue(
            "error",
            "incomplete",
            "An OperationOutcome in the Bundle reports a failed query; what it would have brought was not checked.",
            f"{where}.entry[{entry.index}].resource",
        )
    )
    problems.append(ReadProblem(_RECORD, "", because("server.sender-query-failed")))
    return True


def _read(entry: _Entry, where: str, issues: list[Issue], problems: list[ReadProblem]) -> Resource | None:
    """The resource as the rules read it; None when no rule uses its type or it cannot be read. Faults are noted."""
    at = f"{where}.entry[{entry.index}].resource"
    type_name = entry.resource.get("resourceType")
    if not isinstance(type_name, str) or not _is_fhir(type_name):
        issues.append(
            Issue(
                "error",
                "structure",
                "resourceType must name a FHIR R4 resource; this entry was left out. Correct it and send it again.",
                f"{at}.resourceType",
            )
        )
        names = names_clozapine(type_name, _in_json(entry.resource) or b"", _RECORD)
        problems.append(not_read(_RECORD, "", because("left-out.not-r4"), names=names))
        return None
    if type_name not in _READ:
        return None
    found = faults(entry.resource)
    resource: Resource | None = None
    content = _in_json(entry.resource)
    name = reference_of(type_name, entry.resource.get("id"))
    if content is None:
        problem: ReadProblem | None = ReadProblem(_RECORD, name, _NESTED)
    else:
        resource, problem = read_one(content, _RECORD)
    if resource is not None:
        resource.full_url = entry.full_url or None
    if problem is not None:
        problems.append(problem)
    for element, expected in found:
        what = f"{element} {expected}" if element else expected
        if problem is None:
            way_out = "What the rules can read of it was used. Correct the element."
        else:
            way_out = "The resource was left out and not checked. Correct the element and send it again."
        issues.append(
            Issue(
                "warning" if problem is None else "error",
                "required" if "required" in expected else "invalid",
                f"{name}: {what}. {way_out}",
                f"{at}.{element}" if element else at,
            )
        )
    if problem is not None and not found:
        why = english().reason(problem.reason)
        issues.append(Issue("error", "invalid", f"{name}: {why}. Send it again corrected.", at))
    return resource


def _left_aside(resource: Json, problems: list[ReadProblem]) -> Entry:
    """What is entered in the ledger of a resource that became no record."""
    type_name = resource.get("resourceType")
    if problems:
        return unreadable(_RECORD, problems[0].ref, problems[0].reason)
    return of_other_type(_RECORD, type_name, reference_of(type_name, resource.get("id")))


def _is_fhir(type_name: str) -> bool:
    if type_name in _READ:
        return True
    try:
        get_fhir_model_class(type_name)
    except Exception:  # the name is the sender's, and becomes the name of a module
        return False
    return True


_NESTED = because("left-out.fault", fault=because("left-out.nested"))


def _in_json(resource: Json) -> bytes | None:
    """A resource as JSON again; None for one that is nested deeper than can be written."""
    try:
        return orjson.dumps(resource)
    except TypeError:
        return None


def _event(parameters: Parameters, drafts: list[Json]) -> str:
    if parameters.event:
        if parameters.event not in HOOKS:
            raise BadRequest(
                f"The parameter “event” must be one of {', '.join(HOOKS)}.", "Parameters.parameter", "value"
            )
        return parameters.event
    return DRAFTED if any(d.get("resourceType") == "MedicationRequest" for d in drafts) else CHART


def _as_of(parameters: Parameters, zone: tzinfo) -> datetime | None:
    if not parameters.as_of:
        return None
    moment = read_moment(parameters.as_of, zone)
    # At the ends of the calendar no rule could count days.
    if moment is None or not _YEARS[0] <= moment.at.year <= _YEARS[1]:
        raise BadRequest(
            "The parameter “asOf” must be a dateTime that exists, such as 2026-11-20T10:00:00Z.",
            "Parameters.parameter",
            "value",
        )
    return moment.at.astimezone(zone)


def _gathered(
    unavailable: frozenset[str],
    records: list[Resource],
    problems: list[ReadProblem],
    aside: list[Entry],
    *,
    partial: bool,
) -> Gathered:
    """A Bundle is the whole record unless the sender says what it leaves out."""
    sources = {
        key: SourceData(
            "unavailable" if key in unavailable else "incomplete" if partial else "complete", [], []
        )
        for key in QUERIES
    }
    state = sources[_RECORD].state
    sources[_RECORD] = SourceData(state, records, problems, aside)
    return Gathered(sources)
