"""Antipsychotic trials as the record shows them (clinical.md 2.8)."""

from __future__ import annotations

from datetime import datetime, timedelta

from msgspec import Struct

from service.alerts.case.case import Case
from service.alerts.case.exposure import Span, span_of
from service.alerts.facts.patient import Medication
from service.alerts.knowledge.drugs import has_class

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
