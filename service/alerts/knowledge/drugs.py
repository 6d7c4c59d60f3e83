"""Drugs: one record each with its names, ATC codes and classes (``knowledge/drugs.toml``).

The loader refuses what cannot be meant: a class nobody defined, a drug without class or code and without a reason, a name of two drugs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import cache

import msgspec
from msgspec import Struct

from service.alerts.knowledge.class_effects import defined_classes
from service.alerts.knowledge.data_file import KnowledgeError, load
from service.alerts.say.finding import Severity


class Drug(Struct, frozen=True, forbid_unknown_fields=True):
    """One drug, as the data file holds it."""

    #: Ids of ``interactions.toml``.
    classes: tuple[str, ...] = ()
    #: Names besides the id: brands, other spellings, other languages.
    names: tuple[str, ...] = ()
    #: ATC codes for systemic use, single and in combinations.
    atc: tuple[str, ...] = ()
    #: Why no card is drawn for it, though it is in classes that other rules ask for.
    no_card: str = ""
    #: Why there is no class, or no ATC code.
    no_class: str = ""
    no_atc: str = ""
    #: Classes whose membership was not read in a stored source.
    unconfirmed: tuple[str, ...] = ()
    #: Class -> severity, instead of the class's default.
    severity: dict[str, Severity] = {}
    #: Class -> severity under a policy of the region ``eu``, for the drug's own sake.
    severity_eu: dict[str, Severity] = {}
    #: Classes that the region of a policy does not raise: the drug is no member for whose sake the region forbids the class.
    unraised: tuple[str, ...] = ()
    #: Classes that are critical when the drug is given by injection.
    parenteral_critical: tuple[str, ...] = ()
    #: Of equally severe classes these lead, in this order; needed where a drug is in several that alert.
    lead: tuple[str, ...] = ()
    #: Classes of which, as long as they are information only, nothing is said at an order.
    visits_only: tuple[str, ...] = ()
    #: Classes that are told at visits only (``InteractionClass.visits_only``), but for this drug at an order, too.
    speaks_at_orders: tuple[str, ...] = ()
    #: It is sold as an oily injection only: an injection of it is a depot, whatever it is called.
    depot_by_injection: bool = False
    #: Days until its effect on the clozapine level is full, and until it is gone after the last dose, instead of the class's.
    onset_days: int | None = None
    offset_days: int | None = None
    #: Words in a product's name beside which it is as quiet as ``severity`` says; alone it is as severe as its class.
    quiet_beside: tuple[str, ...] = ()
    #: What is true of this drug alone, a sentence.
    note: str = ""


@cache
def drugs() -> dict[str, Drug]:
    """Every drug by id, in alphabetical order. Raises KnowledgeError for a record that cannot be meant."""
    try:
        found = msgspec.convert(load("drugs.toml"), dict[str, Drug])
    except msgspec.ValidationError as error:
        raise KnowledgeError(f"drugs.toml: {error}") from error
    known = tuple(c.id for c in defined_classes())
    told = frozenset(c.id for c in defined_classes() if c.finding)
    for wrong in wrong_drugs(found, known, told):
        raise KnowledgeError(f"drugs.toml: {wrong}")
    return dict(sorted(found.items()))


def wrong_drugs(
    found: Mapping[str, Drug], known: Sequence[str], told: frozenset[str] = frozenset()
) -> Iterator[str]:
    """Sentences on records that cannot be meant.

    Args:
        found: drug id -> record.
        known: ids of the classes that are defined.
        told: those of them that raise a finding.
    """
    owner: dict[str, str] = {}
    for drug_id, drug in found.items():
        named = (
            *drug.unconfirmed, *drug.severity, *drug.severity_eu, *drug.unraised, *drug.parenteral_critical, *drug.lead, *drug.visits_only,
            *drug.speaks_at_orders,
        )  # fmt: skip
        for class_id in (*drug.classes, *named):
            if class_id not in known:
                near = get_close_matches(class_id, known, 1)
                yield f"{drug_id}: {class_id!r} is no class{f', expected {near[0]!r}' if near else ''} (interactions.toml)"
            elif class_id not in drug.classes:
                yield f"{drug_id}: {class_id!r} is not among its own classes"
        if bool(drug.classes) == bool(drug.no_class):
            near = get_close_matches(drug_id, [d for d in found if d != drug_id], 1)
            expected = f"; is {near[0]!r} meant?" if near else ""
            yield f"{drug_id}: expected classes, or no_class with the reason why it has none{expected}"
        if len(told.intersection(drug.classes)) > 1 and not drug.lead:
            yield f"{drug_id}: it is in several classes that alert; expected lead, the one that matters most first"
        if bool(drug.atc) == bool(drug.no_atc):
            yield f"{drug_id}: expected atc codes, or no_atc with the reason why it has none"
        for name in (drug_id, *drug.names):
            if (other := owner.setdefault(name.lower(), drug_id)) != drug_id:
                yield f"{drug_id}: the name {name!r} is one of {other!r}, too; a name leads to one drug"
            elif name is not drug_id and name.lower() == drug_id:
                yield f"{drug_id}: the name {name!r} is its id"
    used = {class_id for drug in found.values() for class_id in drug.classes}
    for class_id in known:
        if class_id not in used:
            yield f"class {class_id!r} has no drug"


@cache
def drug_ids() -> tuple[str, ...]:
    """Every drug the service knows by name, in alphabetical order."""
    return tuple(drugs())


def names_of(drug_id: str) -> tuple[str, ...]:
    """The names a drug is recognised by, the generic one first."""
    generic = drug_id.replace("-", " ")
    return (generic, *drugs()[drug_id].names)
