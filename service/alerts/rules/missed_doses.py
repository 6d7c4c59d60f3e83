"""Missed doses and the return to the established dose (clinical.md 2.2)."""

from __future__ import annotations

from collections.abc import Iterator

from service.alerts.case.case import Case
from service.alerts.case.ordered_dose import first_day_dose
from service.alerts.case.renewal import is_between_orders, is_renewed_in_time
from service.alerts.case.restart import reached_tier, returned_dose, stepped, tier_dose
from service.alerts.case.returning import Return
from service.alerts.case.tablet import other_tablet
from service.alerts.case.witness import ESTIMATED, Doubt
from service.alerts.phrases.dose import (
    estimated,
    known_by,
    missed_dose_says,
    moment_of,
    order_fact,
    tier_says,
)
from service.alerts.policy.parts.breaks import MissedDoseTier
from service.alerts.rules.asked import when
from service.alerts.say import wording as w
from service.alerts.say.finding import ChangeDose, Offer, Severity
from service.alerts.say.found import Fact, Found
from service.alerts.say.sentence import (
    Day,
    Dose,
    Hours,
    Number,
    Param,
    Sentence,
    as_recorded,
    sentence,
)

_DOUBT: dict[Doubt, str] = {
    "home": "missed-dose-retitrate.doubt-home",
    "leave": "missed-dose-retitrate.doubt-leave",
}


@when("last-dose-known", "interrupted")
@when("drafted", "taking")
def missed_dose(case: Case) -> Iterator[Found]:
    """The gap since the last dose reaches a tier and the dose is above that tier's; or the dose rises too far on the return from a gap."""
    course = case.course
    if not (case.clozapine_drafts or case.on_clozapine) or case.stopping:
        return
    tier = reached_tier(case)
    if tier is None or course.last_dose is None:
        if course.last_dose_or_earlier:
            yield from _since_when_unknown(case)
        elif case.returning is not None:
            yield from _rises_too_far(case, case.returning)
        return
    first = first_day_dose(case)
    target = tier_dose(case, tier)
    if target is not None and first is not None and first <= target[1]:
        return
    if is_renewed_in_time(case):
        yield _renewed_late(case, tier)
        return
    if is_between_orders(case):
        return  # asked when the next one is written
    withheld = course.last_dose_basis == "withheld"
    unsure = course.last_dose_basis in ESTIMATED or bool(course.last_dose_doubt)
    severity: Severity = tier.severity_when_estimated if unsure else tier.severity
    planned = case.next_dose
    to_come = planned.at > case.as_of
    gap: Param = Hours(case.hours_without or 0.0)
    if course.last_dose_date_only or course.last_dose_or_earlier:
        gap = sentence("gap.at-least", gap=gap)
    by = known_by(course.last_dose_basis)
    why = [
        sentence(
            "missed-dose-retitrate.last-dose-before" if withheld else "missed-dose-retitrate.last-dose",
            when=moment_of(case, course.last_dose, course.last_dose_date_only),
            by=by,
            gap=gap if not to_come else Hours(case.hours_since(course.last_dose)),
        )
    ]
    if to_come:
        why.append(
            Sentence(
                f"missed-dose-retitrate.next-dose-{planned.by}",
                {"when": moment_of(case, planned.at), "gap": gap},
            )
        )
    if course.last_dose_or_earlier:
        why.append(sentence("missed-dose-retitrate.or-earlier"))
    elif course.last_dose_date_only and not (course.last_dose_basis in ESTIMATED or withheld):
        why.append(sentence("missed-dose-retitrate.only-the-date"))
    if course.last_dose_doubt:
        why.append(_doubt(case, course.last_dose_doubt))
    why.append(_dose_line(case))
    said = estimated(gap, course.last_dose_basis)
    if course.last_dose_doubt and course.last_dose_basis not in ESTIMATED:
        said = sentence("gap.by-ward-chart", gap=gap)
    offers = _offers(case, target[0]) if target is not None else ()
    yield Found(
        code="missed-dose-retitrate",
        severity=severity,
        subject="missed-dose",
        summary=sentence(
            "missed-dose-retitrate.summary-next" if to_come else "missed-dose-retitrate.summary",
            gap=said,
            restart=_restart(tier, target),
        ),
        why=tuple(why),
        policy_says=(tier_says(case, tier), missed_dose_says(case)),
        suggested=(
            *_first_titration_caution(case),
            _restart_step(tier, target),
            sentence("missed-dose-retitrate.ask-really")
            if unsure or course.last_dose_date_only
            else sentence("missed-dose-retitrate.measure-first-dose"),
            *_tablet_line(offers),
            sentence("missed-dose-retitrate.titrate"),
        ),
        evidence=(
            Fact(
                course.last_dose_ref,
                sentence("last-dose.evidence-by", by=by),
                course.last_dose,
                course.last_dose_date_only,
            ),
            *(order_fact(d) for d in case.clozapine_drafts),
        ),
        decisive=(tier.name, course.last_dose.isoformat()),
        citation=case.policy.cite(tier),
        offers=offers,
    )


