"""Bytes to resources: a whole Bundle at once when it is sound, entry by entry when it is not."""

from __future__ import annotations

import re

import msgspec
from msgspec import Raw, Struct

from service.alerts.facts import ReadProblem
from service.fhir.resources import AnyResource, Bundle, OperationOutcome, Peek, RawBundle, RawEntry, Resource

#: What a prefetch value or a page is when it is sound. In a union the resourceType is required: an object without one is not an empty Bundle.
Value = Bundle | AnyResource
_value = msgspec.json.Decoder(Value)
_raw_bundle = msgspec.json.Decoder(RawBundle | OperationOutcome)
_raw_entry = msgspec.json.Decoder(RawEntry)
_resource = msgspec.json.Decoder(AnyResource)
_peek = msgspec.json.Decoder(Peek)
_KNOWN = frozenset(t.__struct_config__.tag for t in AnyResource.__args__)
_ID = re.compile(r"^[A-Za-z0-9\-.]{1,64}$")
#: Severities of an OperationOutcome that do not mean that data are missing; anything else may.
HARMLESS = frozenset({"warning", "information", "success"})
#: Entries of one Bundle that are read at most; more are not a patient's chart.
MAX_ENTRIES = 10_000
_BAD_JSON = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)


class Decoded(Struct):
    """What a prefetch value or a page held."""

    resources: list[Resource]
    problems: list[ReadProblem]
    next_link: str = ""
    #: An OperationOutcome took the place of the data: the query failed (P3).
    failed: bool = False
    #: Something inside could not be read, or an outcome inside reports an error.
    partial: bool = False


def reference_of(type_name: object, resource_id: object) -> str:
    """``Type/id`` if both are well formed; what a client sends in their place is never repeated."""
    if not isinstance(type_name, str) or not _ID.match(type_name):
        return ""
    return (
        f"{type_name}/{resource_id}" if isinstance(resource_id, str) and _ID.match(resource_id) else type_name
    )


def _at_fault(error: Exception) -> str:
    """The element a decoder complained about, without values."""
    match = re.search(r"`\$\.?([A-Za-z0-9_.\[\]]*)`$", str(error))
    where = re.sub(r"\[\.\.\.\]|\[\d*\]", "", match.group(1)) if match else ""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return f"the element {where} has the wrong type" if where else "it is not a FHIR resource in JSON"


def read_one(raw: Raw | bytes, source: str) -> tuple[Resource | None, ReadProblem | None]:
    """One resource; (None, None) for a type the service does not use, (None, problem) for one it cannot read."""
    try:
        return _resource.decode(raw), None
    except _BAD_JSON as error:
        try:
            peek = _peek.decode(raw)
        except _BAD_JSON:
            return None, ReadProblem(source, "", "an entry is not a JSON object")
        if isinstance(peek.resourceType, str) and peek.resourceType not in _KNOWN:
            return None, None
        reference = reference_of(peek.resourceType, peek.id)
        return None, ReadProblem(source, reference, f"left out: {_at_fault(error)}")


def source_left_out(source: str, error: Exception) -> ReadProblem:
    """What is said of a source whose reading failed as a whole."""
    return ReadProblem(
        source, "", f"not read: this service failed on it ({type(error).__name__}); tell its operators"
    )


def left_out(resource: Resource, source: str, error: Exception) -> ReadProblem:
    """What is said of a resource that nobody expected to look like this: it must cost itself, never the call."""
    reference = reference_of(type(resource).__name__, resource.id)
    return ReadProblem(
        source, reference, f"left out: this service failed on it ({type(error).__name__}); tell its operators"
    )


def _outcome_failed(outcome: OperationOutcome) -> bool:
    issues = outcome.issue if isinstance(outcome.issue, list) else []
    severities = {str(i.get("severity")) for i in issues if isinstance(i, dict)}
    return not severities or not severities <= HARMLESS


def read_value(raw: Raw | bytes, source: str) -> Decoded:
    """A prefetch value or a page of a search: a Bundle, one resource, or an OperationOutcome."""
    try:
        value = _value.decode(raw)
    except _BAD_JSON:
        return _read_carefully(raw, source)
    return sound(value, source)


