"""Patients who are not grown up: the numbers of the policies come from adults (clinical.md 2.7)."""

from __future__ import annotations

from collections.abc import Iterator

from service.alerts.case.case import Case
from service.alerts.rules.asked import when
from service.alerts.say.found import Fact, Found
from service.alerts.say.sentence import Number, sentence


@when("starting")
def under_age(case: Case) -> Iterator[Found]:
    """Clozapine is started in somebody under age: information."""
    age, limit = case.age_years, case.policy.dosing.adult_from_years
    if not case.starting or age is None or age >= limit.value:
        return
    years = Number(age, 0)
    yield Found(
        code="under-age",
        severity="info",
        subject="under-age",
        summary=sentence("under-age.summary", age=years),
        why=(sentence("under-age.age", age=years),),
        policy_says=(sentence("under-age.policy", adult=Number(limit.value, 0)),),
        suggested=(sentence("under-age.specialist"), sentence("under-age.level")),
        evidence=(Fact(f"Patient/{case.snapshot.patient_id}", sentence("under-age.birth-date")),),
        citation=case.policy.cite(limit),
        changes_order=True,
    )


RULES = (under_age,)
