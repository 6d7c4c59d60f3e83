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
from service.alerts.facts.ledger import Entry as Entered
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
from service.operation.bundles import head_of
from service.operation.counter import at_the_counter
from service.operation.entries import Entry, as_read, entries_of, patient_of, reference_to, resolve, type_of
from service.operation.filing import RECORD, filed, filed_under
from service.operation.issues import Issue, faults
from service.operation.parameters import IN_QUESTION, Parameters, read_parameters

_READ = frozenset(str(t.__struct_config__.tag) for t in AnyResource.__args__)
_YEARS = (1900, 2999)
_ORDERS = frozenset({"MedicationRequest", "ServiceRequest"})
DRAFTED = "medication-verify"
CHART = "patient-view"

Json = dict[str, Any]


class Asked(Struct, frozen=True):
    """What came over the wire.

    Args:
        body: a Bundle or Parameters.
        patient: id of the patient whom the address names; empty when it names none.
        strict: nothing is checked unless all of it is valid and was read.
    """

    body: bytes
    patient: str = ""
    strict: bool = False


class Place(Struct, frozen=True):
    """Where a resource of the record stands in what was sent."""

    #: FHIRPath.
    at: str
    resource: Resource


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
    #: FHIRPath of the Bundle.
    where: str = "Bundle"
    #: Every resource of the record that was read, with its place.
    places: list[Place] = []


