"""Symptom scales (clinical.md 2.8): how ill the patient is, and the response to clozapine."""

from __future__ import annotations

from msgspec import Struct

from service.alerts.case.case import Case
from service.alerts.facts.patient import Measurement
from service.alerts.policy.parts.pathway import FunctionScale, Scale


class Response(Struct, frozen=True):
    """Two scores of one scale and what changed between them."""

    first: Measurement
    now: Measurement
    #: Improvement in % of the distance to the scale's lowest score; negative = worse.
    percent: float
    #: The first score was taken before clozapine, or on its first day.
    before_start: bool
    #: The illness is still at least moderate by the score of now.
    moderate: bool


def response(case: Case) -> Response | None:
    """The newest score under clozapine against the last one before it; None when the record cannot tell."""
    best: Response | None = None
    for scale in case.policy.pathway.scales:
        found = _response(case, case.series(scale.kind), scale)
        if found is None or found.now.at is None:
            continue
        if best is None or best.now.at is None or found.now.at > best.now.at:
            best = found
    return best


def newest_score(case: Case) -> tuple[Measurement, bool] | None:
    """(newest symptom score that is no history, whether the illness is at least moderate by it)."""
    found = [
        (m, _is_moderate(m, scale))
        for scale in case.policy.pathway.scales
        for m in case.series(scale.kind)[:1]
        if m.value >= scale.minimum and _is_news(case, m)
    ]
    # Of two scales of one day the worse one counts.
    return max(found, key=lambda f: (case.snapshot.day(f[0].at), f[1]) if f[0].at else (case.today, f[1]), default=None)  # fmt: skip


def newest_function(case: Case) -> tuple[Measurement, bool] | None:
    """(newest score of functioning that is no history, whether daily life is at least moderately impaired by it)."""
    found: list[tuple[Measurement, FunctionScale]] = [
        (m, scale)
        for scale in case.policy.pathway.functions
        for m in case.series(scale.kind)[:1]
        if _is_news(case, m)
    ]
    if not found:
        return None
    m, scale = min(found, key=lambda f: case.age_days(f[0]))
    return m, m.bound != ">" and m.value <= scale.impaired.value


def _is_moderate(m: Measurement, scale: Scale) -> bool:
    return m.bound != "<" and m.value >= scale.moderate.value


def _is_news(case: Case, m: Measurement) -> bool:
    return case.age_days(m) <= case.policy.pathway.score_days.value


def _response(case: Case, scores: tuple[Measurement, ...], scale: Scale) -> Response | None:
    start, minimum = case.course.start, scale.minimum
    began = case.snapshot.day(start) if start is not None else None
    dated = [(case.snapshot.day(m.at), m) for m in scores if m.at is not None]
    if len(dated) < 2 or not _is_news(case, dated[0][1]):
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
    return Response(first, now, percent, before is not None, _is_moderate(now, scale))
