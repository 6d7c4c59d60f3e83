"""The trial of clozapine: whether it has had its chance, and what it lacks (clinical.md 2.8)."""

from __future__ import annotations

from datetime import datetime, timedelta

from msgspec import Struct

from service.alerts.case.case import Case
from service.alerts.case.charted import was_charted_as_given
from service.alerts.case.coverage import coverage
from service.alerts.case.level import hours_after_dose, is_trough
from service.alerts.case.ordered_dose import dated_doses
from service.alerts.case.readings import reaches
from service.alerts.case.target import target
from service.alerts.case.trials import AdherenceSource
from service.alerts.facts.patient import Measurement
from service.alerts.say.sentence import Counted, Dose, Listed, Number, Quantity, Sentence, sentence


class ClozapineTrial(Struct, frozen=True):
    """Whether clozapine has had its chance; ``missing`` says what it lacks (phrases), ``unchecked`` what nobody can tell (sentences)."""

    levels: tuple[Measurement, ...]
    missing: tuple[Sentence, ...]
    unchecked: tuple[Sentence, ...]
    #: What shows that it was taken.
    adherence: tuple[AdherenceSource, ...] = ()


def shown_by(sources: tuple[AdherenceSource, ...]) -> Listed:
    """What shows that a drug was taken, as a phrase."""
    return Listed(tuple(sentence(f"adherence.{source}") for source in sources))


def clozapine_trial(case: Case) -> ClozapineTrial:
    """Two troughs of the course a week or more apart and three months since; without levels a dose for three months; adherence."""
    start = case.course.start
    began = case.snapshot.day(start) if start is not None else None
    measured = [
        m
        for m in case.series("clozapine-level")
        if m.at is not None and (began is None or case.snapshot.day(m.at) >= began)
    ]
    troughs = [m for m in measured if is_trough(case, hours_after_dose(case, m))]
    enough = [m for m in troughs if reaches(m, case.policy.levels.adequate.value)]
    missing = _by_level(case, enough, troughs[0] if troughs else None) if measured else _by_dose(case)
    unchecked: list[Sentence] = []
    if len(troughs) < len(measured):
        unchecked.append(
            sentence("clozapine-trial.no-troughs", number=Number(len(measured) - len(troughs), 0))
        )
    rule = case.policy.pathway
    supply = coverage(case)
    shown: list[AdherenceSource] = []
    if supply is not None and supply.percent >= rule.adherence_percent.value:
        shown.append("supply")
    elif supply is not None:
        missing.append(
            sentence(
                "clozapine-trial.adherence",
                percent=Number(rule.adherence_percent.value),
                covered=Number(supply.percent, 0),
            )
        )
    if enough:
        shown.append("levels")
    if _is_charted(case):
        shown.append("chart")
    if not shown:
        unchecked.append(sentence("clozapine-trial.adherence-unknown"))
    elif len(shown) < rule.adherence_sources.value:
        unchecked.append(sentence("clozapine-trial.adherence-one-source", sources=shown_by(tuple(shown))))
    return ClozapineTrial(tuple(enough[:2]), tuple(missing), tuple(unchecked), tuple(shown))


def _is_charted(case: Case) -> bool:
    """A chart shows a dose on so many of the last days as adherence asks for."""
    window = case.policy.supply.adherence_days.value
    since = case.as_of - timedelta(days=window)
    days = {
        case.snapshot.day(m.start)
        for m in case.clozapine_records
        if m.start is not None and m.start >= since and was_charted_as_given(m)
    }
    return 100 * len(days) / window >= case.policy.pathway.adherence_percent.value


def _by_level(case: Case, enough: list[Measurement], newest: Measurement | None) -> list[Sentence]:
    rule, adequate = case.policy.pathway, case.policy.levels.adequate
    level = Quantity(adequate.value, adequate.unit)
    if not enough or enough[0].at is None or enough[-1].at is None:
        return [sentence("clozapine-trial.levels", level=level)]
    missing: list[Sentence] = []
    if newest is not None and newest not in enough:
        # The symptoms of today are those of today's level.
        missing.append(sentence("clozapine-trial.level-again", level=level))
    since = case.days_since(enough[-1].at)
    apart = case.snapshot.day(enough[0].at) - case.snapshot.day(enough[-1].at)
    if apart.days < rule.levels_apart_days.value:
        days = Number(rule.levels_apart_days.value)
        missing.append(sentence("clozapine-trial.second-level", level=level, days=days))
    needed = target(case)[1].value
    if since < needed:
        missing.append(
            sentence("clozapine-trial.days-since-level", days=Counted(int(needed)), so_far=Number(since, 0))
        )
    return missing


def _by_dose(case: Case) -> list[Sentence]:
    rule = case.policy.pathway
    needed = target(case)[1].value
    wanted, days = Dose(rule.dose_without_level.value), Counted(int(needed))
    dose = case.established_mg_per_day
    if dose is None or dose < rule.dose_without_level.value:
        return [sentence("clozapine-trial.level-or-dose", dose=wanted)]
    since = _dose_since(case, rule.dose_without_level.value) or case.course.start
    if since is None:
        return [sentence("clozapine-trial.days-at-dose", days=days, dose=wanted)]
    so_far = case.days_since(since)
    if so_far >= needed:
        return []
    return [sentence("clozapine-trial.days-at-dose-so-far", days=days, dose=wanted, so_far=Number(so_far, 0))]


def _dose_since(case: Case, mg_per_day: float) -> datetime | None:
    """Since when single orders have given at least so much, mg per day; None when no single order does today."""
    since: datetime | None = None
    for at, mg in reversed(dated_doses(case)):
        if mg < mg_per_day:
            break
        since = at
    return since
