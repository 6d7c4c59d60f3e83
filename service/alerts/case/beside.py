"""What a medication does beside clozapine as it is given: by its form and route, and whatever else the patient takes.

It is asked before anything is known of the patient, so that what could not be read is said where it could hide a warning: eye drops and
shampoos reach no clozapine, and beside a blood pressure tablet clozapine is a line of information.
"""

from __future__ import annotations

from service.alerts.facts.patient import Medication
from service.alerts.knowledge.drugs import InteractionClass, alerting_classes_of, has_class
from service.alerts.say.finding import SEVERITY_RANK, Severity

_WARNING = SEVERITY_RANK["warning"]


def applies(group: InteractionClass, medication: Medication) -> bool:
    """Whether a class speaks of its drugs as they are given here."""
    if group.long_acting_only and not medication.long_acting:
        return False
    return not (group.not_beside and any(has_class(d, group.not_beside) for d in medication.drugs))


def base_severity(group: InteractionClass, drug_id: str) -> Severity:
    """How severe a class is for one of its drugs, unless something of the patient raises it."""
    return group.severity_of.get(drug_id, group.severity["default"])


def warned_of(medication: Medication) -> tuple[tuple[str, InteractionClass], ...]:
    """(drug, class) of a medication that warn beside clozapine, the most severe first; none for what stays where it is put."""
    if not medication.systemic:
        return ()
    found = [
        (SEVERITY_RANK[base_severity(group, drug_id)], drug_id, group)
        for drug_id in medication.drugs
        for group in alerting_classes_of(drug_id)
        if applies(group, medication)
    ]
    found = [one for one in found if one[0] >= _WARNING]
    found.sort(key=lambda one: -one[0])
    return tuple((drug_id, group) for _, drug_id, group in found)
