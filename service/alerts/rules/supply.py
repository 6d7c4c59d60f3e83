"""Supply and adherence (clinical.md 2.2): supply that ends too soon, supply beyond the next count, days not covered."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta

from service.alerts.case.announced import announced_in
from service.alerts.case.case import Case
from service.alerts.case.coverage import coverage
from service.alerts.case.judged_counts import stalest
from service.alerts.case.kept import supplies_kept
from service.alerts.phrases.dose import order_fact
from service.alerts.phrases.supply import supply_end, supply_evidence, supply_line
from service.alerts.rules.asked import when
from service.alerts.say import wording as w
from service.alerts.say.finding import Citation, Severity
from service.alerts.say.found import Fact, Found
from service.alerts.say.sentence import Counted, Day, Hours, Number, Record, Sentence, sentence


@when("visit")
@when("taking")
def supply_gap(case: Case) -> Iterator[Found]:
    """The dispensed supply ends within days and nothing new is ordered in this call; where a count is announced, its card says it."""
    ends, until = supply_end(case), case.course.supply_until
    if ends is None or until is None or supplies_kept(case) or announced_in(case) is not None:
        return
    yield Found(
        code="supply-gap",
        severity="info",
        subject="supply",
        summary=sentence("supply-gap.summary", day=Day(ends)),
        why=(supply_line(case, ends),),
        policy_says=tuple(_new_titration(case)),
        suggested=(sentence("supply-gap.renew"), sentence("supply-gap.count")),
        evidence=(supply_evidence(case),),
        decisive=(until.isoformat(),),
        citation=case.policy.cite(case.policy.supply.gap_days),
    )


def _new_titration(case: Case) -> Iterator[Sentence]:
    """From which gap on the policy asks for a new titration."""
    for tier in case.policy.retitrated_gaps[:1]:
        gap = Hours(tier.gap.value)
        belongs = tier.gap.comparator == ">="
        yield (
            sentence("supply-gap.policy", gap=gap) if belongs else sentence("supply-gap.policy-over", gap=gap)
        )


def allowed_days(case: Case) -> tuple[int, date | None]:
    """(days' supply that the policy allows today, day of the next blood count where that is what allows no more)."""
    interval = case.interval
    dispensing = case.policy.dispensing
    days = dict(dispensing.supply_by_interval).get(interval.days, interval.days)
    newest = stalest(case)
    if dispensing.until_next_count is not None and dispensing.until_next_count.value and newest is not None:
        # A baseline taken in time answers from the first dose on.
        left = max(0, interval.days - case.answered_days(newest))
        due = case.today + timedelta(days=interval.days - case.answered_days(newest))
        if left < days:
            return left, due
    return days, None


@when("supply-ordered")
def supply_exceeds_interval(case: Case) -> Iterator[Found]:
    """More days' supply are ordered, or at a discharge given to take home, than the monitoring interval (or the next blood count) allows."""
    orders = (*case.clozapine_drafts, *case.orders_to_go_home_with)
    if not any(d.days_supply for d in orders):
        return
    interval = case.interval
    allowed, due = allowed_days(case)
    for draft in orders:
        if draft.days_supply is None or draft.days_supply <= allowed:
            continue
        required = case.policy.dispensing.requires_current_count
        supply = Number(draft.days_supply)
        severity: Severity = "warning" if required.value else "info"
        yield Found(
            code="supply-exceeds-interval",
            severity=severity,
            changes_order=True,
            subject=f"supply:{draft.ref}",
            summary=sentence("supply-exceeds-interval.count-due", supply=supply, day=Day(due))
            if due is not None
            else sentence("supply-exceeds-interval.count-every", supply=supply, days=Counted(interval.days)),
            why=(
                sentence("supply-exceeds-interval.order", order=Record(draft.label), supply=supply),
                sentence(
                    "supply-exceeds-interval.interval",
                    often=interval.label,
                    why=interval.why,
                ),
            ),
            policy_says=(
                sentence("supply-exceeds-interval.policy", days=Counted(allowed))
                if required.value
                else sentence("supply-exceeds-interval.policy-no-limit"),
            ),
            suggested=(
                sentence("supply-exceeds-interval.at-most", days=Counted(allowed))
                if allowed
                else sentence("supply-exceeds-interval.count-first"),
            ),
            evidence=(order_fact(draft),),
            decisive=(w.number(draft.days_supply),),
            citation=cited_supply(case),
        )


def cited_supply(case: Case) -> Citation:
    """Where it stands how many days' supply are allowed."""
    dispensing = case.policy.dispensing
    if dispensing.until_next_count is not None and dispensing.until_next_count.value:
        return case.policy.cite(dispensing.until_next_count)
    source = case.policy.sources.get(dispensing.supply_source)
    if source is not None and case.interval.days in dict(dispensing.supply_by_interval):
        return Citation(source.title, "supply by interval", source.url, dispensing.supply_confirmed)
    return case.policy.cite(case.interval.cited or case.policy.schedule[0])


@when("visit")
@when("taking")
def adherence_low(case: Case) -> Iterator[Found]:
    """Fewer days covered by dispensed supply than an adequate trial needs."""
    if case.is_order_hook:
        return  # information for a visit, not for an order
    window = case.policy.supply.adherence_days
    wanted = case.policy.supply.adherence_percent
    found = coverage(case)
    if found is None or found.percent >= wanted.value:
        return
    days = Counted(int(window.value))
    yield Found(
        code="adherence-low",
        severity="info",
        subject="adherence",
        summary=sentence(
            "adherence-low.summary",
            percent=Number(found.percent, 0),
            window=days,
            wanted=Number(wanted.value),
        ),
        why=(
            sentence(
                "adherence-low.covered",
                dispenses=Number(len(found.dispensed), 0),
                days=Number(found.days, 0),
                window=days,
            ),
        ),
        policy_says=(sentence("adherence-low.policy"),),
        suggested=(sentence("adherence-low.ask"), sentence("adherence-low.level")),
        evidence=tuple(
            Fact(m.ref, sentence("adherence-low.evidence"), m.start, m.start_date_only)
            for m in found.dispensed[-5:]
        ),
        citation=case.policy.cite(wanted),
    )


RULES = (supply_gap, supply_exceeds_interval, adherence_low)
