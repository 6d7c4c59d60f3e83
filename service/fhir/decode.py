"""Bytes to resources: a whole Bundle at once when it is sound, entry by entry when it is not."""

from __future__ import annotations

import re

import msgspec
from msgspec import Raw, Struct

from service.alerts.facts.ledger import Entry
from service.alerts.facts.patient import ReadProblem
from service.alerts.facts.reason import Reason, because
from service.alerts.knowledge.classes import alerting_classes_of
from service.alerts.knowledge.drug_names import drugs_by_name
from service.alerts.knowledge.hint import hints_at_clozapine
from service.alerts.knowledge.products import product_by_code
from service.alerts.say.language import english
from service.fhir.references import base_of, is_id, read_reference
from service.fhir.resource_types import NAMES_NO_DRUG
from service.fhir.resources import AnyResource, Bundle, OperationOutcome, Peek, RawBundle, RawEntry, Resource

#: What a prefetch value or a page is when it is sound. In a union the resourceType is required: an object without one is not an empty Bundle.
Value = Bundle | AnyResource
_value = msgspec.json.Decoder(Value)
_raw_bundle = msgspec.json.Decoder(RawBundle | OperationOutcome)
_raw_entry = msgspec.json.Decoder(RawEntry)
_resource = msgspec.json.Decoder(AnyResource)
_peek = msgspec.json.Decoder(Peek)
_KNOWN = frozenset(t.__struct_config__.tag for t in AnyResource.__args__)
#: Severities of an OperationOutcome that do not mean that data are missing; anything else may.
HARMLESS = frozenset({"warning", "information", "success"})
#: Issue types (R4 valueset-issue-type) by which data were withheld or not found in time, however mildly it is said.
_WITHHELD = frozenset(
    {
        "suppressed", "incomplete", "security", "login", "unknown", "expired", "forbidden", "timeout", "transient", "throttled",
        "lock-error", "no-store", "exception", "too-costly",
    }
)  # fmt: skip
#: Entries of one Bundle that are read at most; more are not a patient's chart.
MAX_ENTRIES = 10_000
#: Bundles inside a Bundle that are looked into: the searchsets of a batch-response.
_DEEPEST = 2
#: Statuses of an entry by which there is no data (R4 bundle.html, Bundle.entry.response.status).
_REFUSED = re.compile(r"[45]\d\d\b")
#: Lists and objects that are looked through for the name of a drug.
_PARTS_LOOKED_AT = 2000
_BAD_JSON = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)
#: Sources whose records say what somebody takes.
_OF_DRUGS = frozenset({"medications", "statements", "dispenses", "administrations"})
#: Records that say what is planned or given beside other things, and the statuses in which they hold.
_LISTS = frozenset({"CarePlan", "List", "RequestGroup", "RequestOrchestration"})
_IN_FORCE = frozenset({None, "active", "current", "draft", "on-hold", "unknown"})
#: A record whose type begins so is of a drug, in this release of FHIR or in another; these types only describe products.
_DRUG_RECORD = "Medication"
_PRODUCTS = frozenset({"Medication", "MedicationKnowledge"})
_NO_OBJECT = because("left-out.no-object")
_EMPTY_ENTRY = because("left-out.empty-entry")
_QUERY_FAILED = because("server.query-failed")
_ANOTHER_TYPE = because("ledger.another-type")
_UNKNOWN_TYPE = because("ledger.unknown-type")


class Unknown(Struct, frozen=True):
    """An entry of a type that no rule reads."""

    type: str
    id: str
    #: Drugs that its codes and words name, whatever its elements are called.
    drugs: frozenset[str]


class Decoded(Struct):
    """What a prefetch value or a page held."""

    resources: list[Resource]
    problems: list[ReadProblem]
    next_link: str = ""
    #: An OperationOutcome took the place of the data: the query failed (P3).
    failed: bool = False
    #: Something inside could not be read, or an outcome inside reports an error.
    partial: bool = False
    #: Base of the server that a searchset says it comes from (its ``self`` link), see ``references.base_of``.
    server: str = ""
    #: (type, id, names of drugs seen in it) of entries whose type no rule reads.
    unknown: list[Unknown] = []
    #: How many entries there are by ``Bundle.total``, 0 where it does not say, and how many came.
    total: int = 0
    entries: int = 0
    #: One resource stands where a Bundle might.
    alone: bool = False
    #: What came and is not among the resources: outcomes, other types, what could not be read (for the ledger).
    aside: list[Entry] = []


def reference_of(type_name: object, resource_id: object) -> str:
    """``Type/id`` if both are well formed; what a client sends in their place is never repeated."""
    if not isinstance(type_name, str) or not is_id(type_name):
        return ""
    return f"{type_name}/{resource_id}" if isinstance(resource_id, str) and is_id(resource_id) else type_name


