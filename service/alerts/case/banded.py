"""A record whose blood counts stand in the bands of the policy: which count decides today, and in which band."""

from __future__ import annotations

from datetime import datetime

from msgspec.structs import replace

from service.alerts.case.record import Record
from service.alerts.case.samples import same_sample
from service.alerts.case.series import judged_value
from service.alerts.facts.lazy import lazy
from service.alerts.facts.patient import Measurement, PatientSnapshot
from service.alerts.facts.practice import AS_USUAL, Practice
from service.alerts.facts.reason import because
from service.alerts.policy.judge import band_for
from service.alerts.policy.parts.counts import Band
from service.alerts.policy.policy import Policy


class Banded(Record):
    """Treatment and record, with each blood count in its band; how often counts are due is asked on top of it."""

    def __init__(
        self, snapshot: PatientSnapshot, policy: Policy, as_of: datetime, practice: Practice = AS_USUAL
    ) -> None:
        super().__init__(snapshot, policy, as_of, practice)
        #: The policy judges the white cell count beside the ANC.
        self.uses_wbc = policy.uses_wbc
        self._worst_new: dict[tuple[str, bool], Measurement] = {}

    def worst_new(self, kind: str, *, higher_is_worse: bool = False) -> Measurement | None:
        """The result that decides: the newest settled one, unless a newer preliminary one is worse (clinical.md 3.1).

        Of several preliminary ones the worst decides: none of them calms. Of the ANC a newer white cell count below it is the
        upper bound.
        """
        if (known := self._worst_new.get((kind, higher_is_worse))) is not None:
            return known
        results = self.results(kind)
        decides = newest = results.newest
        sign = -1 if higher_is_worse else 1
        for m in results.preliminary:
            # One of which only the month is known may be the newer one.
            at = m.until or m.at
            if newest is not None and at is not None and newest.at is not None and at < newest.at:
                continue
            if decides is None or sign * judged_value(m) < sign * judged_value(decides):
                decides = m
        if kind == "anc" and not self.uses_wbc:
            decides = self._at_most_the_wbc(decides)
        if decides is not None:
            self._worst_new[kind, higher_is_worse] = decides
        return decides

    def _at_most_the_wbc(self, anc: Measurement | None) -> Measurement | None:
        """The ANC that decides, or a newer WBC without a differential that is too low for any ANC to be normal.

        A laboratory counts no neutrophils where there are next to no white cells; under a policy that judges the ANC alone such
        a result would pass unseen.
        """
        if self.white_cells_suffice:
            return anc
        wbc, newest = self.worst_new("wbc"), self.anc.newest
        if wbc is None or wbc.bound == ">" or (newest is not None and not _later(wbc, newest)):
            return anc
        bound = bounded_by(wbc)
        band = self.band_of(bound)
        if band is None or band.finding is None:
            return anc
        return bound if anc is None or judged_value(bound) < judged_value(anc) else anc

    @lazy
    def white_cells_suffice(self) -> bool:
        """No white cell count is so low that it alone keeps the ANC below the normal band."""
        counts = self.snapshot.measurements.get("wbc", ())
        return not counts or min([m.value for m in counts]) > self._anc_bands[0].at_least

    def band_of(self, measurement: Measurement) -> Band | None:
        """Band of an ANC or WBC in the patient's population."""
        bands = self._wbc_bands if measurement.kind == "wbc" else self._anc_bands
        return band_for(bands, judged_value(measurement))

    @lazy
    def abnormal_anc(self) -> tuple[tuple[Measurement, Band], ...]:
        """Settled ANC values outside the normal band, newest first, each with its band."""
        return self._abnormal(self.series("anc"), self._anc_bands)

    @lazy
    def abnormal_wbc(self) -> tuple[tuple[Measurement, Band], ...]:
        """Settled white cell counts outside the normal band; none where the policy does not judge them."""
        return self._abnormal(self.series("wbc"), self._wbc_bands) if self.uses_wbc else ()

    @lazy
    def any_abnormal_count(self) -> bool:
        """False when every count on record lies in the normal band, and none is preliminary."""
        if self.abnormal_anc or self.abnormal_wbc or not self.white_cells_suffice or self.anc.preliminary:
            return True
        return self.uses_wbc and bool(self.results("wbc").preliminary)

    def _abnormal(
        self, counts: tuple[Measurement, ...], bands: tuple[Band, ...]
    ) -> tuple[tuple[Measurement, Band], ...]:
        if not bands:
            return ()
        normal = bands[0]
        limit = normal.at_least
        found = [
            (m, band)
            for m in counts
            # Most counts lie well inside: of those nothing need be looked up.
            if (m.value <= limit or m.bound == "<") and (band := self.band_of(m)) is not None
        ]
        return tuple((m, band) for m, band in found if band is not normal)

    @lazy
    def decided(self) -> tuple[Band, Measurement] | None:
        """The band that decides today with its count; a newer and lower preliminary count decides, too."""
        if self.worst_new("anc") is self.anc.newest and not self.uses_wbc:
            return self.decided_by_settled
        return self._worst_band(preliminary=True)

    @lazy
    def decided_by_settled(self) -> tuple[Band, Measurement] | None:
        """As :attr:`decided`, by settled counts alone."""
        return self._worst_band(preliminary=False)

    def _worst_band(self, *, preliminary: bool) -> tuple[Band, Measurement] | None:
        """The worse band of ANC and WBC (where the policy judges the WBC), with its count.

        With ``preliminary`` a newer and lower preliminary count decides; without it only settled counts do.
        """
        worst: tuple[Band, Measurement] | None = None
        for kind in ("anc", "wbc") if self.uses_wbc else ("anc",):
            newest = self.worst_new(kind) if preliminary else self.newest(kind)
            if newest is None or (band := self.band_of(newest)) is None:
                continue
            if worst is None or _worse_first(band) < _worse_first(worst[0]):
                worst = band, newest
        return worst

    @lazy
    def _anc_bands(self) -> tuple[Band, ...]:
        return self.policy.bands_of(self.population, "anc")[::-1]  # highest first: most counts are normal

    @lazy
    def _wbc_bands(self) -> tuple[Band, ...]:
        return self.policy.bands_of(self.population, "wbc")[::-1]


def bounded_by(wbc: Measurement) -> Measurement:
    """The ANC that a white cell count allows at most."""
    shown = because("shown.part-of-white-cells", sent=wbc.as_sent)
    return replace(wbc, kind="anc", bound="<", calculated=True, shown=shown)


def _later(one: Measurement, other: Measurement) -> bool:
    """True when one result is of a later sample than another."""
    at = one.until or one.at
    return at is not None and other.at is not None and at > other.at and not same_sample(one, other)


_TREATMENT = {"stop": 0, "interrupt": 1, "continue": 2}


def _worse_first(band: Band) -> tuple[int, int, bool, float]:
    """Order of bands: what is to be done with clozapine, then how often to sample."""
    return _TREATMENT[band.treatment], band.every_days or 9999, band.finding is None, band.at_least
