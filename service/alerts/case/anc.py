"""The ANC that counts: reported, counted from parts of the differential or calculated, and not contradicted by its sample (clinical.md 1.1, 3.1)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from msgspec.structs import replace

from service.alerts.case.samples import STATUS_RANK, Samples
from service.alerts.case.series import Series, series_of, standing_of
from service.alerts.facts.patient import Measurement, UnusableResult
from service.alerts.facts.reason import NO_REASON, Reason, because
from service.alerts.facts.record_text import RecordText, to_show

#: ANC may exceed the WBC of its sample by rounding only (clinical.md 3.1).
_ANC_OVER_WBC = 1.05


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
                raw=to_show(f"{segs.raw} + {bands.raw}"),
                shown=because("shown.segmented-and-bands", sent=_added((segs, bands))),
                bound=next(iter(bounds), ""),
                status=max((segs.status, bands.status), key=STATUS_RANK.__getitem__),
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
            shown=because("shown.segmented-only", sent=segs.as_sent),
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
        used, segmented_alone = _neutrophil_share(wbc, segs, bands, total)
        percent = sum(m.value for m in used)
        bounds = {m.bound for m in (wbc, *used) if m.bound}
        if not used or len(bounds) > 1:
            continue  # of "above" times "below" nobody knows on which side the product lies
        if percent > 100:
            reason = because("result-unused.over-all-white-cells", shares=_added(used))
            refused.append(_not_calculated(wbc, reason, because("shown.white-cells", sent=wbc.as_sent)))
            continue
        status = max((wbc.status, *(m.status for m in used)), key=STATUS_RANK.__getitem__)
        if status == "preliminary" and early.matching(wbc) is not None:
            continue
        parts = " + ".join(m.raw for m in used)
        shown = NO_REASON
        if segmented_alone or wbc.shown or any(m.shown for m in used):
            shown = because("shown.product", white_cells=wbc.as_sent, share=_added(used))
        if segmented_alone:
            shown = because("shown.segmented-only", sent=shown)
        results.append(
            replace(
                wbc,
                kind="anc",
                # 3000 × (16.1 + 33.9) % is 1500, not 1499.9999999999998.
                value=round(wbc.value * percent / 100, 6),
                raw=f"{wbc.raw} × {parts}",
                shown=shown,
                bound=next(iter(bounds), ""),
                status=status,
                upper_limit=None,
                calculated=True,
            )
        )
    return results


def _added(parts: Sequence[Measurement]) -> RecordText | Reason:
    """Parts of a sum as they are shown: ``1.2 10*3/uL + 0.1 10*3/uL``."""
    if not any(m.shown for m in parts):
        return to_show(" + ".join(m.raw for m in parts))
    first, *rest = parts
    return because("shown.sum", one=first.as_sent, other=_added(rest)) if rest else first.as_sent


def _not_calculated(part: Measurement | UnusableResult, reason: Reason, shown: Reason) -> UnusableResult:
    return UnusableResult("anc", part.raw, reason, part.ref, part.at, part.date_only, shown=shown)


#: What an ANC is read or worked out from.
_OF_ANC = frozenset({"anc", "wbc", "segs", "bands", "segs-percent", "bands-percent", "neutrophils-percent"})
_SHARES = ("segs-percent", "neutrophils-percent")
#: Of these alone nobody works out an ANC; but a share of bands that is refused may have been that of all neutrophils.
_REFUSED_SHARES = frozenset((*_SHARES, "bands-percent"))


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
            part = "wbc" if u.kind == "wbc" else "share"
            found.append(
                _not_calculated(u, because(f"result-unused.anc-without-{part}", why=u.reason), u.shown)
            )
    return found


def _neutrophil_share(
    wbc: Measurement, segs: Samples, bands: Samples, total: Samples
) -> tuple[list[Measurement], bool]:
    """Percentages that make up the neutrophils of a sample (segs + bands, or all neutrophils), and whether bands are lacking."""
    segmented = segs.matching(wbc)
    if segmented is not None:
        banded = bands.matching(wbc)
        if banded is not None:
            return [segmented, banded], False
    whole = total.matching(wbc)
    if whole is not None and (segmented is None or whole.value >= segmented.value):
        return [whole], False
    return ([segmented], True) if segmented is not None else ([], False)


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
            reason = because("result-unused.over-white-cells", wbc=wbc.as_sent)
            refused.append(
                UnusableResult(
                    kind="anc",
                    raw=anc.raw,
                    reason=reason,
                    ref=anc.ref,
                    at=anc.at,
                    date_only=anc.date_only,
                    shown=anc.shown,
                )
            )
        else:
            kept.append(anc)
    return kept
