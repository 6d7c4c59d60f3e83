"""What an integration engine sends: a Bundle or one resource, parted by the patient it is of; each entry is answered for.

Engines make Bundles of HL7 v2 messages, and few follow FHIR's rules for them: an entry that cannot be used costs itself. The ids of a
Bundle's own Patient mean something only where they are the EHR's: the registry knows patients by those.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from typing import Any, Literal

import orjson
from msgspec import Struct

from cds_hooks.limits import MAX_NESTING, nested_deeper_than
from service.fhir.decode import read_one
from service.fhir.references import Target, base_of, is_id, read_reference
from service.fhir.resources import AnyResource, Patient
from service.fhir.subjects import subject_of
from service.fhir.times import read_moment

Json = dict[str, Any]
Fate = Literal["taken", "irrelevant", "not understood", "unknown patient"]
#: R4 bundle.html, "Bundle.type"; a document is not a delivery of results.
BUNDLES = ("transaction", "batch", "collection", "message", "history", "searchset")
#: Bundles that are answered entry by entry.
ANSWERED = {"transaction": "transaction-response", "batch": "batch-response"}
MOST_ENTRIES = 2_000
_READ = frozenset(str(t.__struct_config__.tag) for t in AnyResource.__args__)
_VERSION_DIGITS = 9
log = logging.getLogger("service.results")


class NotADelivery(ValueError):
    """What was sent is no delivery of results; the message says what is expected."""


class Part(Struct):
    """One entry of a delivery.

    Args:
        index: its place in the Bundle.
        fate: what becomes of it, as far as the delivery alone tells.
        why: why it is not taken, in a sentence without anything of the record.
        ref: ``Type/id``.
        patient_id: whose it is; empty where nobody can tell.
        resource: as it is kept; None for one that was deleted.
        version: ``meta.versionId`` where that is a number.
        updated: ``meta.lastUpdated``.
    """

    index: int
    fate: Fate = "taken"
    why: str = ""
    ref: str = ""
    patient_id: str = ""
    resource: Json | None = None
    version: int | None = None
    updated: datetime | None = None


class Delivery(Struct):
    """A delivery, read.

    Args:
        type: of the Bundle; empty for a single resource.
        parts: one for each entry.
    """

    type: str
    parts: list[Part]


def read_delivery(body: bytes, own_bases: Collection[str] = ()) -> Delivery:
    """A Bundle of results, or a single resource.

    Args:
        body: JSON.
        own_bases: addresses of the site's own FHIR servers; an absolute reference to another server is a stranger's.

    Raises NotADelivery.
    """
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise NotADelivery("The body is not valid JSON, or is nested too deeply.") from None
    if not isinstance(content, dict) or not isinstance(content.get("resourceType"), str):
        raise NotADelivery(
            "A FHIR R4 Bundle or a single resource is expected, as a JSON object with a resourceType."
        )
    own = frozenset(base_of(base) for base in own_bases)
    if content["resourceType"] != "Bundle":
        return Delivery("", [_read_part(0, {"resource": content}, {}, own)])
    kind = content.get("type")
    if kind == "document":
        raise NotADelivery("Bundle.type document is not taken: send the results that it speaks of.")
    if kind not in BUNDLES:
        raise NotADelivery(f"Bundle.type must be one of {', '.join(BUNDLES)}.")
    entries = content.get("entry", [])
    if not isinstance(entries, list):
        raise NotADelivery("Bundle.entry must be a list.")
    if len(entries) > MOST_ENTRIES:
        raise NotADelivery(f"At most {MOST_ENTRIES} entries are taken in one Bundle; send it in parts.")
    named = _named(entries)
    return Delivery(kind, [_read_part(index, entry, named, own) for index, entry in enumerate(entries)])


def _named(entries: list[Any]) -> dict[str, str]:
    """``fullUrl`` that is a URN -> the patient's id, where the entry is a Patient with the EHR's id."""
    found = {}
    for entry in entries:
        if not isinstance(entry, dict) or not isinstance(entry.get("resource"), dict):
            continue
        resource, url = entry["resource"], entry.get("fullUrl")
        identifier = resource.get("id")
        if resource.get("resourceType") == "Patient" and isinstance(identifier, str) and isinstance(url, str):
            found[read_reference(url).text] = identifier
    return found


def _read_part(index: int, entry: Any, named: dict[str, str], own: frozenset[str]) -> Part:
    """An entry costs itself, whatever its reading raises: an engine that gets no answer sends all of it again, for ever."""
    try:
        return _part(index, entry, named, own)
    except Exception as error:
        log.error("an entry of a delivery could not be read: %s", type(error).__name__)
        return Part(index, "not understood", "It could not be read.")


def _part(index: int, entry: Any, named: dict[str, str], own: frozenset[str]) -> Part:
    if not isinstance(entry, dict):
        return Part(index, "not understood", "An entry must be an object with a resource.")
    request = entry.get("request")
    asked = request if isinstance(request, dict) else {}
    if asked.get("method") == "DELETE":
        target = read_reference(asked.get("url") if isinstance(asked.get("url"), str) else "")
        if not target.local or not is_id(target.id):
            return Part(index, "not understood", "A DELETE needs the url Type/id.")
        return Part(index, ref=target.local)
    resource = entry.get("resource")
    if not isinstance(resource, dict):
        return Part(index, "not understood", "An entry must be an object with a resource.")
    kind = resource.get("resourceType")
    if not isinstance(kind, str):
        return Part(index, "not understood", "The resource has no resourceType.")
    if kind not in _READ or kind == "Patient":
        return Part(index, "irrelevant", "No rule reads resources of this type.")
    if _is_deep(resource):
        return Part(
            index, "not understood", f"The resource is nested more than {MAX_NESTING} objects and lists deep."
        )
    kept = {**resource, "id": _id_of(resource)}
    read, problem = read_one(orjson.dumps(kept), "counts")
    part = Part(index, ref=f"{kind}/{kept['id']}", resource=kept)
    if read is None or problem is not None or type(read) is Patient:
        part.fate, part.why = "not understood", "The resource is not valid FHIR R4 where a rule must read it."
        return part
    _stamp(part, resource)
    subject = subject_of(read)
    target = read_reference(subject.reference if subject is not None else None)
    part.patient_id = _patient(target, named, own)
    if not part.patient_id:
        part.fate = "unknown patient"
        part.why = (
            "The reference of its subject names no patient of this site: Patient/id with the EHR's own id is expected."
            if subject is not None
            else "It names no subject."
        )
        return part
    # In the registry a patient has one name, whatever the Bundle calls him.
    element = "patient" if "patient" in kept and "subject" not in kept else "subject"
    kept[element] = {"reference": f"Patient/{part.patient_id}"}
    return part


def _is_deep(resource: Json) -> bool:
    try:
        return nested_deeper_than(orjson.dumps(resource), MAX_NESTING)
    except orjson.JSONEncodeError:  # deeper than can be written
        return True


def _patient(target: Target, named: dict[str, str], own: frozenset[str]) -> str:
    if target.form == "urn":
        found = named.get(target.text, "")
    elif target.type != "Patient" or (target.form == "absolute" and target.base not in own):
        found = ""
    else:
        found = target.id
    return found if is_id(found) else ""


def _id_of(resource: Json) -> str:
    """The resource's id; one without gets a hash of what it says, so that it is known again when it comes twice."""
    identifier = resource.get("id")
    if isinstance(identifier, str) and is_id(identifier):
        return identifier
    return "pushed-" + hashlib.sha256(_canonical(resource)).hexdigest()[:32]


