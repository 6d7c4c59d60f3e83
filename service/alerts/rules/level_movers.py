"""What moves the clozapine level at the same time: drugs told in a call, those that go with them, a change of smoking, drugs that have left."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from service.alerts.case.beside import base_severity
from service.alerts.case.case import Case
from service.alerts.case.smoking import SmokingChange
from service.alerts.facts.patient import Medication
from service.alerts.knowledge.classes import alerting_classes_of
from service.alerts.rules.interaction_matches import Match, matches, moves_level
from service.alerts.rules.left_drugs import Left, left_drugs, still_moves
from service.alerts.rules.smoking_change import smoking_here
from service.alerts.say.finding import SEVERITY_RANK

_WARNING = SEVERITY_RANK["warning"]
#: What is told in a call: drugs of one product -> its record and its classes.
Told = Mapping[tuple[str, ...], tuple[Medication, list[Match]]]


class Joined(Struct, frozen=True):
    """A drug of a joint card."""

    medication: Medication
    matches: tuple[Match, ...]
    #: It is told in this call, not only part of what moves the level.
    told: bool


class Joint(Struct, frozen=True):
    """All that moves the level at the same time."""

    drugs: dict[str, Joined]
    #: Smoking was stopped, or begun, lately.
    smoking: SmokingChange | None = None
    #: Inhibitors and inducers that have stopped, or stop with this call.
    left: tuple[Left, ...] = ()


def joint_with(case: Case, best: Told) -> Joint | None:
    """What moves the level together, where one of the drugs is told in this call; None when nothing goes with it."""
    told = {
        m.drug_id: Joined(medication, tuple(found), True)
        for medication, found in best.values()
        for m in found
        if is_mover(m) and SEVERITY_RANK[m.severity] >= _WARNING
    }
    if not told:
        return None
    joined = dict(told)
    for medication in case.other_medications:
        if not medication.systemic:
            continue
        for drug_id in medication.drugs:
            if drug_id in joined or not any(moves_level(c) for c in alerting_classes_of(drug_id)):
                continue
            found = matches(case, drug_id, medication)
            if any(map(is_mover, found)):
                joined[drug_id] = Joined(medication, tuple(found), False)
    smoking = smoking_here(case)
    if smoking is not None and not smoking.stopped and _is_cut(told):
        smoking = None  # it takes nothing from the third of the dose, and has a card of its own
    left = tuple([one for one in left_drugs(case) if still_moves(case, one)]) if case.continuing else ()
    products = {j.medication.drugs for j in joined.values()}
    if len(products) + len(left) + (smoking is not None) < 2:
        return None
    return Joint(joined, smoking, left)


def _is_cut(told: Mapping[str, Joined]) -> bool:
    """A third of the dose is asked for."""
    return any(m.standing == "new" for j in told.values() for m in j.matches)


def is_mover(match: Match) -> bool:
    """The class moves the level enough to be warned of when it is new."""
    group = match.group
    return moves_level(group) and SEVERITY_RANK[base_severity(group, match.drug_id)] >= _WARNING
