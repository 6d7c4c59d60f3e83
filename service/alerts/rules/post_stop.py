"""Counts after clozapine was stopped (clinical.md 2.1): neutrophils may go on falling, so they are counted for a while."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta

from msgspec import Struct

from service.alerts.case.abnormal_band import abnormal_band
from service.alerts.case.case import Case
from service.alerts.case.interval import sampling_in
from service.alerts.case.judged_counts import counts_readable, judged_kinds
from service.alerts.case.series import judged_value
from service.alerts.facts.patient import Measurement
from service.alerts.facts.reason import Reason
from service.alerts.knowledge.conditions import kinds_by_text
from service.alerts.phrases.count import (
    count_evidence,
    ending_lines,
    judged_names,
    last_usable,
    offer_cbc,
    pending_lines,
    short_count,
)
from service.alerts.phrases.result import day_of, moment_of, on_day
from service.alerts.policy.parts.counts import Band
from service.alerts.policy.words import band_every, band_says, band_steps, policy_says, policy_word
from service.alerts.rules.asked import when
from service.alerts.rules.missing_counts import held_lines, offer_count, urgency
from service.alerts.say.finding import ReferTo, Severity
from service.alerts.say.found import Found, Wish
from service.alerts.say.sentence import Counted, Day, Param, Sentence, as_recorded, sentence


def _low_at_stop(case: Case) -> tuple[Band, Measurement] | None:
    """The count for which clozapine seems to have been stopped, with its band: the newest one of then, or the worst since.

    None when the counts of then allowed clozapine to go on: it was stopped for another reason.
    """
    stopped = case.course.stopped_at
    if stopped is None:
        return None
    last_day = case.snapshot.day(stopped)
    found: tuple[Band, Measurement] | None = None
    for kind in judged_kinds(case):
        for m, is_newest in _since_stop(case.series(kind), case, last_day):
            band = case.band_of(m)
            if band is None or band.treatment == "continue":
                continue
            # The newest is named, for it says where the patient stands; of two kinds the worse.
            if found is None or (is_newest and band.at_least < found[0].at_least):
                found = band, m
    return found


def _since_stop(
    counts: tuple[Measurement, ...], case: Case, last_day: date
) -> Iterator[tuple[Measurement, bool]]:
    """Counts after the stop and the last one before it, newest first, each with whether it is the newest of all."""
    for number, m in enumerate(counts):
        yield m, number == 0
        if m.at is not None and case.snapshot.day(m.at) <= last_day:
            return


def _stopped_for_counts(case: Case) -> Band | None:
    """The band that a stop for neutropenia points to when no count shows it: the reason on the order, or the problem list."""
    written = case.course.stop_reason
    kinds = set() if isinstance(written, Reason) else set(kinds_by_text(written))
    bands = [b for b in case.policy.bands_of(case.population, "anc") if b.treatment != "continue"]
    if not bands or not kinds & {"neutropenia", "agranulocytosis-history", "neutropenic-fever"}:
        return None
    # Bands stand lowest first: the reason names agranulocytosis, or a neutropenia of unknown depth.
    return bands[-1] if kinds == {"neutropenia"} else bands[0]


class _FollowUp(Struct, frozen=True, gc=False):
    """The next count of the follow-up after a stop."""

    newest: Measurement | None
    #: The band for which clozapine was stopped, by a count or by the reason given; None when it was stopped for another reason.
    band: Band | None
    #: A count shows the band, not the reason alone.
    is_counted: bool
    severe: bool
    #: No news: nothing is known of clozapine for long, and no count ever reached this service.
    stale: bool
    #: How often counts are due now.
    every: Param
    #: When it is due.
    due: date
    #: It is not due before today: of a severe neutropenia that is not over a discharge hears all the same.
    in_time: bool


@when("stopped")
def anc_post_stop(case: Case) -> Iterator[Found]:
    """Clozapine was stopped lately and the follow-up counts are missing; after a low count by the rule of its band."""
    missing = _missing(case)
    if missing is None or (missing.stale and case.is_order_hook):
        return  # stale: no news, and nothing that another order could change
    rule = case.policy.post_stop
    newest, band, severe = missing.newest, missing.band, missing.severe
    # A low count that is there speaks as ever.
    in_time = missing.in_time
    severity: Severity = (
        "info" if in_time or missing.stale else "critical" if severe else urgency(case, "warning")
    )
    offers, steps = (offer_cbc if severe else offer_count)(
        case, "stat" if severe and not in_time else "routine", sentence("anc-post-stop.reason")
    )
    if missing.due > case.today:
        offers, steps = (), ()  # not due today
    # What the band asks for while clozapine is taken is done with.
    of_band = (
        [
            said
            for step, said in zip(band.steps, band_steps(case.policy, band), strict=True)
            if "clozapine" not in step.lower()
        ]
        if band is not None and severe
        else []
    )
    yield Found(
        code="anc-post-stop",
        severity=severity,
        subject="anc",
        summary=_summary(case, missing),
        why=_why(case, missing),
        policy_says=(
            band_says(case.policy, band)
            if band is not None
            else policy_says(case.policy, "post_stop.says", rule.says),
        ),
        suggested=(*steps, *of_band, *((sentence("anc-post-stop.stays-stopped"),) if severe else ())),
        evidence=count_evidence(case, *([newest] if newest is not None else [])),
        missing=() if in_time else (sentence("anc-post-stop.a-count-since"),),
        citation=case.policy.cite(band or rule.until_anc or rule.window_days),
        offers=(
            *offers,
            *(
                (Wish(ReferTo("hematology", "urgent"), _reason_hematology(case, band)),)
                if severe and not in_time
                else ()
            ),
        ),
    )


def _reason_hematology(case: Case, band: Band | None) -> Sentence:
    title: Param = sentence("anc-post-stop.severe-neutropenia")
    if band is not None:
        title = policy_word(
            case.policy, f"bands.{band.population}.{band.analyte}.{band.name}.title", band.title, first=True
        )
    return sentence("anc-post-stop.reason-hematology", band=title)


def _not_yet_resolved(case: Case, low: Band | None) -> bool:
    """Fewer counts in a row are normal than the band of the stop asks for."""
    if low is None or low.until_normal < 2:
        return False
    in_a_row = 0
    for m in case.series(low.analyte):
        band = case.band_of(m)
        if band is None or band.finding is not None:
            break
        in_a_row += 1
    return 0 < in_a_row < low.until_normal


def post_stop_due(case: Case) -> date | None:
    """When the next count after a stop is due: by the follow-up, or by the band of a count that is low; None when none is."""
    next_count = _follow_up(case)
    if next_count is not None:
        return next_count.due
    stopped, decided = case.course.stopped_at, case.decided_by_settled
    if case.on_clozapine or stopped is None or decided is None or abnormal_band(case) is None:
        return None
    sampling, at = sampling_in(case, *decided), decided[1].at
    if sampling is None or at is None or case.days_since(stopped) > case.policy.post_stop.window_days.value:
        return None
    return case.snapshot.day(at) + timedelta(days=sampling[0])


def _missing(case: Case) -> _FollowUp | None:
    """The follow-up count to speak of today: one that is missing, or at a discharge the next one after a severe neutropenia that is not over."""
    next_count = _follow_up(case)
    if next_count is None or (next_count.in_time and not (next_count.severe and _leaves(case))):
        return None
    return next_count


def _leaves(case: Case) -> bool:
    """Who goes home in the weeks after the stop is told when the next count is due."""
    stopped = case.course.stopped_at
    return (
        case.hook == "encounter-discharge"
        and stopped is not None
        and case.days_since(stopped) <= case.policy.post_stop.window_days.value
    )


def _follow_up(case: Case) -> _FollowUp | None:
    """The next count of the follow-up; None when it is over, or another finding asks for it."""
    rule = case.policy.post_stop
    stopped = case.course.stopped_at
    if case.on_clozapine or case.clozapine_drafts or stopped is None or not counts_readable(case):
        return None
    if abnormal_band(case) is not None:
        return None  # the count itself forbids clozapine and asks for the next one: one card, not two
    if not case.stop_known:
        return None  # data-unavailable says that the orders could not be read
    days_stopped = case.days_since(stopped)
    ben = case.population == "ben"
    newest = case.anc.newest
    after = (
        newest is not None
        and newest.at is not None
        and case.snapshot.day(newest.at) > case.snapshot.day(stopped)
    )
    # What the order says of the reason holds until a count since tells more.
    reason = None if after else _stopped_for_counts(case)
    critical_below = rule.ben_critical_below if ben else rule.critical_below
    severe = newest is not None and judged_value(newest) < critical_below.value
    severe = severe or (reason is not None and reason.at_least == 0)
    window = rule.critical_window_days if severe else rule.window_days
    if not 0 <= days_stopped <= window.value:
        return None
    until = rule.ben_until_anc if ben and rule.ben_until_anc is not None else rule.until_anc
    if until is not None and after and newest is not None and judged_value(newest) >= until.value:
        return None
    days = int(rule.every_days.value) if rule.every_days is not None else case.interval.days
    every: Param = sentence("interval.every-days", days=Counted(days))
    decided = case.decided_by_settled
    sampling = sampling_in(case, *decided) if decided is not None else None
    if sampling is None and reason is not None and reason.every_days is not None:
        sampling = reason.every_days, band_every(case.policy, reason)
    low = _low_at_stop(case)
    if low is not None and low[0].every_days is not None and _not_yet_resolved(case, low[0]):
        sampling = low[0].every_days, band_every(case.policy, low[0])
    if sampling is not None and sampling[0] <= days:
        days, every = sampling
    # A protocol with counts of its own after a stop begins them at the stop; else the earlier rhythm goes on. A stop on an unknown
    # day may lie before the last count.
    if newest is not None and (
        after
        or rule.every_days is None
        or low is not None
        or sampling is not None
        or case.course.ending is not None
    ):
        waited = case.age_days(newest)
    else:
        waited = days_stopped
    # Without any count on record none shows that the blood was well when clozapine was stopped.
    left = days - waited if newest is not None else -days_stopped
    return _FollowUp(
        newest=newest,
        band=low[0] if low is not None else reason,
        is_counted=low is not None,
        severe=severe,
        stale=newest is None and not severe and _is_long_silent(case),
        every=every,
        due=case.today + timedelta(days=left),
        in_time=newest is not None and left >= 0,
    )


def _summary(case: Case, missing: _FollowUp) -> Sentence:
    """What is known of the stop, and which count is missing."""
    ending, newest = case.course.ending, missing.newest
    said: dict[str, Param] = {"counts": judged_names(case), "every": missing.every}
    if ending is None:
        since, said["day"] = "on-day", day_of(case, case.course.stopped_at)
    else:
        since = "completed" if ending.carried_out else "held"
    if missing.in_time and newest is not None:
        due = Day(missing.due)
        return Sentence(
            f"anc-post-stop.in-time-{since}", {**said, "count": short_count(case, newest), "due": due}
        )
    if missing.severe and newest is not None and missing.is_counted:
        return Sentence(f"anc-post-stop.low-{since}", {**said, "count": short_count(case, newest)})
    if missing.severe and missing.band is not None:
        return Sentence(f"anc-post-stop.neutropenia-{since}", said)
    if missing.stale:
        assert ending is not None
        return Sentence("anc-post-stop.long-over", {**said, "day": day_of(case, ending.start)})
    if newest is None:
        return Sentence(f"anc-post-stop.no-count-{since}", said)
    counts = "both" if case.uses_wbc else "anc"
    return Sentence(f"anc-post-stop.missing-{counts}-{since}", {**said, "last": on_day(case, newest)})


def _why(case: Case, missing: _FollowUp) -> tuple[Sentence, ...]:
    course, newest = case.course, missing.newest
    ended = ending_lines(case) or (
        sentence(
            "anc-post-stop.last-dose", when=moment_of(case, course.stopped_at, course.last_dose_date_only)
        ),
    )
    reason = course.stop_reason
    return (
        *held_lines(case),
        *ended,
        *((sentence("anc-post-stop.reason-on-order", reason=as_recorded(reason)),) if reason else ()),
        last_usable(case, newest) if newest is not None else sentence("anc-post-stop.no-anc"),
        sentence("anc-post-stop.due", every=missing.every),
        *pending_lines(case),
    )


def _is_long_silent(case: Case) -> bool:
    """Nothing is known of clozapine for so long that counts, had there ever been any, would show that treatment is over.

    Where no count ever reached this service their silence proves nothing, so the order is believed for longer; as news it is old.
    """
    ending, rule = case.course.ending, case.policy.unknown_end
    if ending is None or ending.earliest is None or ending.latest_by not in ("", "silence"):
        return False
    silence = rule.silent_intervals.value * max(case.interval.days, case.policy.interruption.new_course.value)
    return case.days_since(ending.earliest) > silence


RULES = (anc_post_stop,)
