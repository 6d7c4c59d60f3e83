"""Counts that fall before any band is reached, and flu-like signs that a protocol treats alike (clinical.md 1.6, 2.1)."""

from __future__ import annotations

from datetime import timedelta

from msgspec import Struct

from service.alerts.case.banded import Banded
from service.alerts.facts.patient import Measurement, Problem
from service.alerts.policy.parts.counts import Falling


class Fall(Struct, frozen=True):
    """A count that fell as the policy's rule says."""

    before: Measurement
    now: Measurement


def fall_of(case: Banded, *, preliminary: bool = True) -> Fall | None:
    """The fall of the newest ANC, else of the newest WBC; with ``preliminary`` a lower preliminary count decides."""
    for kind in ("anc", "wbc"):
        if not _judged(case.policy.falling, kind):
            continue
        fall = _steepest(case, kind, case.worst_new(kind) if preliminary else case.newest(kind))
        if fall is not None:
            return fall
    return None


def _judged(rule: Falling, kind: str) -> bool:
    if kind == "anc":
        return rule.anc_fall_percent is not None or rule.anc_fall is not None
    return rule.wbc_fall is not None


def _steepest(case: Banded, kind: str, now: Measurement | None) -> Fall | None:
    rule = case.policy.falling
    percent = rule.anc_fall_percent if kind == "anc" else None
    amount = rule.anc_fall if kind == "anc" else rule.wbc_fall
    below = rule.anc_below if kind == "anc" else rule.wbc_below
    if now is None or now.at is None or (below is not None and now.value >= below.value):
        return None
    # Dates, not clock times, decide (clinical.md 1.8): the count of 9 o'clock four weeks ago counts at 10 o'clock.
    since = case.snapshot.day(now.at) - timedelta(days=rule.within_days.value)
    earlier = [
        m
        for m in case.series(kind)
        if m.at is not None and m.at < now.at and case.snapshot.day(m.at) >= since
    ]
    if not earlier:
        return None
    before = max(earlier, key=lambda m: m.value)
    if percent is not None and now.value <= before.value * (1 - percent.value / 100):
        return Fall(before, now)
    if amount is not None and before.value - now.value >= amount.value:
        return Fall(before, now)
    return None


def flu_like_signs(case: Banded) -> Problem | None:
    """An active flu-like illness on the problem list, where the policy asks for it; a dated one only while it is recent."""
    rule = case.policy.falling
    if rule.flu_like is None or not rule.flu_like.value:
        return None
    for problem in case.problems_of("flu-like-illness"):
        if problem.onset is None or 0 <= case.days_since(problem.onset) <= rule.within_days.value:
            return problem
    return None
