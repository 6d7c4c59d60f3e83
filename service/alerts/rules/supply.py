"""Supply and adherence (clinical.md 2.2): supply that ends too soon, supply beyond the next count, days not covered."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from msgspec import Struct

from service.alerts.case.case import Case
from service.alerts.case.exposure import supplies_of
from service.alerts.facts.patient import Medication
from service.alerts.rules.asked import when
from service.alerts.rules.count_lines import stalest
from service.alerts.say import wording as w
from service.alerts.say.finding import Citation, Evidence, Finding, Severity
from service.alerts.say.found import Found
from service.alerts.say.sentence import sentence


@when("visit")
@when("taking")
def supply_gap(case: Case) -> Iterator[Finding]:
    """The dispensed supply ends within days and nothing new is ordered in this call."""
    until = case.course.supply_until
    if case.is_order_hook or until is None or not case.on_clozapine or case.clozapine_drafts:
        return
    limit = case.policy.supply.gap_days
    left = (case.snapshot.day(until) - case.today).days
    if not 0 <= left < limit.value:
        return
    yield Finding(
        code="supply-gap",
        severity="info",
        subject="supply",
        summary=f"Clozapine supply ends on {w.day(case.snapshot, until)}: plan count and dispense before then.",
        why=(f"The last dispense covers until {w.day(case.snapshot, until)}, {w.days(left)} from today.",),
        policy_says=("A gap of two days or more needs a new titration.",),
        suggested=("Renew the prescription in time.", "Take the blood count that is due with it."),
        evidence=(Evidence(case.course.supply_ref, "dispense"),),
        decisive=(until.isoformat(),),
        citation=case.policy.cite(limit),
    )


def _allowed_days(case: Case) -> tuple[int, str]:
    """(days' supply that the next count allows, why)."""
    interval = case.interval
    dispensing = case.policy.dispensing
    days = dict(dispensing.supply_by_interval).get(interval.days, interval.days)
    newest = stalest(case)
    if dispensing.until_next_count is not None and dispensing.until_next_count.value and newest is not None:
        left = max(0, interval.days - case.age_days(newest))
        due = case.today + timedelta(days=interval.days - case.age_days(newest))
        if left < days:
            return left, f"the next blood count is due on {due.isoformat()}"
    return days, f"a blood count is due every {w.days(interval.days)}"


@when("supply-ordered")
def supply_exceeds_interval(case: Case) -> Iterator[Found]:
    """More days' supply are ordered than the monitoring interval (or the next blood count) allows."""
    if not any(d.days_supply for d in case.clozapine_drafts):
        return
    interval = case.interval
    allowed, reason = _allowed_days(case)
    for draft in case.clozapine_drafts:
        if draft.days_supply is None or draft.days_supply <= allowed:
            continue
        required = case.policy.dispensing.requires_current_count
        severity: Severity = "warning" if required.value else "info"
        yield Found(
            code="supply-exceeds-interval",
            severity=severity,
            changes_order=True,
            subject=f"supply:{draft.ref}",
            summary=w.summary(f"{w.number(draft.days_supply)} days' supply ordered, but {reason}."),
            why=(
                f"{w.safe(draft.label)}: {w.number(draft.days_supply)} days' supply.",
                sentence("interval.blood-count", label=interval.label, why=interval.why),
            ),
            policy_says=(
                f"Supply at most {w.days(allowed)} at this stage."
                if required.value
                else "Not a legal limit under this policy; a supply that ends with the next count keeps the counts coming.",
            ),
            suggested=(
                f"Order at most {w.days(allowed)}."
                if allowed
                else "Take the blood count first, then order up to the next one.",
            ),
            evidence=(Evidence(draft.ref, w.safe(draft.label)),),
            decisive=(w.number(draft.days_supply),),
            citation=_cited_supply(case),
        )


def _cited_supply(case: Case) -> Citation:
    dispensing = case.policy.dispensing
    if dispensing.until_next_count is not None and dispensing.until_next_count.value:
        return case.policy.cite(dispensing.until_next_count)
    source = case.policy.sources.get(dispensing.supply_source)
    if source is not None and case.interval.days in dict(dispensing.supply_by_interval):
        return Citation(source.title, "supply by interval", source.url, dispensing.supply_confirmed)
    return case.policy.cite(case.interval.cited or case.policy.schedule[0])


class Coverage(Struct, frozen=True):
    """Days that dispensed supply covers, of the last days the policy looks at."""

    days: int
    percent: float
    dispensed: tuple[Medication, ...]


def coverage(case: Case) -> Coverage | None:
    """How much of the policy's window dispensed supply covers; None when supply is not recorded for long enough to judge."""
    window = case.policy.supply.adherence_days
    dispensed = [m for m, _ in supplies_of(case.clozapine_records, case.as_of)]
    if not case.on_clozapine or not dispensed:
        return None
    first_day = case.today - timedelta(days=int(window.value))
    assert dispensed[0].start is not None
    if case.snapshot.day(dispensed[0].start) > first_day:
        return None
    covered: set[int] = set()
    carried_until: dict[str, int] = {}
    for m in dispensed:
        assert m.start is not None
        # Supply handed over early is used after the one before it; another strength beside it is part of the same doses.
        begin = (case.snapshot.day(m.start) - first_day).days
        begin = max(begin, carried_until.get(m.label, begin))
        end = carried_until[m.label] = begin + int(m.days_supply or 0)
        covered.update(range(max(begin, 0), min(end, int(window.value))))
    return Coverage(len(covered), 100 * len(covered) / window.value, tuple(dispensed))


@when("visit")
@when("taking")
def adherence_low(case: Case) -> Iterator[Finding]:
    """Fewer days covered by dispensed supply than an adequate trial needs."""
    if case.is_order_hook:
        return  # information for a visit, not for an order
    window = case.policy.supply.adherence_days
    wanted = case.policy.supply.adherence_percent
    found = coverage(case)
    if found is None or found.percent >= wanted.value:
        return
    yield Finding(
        code="adherence-low",
        severity="info",
        subject="adherence",
        summary=f"Clozapine supply covers {found.percent:.0f} % of the last {w.days(int(window.value))} (wanted: {w.number(wanted.value)} %).",
        why=(f"{len(found.dispensed)} dispenses cover {found.days} of {w.days(int(window.value))}.",),
        policy_says=("A trial is adequate only when at least this share of the doses was taken.",),
        suggested=("Ask openly about missed doses and why.", "A trough clozapine level helps to tell."),
        evidence=tuple(Evidence(m.ref, "dispense", m.start, m.start_date_only) for m in found.dispensed[-5:]),
        citation=case.policy.cite(wanted),
    )


RULES = (supply_gap, supply_exceeds_interval, adherence_low)
