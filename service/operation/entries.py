"""The entries of the Bundle that holds a record: how they name one another, and whose they are."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from cds_hooks.errors import BadRequest
from service.fhir.references import read_reference
from service.operation.bundles import check_type
from service.operation.issues import Issue
from service.operation.parameters import Parameters

Json = dict[str, Any]


class Entry(Struct):
    """A resource and its place among the entries."""

    index: int
    resource: Json
    full_url: str


def entries_of(bundle: Json, where: str, issues: list[Issue]) -> list[Entry]:
    """The entries that hold a resource; the others are named in ``issues``. Raises BadRequest for a Bundle that is no record."""
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
            text = "The entry holds no resource; what it stands for was not checked. Send it whole."
            issues.append(Issue("warning", "incomplete", text, f"{where}.entry[{index}]"))
            continue
        if not isinstance(resource, dict):
            raise BadRequest(
                "Bundle.entry.resource must be a resource.", f"{where}.entry[{index}].resource", "structure"
            )
        full_url = item.get("fullUrl")
        entries.append(Entry(index, resource, full_url if isinstance(full_url, str) else ""))
    return entries


def type_of(resource: Json) -> str:
    """The resource's type; empty when it names none."""
    type_name = resource.get("resourceType")
    return type_name if isinstance(type_name, str) else ""


def reference_to(resource: Json) -> str:
    """``Type/id``, as the rules name the resource."""
    return f"{type_of(resource)}/{resource.get('id')}"


def resolve(entries: list[Entry]) -> dict[str, str]:
    """Make ``urn:`` references inside the Bundle into ``Type/id``, as the rules read them; gives the way back."""
    known: dict[str, str] = {}
    sent_as: dict[str, str] = {}
    for entry in entries:
        target = read_reference(entry.full_url)
        if target.form != "urn":
            continue
        if not isinstance(entry.resource.get("id"), str):
            entry.resource["id"] = target.id
        known[target.text] = reference_to(entry.resource)
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


def patient_of(
    parameters: Parameters, entries: list[Entry], sent_as: dict[str, str], addressed: str, subject: str
) -> str:
    """id of the patient who is meant.

    Args:
        parameters: may say it.
        entries: of the Bundle.
        sent_as: the way back from references as the rules read them.
        addressed: the patient of the address; empty for none.
        subject: reference to the patient of a document or message; empty for none.

    Raises BadRequest where two are said, or none can be told.
    """
    if parameters.patient:
        name = as_read(parameters.patient, sent_as)
        said = read_reference(name).id or name
        if addressed and said != addressed:
            raise BadRequest(
                "The parameter “patient” names another patient than the address. Leave it out, or ask at its own address.",
                "Parameters.parameter",
                "business-rule",
            )
        return said
    if addressed:
        return addressed
    if subject and (target := read_reference(subject)).type == "Patient" and target.id:
        return target.id
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


def as_read(name: str, sent_as: dict[str, str]) -> str:
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
