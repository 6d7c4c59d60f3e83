"""The band of the newest counts (clinical.md 1, 2.1): what the policy asks for, the worse of ANC and WBC deciding."""

from __future__ import annotations

from collections.abc import Iterator

from service.alerts.case.abnormal_band import abnormal_band
from service.alerts.case.case import Case
from service.alerts.case.falling import Fall, fall_of
from service.alerts.case.interval import is_confirmed
from service.alerts.case.series import judged_value
from service.alerts.facts.patient import ClinicianFlag, Measurement
from service.alerts.phrases.count import (
    count_evidence,
    count_fact,
    count_in_band,
    count_line,
    count_name,
    ending_lines,
    offer_cbc,
    population_lines,
    short_count,
    start_line,
)
from service.alerts.phrases.draft_removal import remove_drafts
from service.alerts.phrases.result import day_of, on_day
from service.alerts.policy.parts.counts import Band
from service.alerts.policy.words import band_every, band_says, band_steps, band_title
from service.alerts.rules.asked import RELEVANT, when
from service.alerts.say import wording as w
from service.alerts.say.finding import ReferTo
from service.alerts.say.found import Found, Wish
from service.alerts.say.sentence import Count, Number, Param, Record, Sentence, sentence


@when("abnormal-count")
@when(*RELEVANT, "visit", "stopped")
def count_band(case: Case) -> Iterator[Found]:
    """The newest count lies in an abnormal band of the policy.

    A count that forbids clozapine is said at visits also while it is on hold or just stopped: neutrophils go on falling, and
    somebody may resume it. Where no record tells since when it is stopped, it is said beside any other order, too.
    """
    news = abnormal_band(case)
    if news is not None:
        yield _band_finding(case, *news)


def _band_finding(case: Case, band: Band, deciding: Measurement) -> Found:
    assert band.finding is not None
    assert band.severity is not None
    stop = band.treatment != "continue"
    previous, other = _count_before(case, deciding), _other_count(case, deciding)
    fall = fall_of(case) if case.policy.falling.severity != "info" and case.continuing else None
    reason = sentence(
        "count-band.reason", band=band_title(case.policy, band), count=short_count(case, deciding)
    )
    offers, cbc_steps = offer_cbc(case, "stat" if stop else "urgent", reason)
    why = _why(case, band, deciding, previous, other, fall)
    # The agreement is about the ANC: a white cell count that stops clozapine by itself is not covered by it.
    other_stops = other is not None and _stops(case, other)
    agreeable = stop and deciding.kind == "anc" and not other_stops
    agreed = case.agreed_deviation(judged_value(deciding)) if agreeable else None
    if agreed is not None and agreed.continue_at is not None:
        return _agreed_finding(case, band, deciding, agreed, agreed.continue_at, why, offers)
    worst = None if stop else _recovering_from(case, deciding)
    if worst is not None:
        return _recovering_finding(case, band, deciding, worst, why, offers)
    unconfirmed_stop = stop and band.stop_when_confirmed and not is_confirmed(case, band, deciding)
    no_wbc = case.uses_wbc and case.results("wbc").newest is None
    return Found(
        code=band.finding,
        severity=band.severity,
        subject="anc",
        summary=_summary(case, band, deciding, unconfirmed_stop),
        why=why,
        policy_says=(
            band_says(case.policy, band),
            *(
                (sentence("count-band.own-frequency"),)
                if band.sampling is not None and not band.sampling.confirmed
                else ()
            ),
        ),
        suggested=(
            *_steps(case, band, deciding, unconfirmed_stop),
            # The band asks for its counts itself.
            *(cbc_steps if not offers else ()),
        ),
        unchecked=(sentence("count-band.no-white-cells"),) if no_wbc else (),
        evidence=count_evidence(case, *(m for m in (deciding, previous, other) if m is not None)),
        citation=case.policy.cite(band),
        offers=(
            *(remove_drafts(case) if stop else ()),
            *offers,
            *((Wish(ReferTo("hematology", "urgent"), reason),) if band.consult_hematology else ()),
        ),
        also=("anc-falling",) if fall is not None else (),
    )


