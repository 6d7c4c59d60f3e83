"""Which drug belongs to which class, and what follows for it."""

from __future__ import annotations

from functools import cache

from msgspec.structs import replace

from service.alerts.knowledge.class_effects import InteractionClass, defined_classes
from service.alerts.knowledge.drugs import drugs


@cache
def classes() -> dict[str, InteractionClass]:
    """Every class by id, in the order of the data file, with its members."""
    return {group.id: _with_members(group) for group in defined_classes()}


def _with_members(group: InteractionClass) -> InteractionClass:
    members = {drug_id: drug for drug_id, drug in drugs().items() if group.id in drug.classes}
    return replace(
        group,
        drugs=tuple(members),
        severity_of={i: d.severity[group.id] for i, d in members.items() if group.id in d.severity},
        parenteral_critical=tuple(i for i, d in members.items() if group.id in d.parenteral_critical),
        unconfirmed=tuple(i for i, d in members.items() if group.id in d.unconfirmed),
    )


@cache
def _classes_of() -> dict[str, tuple[InteractionClass, ...]]:
    found: dict[str, tuple[InteractionClass, ...]] = {}
    for group in classes().values():
        for drug_id in group.drugs:
            found[drug_id] = (*found.get(drug_id, ()), group)
    return found


def classes_of(drug_id: str) -> tuple[InteractionClass, ...]:
    """Classes a drug belongs to."""
    return _classes_of().get(drug_id, ())


@cache
def _class_ids() -> dict[str, frozenset[str]]:
    return {drug_id: frozenset(c.id for c in groups) for drug_id, groups in _classes_of().items()}


_NO_CLASS: frozenset[str] = frozenset()


def has_class(drug_id: str, class_id: str) -> bool:
    """True when the drug belongs to the class."""
    return class_id in _class_ids().get(drug_id, _NO_CLASS)


@cache
def _alerting() -> dict[str, tuple[InteractionClass, ...]]:
    found = {drug_id: tuple(c for c in groups if c.finding) for drug_id, groups in _classes_of().items()}
    return {drug_id: groups for drug_id, groups in found.items() if groups}


def alerting_classes_of(drug_id: str) -> tuple[InteractionClass, ...]:
    """Classes of a drug that raise a finding of their own beside clozapine."""
    return _alerting().get(drug_id, ())


@cache
def onset_days(drug_id: str, class_id: str) -> int:
    """Days until a drug's effect on the clozapine level is full."""
    own = drugs()[drug_id].onset_days
    return classes()[class_id].onset_days if own is None else own


@cache
def offset_days(drug_id: str, class_id: str) -> int:
    """Days after the last dose until a drug's effect on the clozapine level is gone."""
    own = drugs()[drug_id].offset_days
    return classes()[class_id].offset_days if own is None else own


@cache
def longest_offset_days() -> int:
    """The most of :func:`offset_days` of all drugs."""
    of_drugs = (d.offset_days for d in drugs().values() if d.offset_days is not None)
    return max((*of_drugs, *(c.offset_days for c in classes().values())))
