"""Blood counts (clinical.md 2.1): missing, overdue, due soon."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from service.alerts.case.announced import announced_in
from service.alerts.case.baseline import minima, was_begun_on_old_baseline
from service.alerts.case.case import Case
from service.alerts.case.judged_counts import counts_readable, preliminary_anc, stalest
from service.alerts.facts.patient import Measurement
from service.alerts.phrases.count import (
    count_evidence,
    count_line,
    count_name,
    judged_names,
    last_usable,
    last_usable_with_age,
    newer_may_exist,
    not_all_read,
    offer_cbc,
    pending_lines,
    population_lines,
    start_line,
)
from service.alerts.phrases.draft_removal import remove_drafts
from service.alerts.phrases.result import on_day, refusal
from service.alerts.phrases.start import start_only, start_says
from service.alerts.phrases.supply import supply_end, supply_evidence, supply_line
from service.alerts.policy.parts.counts import Analyte
from service.alerts.rules.asked import when
from service.alerts.rules.missing_counts import (
    held_lines,
    holder,
    national_rules,
    offer_count,
    supply_forbidden,
    urgency,
)
from service.alerts.say.finding import Citation, NotifyTeam, Severity
from service.alerts.say.found import Found, Wish
from service.alerts.say.sentence import Count, Counted, Day, Param, Sentence, as_recorded, sentence


def _cited(case: Case) -> Citation:
    return case.policy.cite(case.interval.cited or case.policy.schedule[0])


def _none_here(case: Case, kind: Analyte) -> Sentence:
    """That there is no usable count, and where it may be."""
    starting, held = "-starting" if case.starting else "", holder(case)
    if held is None:
        return sentence(f"anc-missing.no-{kind}{starting}")
    return sentence(f"anc-missing.held-{kind}{starting}", place=held)


def _long_uncounted(case: Case) -> bool:
    """Treatment goes on for so long that a count of its first day would be critically overdue: none at all is as bad."""
    began = case.course.start or case.course.first_ever
    if began is None or not case.continuing:
        return False
    return case.days_since(began) > case.policy.overdue.critical_intervals.value * case.interval.days


@when("no-anc")
@when("starting", "continuing")
def anc_missing(case: Case) -> Iterator[Found]:
    """No usable ANC at all."""
    if not (case.starting or case.continuing) or case.anc.newest is not None or not counts_readable(case):
        return
    required = case.policy.dispensing.requires_current_count
    severity: Severity = "critical" if case.starting or required.value or _long_uncounted(case) else "warning"
    offers, steps = offer_count(
        case, "urgent" if severity == "critical" else "routine", sentence("anc-missing.reason-anc")
    )
    found = [m for m in (preliminary_anc(case),) if m is not None]
    wanted = minima(case)
    yield Found(
        code="anc-missing",
        severity=urgency(case, severity),
        subject="anc",
        summary=_none_here(case, "anc"),
        why=(
            *held_lines(case),
            start_line(case),
            *pending_lines(case),
            *(
                sentence("anc-missing.unusable", raw=as_recorded(u.as_sent), reason=refusal(u))
                for u in case.anc.unusable[:2]
            ),
        ),
        policy_says=(
            start_says(case)
            if case.starting
            else sentence("anc-missing.policy", counts=judged_names(case), every=case.interval.label),
        ),
        suggested=(*steps, *(start_only(kind, m) for kind, m in wanted)) if case.starting else steps,
        unchecked=not_all_read(case),
        evidence=count_evidence(case, *found),
        missing=(sentence("anc-missing.a-usable-anc"),),
        citation=case.policy.cite(wanted[0][1]),
        offers=(*offers, *(remove_drafts(case) if case.starting else ())),
    )


@when("wbc-judged")
@when("starting", "continuing")
def wbc_missing(case: Case) -> Iterator[Found]:
    """An ANC but no white cell count, under a policy that judges both."""
    if not case.uses_wbc or not (case.starting or case.continuing) or not counts_readable(case):
        return
    newest = case.anc.newest
    if newest is None or case.results("wbc").newest is not None:
        return  # without an ANC, anc-missing says it
    required = supply_forbidden(case)
    offers, steps = offer_count(
        case, "urgent" if case.starting else "routine", sentence("anc-missing.reason-wbc")
    )
    minimum = case.policy.start.minimum(case.population, "wbc")
    if case.starting and minimum is not None:
        steps = (*steps, start_only("wbc", minimum))
    yield Found(
        code="anc-missing",
        severity=urgency(case, "critical" if case.starting or required else "warning"),
        subject="wbc",
        summary=_none_here(case, "wbc"),
        why=(
            *held_lines(case),
            sentence("anc-missing.anc-alone", line=count_line(case, newest)),
            start_line(case),
        ),
        policy_says=(
            start_says(case)
            if case.starting
            else sentence("anc-missing.policy-both", counts=judged_names(case), every=case.interval.label),
        ),
        suggested=(*steps, sentence("anc-missing.check-wbc-code")),
        evidence=count_evidence(case, newest),
        missing=(sentence("anc-missing.a-usable-wbc"),),
        citation=case.policy.cite(minimum or case.policy.schedule[0]),
        offers=(*offers, *(remove_drafts(case) if case.starting else ())),
    )


@when("continuing")
def anc_overdue(case: Case) -> Iterator[Found]:
    """The newest usable ANC (or WBC, where the policy judges it) is older than the interval that applies today."""
    newest = stalest(case)
    if newest is None or not case.continuing or case.starting:
        return
    interval = case.interval
    age = case.answered_days(newest)
    if age <= interval.days or was_begun_on_old_baseline(case, newest):
        return
    late = age - interval.days
    due = Day(case.today - timedelta(days=late))
    name = count_name(newest.kind)
    required = supply_forbidden(case)
    severity = urgency(
        case,
        "critical"
        if required or age > case.policy.overdue.critical_intervals.value * interval.days
        else "warning",
    )
    offers, steps = offer_count(
        case,
        "urgent" if severity == "critical" else "routine",
        sentence("anc-overdue.reason", name=name, day=due),
    )
    team = Wish(NotifyTeam("anc-overdue"), sentence("anc-overdue.team", name=name, day=due))
    yield Found(
        code="anc-overdue",
        severity=severity,
        subject="anc",
        summary=_overdue(case, newest, late),
        why=(
            *held_lines(case),
            last_usable_with_age(case, newest),
            *pending_lines(case),
            start_line(case),
            *population_lines(case),
        ),
        policy_says=(
            Sentence(
                f"anc-overdue.policy{'' if interval.days > 1 else '-daily'}{'-supply' if required else ''}",
                {"counts": judged_names(case), "every": interval.label, "why": interval.why}
                | ({"days": Counted(interval.days)} if interval.days > 1 else {}),
            ),
            *national_rules(case),
        ),
        suggested=steps,
        unchecked=newer_may_exist(case),
        evidence=count_evidence(case, newest),
        citation=_cited(case),
        offers=offers if case.is_order_hook or holder(case) is not None else (*offers, team),
    )


def _overdue(case: Case, newest: Measurement, late: int) -> Sentence:
    """Since when a count is overdue as far as this record tells, and where a newer one may be."""
    said: dict[str, Param] = {"name": count_name(newest.kind), "day": on_day(case, newest)}
    held = holder(case)
    if held is not None:
        return Sentence("anc-overdue.summary-held", {**said, "place": held})
    count, every = Count(newest.value), case.interval.label
    return Sentence(
        "anc-overdue.summary",
        {**said, "late": Counted(late, at_most=newest.until is not None), "count": count, "every": every},
    )


@when("visit")
@when("taking")
def anc_due_soon(case: Case) -> Iterator[Found]:
    """The next count is due within days; only where it can be planned."""
    newest, left = stalest(case), announced_in(case)
    if newest is None or left is None:
        return
    interval = case.interval
    supply = supply_end(case)
    due = Day(case.today + timedelta(days=left))
    counts = judged_names(case)
    offers, steps = offer_cbc(case, "routine", sentence("anc-due-soon.reason", counts=counts, day=due))
    yield Found(
        code="anc-due-soon",
        severity="info",
        subject="anc",
        summary=Sentence(
            f"anc-due-soon.next-{'blood-count' if case.uses_wbc else 'anc'}{'' if supply is None else '-supply'}",
            {"day": due, "every": interval.label, **({} if supply is None else {"supply": Day(supply)})},
        ),
        why=(
            last_usable(case, newest),
            start_line(case),
            *(() if supply is None else (supply_line(case, supply),)),
        ),
        policy_says=(sentence("anc-due-soon.policy", counts=counts, every=interval.label, why=interval.why),),
        suggested=steps if supply is None else (*steps, sentence("supply-gap.renew")),
        evidence=(*count_evidence(case, newest), *(() if supply is None else (supply_evidence(case),))),
        citation=_cited(case),
        offers=offers,
        also=() if supply is None else ("supply-gap",),
    )


RULES = (anc_missing, wbc_missing, anc_overdue, anc_due_soon)