def _at_fault(error: Exception) -> Reason:
    """The element a decoder complained about, without values."""
    match = re.search(r"`\$\.?([A-Za-z0-9_.\[\]]*)`$", str(error))
    where = re.sub(r"\[\.\.\.\]|\[\d*\]", "", match.group(1)) if match else ""
    if isinstance(error, RecursionError):
        return because("left-out.nested")
    return because("left-out.wrong-type", element=where) if where else because("left-out.no-resource")


def names_clozapine(type_name: object, raw: Raw | bytes, source: str) -> bool:
    """Whether a record that cannot be read is one of a drug and names clozapine: it may be the only one that does."""
    if isinstance(type_name, str):
        of_a_drug = type_name.startswith(_DRUG_RECORD) and type_name not in _PRODUCTS
    else:
        of_a_drug = source in _OF_DRUGS  # of a type that cannot be told
    return of_a_drug and hints_at_clozapine(bytes(raw))


def not_read(source: str, reference: str, why: Reason, *, names: bool) -> ReadProblem:
    """What is said of a part that could not be read, and of its naming clozapine."""
    said = because("left-out.names-clozapine", why=why) if names else why
    return ReadProblem(source, reference, said, hints=names)


def read_one(raw: Raw | bytes, source: str) -> tuple[Resource | None, ReadProblem | None]:
    """One resource; (None, None) for a type the service does not use, (None, problem) for one it cannot read."""
    try:
        return _resource.decode(raw), None
    except _BAD_JSON as error:
        try:
            peek = _peek.decode(raw)
        except _BAD_JSON:
            return None, ReadProblem(source, "", _NO_OBJECT)
        if isinstance(peek.resourceType, str) and peek.resourceType not in _KNOWN:
            return None, None
        reference = reference_of(peek.resourceType, peek.id)
        names = names_clozapine(peek.resourceType, raw, source)
        return None, not_read(
            source, reference, because("left-out.fault", fault=_at_fault(error)), names=names
        )


def source_left_out(source: str, error: Exception) -> ReadProblem:
    """What is said of a source whose reading failed as a whole."""
    fault = because("left-out.service-failed", error=type(error).__name__)
    return ReadProblem(source, "", because("left-out.source-fault", fault=fault))


def left_out(resource: Resource, source: str, error: Exception) -> ReadProblem:
    """What is said of a resource that nobody expected to look like this: it must cost itself, never the call."""
    reference = reference_of(type(resource).__name__, resource.id)
    fault = because("left-out.service-failed", error=type(error).__name__)
    return ReadProblem(source, reference, because("left-out.fault", fault=fault))


def lost_something(issues: object) -> bool:
    """True when the issues of an OperationOutcome mean that data are missing: by severity, or by what a mere warning says."""
    found = [i for i in issues if isinstance(i, dict)] if isinstance(issues, list) else []
    if not found:
        return True
    return any(str(i.get("severity")) not in HARMLESS or i.get("code") in _WITHHELD for i in found)


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
        return (
            _failed_query(source) if isinstance(value, OperationOutcome) else Decoded([value], [], alone=True)
        )
    entries = value.entry or ()
    if len(entries) > MAX_ENTRIES:
        return _too_many(source, msgspec.json.encode(entries) if source in _OF_DRUGS else b"")
    decoded = Decoded([], [])
    resources = decoded.resources
    for entry in entries:
        resource = entry.resource
        if entry.response is not None:
            _note_refusal(decoded, entry.response, source)
        if resource is None:
            continue
        if type(resource) is OperationOutcome:
            decoded.partial = decoded.partial or lost_something(resource.issue)
            decoded.aside.append(heard(source))
        else:
            resource.full_url = entry.fullUrl
            resources.append(resource)
    if value.link:
        _note_links(decoded, value)
    _note_total(decoded, value)
    return decoded


def read_orders(raw: Raw | bytes, source: str) -> Decoded:
    """The orders of a hook's context: as :func:`read_value`, but an order without an id is known by its entry's fullUrl, and one of a
    type that no rule reads is told."""
    try:
        decoded = sound(_value.decode(raw), source)
    except _BAD_JSON:
        return _read_carefully(raw, source, unknown_too=True)
    whole = len(decoded.resources) + len(decoded.aside) >= decoded.entries
    if whole and None not in [r.id for r in decoded.resources]:
        return decoded
    careful = _read_carefully(raw, source, unknown_too=True)
    return careful if len(careful.resources) >= len(decoded.resources) else decoded


def _unknown(raw: Raw | bytes) -> Unknown:
    """What can be told of a resource of a type no rule reads: a DSTU2 order, a group of orders."""
    peek = _peek.decode(raw)
    reference = reference_of(peek.resourceType, peek.id)
    type_name, _, identifier = reference.partition("/")
    return Unknown(type_name, identifier, _drugs_in(raw))


