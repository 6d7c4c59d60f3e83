"""The abnormal band of the newest counts, when it is news: what the card of the band speaks of, and other cards leave to it."""

from __future__ import annotations

from service.alerts.case.case import Case
from service.alerts.facts.patient import Measurement
from service.alerts.policy.parts.counts import Band


def abnormal_band(case: Case) -> tuple[Band, Measurement] | None:
    """The abnormal band that decides today, with its count; None where it is normal, no matter, or told by another finding."""
    resumable = case.may_be_resumed and (not case.is_order_hook or case.course.ending is not None)
    if not case.relevant and not resumable:
        return None
    decided = case.decided
    if decided is None:
        return None
    band, deciding = decided
    if band.finding is None or band.severity is None:
        return None
    if (case.starting or resumable) and band.treatment == "continue":
        return None  # anc-below-initiation or anc-post-stop says it; "clozapine may continue" would contradict it
    if resumable and _stopped_for_it(case, band, deciding):
        return None  # whoever stopped clozapine knows; anc-post-stop asks for the follow-up
    return band, deciding


def _stopped_for_it(case: Case, band: Band, deciding: Measurement) -> bool:
    """True when somebody stopped clozapine after a count that was as bad already: this one tells nothing new."""
    stopped = case.course.stopped_at
    if stopped is None or case.course.last_dose_basis not in ("stop", "statement"):
        return False  # on hold, not begun, or only taken for stopped because the supply has run out
    last_day = case.snapshot.day(stopped)
    return any(
        m.at is not None
        and case.snapshot.day(m.at) <= last_day
        and (earlier := case.band_of(m)) is not None
        and earlier.treatment != "continue"
        and earlier.at_least <= band.at_least
        for m in case.series(deciding.kind)
    )
