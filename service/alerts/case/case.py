"""One question about one patient: the snapshot, the policy and the moment, with what every rule asks for worked out once."""

from __future__ import annotations

from service.alerts.case.banded import Banded
from service.alerts.case.interval import Interval, interval_today
from service.alerts.facts.lazy import lazy
from service.alerts.facts.patient import Measurement


class Case(Banded):
    """Treatment, record, bands of the counts, and how often a count is due.

    Everything derived is computed at most once and only when a rule asks for it.
    """

    @lazy
    def interval(self) -> Interval:
        """The sampling interval that applies today (clinical.md 1.8)."""
        return interval_today(self)

    def answered_days(self, count: Measurement) -> int:
        """Days for which a blood count has answered: a baseline taken in time answers from the first dose on, not from its own day."""
        age, day = self.age_days(count), self.course_day
        if day is None or age <= day or age - day > self.policy.baseline_window[0]:
            return age
        return age if self.interval.band is not None else day

    @property
    def interval_days(self) -> int:
        """Days at most between two blood counts, today."""
        return self.interval.days
