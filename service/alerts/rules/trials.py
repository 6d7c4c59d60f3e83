"""Antipsychotic trials, the trial of clozapine and the response to it, as the record shows them (clinical.md 2.8)."""

from __future__ import annotations

from datetime import datetime, timedelta

from msgspec import Struct

from service.alerts.case.case import Case
from service.alerts.case.coverage import coverage
from service.alerts.case.exposure import Span, span_of
from service.alerts.case.ordered_dose import dated_doses
from service.alerts.facts.patient import Measurement, Medication
from service.alerts.knowledge.drugs import has_class
from service.alerts.rules.levels import hours_after_dose, is_trough
from service.alerts.rules.readings import reaches
from service.alerts.say import wording as w

_ANTIPSYCHOTIC = "antipsychotic"


class Trial(Struct, frozen=True):
    """One antipsychotic as the record shows it."""

    drug: str
    #: The longest time it was taken without a break; None: no record tells how long.
    days: int | None
    #: A record does not tell how long: it may have been longer.
    open_ended: bool
    mg_per_day: float | None
    long_acting: bool
    records: tuple[Medication, ...]


def trials(case: Case) -> list[Trial]:
    """Trials of antipsychotics other than clozapine, longest first; the breaks in between do not count, nor what is only taken as needed."""
    by_drug: dict[str, list[tuple[Medication, Span]]] = {}
    for m in case.snapshot.medications:
        drugs = [d for d in m.drugs if has_class(d, _ANTIPSYCHOTIC)]
        as_needed = m.dose is not None and m.dose.only_as_needed
        span = span_of(m, case.as_of) if drugs and not as_needed else None
        if span is not None:
            for drug in drugs:
                by_drug.setdefault(drug, []).append((m, span))
    found = [_trial(case, drug, given) for drug, given in by_drug.items()]
    return sorted(found, key=lambda t: (-(t.days or 0), t.drug))


def _trial(case: Case, drug: str, given: list[tuple[Medication, Span]]) -> Trial:
    dated: list[tuple[datetime, datetime]] = []
    open_ended = False
    for m, span in given:
        start, end = span.start, span.end
        if start is not None and end <= start and m.days_supply:
            end = min(start + timedelta(days=m.days_supply), case.as_of)
        # A completed order without an end, a dispense of nobody knows how much, or an injection that lasts for weeks.
        vague = (
            start is None
            or end <= start
            or (m.role == "dispense" and not m.days_supply)
            or (m.role == "administration" and m.long_acting)
        )
        open_ended = open_ended or vague
        if start is not None and not vague:
            dated.append((start, end))
    doses = [m.dose.mg_per_day for m, _ in given if m.dose is not None and m.dose.mg_per_day is not None]
    return Trial(
        drug,
        _longest(sorted(dated), timedelta(days=case.policy.pathway.trial_gap_days.value)),
        open_ended,
        max(doses, default=None),
        any(m.long_acting for m, _ in given),
        tuple(m for m, _ in given),
    )


def _longest(spans: list[tuple[datetime, datetime]], gap: timedelta) -> int | None:
    """Days of the longest time without a break beyond ``gap``; spans are in order of their start."""
    longest: int | None = None
    begun = until = None
    for start, end in spans:
        if begun is None or until is None or start - until > gap:
            begun, until = start, end
        until = max(until, end)
        longest = max(longest or 0, (until - begun).days)
    return longest


class Response(Struct, frozen=True):
    """Two scores of one scale and what changed between them."""

    first: Measurement
    now: Measurement
    #: Improvement in % of the distance to the scale's lowest score; negative = worse.
    percent: float
    #: The first score was taken before clozapine, or on its first day.
    before_start: bool

    def line(self, case: Case) -> str:
        """The response as a fact for the card."""
        return (
            f"{self.now.kind.upper()} {w.number(self.first.value)} on {w.day(case.snapshot, self.first.at)}, "
            f"{w.number(self.now.value)} on {w.day(case.snapshot, self.now.at)}: {self.words()}."
            + ("" if self.before_start else " No score from before clozapine: the first one is compared.")
        )

    def words(self) -> str:
        """``15 % better``, ``3 % worse``."""
        return f"{w.number(abs(self.percent), 0)} % {'better' if self.percent >= 0 else 'worse'}"


