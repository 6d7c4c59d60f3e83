"""Blood counts as witnesses of treatment: clozapine is given with counts, so their coming and their staying away both tell."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise

from msgspec import Struct


class Counting(Struct, frozen=True, gc=False):
    """Blood counts as witnesses of treatment: clozapine is given with counts, so their coming and their staying away both tell.

    Args:
        times: when blood was counted, oldest first.
        began: the first day of treatment that is known.
        silence: ``(until day of treatment, days)``, the last one without end: so many days without a count show that treatment is over.
        within: so long after the last thing known an order may have run on; counts for so long show treatment by themselves.
        follow_up: counts so long after a known end follow it up, and show no treatment.
    """

    times: tuple[datetime, ...]
    began: datetime
    silence: tuple[tuple[int | None, float], ...]
    within: timedelta
    follow_up: timedelta

    def silent_after(self, at: datetime) -> timedelta:
        """The silence after a time that shows the end of treatment."""
        day = (at - self.began).days
        days = next((days for until, days in self.silence if until is None or day < until), 0.0)
        return min(timedelta(days=days), self.within)

    def runs(self) -> list[tuple[datetime, datetime]]:
        """(first, last) count of each stretch without such a silence, oldest first."""
        if not self.times:
            return []
        found = []
        first = self.times[0]
        for one, other in pairwise(self.times):
            if other - one > self.silent_after(one):
                found.append((first, one))
                first = other
        return [*found, (first, self.times[-1])]
