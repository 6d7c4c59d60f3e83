"""The rules, one module per section of the clinical specification; each exports ``RULES``.

A rule is a pure function ``(Case) -> Iterable[Finding]``. Its name is what a ``data-unavailable`` card shows when it fails;
``@when`` says in which cases it is asked at all.
"""

from service.alerts.asked import Rule
from service.alerts.rules import (
    blood_counts,
    bowel,
    concerns,
    count_bands,
    count_history,
    count_record,
    data_quality,
    dose,
    dose_risk,
    eosinophils,
    heart,
    infection,
    interactions,
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
    supply,
    titration,
    unjudged,
)

RULES: tuple[Rule, ...] = (
    *data_quality.RULES,
    *blood_counts.RULES,
    *count_bands.RULES,
    *count_history.RULES,
    *count_record.RULES,
    *infection.RULES,
    *eosinophils.RULES,
    *missed_doses.RULES,
    *supply.RULES,
    *dose.RULES,
    *titration.RULES,
    *dose_risk.RULES,
    *orders.RULES,
    *interactions.RULES,
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