def response(case: Case) -> Response | None:
    """The newest score under clozapine against the last one before it; None when the record cannot tell."""
    best: Response | None = None
    for scale in case.policy.pathway.scales:
        found = _response(case, case.series(scale.kind), scale.minimum)
        if found is None or found.now.at is None:
            continue
        if best is None or best.now.at is None or found.now.at > best.now.at:
            best = found
    return best


def _response(case: Case, scores: tuple[Measurement, ...], minimum: float) -> Response | None:
    start = case.course.start
    began = case.snapshot.day(start) if start is not None else None
    dated = [(case.snapshot.day(m.at), m) for m in scores if m.at is not None]
    if len(dated) < 2 or (case.today - dated[0][0]).days > case.policy.pathway.score_days.value:
        return None
    day, now = dated[0]
    if began is not None and day <= began:
        return None
    before = next((m for d, m in dated[1:] if began is not None and d <= began), None)
    first = before or dated[-1][1]
    # A score below the scale's lowest one is of another version of the scale.
    if first.value <= minimum or now.value < minimum:
        return None
    percent = (first.value - now.value) / (first.value - minimum) * 100
    return Response(first, now, percent, before is not None)


class ClozapineTrial(Struct, frozen=True):
    """Whether clozapine has had its chance; ``missing`` says what it lacks, ``unchecked`` what nobody can tell."""

    levels: tuple[Measurement, ...]
    missing: tuple[str, ...]
    unchecked: tuple[str, ...]


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
    unchecked: list[str] = []
    if len(troughs) < len(measured):
        unchecked.append(
            f"Levels that are no troughs, by the chart, were not used: {len(measured) - len(troughs)}."
        )
    rule = case.policy.pathway
    supply = coverage(case)
    if supply is None:
        unchecked.append("Adherence: no dispensing record that is long enough.")
    elif supply.percent < rule.adherence_percent.value:
        missing.append(
            f"adherence of {w.number(rule.adherence_percent.value)} % (supply covers {w.number(supply.percent, 0)} %)"
        )
    return ClozapineTrial(tuple(enough[:2]), tuple(missing), tuple(unchecked))


def _by_level(case: Case, enough: list[Measurement], newest: Measurement | None) -> list[str]:
    rule, adequate = case.policy.pathway, w.number(case.policy.levels.adequate.value)
    if not enough or enough[0].at is None or enough[-1].at is None:
        return [f"two levels of {adequate} ng/mL or more"]
    missing: list[str] = []
    if newest is not None and newest not in enough:
        # The symptoms of today are those of today's level.
        missing.append(f"a level of {adequate} ng/mL again, the last one was lower")
    since = case.days_since(enough[-1].at)
    if (
        case.snapshot.day(enough[0].at) - case.snapshot.day(enough[-1].at)
    ).days < rule.levels_apart_days.value:
        missing.append(
            f"a second level of {adequate} ng/mL, {w.number(rule.levels_apart_days.value)} days or more after the first"
        )
    if since < rule.duration_days.value:
        missing.append(
            f"{w.number(rule.duration_days.value)} days since the level was reached (so far {since})"
        )
    return missing


def _by_dose(case: Case) -> list[str]:
    rule = case.policy.pathway
    dose = case.established_mg_per_day
    if dose is None or dose < rule.dose_without_level.value:
        return [f"a level, or {w.mg(rule.dose_without_level.value)}/day"]
    since = _dose_since(case, rule.dose_without_level.value) or case.course.start
    if since is None or case.days_since(since) < rule.duration_days.value:
        so_far = f" (so far {case.days_since(since)})" if since is not None else ""
        return [
            f"{w.number(rule.duration_days.value)} days at {w.mg(rule.dose_without_level.value)}/day{so_far}"
        ]
    return []


def _dose_since(case: Case, mg_per_day: float) -> datetime | None:
    """Since when single orders have given at least so much, mg per day; None when no single order does today."""
    since: datetime | None = None
    for at, mg in reversed(dated_doses(case)):
        if mg < mg_per_day:
            break
        since = at
    return since