def _doubt(case: Case, why: Doubt) -> Sentence:
    until = case.course.supply_until
    if why == "supply" and until is not None:
        return sentence("missed-dose-retitrate.doubt-supply", day=Day(case.snapshot.day(until)))
    return sentence(_DOUBT[why])


def _dose_line(case: Case) -> Sentence:
    """The dose in question, and the one that was established."""
    current, established = case.current_mg_per_day, case.established_mg_per_day
    if current is None:
        return sentence("missed-dose-retitrate.dose-not-compared")
    if not established:
        return _ordered_dose(case, current)
    return sentence(
        "missed-dose-retitrate.drafted-established"
        if case.clozapine_drafts
        else "missed-dose-retitrate.active-established",
        dose=Dose(current),
        established=Dose(established),
    )


def _ordered_dose(case: Case, mg: float) -> Sentence:
    drafted = bool(case.clozapine_drafts)
    return sentence(
        "missed-dose-retitrate.drafted" if drafted else "missed-dose-retitrate.active", dose=Dose(mg)
    )


def _renewed_late(case: Case, tier: MissedDoseTier) -> Found:
    """A question, for nobody is interrupted by it: the order before was over some days ago."""
    course, first = case.course, first_day_dose(case)
    assert course.ending is not None
    assert course.last_dose is not None
    by_update = course.last_dose_basis == "update"
    return Found(
        code="missed-dose-retitrate",
        severity="info",
        subject="missed-dose",
        changes_order=True,
        summary=sentence(
            "missed-dose-retitrate.completed" if by_update else "missed-dose-retitrate.renewal-was-due",
            gap=Hours(case.hours_since(course.last_dose)),
            dose=Dose(first or 0),
        ),
        why=(
            sentence(
                "missed-dose-retitrate.over-by-update"
                if by_update
                else "missed-dose-retitrate.over-by-rhythm",
                when=moment_of(case, course.last_dose, not by_update),
            ),
        ),
        policy_says=(tier_says(case, tier), missed_dose_says(case)),
        suggested=(sentence("missed-dose-retitrate.ask"), sentence("missed-dose-retitrate.none-missed")),
        evidence=(
            Fact(
                course.ending.ref, sentence("missed-dose-retitrate.evidence-completed"), course.ending.start
            ),
            *(order_fact(d) for d in case.clozapine_drafts),
        ),
        decisive=(tier.name, course.last_dose.isoformat()),
        citation=case.policy.cite(tier),
    )


def _restart(tier: MissedDoseTier, target: tuple[float, float] | None) -> Sentence:
    """How to begin again, within a sentence."""
    if tier.single_mg is not None:
        return sentence("missed-dose-retitrate.restart", dose=Dose(tier.single_mg))
    if target is None:
        return sentence("missed-dose-retitrate.resume", percent=_percent(tier))
    return sentence("missed-dose-retitrate.resume-at-most", percent=_percent(tier), dose=Dose(target[0]))


def _restart_step(tier: MissedDoseTier, target: tuple[float, float] | None) -> Sentence:
    """The same as a step."""
    if tier.single_mg is not None:
        return sentence("missed-dose-retitrate.step-restart", dose=Dose(tier.single_mg))
    if target is None:
        return sentence("missed-dose-retitrate.step-resume", percent=_percent(tier))
    return sentence("missed-dose-retitrate.step-resume-at-most", percent=_percent(tier), dose=Dose(target[0]))