def _summary(case: Case, band: Band, deciding: Measurement, unconfirmed_stop: bool) -> Sentence:
    """The count, its band and what is to be done with clozapine."""
    said: dict[str, Param] = {"count": short_count(case, deciding), "band": band_title(case.policy, band)}
    if band.treatment == "continue":
        if not band.every_label:
            return Sentence("count-band.continue", said)
        return Sentence("count-band.count-again", {**said, "every": band_every(case.policy, band)})
    if case.may_be_resumed:
        return Sentence("count-band.do-not-give", said)
    if unconfirmed_stop:
        hours = Number(band.confirm_within_hours or 0, 0)
        return Sentence("count-band.repeat-then-stop", {**said, "hours": hours})
    if band.rechallenge == "never":
        return Sentence("count-band.stop-for-good", said)
    if band.treatment == "stop" or band.rechallenge:
        return Sentence("count-band.stop", said)
    return Sentence("count-band.interrupt", said)


def _steps(case: Case, band: Band, deciding: Measurement, unconfirmed_stop: bool) -> list[Sentence]:
    """What the policy asks for in the band, and before it what the patient's own situation does."""
    stop = band.treatment != "continue"
    steps = list(band_steps(case.policy, band))
    if band.stop_when_confirmed and stop and not unconfirmed_stop:
        steps.insert(0, sentence("count-band.confirmed"))
    if case.may_be_resumed:
        steps.insert(
            0, sentence("count-band.not-taken" if case.stop_known else "count-band.perhaps-not-taken")
        )
    # A policy that asks for the second count in words of its own has said it.
    repeats = any("Repeat" in step for step in band.steps)
    if band.confirm_within_hours and not repeats and _is_first_report(case, deciding):
        hours = Number(band.confirm_within_hours, 0)
        steps.insert(1 if stop else 0, sentence("count-band.repeat", hours=hours))
    return steps


def _why(
    case: Case,
    band: Band,
    deciding: Measurement,
    previous: Measurement | None,
    other: Measurement | None,
    fall: Fall | None,
) -> tuple[Sentence, ...]:
    why = [count_in_band(case, deciding, band)]
    if previous is not None:
        why.append(sentence("count-band.before", line=count_line(case, previous)))
    if other is not None:
        also_in = case.band_of(other)
        why.append(count_in_band(case, other, also_in) if also_in is not None else count_fact(case, other))
        why.append(sentence("count-band.worse-decides"))
    if fall is not None:
        why.append(
            sentence(
                "count-band.fell",
                name=count_name(fall.now.kind),
                before=Count(fall.before.value),
                day=on_day(case, fall.before),
            )
        )
    why += population_lines(case)
    if case.may_be_resumed:
        why += _not_taken_lines(case)
        if band.every_days is not None and case.age_days(deciding) > band.every_days:
            why.append(sentence("count-band.no-count-since", every=band_every(case.policy, band)))
    elif not case.starting and case.course.start is not None:
        why.append(start_line(case))
    return tuple(why)


def _agreed_finding(
    case: Case,
    band: Band,
    deciding: Measurement,
    agreed: ClinicianFlag,
    continue_at: float,
    why: tuple[Sentence, ...],
    offers: tuple[Wish, ...],
) -> Found:
    """The band stays named, but a deviation that a clinician agreed for this patient decides what is asked for."""
    assert band.finding is not None
    said: dict[str, Param] = {
        "count": short_count(case, deciding),
        "band": band_title(case.policy, band),
        "limit": Count(continue_at),
    }
    agreement: dict[str, Param] = {
        "who": Record(agreed.by),
        "day": day_of(case, agreed.at),
        "text": Record(agreed.text),
    }
    if agreed.expires is not None:
        until = day_of(case, agreed.expires)
        summary = Sentence("count-band.agreed-until", {**said, "until": until})
        agreement_line = Sentence("count-band.agreement-until", {**agreement, "until": until})
    else:
        summary = Sentence("count-band.agreed", said)
        agreement_line = Sentence("count-band.agreement", agreement)
    return Found(
        code=band.finding,
        severity="warning",
        subject="anc",
        summary=summary,
        why=(*why, agreement_line),
        policy_says=(band_says(case.policy, band), sentence("count-band.agreement-departs")),
        suggested=(
            sentence("count-band.check-agreement", limit=Count(continue_at)),
            sentence("count-band.sample", every=band_every(case.policy, band))
            if band.every_label
            else sentence("count-band.repeat-count"),
        ),
        evidence=count_evidence(case, deciding),
        decisive=(w.number(continue_at), agreed.at.isoformat()),
        citation=case.policy.cite(band),
        offers=offers,
    )


