"""Which result counts (clinical.md 3.1): one usable, ordered series per kind out of everything a record holds.

A blood count may be reported twice, corrected, calculated, dated in the future or contradict the white cell count of the
same sample. The functions here decide, and say why a result was left out.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from operator import attrgetter

from msgspec import Struct
from msgspec.structs import replace

from service.alerts.facts.patient import Measurement, ResultStatus, UnusableResult
from service.alerts.facts.record_text import to_show

#: A result dated later than this after ``as_of`` is a mistake (clinical.md 3.1: more than 1 day).
_FUTURE_TOLERANCE = timedelta(days=1)
#: Results taken within this time of each other are of one sample (clinical.md 3.1: ± 1 h).
_SAME_SAMPLE = timedelta(hours=1)
#: ANC may exceed the WBC of its sample by rounding only (clinical.md 3.1).
_ANC_OVER_WBC = 1.05
_BOUND_RANK = {"<": 0, "": 1, ">": 2}
_STATUS_RANK = {"corrected": 0, "final": 1, "preliminary": 2}
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
    return _STATUS_RANK[m.status], m.value, _BOUND_RANK[m.bound]


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


def in_order(measurements: Iterable[Measurement]) -> list[Measurement]:
    """Newest first; of one moment, corrected before final before preliminary, then the lowest.

    A result whose clock time is unknown makes its whole day a single moment. One of which only the month is known may be the newest
    of its month: it counts as that when it is worse than the newest of which the day is known, else from the first of the month.
    """
    dated = [m for m in measurements if m.at is not None]
    vague_days = {m.at.date() for m in dated if m.date_only and m.until is None and m.at is not None}
    stretches = [m for m in dated if m.until is not None]
    if not vague_days and not stretches:
        dated.sort(key=lambda m: (_STATUS_RANK[m.status], m.value))
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

    dated.sort(key=lambda m: (_STATUS_RANK[m.status], m.value))
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
            refused.append(UnusableResult(kind=m.kind, raw=m.raw, reason="it has no date", ref=m.ref))
        elif m.at > limit:
            refused.append(
                UnusableResult(
                    kind=m.kind,
                    raw=m.raw,
                    reason="its date lies in the future",
                    ref=m.ref,
                    at=m.at,
                    date_only=m.date_only,
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


def counted_anc(
    measurements: dict[str, tuple[Measurement, ...]], direct: Sequence[Measurement]
) -> list[Measurement]:
    """ANC = segmented + band neutrophils for every sample that has both as counts and no direct ANC (clinical.md 3.1)."""
    segmented = measurements.get("segs")
    if not segmented:
        return []
    known = Samples(m for m in direct if m.status != "preliminary")
    banded = Samples(measurements.get("bands", ()))
    results: list[Measurement] = []
    for segs in segmented:
        bands = banded.matching(segs)
        if bands is None or known.matching(segs) is not None:
            continue
        bounds = {m.bound for m in (segs, bands) if m.bound}
        if len(bounds) > 1:
            continue  # of "above" plus "below" nobody knows on which side the sum lies
        results.append(
            replace(
                segs,
                kind="anc",
                value=round(segs.value + bands.value, 6),
                raw=to_show(f"{segs.raw} + {bands.raw} (segmented and band neutrophils)"),
                bound=next(iter(bounds), ""),
                status=max((segs.status, bands.status), key=_STATUS_RANK.__getitem__),
                upper_limit=None,
                calculated=True,
            )
        )
    return results


def segmented_only(
    measurements: dict[str, tuple[Measurement, ...]], known: Sequence[Measurement]
) -> list[Measurement]:
    """Segmented neutrophils of samples of which no ANC is known, nor can be worked out: the ANC is that or a little more."""
    segmented = measurements.get("segs")
    if not segmented:
        return []
    anc = Samples(m for m in known if m.status != "preliminary")
    return [
        replace(
            segs,
            kind="anc",
            raw=to_show(f"{segs.raw}{_SEGMENTED_ONLY}"),
            upper_limit=None,
            calculated=True,
        )
        for segs in segmented
        if anc.matching(segs) is None
    ]


def calculated_anc(
    measurements: dict[str, tuple[Measurement, ...]],
    counted: Sequence[Measurement],
    refused: list[UnusableResult],
) -> list[Measurement]:
    """ANC = WBC × neutrophils % for every sample that has both and no direct ANC (clinical.md 1.1, 3.1).

    Args:
        measurements: every usable result.
        counted: the direct ANCs that may stand for their sample; a preliminary one does not for settled results.
        refused: takes the samples whose parts contradict each other.
    """
    white_cells = measurements.get("wbc", ())
    if not white_cells or not (measurements.get("segs-percent") or measurements.get("neutrophils-percent")):
        return []
    segs = Samples(measurements.get("segs-percent", ()))
    bands = Samples(measurements.get("bands-percent", ()))
    total = Samples(measurements.get("neutrophils-percent", ()))
    direct = Samples(m for m in counted if m.status != "preliminary")
    early = Samples(m for m in counted if m.status == "preliminary")
    results: list[Measurement] = []
    for wbc in white_cells:
        if direct.matching(wbc) is not None:
            continue
        used, remark = _neutrophil_share(wbc, segs, bands, total)
        percent = sum(m.value for m in used)
        bounds = {m.bound for m in (wbc, *used) if m.bound}
        if not used or len(bounds) > 1:
            continue  # of "above" times "below" nobody knows on which side the product lies
        if percent > 100:
            shares = " + ".join(m.raw for m in used)
            reason = f"the neutrophils of its differential make more than all white cells ({shares})"
            refused.append(_not_calculated(wbc, f"WBC {wbc.raw}", reason))
            continue
        status = max((wbc.status, *(m.status for m in used)), key=_STATUS_RANK.__getitem__)
        if status == "preliminary" and early.matching(wbc) is not None:
            continue
        parts = " + ".join(m.raw for m in used)
        results.append(
            replace(
                wbc,
                kind="anc",
                # 3000 × (16.1 + 33.9) % is 1500, not 1499.9999999999998.
                value=round(wbc.value * percent / 100, 6),
                raw=f"{wbc.raw} × {parts}{remark}",
                bound=next(iter(bounds), ""),
                status=status,
                upper_limit=None,
                calculated=True,
            )
        )
    return results


def _not_calculated(part: Measurement | UnusableResult, raw: str, reason: str) -> UnusableResult:
    return UnusableResult("anc", to_show(raw), reason, part.ref, part.at, part.date_only)


#: What an ANC is read or worked out from.
_OF_ANC = frozenset({"anc", "wbc", "segs", "bands", "segs-percent", "bands-percent", "neutrophils-percent"})
_SHARES = ("segs-percent", "neutrophils-percent")
#: Of these alone nobody works out an ANC; but a share of bands that is refused may have been that of all neutrophils.
_REFUSED_SHARES = frozenset((*_SHARES, "bands-percent"))
_SEGMENTED_ONLY = " (segmented neutrophils only: the true ANC may be a little higher)"


def _uncountable(
    measurements: dict[str, tuple[Measurement, ...]],
    unusable: Iterable[UnusableResult],
    direct: Sequence[Measurement],
) -> list[UnusableResult]:
    """Samples without a direct ANC whose WBC or neutrophil share cannot be used: an ANC was counted, but cannot be worked out."""
    found: list[UnusableResult] = []
    samples: dict[str, Samples] = {}

    def taken(kind: str, sample: Measurement) -> bool:
        of_kind = samples.get(kind)
        if of_kind is None:
            results = direct if kind == "anc" else measurements.get(kind, ())
            of_kind = samples[kind] = Samples(results)
        return of_kind.matching(sample) is not None

    for u in unusable:
        if u.at is None or (u.kind != "wbc" and u.kind not in _REFUSED_SHARES):
            continue
        sample = Measurement(u.kind, 0.0, u.at, u.ref, u.raw, u.date_only)
        if u.kind == "bands-percent" and any(taken(kind, sample) for kind in _SHARES):
            continue
        other = any(taken(kind, sample) for kind in _SHARES) if u.kind == "wbc" else taken("wbc", sample)
        if other and not taken("anc", sample):
            name = "white cell count" if u.kind == "wbc" else "share of neutrophils"
            found.append(
                _not_calculated(u, u.raw, f"it is the {name} that the ANC is worked out from, and {u.reason}")
            )
    return found


def _neutrophil_share(
    wbc: Measurement, segs: Samples, bands: Samples, total: Samples
) -> tuple[list[Measurement], str]:
    """Percentages that make up the neutrophils of a sample (segs + bands, or all neutrophils), with a remark."""
    segmented = segs.matching(wbc)
    if segmented is not None:
        banded = bands.matching(wbc)
        if banded is not None:
            return [segmented, banded], ""
    whole = total.matching(wbc)
    if whole is not None and (segmented is None or whole.value >= segmented.value):
        return [whole], ""
    return ([segmented], _SEGMENTED_ONLY) if segmented is not None else ([], "")


def anc_series(
    measurements: dict[str, tuple[Measurement, ...]], as_of: datetime, unusable: Sequence[UnusableResult] = ()
) -> Series:
    """The ANC that counts: direct before calculated of the same sample, results that contradict their WBC set aside."""
    measurements = {
        kind: tuple(standing_of(found)) for kind, found in measurements.items() if kind in _OF_ANC
    }
    direct: Sequence[Measurement] = measurements.get("anc", ())
    refused: list[UnusableResult] = []
    if unusable:
        refused = [u for u in unusable if u.kind == "anc"]
        if len(refused) != len(unusable):
            refused += _uncountable(measurements, unusable, direct)
    if "segs" in measurements:
        direct = (*direct, *counted_anc(measurements, direct))
    white_cells = measurements.get("wbc", ())
    if white_cells:
        kept = _uncontradicted(direct, white_cells, refused)
        calculated = calculated_anc(measurements, kept, refused)
        direct = [*kept, *calculated] if calculated else kept
    if "segs" in measurements:
        direct = [*direct, *segmented_only(measurements, direct)]
    return series_of(direct, as_of, refused)


def _uncontradicted(
    direct: Sequence[Measurement], white_cells: Sequence[Measurement], refused: list[UnusableResult]
) -> Sequence[Measurement]:
    """The ANCs that are not higher than the white cell count of their sample; ``refused`` takes the others."""
    bounding = [w for w in white_cells if w.bound != ">"]
    if not direct or not bounding:
        return direct
    if max([m.value for m in direct]) <= min([w.value for w in bounding]) * _ANC_OVER_WBC:
        return direct  # whichever sample is whose
    samples = Samples(bounding)
    kept: list[Measurement] = []
    for anc in direct:
        wbc = samples.matching(anc)
        if wbc is not None and anc.value > wbc.value * _ANC_OVER_WBC:
            reason = f"it is higher than the white cell count of the same sample ({wbc.raw})"
            refused.append(
                UnusableResult(
                    kind="anc", raw=anc.raw, reason=reason, ref=anc.ref, at=anc.at, date_only=anc.date_only
                )
            )
        else:
            kept.append(anc)
    return kept
