"""Which result counts (clinical.md 3.1): one usable, ordered series per kind out of everything a record holds.

A blood count may be reported twice, corrected, calculated, dated in the future or contradict the white cell count of the
same sample. The functions here decide, and say why a result was left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from operator import attrgetter

from msgspec import Struct

from service.alerts.case.samples import STATUS_RANK
from service.alerts.facts.patient import Measurement, ResultStatus, UnusableResult
from service.alerts.facts.reason import because

#: A result dated later than this after ``as_of`` is a mistake (clinical.md 3.1: more than 1 day).
_FUTURE_TOLERANCE = timedelta(days=1)
#: A value with "<" lies below its bound; this factor puts it there for comparisons.
_JUST_BELOW = 1 - 1e-9
#: Kinds of which the lower result is the worse one; of the others it is the higher.
_LOW_IS_WORSE = frozenset({"anc", "wbc", "platelets", "segs", "bands", "potassium", "magnesium"})
#: The next moment: what lies beyond a stretch of time.
_NEXT = timedelta(microseconds=1)


class Series(Struct, frozen=True, gc=False):
    """Results of one kind, the one that counts first."""

    #: Final and corrected results, newest first; of one day the one that counts comes first.
    settled: tuple[Measurement, ...] = ()
    #: Preliminary results that no settled result of the same time replaces, newest first.
    preliminary: tuple[Measurement, ...] = ()
    unusable: tuple[UnusableResult, ...] = ()

    @property
    def newest(self) -> Measurement | None:
        """The settled result that counts; None without any."""
        return self.settled[0] if self.settled else None


NO_RESULTS = Series()


def judged_value(measurement: Measurement) -> float:
    """The value to compare with thresholds: an upper bound counts as just below itself."""
    return measurement.value * _JUST_BELOW if measurement.bound == "<" else measurement.value


def in_order(measurements: Iterable[Measurement]) -> list[Measurement]:
    """Newest first; of one moment, corrected before final before preliminary, then the lowest.

    A result whose clock time is unknown makes its whole day a single moment. One of which only the month is known may be the newest
    of its month: it counts as that when it is worse than the newest of which the day is known, else from the first of the month.
    """
    dated = [m for m in measurements if m.at is not None]
    vague_days = {m.at.date() for m in dated if m.date_only and m.until is None and m.at is not None}
    stretches = [m for m in dated if m.until is not None]
    if not vague_days and not stretches:
        dated.sort(key=lambda m: (STATUS_RANK[m.status], m.value))
        dated.sort(key=lambda m: m.at, reverse=True)  # type: ignore[arg-type,return-value]
        return dated

    zone = _zone_of(dated)  # before sorting: a list that is being sorted looks empty

    def of_day(m: Measurement) -> datetime:
        assert m.at is not None
        local = m.at if m.date_only else m.at.astimezone(zone)
        if local.date() in vague_days:
            return local.replace(hour=0, minute=0, second=0, microsecond=0)
        return m.at

    newest: dict[object, tuple[datetime, float] | None] = {}
    placed: dict[int, datetime] = {}
    for m in stretches:
        if (m.at, m.until) not in newest:
            newest[m.at, m.until] = _newest_in(m, dated, of_day)
        inside = newest[m.at, m.until]
        if inside is not None and _is_worse(m, inside[1]):
            placed[id(m)] = inside[0] + _NEXT

    def moment(m: Measurement) -> datetime:
        return placed.get(id(m)) or of_day(m)

    dated.sort(key=lambda m: (STATUS_RANK[m.status], m.value))
    dated.sort(key=moment, reverse=True)
    return dated


def _newest_in(
    stretch: Measurement, dated: Sequence[Measurement], of_day: Callable[[Measurement], datetime]
) -> tuple[datetime, float] | None:
    """When the newest result inside a stretch of time was taken, of those that name their day, and the worst value of that moment."""
    assert stretch.at is not None
    assert stretch.until is not None
    inside = [m for m in dated if m.until is None and m.at is not None and stretch.at <= m.at < stretch.until]
    newest = max(map(of_day, inside), default=None)
    if newest is None:
        return None
    worst = min if stretch.kind in _LOW_IS_WORSE else max
    return newest, worst(judged_value(m) for m in inside if of_day(m) == newest)


def _is_worse(m: Measurement, value: float) -> bool:
    own = judged_value(m)
    return own < value if m.kind in _LOW_IS_WORSE else own > value


def _zone_of(measurements: list[Measurement]):  # type: ignore[no-untyped-def]
    """Zone of the date-only results: the site's, since the reader placed them at the start of the site's day."""
    return next(m.at.tzinfo for m in measurements if m.date_only and m.at is not None)


def _distinct(ordered: Iterable[Measurement]) -> list[Measurement]:
    """Drop duplicates, the same resource or the same time and value; of each the first in order, which is the one that counts."""
    by_content: dict[object, Measurement] = {}
    for m in ordered:
        # The status is part of the key: a corrected copy of a preliminary result must be able to settle it.
        # So is the posture: one panel may hold the pressure lying and standing.
        by_content.setdefault((m.at, m.value, m.bound, m.status, m.qualifier), m)
    by_reference: dict[object, Measurement] = {}
    for m in by_content.values():
        by_reference.setdefault((m.ref or id(m), m.qualifier), m)
    return list(by_reference.values())


_AT = attrgetter("at")


def _plain_order(measurements: Sequence[Measurement], limit: datetime) -> tuple[Measurement, ...] | None:
    """The order of results that need no decision: all final, each with a time of its own, none from the future. Else None."""
    newer: datetime | None = None
    in_order = True
    for m in measurements:
        at = m.at
        if m.status != "final" or m.date_only or at is None or at > limit:
            return None
        if newer is not None and at >= newer:
            in_order = False
        newer = at
    ordered = measurements
    if not in_order:  # most clients send the newest first
        ordered = sorted(measurements, key=_AT, reverse=True)
        for one, next_one in pairwise(ordered):
            if one.at == next_one.at:
                return None
    if len({m.ref for m in ordered}) != len(ordered):
        return None
    return tuple(ordered)


def standing_of(measurements: Sequence[Measurement]) -> Sequence[Measurement]:
    """The results that stand: without the final ones that a corrected one of the same instant replaces, as a resource of its own.

    Of results whose day alone is known only those of one specimen are of one instant. Where more results are final than corrected
    nothing tells which of them was wrong: all stay.
    """
    corrected = {m for m in map(_instant, (m for m in measurements if m.status == "corrected")) if m}
    if not corrected:
        return measurements
    at: dict[object, dict[ResultStatus, set[object]]] = {}
    for m in measurements:
        instant = _instant(m)
        if instant in corrected:
            at.setdefault(instant, {}).setdefault(m.status, set()).add((m.value, m.bound))
    replaced = {i for i, values in at.items() if len(values.get("final", ())) <= len(values["corrected"])}
    return [m for m in measurements if m.status != "final" or _instant(m) not in replaced]


def _instant(m: Measurement) -> object:
    """What two results share that tell of the same moment; None: nothing tells the moment."""
    if m.at is None or m.until is not None or (m.date_only and not m.specimen):
        return None
    return m.at, m.qualifier, m.specimen if m.date_only else ""


def series_of(
    measurements: Sequence[Measurement], as_of: datetime, unusable: Iterable[UnusableResult] = ()
) -> Series:
    """Order the results of one kind and set aside what cannot be used."""
    measurements = standing_of(measurements)
    limit = as_of + _FUTURE_TOLERANCE
    plain = _plain_order(measurements, limit)
    if plain is not None:
        return Series(settled=plain, unusable=tuple(unusable))
    refused = list(unusable)
    usable: list[Measurement] = []
    for m in measurements:
        if m.at is None:
            refused.append(
                UnusableResult(
                    kind=m.kind, raw=m.raw, reason=because("result-unused.no-date"), ref=m.ref, shown=m.shown
                )
            )
        elif m.at > limit:
            refused.append(
                UnusableResult(
                    kind=m.kind,
                    raw=m.raw,
                    reason=because("result-unused.in-future"),
                    ref=m.ref,
                    at=m.at,
                    date_only=m.date_only,
                    shown=m.shown,
                )
            )
        else:
            usable.append(m)
    ordered = _distinct(in_order(usable))
    settled = tuple(m for m in ordered if m.status != "preliminary")
    preliminary: tuple[Measurement, ...] = ()
    if len(settled) != len(ordered):
        settled_times = {m.at for m in settled}
        preliminary = tuple(m for m in ordered if m.status == "preliminary" and m.at not in settled_times)
    return Series(settled=settled, preliminary=preliminary, unusable=tuple(refused))