def _recovering_from(case: Case, deciding: Measurement) -> tuple[Measurement, Band] | None:
    """The worst count of the present run of abnormal ones, with a band that stops clozapine; None when there is none."""
    worst: tuple[Measurement, Band] | None = None
    for m in case.series(deciding.kind):
        if m.at is None or deciding.at is None or m.at >= deciding.at:
            continue
        band = case.band_of(m)
        if (
            band is None
            or band.finding is None
            or case.days_since(m.at) > case.policy.unknown_end.within_days.value
        ):
            break
        if band.treatment != "continue" and (worst is None or judged_value(m) < judged_value(worst[0])):
            worst = m, band
    return worst


def _recovering_finding(
    case: Case,
    band: Band,
    deciding: Measurement,
    worst: tuple[Measurement, Band],
    why: tuple[Sentence, ...],
    offers: tuple[Wish, ...],
) -> Found:
    """The count has risen from a band that stops clozapine, but is not normal yet: what that band asks for still holds."""
    assert band.finding is not None
    assert band.severity is not None
    lowest, from_band = worst
    forbidden = bool(from_band.rechallenge)
    said: dict[str, Param] = {
        "count": short_count(case, deciding),
        "band": band_title(case.policy, from_band),
        "lowest": Count(lowest.value),
        "day": on_day(case, lowest),
    }
    return Found(
        code=band.finding,
        severity="critical" if forbidden else band.severity,
        subject="anc",
        summary=Sentence("count-band.recovering-stopped" if forbidden else "count-band.recovering", said),
        why=(*why, sentence("count-band.lowest", line=count_in_band(case, lowest, from_band))),
        policy_says=(band_says(case.policy, from_band), band_says(case.policy, band)),
        suggested=(
            sentence("count-band.stays-stopped") if forbidden else sentence("count-band.may-resume"),
            *(
                (sentence("count-band.sample", every=band_every(case.policy, band)),)
                if band.every_label
                else ()
            ),
        ),
        evidence=count_evidence(case, deciding, lowest),
        citation=case.policy.cite(from_band),
        offers=(*(remove_drafts(case) if forbidden else ()), *offers),
    )


def _count_before(case: Case, deciding: Measurement) -> Measurement | None:
    """The settled count of the same kind before the deciding one."""
    return next(
        (
            m
            for m in case.series(deciding.kind)
            if m.at is not None and deciding.at is not None and m.at < deciding.at
        ),
        None,
    )


def _other_count(case: Case, deciding: Measurement) -> Measurement | None:
    """The newest count of the other kind, where the policy judges both."""
    if not case.uses_wbc:
        return None
    return case.worst_new("wbc" if deciding.kind == "anc" else "anc")


def _not_taken_lines(case: Case) -> tuple[Sentence, ...]:
    """Why this count matters in a patient who takes no clozapine today."""
    stopped = case.course.stopped_at
    if case.course.ending is not None:
        return ending_lines(case)
    if stopped is None or case.days_since(stopped) > case.policy.post_stop.window_days.value:
        return (sentence("count-band.ordered-not-begun"),)
    return (sentence("count-band.last-taken", day=day_of(case, stopped)),)


def _stops(case: Case, count: Measurement) -> bool:
    band = case.band_of(count)
    return band is not None and band.treatment != "continue"


def _is_first_report(case: Case, deciding: Measurement) -> bool:
    """True unless the count before was already abnormal."""
    previous = _count_before(case, deciding)
    if previous is None:
        return True
    earlier = case.band_of(previous)
    return earlier is None or earlier.finding is None


RULES = (count_band,)