def _drugs_in(raw: Raw | bytes) -> frozenset[str]:
    """Drugs named by any coding or text inside, of the first so many parts: enough of an order, and bounded."""
    found: set[str] = set()
    stack: list[object] = [msgspec.json.decode(raw)]
    for _ in range(_PARTS_LOOKED_AT):
        if not stack:
            break
        here = stack.pop()
        if isinstance(here, list):
            stack += here
        elif isinstance(here, dict):
            system, code = here.get("system"), here.get("code")
            if isinstance(system, str) and isinstance(code, str):
                product = product_by_code(system, code)
                found |= set(product.drugs) if product is not None else set()
            words = (here.get("display"), here.get("text"))
            found |= {d for word in words if isinstance(word, str) for d in drugs_by_name(word[:500])}
            stack += [v for v in here.values() if isinstance(v, list | dict)]
    return frozenset(found)


def _note_links(decoded: Decoded, bundle: Bundle | RawBundle) -> None:
    for link in bundle.link or ():
        if link.relation == "next" and link.url:
            decoded.next_link = link.url
        elif link.relation == "self" and link.url:
            decoded.server = base_of(link.url.partition("?")[0].rpartition("/")[0])


def _is_bundle(raw: Raw) -> bool:
    try:
        return bool(_peek.decode(raw).resourceType == "Bundle")
    except _BAD_JSON:
        return False


def _merge(decoded: Decoded, inner: Decoded) -> None:
    """Add what a Bundle inside a Bundle held: the answers to a batch of searches come so."""
    decoded.resources += inner.resources
    decoded.problems += inner.problems
    decoded.unknown += inner.unknown
    decoded.aside += inner.aside
    if inner.failed or inner.partial or inner.next_link:
        decoded.partial = True


def _note_refusal(decoded: Decoded, response: object, source: str) -> None:
    """Note an entry of a batch that the server did not answer with data."""
    status = str(response.get("status") or "") if isinstance(response, dict) else ""
    if _REFUSED.match(status):
        decoded.partial = True
        decoded.problems.append(ReadProblem(source, "", because("server.part-failed", status=status[:3])))


def _note_total(decoded: Decoded, bundle: Bundle | RawBundle) -> None:
    decoded.entries = len(bundle.entry or ())
    if isinstance(bundle.total, int):
        decoded.total = bundle.total


def _read_carefully(raw: Raw | bytes, source: str, *, unknown_too: bool = False, nesting: int = 0) -> Decoded:
    decoded = Decoded([], [])
    try:
        bundle = _raw_bundle.decode(raw)
    except _BAD_JSON as error:
        return _read_single(raw, source, error)
    if isinstance(bundle, OperationOutcome):
        return _failed_query(source)
    if len(bundle.entry or ()) > MAX_ENTRIES:
        return _too_many(source, raw)
    _note_links(decoded, bundle)
    _note_total(decoded, bundle)
    for raw_entry in bundle.entry or ():
        if bytes(raw_entry) == b"null":
            continue
        try:
            entry = _raw_entry.decode(raw_entry)
        except _BAD_JSON:
            decoded.problems.append(ReadProblem(source, "", _NO_OBJECT))
            decoded.partial = True
            decoded.aside.append(unreadable(source, "", _NO_OBJECT))
            continue
        if entry.response is not None:
            _note_refusal(decoded, entry.response, source)
        if not len(entry.resource):
            if unknown_too:
                decoded.problems.append(ReadProblem(source, "", _EMPTY_ENTRY))
                decoded.partial = True
                decoded.aside.append(unreadable(source, "", _EMPTY_ENTRY))
            continue
        if nesting < _DEEPEST and _is_bundle(entry.resource):
            inner = _read_carefully(entry.resource, source, unknown_too=unknown_too, nesting=nesting + 1)
            _merge(decoded, inner)
            continue
        resource, problem = read_one(entry.resource, source)
        if resource is not None and isinstance(entry.fullUrl, str):
            resource.full_url = entry.fullUrl
            if resource.id is None:
                resource.id = read_reference(entry.fullUrl).id or None
        if resource is None and problem is None:
            decoded.aside.append(_of_other_type(source, entry.resource))
            if unknown_too:
                decoded.unknown.append(_unknown(entry.resource))
            elif source in _OF_DRUGS:
                problem = _of_another_release(entry.resource, source)
                if problem is not None and not problem.hints:
                    # One order that this service cannot read does not make the list of orders a broken one.
                    decoded.problems.append(problem)
                    continue
        elif problem is not None:
            decoded.aside.append(unreadable(source, problem.ref, problem.reason))
        if problem is not None:
            decoded.problems.append(problem)
            decoded.partial = True
        elif isinstance(resource, OperationOutcome):
            decoded.partial = decoded.partial or lost_something(resource.issue)
            decoded.aside.append(heard(source))
        elif resource is not None:
            decoded.resources.append(resource)
    return decoded


