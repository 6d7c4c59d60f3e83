"""The rules, one module per section of the clinical specification; each exports ``RULES``.

A rule is a pure function ``(Case) -> Iterable[Finding]``. Its name is what a ``data-unavailable`` card shows when it fails;
``@when`` says in which cases it is asked at all.
"""

from service.alerts.rules import (
    bowel,
    concerns,
    count_history,
    data_quality,
    dose,
    dose_risk,
    eosinophils,
    heart,
    infection,
    interactions,
    interruptions,
    levels,
    metabolic,
    missed_doses,
    monitoring,
    myocarditis,
    orders,
    pathway,
    problems,
    seizures,
    smoking,
    stopped_drugs,
    supply,
    titration,
    undated,
    unjudged,
)
from service.alerts.rules import due_counts as blood_counts
from service.alerts.rules import neutropenia as count_bands
from service.alerts.rules import neutropenia_free as count_record
from service.alerts.rules.asked import Rule

RULES: tuple[Rule, ...] = (
    *data_quality.RULES,
    *blood_counts.RULES,
    *count_bands.RULES,
    *count_history.RULES,
    *count_record.RULES,
    *infection.RULES,
    *eosinophils.RULES,
    *missed_doses.RULES,
    *interruptions.RULES,
    *undated.RULES,
    *supply.RULES,
    *dose.RULES,
    *titration.RULES,
    *dose_risk.RULES,
    *orders.RULES,
    *interactions.RULES,
    *stopped_drugs.RULES,
    *smoking.RULES,
    *monitoring.RULES,
    *bowel.RULES,
    *myocarditis.RULES,
    *heart.RULES,
    *levels.RULES,
    *metabolic.RULES,
    *unjudged.RULES,
    *problems.RULES,
    *concerns.RULES,
    *seizures.RULES,
    *pathway.RULES,
)
