"""Inhibitors and inducers that have stopped, or stop with this call, and whose effect on the clozapine level still goes on (clinical.md 2.4)."""

from __future__ import annotations

from msgspec import Struct

from service.alerts.case.beside import base_severity
from service.alerts.case.case import Case
from service.alerts.case.together import dose_before_stopped, stop_window_days
from service.alerts.facts.patient import Medication
from service.alerts.knowledge.class_effects import InteractionClass
from service.alerts.knowledge.classes import classes_of, longest_offset_days, offset_days
from service.alerts.say.finding import SEVERITY_RANK, Severity

#: Statuses of drafts that stop nothing by themselves: taken back, or an order not to give the drug.
_NO_STOP = frozenset({"cancelled", "draft", "active", ""})


class Left(Struct, frozen=True):
    """A product that has been stopped, or is stopped by a draft."""

    medication: Medication
    #: Its drugs that move the level, with the class that does.
    groups: dict[str, InteractionClass]

    @property
    def drug_ids(self) -> tuple[str, ...]:
        """Its drugs, in alphabetical order."""
        return tuple(sorted(self.groups))

    @property
    def longest(self) -> str:
        """The drug whose effect lasts longest."""
        return max(self.drug_ids, key=lambda d: offset_days(d, self.groups[d].id))

    @property
    def effect(self) -> str:
        """What the level does now: “lowers” after an inhibitor, “raises” after an inducer."""
        return "lowers" if self.groups[self.longest].effect == "raises" else "raises"

    @property
    def offset_days(self) -> int:
        """Days after the last dose until its effect is gone."""
        return offset_days(self.longest, self.groups[self.longest].id)


def left_drugs(case: Case) -> list[Left]:
    """Every product that has stopped, or stops, and of which there is something to say; each drug once."""
    ended = list(case.stopped_medications(longest_offset_days()))
    ended += [d for d in case.drafts if d.stops and "clozapine" not in d.drugs and not _never_given(case, d)]
    seen: set[str] = set()
    found = []
    for medication in ended:
        if not medication.systemic:
            continue
        groups: dict[str, InteractionClass] = {}
        for drug_id in medication.drugs:
            group = next((c for c in classes_of(drug_id) if c.stopped), None)
            if (
                group is None
                or drug_id in seen
                or (medication.role == "draft" and _goes_on(case, medication, drug_id))
                or (medication.role != "draft" and _is_over(case, medication, drug_id, group))
            ):
                continue
            seen.add(drug_id)
            groups[drug_id] = group
        if groups:
            found.append(Left(medication, groups))
    return found


def still_moves(case: Case, left: Left) -> bool:
    """Its effect on the level still goes on, and its end is worth a warning."""
    over = left.medication.end or case.over_undated(left.medication)
    if left.medication.role != "draft" and (over is None or case.days_since(over) > left.offset_days):
        return False
    return severity_of_stop(case, left) == "warning"


def severity_of_stop(case: Case, left: Left) -> Severity:
    """A warning after what is warned of when it is new, or where the dose of clozapine was changed since it was added; else information."""
    loud = any(
        SEVERITY_RANK[base_severity(group, drug_id)] >= SEVERITY_RANK["warning"]
        for drug_id, group in left.groups.items()
    )
    return "warning" if loud or _is_dose_changed(case, left) else "info"


def _is_dose_changed(case: Case, left: Left) -> bool:
    """The dose of clozapine is another than before the drug, in the direction in which the level moves now."""
    before, now = dose_before_stopped(case, left.longest), case.established_mg_per_day
    if before is None or now is None:
        return False
    return now < before if left.effect == "lowers" else now > before


def _is_over(case: Case, medication: Medication, drug_id: str, group: InteractionClass) -> bool:
    """The effect of the drug was gone before today, and nothing is left to be changed back."""
    over = medication.end or case.over_undated(medication)
    return over is None or case.days_since(over) > stop_window_days(case, drug_id, group.id, medication)


def _never_given(case: Case, draft: Medication) -> bool:
    """A draft taken back before it was signed, or an order not to give a drug: and the record, where it could be read, knows nothing of the drug."""
    if draft.status not in _NO_STOP or case.snapshot.state("medications") != "complete":
        return False
    return not any(set(m.drugs) & set(draft.drugs) for m in case.snapshot.medications)


def _goes_on(case: Case, stop: Medication, drug_id: str) -> bool:
    """Another order of this call, or another record beside the one that is stopped, gives the drug on: a change of dose, no stop."""
    if any(drug_id in d.drugs and d.systemic for d in case.other_drafts):
        return True
    # A stop that names no order may mean any of those on record.
    names_one = any(m.ref in (stop.ref, *stop.replaces) for m in case.snapshot.medications)
    # A statement may only mirror the order that is stopped.
    return names_one and any(
        drug_id in m.drugs and m.systemic and m.role != "statement" for m in case.other_current
    )