def sound(value: Value, source: str) -> Decoded:
    """As :func:`read_value`, of a value that was read already."""
    if not isinstance(value, Bundle):
        return _failed_query(source) if isinstance(value, OperationOutcome) else Decoded([value], [])
    entries = value.entry or ()
    if len(entries) > MAX_ENTRIES:
        return _too_many(source)
    decoded = Decoded([], [])
    resources = decoded.resources
    for entry in entries:
        resource = entry.resource
        if resource is None:
            continue
        if type(resource) is OperationOutcome:
            decoded.partial = decoded.partial or _outcome_failed(resource)
        else:
            resources.append(resource)
    if value.link:
        _note_next(decoded, value)
    return decoded


def read_orders(raw: Raw | bytes, source: str) -> Decoded:
    """The orders of a hook's context: as :func:`read_value`, but an order without an id is known by its entry's fullUrl."""
    decoded = read_value(raw, source)
    if None not in [r.id for r in decoded.resources]:
        return decoded
    careful = _read_carefully(raw, source)
    return careful if len(careful.resources) >= len(decoded.resources) else decoded


def last_part(reference: str) -> str:
    """The id in a reference or URL: ``MedicationRequest/1``, ``…/MedicationRequest/1/_history/2``, ``urn:uuid:…`` or the bare id."""
    return reference.partition("/_history/")[0].rsplit("/", 1)[-1].removeprefix("urn:uuid:")


def _note_next(decoded: Decoded, bundle: Bundle | RawBundle) -> None:
    for link in bundle.link or ():
        if link.relation == "next" and link.url:
            decoded.next_link = link.url


def _read_carefully(raw: Raw | bytes, source: str) -> Decoded:
    decoded = Decoded([], [])
    try:
        bundle = _raw_bundle.decode(raw)
    except _BAD_JSON as error:
        return _read_single(raw, source, error)
    if isinstance(bundle, OperationOutcome):
        return _failed_query(source)
    if len(bundle.entry or ()) > MAX_ENTRIES:
        return _too_many(source)
    _note_next(decoded, bundle)
    for raw_entry in bundle.entry or ():
        if bytes(raw_entry) == b"null":
            continue
        try:
            entry = _raw_entry.decode(raw_entry)
        except _BAD_JSON:
            decoded.problems.append(ReadProblem(source, "", "an entry is not a JSON object"))
            decoded.partial = True
            continue
        if not len(entry.resource):
            continue
        resource, problem = read_one(entry.resource, source)
        if resource is not None and resource.id is None and isinstance(entry.fullUrl, str):
            resource.id = last_part(entry.fullUrl) or None
        if problem is not None:
            decoded.problems.append(problem)
            decoded.partial = True
        elif isinstance(resource, OperationOutcome):
            decoded.partial = decoded.partial or _outcome_failed(resource)
        elif resource is not None:
            decoded.resources.append(resource)
    return decoded


def _too_many(source: str) -> Decoded:
    """Reading a part of it could leave out the result that matters, so none of it is read, and the card says so."""
    return Decoded(
        [],
        [ReadProblem(source, "", f"its Bundle has more than {MAX_ENTRIES} entries and was not read")],
        failed=True,
    )


def _failed_query(source: str) -> Decoded:
    return Decoded(
        [],
        [ReadProblem(source, "", "the client's query failed (OperationOutcome)", matters=False)],
        failed=True,
    )


def _read_single(raw: Raw | bytes, source: str, error: Exception) -> Decoded:
    """Not a readable Bundle: one resource, an outcome, or something that is not FHIR."""
    decoded = Decoded([], [])
    try:
        type_name = _peek.decode(raw).resourceType
    except _BAD_JSON:
        type_name = None
    if not isinstance(type_name, str) or type_name == "Bundle":
        what = (
            f"its Bundle cannot be read: {_at_fault(error)}"
            if type_name == "Bundle"
            else "it is neither a resource nor a Bundle"
        )
        decoded.failed = True
        decoded.problems.append(ReadProblem(source, "", what))
        return decoded
    resource, problem = read_one(raw, source)
    if isinstance(resource, OperationOutcome):
        decoded.failed = True
        decoded.problems.append(
            ReadProblem(source, "", "the client's query failed (OperationOutcome)", matters=False)
        )
    elif resource is not None:
        decoded.resources.append(resource)
    elif problem is not None:
        decoded.problems.append(problem)
        decoded.partial = True
    else:
        decoded.failed = True
        decoded.problems.append(
            ReadProblem(source, "", "it holds another type of resource than was asked for")
        )
    return decoded
