"""Earlier counts after which clozapine is not simply tried again, and what the policy says of another try (clinical.md 2.1)."""

from __future__ import annotations

from msgspec import Struct

from service.alerts.case.banded import bounded_by
from service.alerts.case.case import Case
from service.alerts.case.judged_counts import judged_kinds
from service.alerts.facts.patient import Measurement
from service.alerts.policy.parts.counts import Band


class LowCount(Struct, frozen=True, gc=False):
    """An earlier count after which clozapine is not simply tried again."""

    count: Measurement
    #: None for the bound that an earlier WBC sets to the ANC: the count itself is in no band.
    band: Band | None


def low_counts(case: Case) -> tuple[list[LowCount], Band | None]:
    """Of each kind the newest earlier count after which clozapine is not simply tried again; the band that decides of it."""
    found: list[LowCount] = []
    for kind in judged_kinds(case):
        newest = case.worst_new(kind)
        for m, band in case.abnormal_wbc if kind == "wbc" else case.abnormal_anc:
            if m is not newest and band.rechallenge:
                found.append(LowCount(m, band))
                break
    if found:
        return found, found[0].band
    bound = _too_few_white_cells(case)
    return ([], None) if bound is None else ([LowCount(bound, None)], case.band_of(bound))


def _too_few_white_cells(case: Case) -> Measurement | None:
    """An earlier WBC so low that the ANC, counted or not, forbade another try; where the WBC is judged it speaks for itself."""
    if case.uses_wbc or case.white_cells_suffice:
        return None
    decides = case.worst_new("anc")
    for wbc in case.series("wbc"):
        if wbc.bound == ">" or (decides is not None and wbc.at == decides.at):
            continue
        bound = bounded_by(wbc)
        band = case.band_of(bound)
        if band is not None and band.rechallenge:
            return bound
    return None


def is_forbidden(band: Band | None) -> bool:
    """The policy allows no other try after a count of this band."""
    return band is not None and band.rechallenge == "never"