def _of_another_release(raw: Raw | bytes, source: str) -> ReadProblem | None:
    """A record of a type that R4 does not have, such as a MedicationOrder of DSTU2, of clozapine or of a drug that interacts with it; and
    a plan or a list that names clozapine."""
    peek = _peek.decode(raw)
    names = names_clozapine(peek.resourceType, raw, source)
    if peek.resourceType in _LISTS and peek.status in _IN_FORCE and hints_at_clozapine(bytes(raw)):
        # No order of it, and no hint by itself; where a count is low, or an order warns beside it, it is where to look.
        assert peek.resourceType is not None
        why = because("left-out.list-names-clozapine", type=peek.resourceType)
        return ReadProblem(source, reference_of(peek.resourceType, peek.id), why, if_not_known=True)
    if not names and not _names_an_interacting_drug(peek.resourceType, raw):
        return None
    reference = reference_of(peek.resourceType, peek.id)
    type_name = reference.partition("/")[0]
    why = because("left-out.no-record", type=type_name) if type_name else because("left-out.no-record-at-all")
    return not_read(source, reference, why, names=names)


def _names_an_interacting_drug(type_name: object, raw: Raw | bytes) -> bool:
    if not isinstance(type_name, str) or not type_name.startswith(_DRUG_RECORD) or type_name in _PRODUCTS:
        return False
    return any(alerting_classes_of(drug) for drug in _drugs_in(raw))


def _too_many(source: str, raw: Raw | bytes) -> Decoded:
    """Reading a part of it could leave out the result that matters, so none of it is read, and the card says so."""
    why = because("left-out.too-many-entries", most=MAX_ENTRIES)
    problem = not_read(source, "", why, names=names_clozapine(None, raw, source))
    aside = Entry(source, "Bundle", "not understood", "size", english().reason(why))
    return Decoded([], [problem], failed=True, aside=[aside])


def _failed_query(source: str) -> Decoded:
    return Decoded(
        [],
        [ReadProblem(source, "", _QUERY_FAILED, matters=False)],
        failed=True,
        aside=[heard(source)],
    )


def heard(source: str) -> Entry:
    """An OperationOutcome is read for what it says of the data beside it."""
    return Entry(source, "OperationOutcome", "read")


def unreadable(source: str, ref: str, why: Reason) -> Entry:
    """A resource that cannot be read."""
    return Entry(source, ref, "not understood", "form", english().reason(why))


def of_other_type(source: str, type_name: object, ref: str) -> Entry:
    """A resource of a type that no rule reads: irrelevant where the type is known to say nothing of drugs or results."""
    if type_name in NAMES_NO_DRUG:
        return Entry(source, ref, "irrelevant", "another-type", english().reason(_ANOTHER_TYPE))
    return Entry(source, ref, "not understood", "type", english().reason(_UNKNOWN_TYPE))


def _of_other_type(source: str, raw: Raw | bytes) -> Entry:
    peek = _peek.decode(raw)
    return of_other_type(source, peek.resourceType, reference_of(peek.resourceType, peek.id))


def _read_single(raw: Raw | bytes, source: str, error: Exception) -> Decoded:
    """Not a readable Bundle: one resource, an outcome, or something that is not FHIR."""
    decoded = Decoded([], [])
    try:
        type_name = _peek.decode(raw).resourceType
    except _BAD_JSON:
        type_name = None
    if not isinstance(type_name, str) or type_name == "Bundle":
        what = (
            because("left-out.bundle", fault=_at_fault(error))
            if type_name == "Bundle"
            else because("left-out.neither")
        )
        decoded.failed = True
        decoded.problems.append(not_read(source, "", what, names=names_clozapine(None, raw, source)))
        decoded.aside.append(unreadable(source, "", what))
        return decoded
    resource, problem = read_one(raw, source)
    if isinstance(resource, OperationOutcome):
        decoded.failed = True
        decoded.problems.append(ReadProblem(source, "", _QUERY_FAILED, matters=False))
        decoded.aside.append(heard(source))
    elif resource is not None:
        decoded.resources.append(resource)
    elif problem is not None:
        decoded.problems.append(problem)
        decoded.partial = True
        decoded.aside.append(unreadable(source, problem.ref, problem.reason))
    else:
        decoded.failed = True
        decoded.aside.append(_of_other_type(source, raw))
        what = because("left-out.another-type")
        decoded.problems.append(not_read(source, "", what, names=names_clozapine(type_name, raw, source)))
    return decoded
