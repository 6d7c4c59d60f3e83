"""Which results are of one sample (clinical.md 3.1)."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from datetime import datetime, timedelta

from service.alerts.facts.patient import Measurement, UnusableResult

#: Results taken within this time of each other are of one sample (clinical.md 3.1: ± 1 h).
_SAME_SAMPLE = timedelta(hours=1)
_BOUND_RANK = {"<": 0, "": 1, ">": 2}
STATUS_RANK = {"corrected": 0, "final": 1, "preliminary": 2}


def same_sample(one: Measurement, other: Measurement) -> bool:
    """True when two results are of one specimen, panel or report, or were taken within an hour of each other."""
    if one.specimen and one.specimen == other.specimen:
        return True
    if one.at is None or other.at is None:
        return False
    if one.date_only or other.date_only:
        return one.date_only and other.date_only and one.at == other.at and one.until == other.until
    return abs(one.at - other.at) <= _SAME_SAMPLE


def is_of_sample(refused: UnusableResult, m: Measurement) -> bool:
    """As :func:`same_sample`, of a result that could not be used."""
    return same_sample(
        Measurement(refused.kind, 0.0, refused.at, refused.ref, refused.raw, refused.date_only), m
    )


def _standing(m: Measurement) -> tuple[int, float, int]:
    """Of results of one moment the corrected one counts, then the lowest."""
    return STATUS_RANK[m.status], m.value, _BOUND_RANK[m.bound]


class _Moments:
    """Results in order of time, of each moment the one that counts: the nearest is found by halving, however many there are."""

    def __init__(self, measurements: Iterable[Measurement]) -> None:
        at: dict[datetime | None, Measurement] = {}
        for m in measurements:
            known = at.get(m.at)
            if known is None or _standing(m) < _standing(known):
                at[m.at] = m
        self._undated = at.pop(None, None)
        self._of = at
        self._times = sorted(at)  # type: ignore[type-var]

    def nearest(self, sample: Measurement) -> Measurement | None:
        """The result nearest in time to a sample; where one of the two times is not known, none is nearer than another."""
        if sample.at is None:
            found = [*self._of.values()] if self._undated is None else [self._undated, *self._of.values()]
            return min(found, key=_standing, default=None)
        after = bisect_left(self._times, sample.at)  # type: ignore[type-var]
        near = [self._of[time] for time in self._times[max(0, after - 1) : after + 1]]
        if self._undated is not None:
            near.append(self._undated)
        return min(near, key=lambda m: (_apart(m, sample), *_standing(m)), default=None)


def _apart(m: Measurement, sample: Measurement) -> float:
    return abs(m.at - sample.at).total_seconds() if m.at is not None and sample.at is not None else 0.0


class Samples:
    """Results of one kind, found by sample: same specimen key, or taken within the hour (same day when only days are known)."""

    def __init__(self, measurements: Iterable[Measurement]) -> None:
        self._all = list(measurements)
        self._by_specimen: dict[str, list[Measurement]] = {}
        for m in self._all:
            if m.specimen:
                self._by_specimen.setdefault(m.specimen, []).append(m)
        self._specimens: dict[str, _Moments] = {}
        self._dated: _Moments | None = None
        self._days: dict[tuple[datetime | None, datetime | None], Measurement] = {}

    def matching(self, sample: Measurement) -> Measurement | None:
        """The result of the same sample, or None; of several (a recheck within the hour, a cumulative report) the nearest in time."""
        if not self._all:
            return None
        if sample.specimen and (found := self._by_specimen.get(sample.specimen)) is not None:
            if len(found) == 1:
                return found[0]
            moments = self._specimens.get(sample.specimen)
            if moments is None:
                moments = self._specimens[sample.specimen] = _Moments(found)
            return moments.nearest(sample)
        if sample.at is None:
            return None
        if self._dated is None:
            self._dated = _Moments(m for m in self._all if not m.date_only and m.at is not None)
            for m in self._all:
                known = self._days.get((m.at, m.until))
                if m.date_only and (known is None or _standing(m) < _standing(known)):
                    self._days[m.at, m.until] = m
        if sample.date_only:
            return self._days.get((sample.at, sample.until))
        nearest = self._dated.nearest(sample)
        return nearest if nearest is not None and same_sample(nearest, sample) else None