def _canonical(content: Any) -> bytes:
    return orjson.dumps(content, option=orjson.OPT_SORT_KEYS)


def _stamp(part: Part, resource: Json) -> None:
    meta = resource.get("meta")
    if not isinstance(meta, dict):
        return
    version, updated = meta.get("versionId"), meta.get("lastUpdated")
    if isinstance(version, str) and version.isdecimal() and len(version) <= _VERSION_DIGITS:
        part.version = int(version)
    moment = read_moment(updated, UTC) if isinstance(updated, str) else None
    part.updated = moment.at.astimezone(UTC) if moment is not None else None


def by_patient(delivery: Delivery) -> Iterator[tuple[str, list[Part]]]:
    """The parts that are taken, patient by patient; deletions go to whom ``patient_id`` says."""
    found: dict[str, list[Part]] = {}
    for part in delivery.parts:
        if part.fate == "taken" and part.patient_id:
            found.setdefault(part.patient_id, []).append(part)
    yield from found.items()


def key_of(patient_id: str, parts: list[Part]) -> str:
    """What a delivery is known by when it comes again."""
    held = [[p.ref, p.version, p.resource] for p in parts]
    return hashlib.sha256(_canonical([patient_id, held])).hexdigest()


def packed(parts: list[Part]) -> str:
    """The parts of one patient as they are kept."""
    entries = [
        {"ref": p.ref, "version": p.version, "updated": p.updated, "resource": p.resource} for p in parts
    ]
    return orjson.dumps(entries, option=orjson.OPT_UTC_Z).decode()
