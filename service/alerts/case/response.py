"""The response to clozapine by symptom scales (clinical.md 2.8)."""

from __future__ import annotations

from msgspec import Struct

from service.alerts.case.case import Case
from service.alerts.facts.patient import Measurement


class Response(Struct, frozen=True):
    """Two scores of one scale and what changed between them."""

    first: Measurement
    now: Measurement
    #: Improvement in % of the distance to the scale's lowest score; negative = worse.
    percent: float
    #: The first score was taken before clozapine, or on its first day.
    before_start: bool


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
