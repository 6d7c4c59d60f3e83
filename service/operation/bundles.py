"""Kinds of Bundle: which are read as a record, and what the first entry of a document or a message says of all others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import Struct

from cds_hooks.errors import BadRequest

#: Read as the record of one patient. A transfer letter or the discharge medicines come as a document, a prescription as a message.
READ = ("collection", "searchset", "document", "message")
_DONE = {
    "batch": "a batch is not carried out here",
    "batch-response": "an answer to a batch is no record",
    "transaction": "a transaction is not carried out here",
    "transaction-response": "an answer to a transaction is no record",
    "history": "a history holds versions of which only the newest is true",
}
#: LOINC code of a section of a document -> prefetch keys of the data it stands for.
_SECTIONS: dict[str, tuple[str, ...]] = {
    "10160-0": ("medications", "statements"),
    "10183-2": ("medications", "statements"),
    "10154-3": ("conditions",),
    "11450-4": ("conditions",),
    "11348-0": ("conditions",),
    "48765-2": ("allergies",),
    "30954-2": ("counts", "labs"),
    "8716-3": ("vitals",),
    "29762-2": ("smoking",),
    "29549-3": ("administrations",),
}
#: ``Section.emptyReason`` by which nobody knows whether there is anything; ``nilknown`` says that there is nothing.
_UNKNOWN = frozenset({"notasked", "withheld", "unavailable", "notstarted", "closed"})
_ORDERS = ("MedicationRequest", "MedicationDispense")
#: Sections lie in sections; more levels than people write are not looked into.
_DEEPEST = 10

Json = dict[str, Any]


class Head(Struct, frozen=True):
    """What a Composition or a MessageHeader says.

    Args:
        subject: the reference to whom it is about; empty where it does not say.
        orders: references to the orders that a message is about.
        unknown: prefetch keys of sections that stand in words alone, or are empty for a reason by which nobody knows whether there is
            anything.
        unfit: why it must not be taken as it is, in a sentence; empty for nearly all.
    """

    subject: str = ""
    orders: tuple[str, ...] = ()
    unknown: frozenset[str] = frozenset()
    unfit: str = ""


def check_type(bundle: Json, where: str) -> None:
    """Refuse a Bundle that is no record. Raises BadRequest."""
    kind = bundle.get("type")
    if kind in READ:
        return
    done = _DONE.get(kind, "") if isinstance(kind, str) else ""
    text = f"Bundle.type must be one of {' or '.join(READ)}{f'; {done}' if done else ''}. Send the patient's record as a collection."
    raise BadRequest(text, f"{where}.type", "value")


def head_of(bundle: Json, resources: Sequence[Json]) -> Head:
    """What the first entry of a document or a message says of the others; nothing for other Bundles."""
    kind = bundle.get("type")
    first = resources[0] if resources else {}
    if kind == "document" and first.get("resourceType") == "Composition":
        status = first.get("status")
        return Head(
            subject=_reference(first.get("subject")),
            unknown=frozenset(_unknown(first.get("section"))),
            unfit="The document was entered in error; its author withdrew it." if status == "entered-in-error" else "",
        )  # fmt: skip
    if kind == "message" and first.get("resourceType") == "MessageHeader":
        focus = first.get("focus")
        named = [_reference(f) for f in focus] if isinstance(focus, list) else []
        by_name = {_name(r): r for r in resources}
        patients = [n for n in named if n.partition("/")[0] == "Patient"]
        orders = [n for n in named if n.partition("/")[0] in _ORDERS and n in by_name]
        return Head(subject=patients[0] if len(patients) == 1 else "", orders=tuple(orders))
    return Head()


def _name(resource: Json) -> str:
    return f"{resource.get('resourceType')}/{resource.get('id')}"


def _reference(node: Any) -> str:
    text = node.get("reference") if isinstance(node, dict) else None
    return text if isinstance(text, str) else ""


def _unknown(sections: Any, depth: int = 0) -> Iterable[str]:
    if not isinstance(sections, list) or depth > _DEEPEST:
        return
    for section in sections:
        if not isinstance(section, dict):
            continue
        empty = _codes(section.get("emptyReason"))
        # What stands in words alone is not read, and must not pass for nothing.
        in_words = (
            not empty and not section.get("entry") and not section.get("section") and section.get("text")
        )
        if in_words or _UNKNOWN.intersection(empty):
            for code in _codes(section.get("code")):
                yield from _SECTIONS.get(code, ())
        yield from _unknown(section.get("section"), depth + 1)


def _codes(concept: Any) -> list[str]:
    codings = concept.get("coding") if isinstance(concept, dict) else None
    listed = codings if isinstance(codings, list) else []
    return [c["code"] for c in listed if isinstance(c, dict) and isinstance(c.get("code"), str)]