def _percent(tier: MissedDoseTier) -> Sentence:
    high = Number(tier.percent_high or 0)
    if tier.percent_low == tier.percent_high:
        return sentence("missed-dose-retitrate.percent", high=high)
    return sentence("missed-dose-retitrate.percent-between", low=Number(tier.percent_low or 0), high=high)


def _first_titration_caution(case: Case) -> tuple[Sentence, ...]:
    events = case.problems_of("syncope", history=True)
    return (sentence("missed-dose-retitrate.caution", problem=as_recorded(events[0].name)),) if events else ()


def _since_when_unknown(case: Case) -> Iterator[Found]:
    """Said not to be taken, against what is ordered, and nobody says since when."""
    longest = case.policy.missed_dose[-1] if case.policy.missed_dose else None
    if longest is None or (case.is_order_hook and not case.clozapine_drafts):
        return
    target = tier_dose(case, longest)
    first = first_day_dose(case)
    if target is not None and first is not None and first <= target[1]:
        return
    said = case.course.last_dose
    yield Found(
        code="missed-dose-retitrate",
        severity="warning",
        subject="missed-dose",
        summary=sentence("missed-dose-retitrate.since-unknown"),
        why=(
            sentence("missed-dose-retitrate.stated", when=moment_of(case, said))
            if said is not None
            else sentence("missed-dose-retitrate.stated-undated"),
            _ordered_dose(case, first)
            if first is not None
            else sentence("missed-dose-retitrate.dose-not-read"),
        ),
        policy_says=(*(tier_says(case, tier) for tier in case.policy.missed_dose), missed_dose_says(case)),
        suggested=(
            *_first_titration_caution(case),
            sentence("missed-dose-retitrate.ask-and-record"),
            sentence("missed-dose-retitrate.take-longest"),
        ),
        evidence=(
            Fact(
                case.course.last_dose_ref,
                sentence("missed-dose-retitrate.evidence-statement"),
                case.course.last_dose,
            ),
            *(order_fact(d) for d in case.clozapine_drafts),
        ),
        decisive=(case.course.last_dose_ref,),
        citation=case.policy.cite(longest),
    )


def _rises_too_far(case: Case, back: Return) -> Iterator[Found]:
    """The dose before a gap has not been reached again: the dose reached since decides what the next may be."""
    if case.is_order_hook and not case.clozapine_drafts:
        return
    rise = case.policy.dosing.early_rise_maximum
    dose = first_day_dose(case) if case.clozapine_drafts else case.ordered_mg_per_day
    highest = max(back.reached + rise.value, returned_dose(back))
    if (dose is None and not case.clozapine_drafts) or (dose is not None and dose <= highest):
        return
    next_mg = stepped(case, highest)
    gap: Param = Hours(back.gap.hours)
    if back.gap.estimated:
        gap = estimated(gap, "supply")
    reached, most = Dose(back.reached), Dose(next_mg)
    offers = _offers(case, next_mg)
    yield Found(
        code="missed-dose-retitrate",
        severity=back.tier.severity_when_estimated if back.gap.estimated else back.tier.severity,
        subject="missed-dose",
        summary=sentence("missed-dose-retitrate.rises-too-far", reached=reached, gap=gap, next=most)
        if dose is None
        else sentence(
            "missed-dose-retitrate.rises-too-far-to", reached=reached, gap=gap, next=most, dose=Dose(dose)
        ),
        why=(
            sentence(
                "missed-dose-retitrate.not-taken",
                gap=gap,
                start=moment_of(case, back.gap.start),
                end=moment_of(case, back.gap.end),
            ),
            _since_the_gap(case, back, dose),
        ),
        policy_says=(
            tier_says(case, back.tier),
            sentence("missed-dose-retitrate.rise-policy", rise=Dose(rise.value)),
            missed_dose_says(case),
        ),
        suggested=(
            *_first_titration_caution(case),
            sentence("missed-dose-retitrate.give-at-most", next=most),
            sentence("missed-dose-retitrate.measure-dose"),
            *_tablet_line(offers),
            sentence("missed-dose-retitrate.titrate"),
        ),
        evidence=(
            Fact(back.gap.ref, sentence("missed-dose-retitrate.evidence-before"), back.gap.start),
            Fact(back.ref, sentence("missed-dose-retitrate.evidence-after"), back.since),
            *(order_fact(d) for d in case.clozapine_drafts),
        ),
        decisive=(back.tier.name, back.gap.start.isoformat(), w.number(back.reached)),
        citation=case.policy.cite(back.tier),
        offers=offers,
    )


