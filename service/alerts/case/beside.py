"""What a medication does beside clozapine as it is given: by its form and route, and whatever else the patient takes.

It is asked before anything is known of the patient, so that what could not be read is said where it could hide a warning: eye drops and
shampoos reach no clozapine, and beside a blood pressure tablet clozapine is a line of information.
"""

from __future__ import annotations

from service.alerts.facts.patient import Medication
from service.alerts.knowledge.class_effects import InteractionClass
from service.alerts.knowledge.classes import alerting_classes_of, has_class
from service.alerts.knowledge.drugs import drugs
from service.alerts.say.finding import SEVERITY_RANK, Severity, worst

_WARNING = SEVERITY_RANK["warning"]


def applies(group: InteractionClass, drug_id: str, medication: Medication) -> bool:
    """Whether a class speaks of a drug as it is given here."""
    if group.long_acting_only and not is_depot(drug_id, medication):
        return False
    return not (group.not_beside and any(has_class(d, group.not_beside) for d in medication.drugs))


def is_depot(drug_id: str, medication: Medication) -> bool:
    """A long-acting injection: by its name, or because the drug is sold as no other injection."""
    return medication.long_acting or (medication.parenteral and drugs()[drug_id].depot_by_injection)


def base_severity(group: InteractionClass, drug_id: str) -> Severity:
    """How severe a class is for one of its drugs, unless something of the patient raises it."""
    return group.severity_of.get(drug_id, group.severity["default"])


def worst_severity(group: InteractionClass, drug_id: str) -> Severity:
    """How severe a class can be for one of its drugs, whatever the patient, the policy and the injection."""
    own = drugs()[drug_id]
    found = [base_severity(group, drug_id), *own.severity_eu.values()]
    found += [
        s for condition, s in group.severity.items() if condition != "eu" or group.id not in own.unraised
    ]
    if drug_id in group.parenteral_critical:
        found.append("critical")
    return worst(*found)


def warned_of(medication: Medication) -> tuple[tuple[str, InteractionClass], ...]:
    """(drug, class) of a medication that warn beside clozapine, the most severe first; none for what stays where it is put.

    Also those that are information as a rule and critical for some patient: in titration, beside another drug, under another policy.
    """
    if not medication.systemic:
        return ()
    found = [
        (_warns(group, drug_id), drug_id, group)
        for drug_id in medication.drugs
        for group in alerting_classes_of(drug_id)
        if applies(group, drug_id, medication)
    ]
    found = [one for one in found if one[0] >= _WARNING]
    found.sort(key=lambda one: -one[0])
    return tuple((drug_id, group) for _, drug_id, group in found)


def _warns(group: InteractionClass, drug_id: str) -> int:
    """The rank of a class for a drug; at least a warning where it can be critical."""
    base = SEVERITY_RANK[base_severity(group, drug_id)]
    return max(base, _WARNING) if worst_severity(group, drug_id) == "critical" else base