def read_question(asked: Asked, zone: tzinfo) -> Question:
    """The question in a request.

    Args:
        asked: a Bundle (collection, searchset, document or message) or Parameters holding one, and the patient of the address.
        zone: the site's time zone, for an ``asOf`` without a zone.

    Raises BadRequest naming the element, what is expected there and what to do.
    """
    parameters = read_parameters(_json(asked.body))
    where = parameters.bundle_at
    issues: list[Issue] = []
    entries = entries_of(parameters.bundle, where, issues)
    sent_as = resolve(entries)
    head = head_of(parameters.bundle, [e.resource for e in entries])
    if head.unfit:
        raise BadRequest(head.unfit, f"{where}.entry[0].resource.status", "business-rule")
    patient_id = patient_of(parameters, entries, sent_as, asked.patient, head.subject)
    wanted = _wanted(parameters, entries, sent_as) or set(head.orders)
    records: list[Resource] = []
    places: list[Place] = []
    problems: list[ReadProblem] = []
    aside: list[Entered] = []
    drafts, prescriptions = _in_question(parameters, entries, wanted, sent_as)
    partial = _note_pages(parameters.bundle, where, issues, problems)
    for entry in entries:
        told = len(problems)
        resource = _read(entry, where, issues, problems)
        if isinstance(resource, OperationOutcome):
            aside.append(heard(RECORD))
            partial = _note_outcome(entry, where, issues, problems) or partial
            continue
        at, name = f"{where}.entry[{entry.index}].resource", reference_to(entry.resource)
        if resource is not None:
            places.append(Place(at, resource))
        if name in wanted or name in prescriptions or _is_draft(entry.resource):
            continue
        if resource is not None and _is_bystander(entry, entries, patient_id):
            aside.append(of_other_type(filed(resource), "Patient", "Patient"))
        elif resource is not None:
            records.append(resource)
        else:
            aside.append(_left_aside(entry.resource, problems[told:]))
    sound = [draft for draft in drafts if _in_json(draft) is not None]
    if len(sound) < len(drafts):
        problems.append(ReadProblem(DRAFTS, "", _NESTED))
    orders = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": d} for d in sound]}
    return Question(
        patient_id=patient_id,
        event=_event(parameters, drafts),
        as_of=_as_of(parameters, zone),
        gathered=_gathered(parameters.unavailable | head.unknown, records, problems, aside, partial=partial),
        orders=Raw(orjson.dumps(orders)),
        issues=issues,
        sent_as=sent_as,
        where=where,
        places=places,
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


def _wanted(parameters: Parameters, entries: list[Entry], sent_as: dict[str, str]) -> set[str]:
    """References of the orders that the parameter ``order`` names."""
    named = (as_read(name, sent_as) for name in parameters.order_references)
    wanted = {read_reference(name).local or name for name in named}
    if wanted - {reference_to(e.resource) for e in entries}:
        raise BadRequest(
            "The parameter “order” names a resource that is not in the Bundle. Put the MedicationRequest into the Bundle, or send it "
            "as the parameter's resource.",
            "Parameters.parameter",
            "not-found",
        )
    if any(name.partition("/")[0] not in IN_QUESTION for name in wanted):
        raise BadRequest(
            f"The parameter “order” must name a {' or a '.join(IN_QUESTION)}.",
            "Parameters.parameter",
            "value",
        )
    return wanted


def _in_question(
    parameters: Parameters, entries: list[Entry], wanted: set[str], sent_as: dict[str, str]
) -> tuple[list[Json], set[str]]:
    """The orders that are asked about, and references to prescriptions that a dispense in question stands for."""
    orders: list[Json] = []
    prescriptions = {
        reference_to(e.resource): e.resource for e in entries if type_of(e.resource) == "MedicationRequest"
    }
    filled: set[str] = set()
    named = [e.resource for e in entries if reference_to(e.resource) in wanted or _is_draft(e.resource)]
    for resource in (*named, *parameters.order_resources):
        if type_of(resource) != "MedicationDispense":
            orders.append(resource)
            continue
        counter = at_the_counter(resource, prescriptions)
        orders.append(counter.order)
        if counter.prescription:
            filled.add(counter.prescription)
        else:
            own = reference_to(resource)
            sent_as[counter.name] = sent_as.get(own, own)
    # A prescription that is named beside its own dispense is asked about once, as it is handed over.
    return [o for o in orders if not _is_filled(o, orders, filled)], filled


def _is_filled(order: Json, orders: list[Json], filled: set[str]) -> bool:
    name = reference_to(order)
    return name in filled and order is not next(o for o in reversed(orders) if reference_to(o) == name)


def _is_bystander(entry: Entry, entries: list[Entry], patient_id: str) -> bool:
    """Another person beside the patient, as a mother beside her child: nothing of the record is missing for it. One that was merged is none."""
    if type_of(entry.resource) != "Patient" or entry.resource.get("id") == patient_id:
        return False
    own = next((e for e in entries if reference_to(e.resource) == f"Patient/{patient_id}"), None)
    return own is not None and not entry.resource.get("link") and not own.resource.get("link")


def _is_draft(resource: Json) -> bool:
    return type_of(resource) in _ORDERS and resource.get("status") == "draft"


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
            problems.append(ReadProblem(RECORD, "", ONLY_FIRST_PAGE))
            return True
    return False


def _note_outcome(entry: Entry, where: str, issues: list[Issue], problems: list[ReadProblem]) -> bool:
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
    problems.append(ReadProblem(RECORD, "", because("server.sender-query-failed")))
    return True


def _read(entry: Entry, where: str, issues: list[Issue], problems: list[ReadProblem]) -> Resource | None:
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
        names = names_clozapine(type_name, _in_json(entry.resource) or b"", RECORD)
        problems.append(not_read(RECORD, "", because("left-out.not-r4"), names=names))
        return None
    if type_name not in _READ:
        return None
    source = filed_under(type_name)
    found = faults(entry.resource)
    resource: Resource | None = None
    content = _in_json(entry.resource)
    name = reference_of(type_name, entry.resource.get("id"))
    if content is None:
        problem: ReadProblem | None = ReadProblem(source, name, _NESTED)
    else:
        resource, problem = read_one(content, source)
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


def _left_aside(resource: Json, problems: list[ReadProblem]) -> Entered:
    """What is entered in the ledger of a resource that became no record."""
    type_name = resource.get("resourceType")
    if problems:
        return unreadable(problems[0].source, problems[0].ref, problems[0].reason)
    return of_other_type(filed_under(type_name), type_name, reference_of(type_name, resource.get("id")))


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
    aside: list[Entered],
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
    for resource in records:
        sources[filed(resource)].resources.append(resource)
    for problem in problems:
        sources[problem.source if problem.source in sources else RECORD].problems.append(problem)
    sources[RECORD].aside += aside
    return Gathered(sources)