@when("drafted")
def rise_after_restart_order(case: Case) -> Iterator[Found]:
    """A restart dose was ordered beside the older order: why, nobody says; the next larger dose is judged as after a gap."""
    restart = case.restarted
    if restart is None or case.returning is not None or reached_tier(case) is not None:
        return  # the gap itself is known
    dose, rise = first_day_dose(case), case.policy.dosing.early_rise_maximum
    if dose is None or dose <= restart.mg + rise.value:
        return
    next_mg = stepped(case, restart.mg + rise.value)
    reached, older, most, day = (
        Dose(restart.mg), Dose(restart.older_mg), Dose(next_mg), Day(case.snapshot.day(restart.since))
    )  # fmt: skip
    yield Found(
        code="missed-dose-retitrate",
        severity="warning",
        subject="missed-dose",
        summary=sentence(
            "missed-dose-retitrate.restarted-beside", day=day, reached=reached, next=most, dose=Dose(dose)
        ),
        why=(
            sentence("missed-dose-retitrate.both-active", day=day, reached=reached, older=older),
            _ordered_dose(case, dose),
        ),
        policy_says=(
            sentence("missed-dose-retitrate.rise-policy", rise=Dose(rise.value)),
            missed_dose_says(case),
        ),
        suggested=(
            *_first_titration_caution(case),
            sentence("missed-dose-retitrate.ask-really"),
            sentence("missed-dose-retitrate.give-at-most", next=most),
            sentence("missed-dose-retitrate.end-older", older=older),
        ),
        evidence=(
            order_fact(restart.order),
            order_fact(restart.older),
            *(order_fact(d) for d in case.clozapine_drafts),
        ),
        decisive=(restart.order.ref, w.number(restart.mg)),
        citation=case.policy.cite(rise),
        offers=_offers(case, next_mg),
    )


def _since_the_gap(case: Case, back: Return, dose: float | None) -> Sentence:
    """What was reached since the gap, beside what is ordered."""
    reached = Dose(back.reached)
    if dose is None:
        return sentence("missed-dose-retitrate.reached-not-compared", reached=reached)
    if back.by_order:
        return sentence("missed-dose-retitrate.reached-by-order", reached=reached, dose=Dose(dose))
    return sentence(
        "missed-dose-retitrate.reached-drafted"
        if case.clozapine_drafts
        else "missed-dose-retitrate.reached-active",
        reached=reached,
        dose=Dose(dose),
    )


def _offers(case: Case, mg_per_day: float) -> tuple[Offer, ...]:
    """The draft with another dose: more than is given at once is divided, into doses that tablets can make."""
    if len(case.clozapine_drafts) != 1 or not case.clozapine_drafts[0].ref:
        return ()
    draft = case.clozapine_drafts[0]
    per_day = 2 if mg_per_day > case.policy.dosing.once_daily_maximum.value else 1
    dose = stepped(case, mg_per_day, per_day)
    tablet = other_tablet(case, draft, dose / per_day)
    return (ChangeDose(draft.ref, w.plain(draft.label), dose, per_day, tablet_mg=tablet),)


def _tablet_line(offers: tuple[Offer, ...]) -> tuple[Sentence, ...]:
    """That the order is changed to another tablet."""
    return tuple(
        sentence("dose.other-tablet", tablet=Dose(o.tablet_mg), dose=Dose(o.mg_per_day / o.doses_per_day))
        for o in offers
        if isinstance(o, ChangeDose) and o.tablet_mg is not None
    )


RULES = (missed_dose, rise_after_restart_order)
