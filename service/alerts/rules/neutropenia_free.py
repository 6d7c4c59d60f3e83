"""How far back the counts reach: a protocol that lengthens the interval after a time without neutropenia needs that time on record."""

from __future__ import annotations

from collections.abc import Iterator

from service.alerts.case.case import Case
from service.alerts.case.interval import course_counts
from service.alerts.rules.asked import when
from service.alerts.rules.count_lines import count_line, evidence_of, start_line
from service.alerts.say import wording as w
from service.alerts.say.finding import Finding


@when("visit")
@when("taking")
def neutropenia_free_time_not_on_record(case: Case) -> Iterator[Finding]:
    """The interval was lengthened, but the record does not reach back to the first weeks; said at visits only."""
    if case.is_order_hook or not case.policy.steps_down or not case.on_clozapine:
        return
    phase = case.interval.phase
    start = case.course.start
    first_phase = case.policy.schedule[0]
    if phase is None or not phase.needs_no_neutropenia or case.interval.band is not None or start is None:
        return
    counts = course_counts(case)
    if not counts or counts[-1].at is None or first_phase.until_day is None:
        return
    oldest = counts[-1]
    assert oldest.at is not None
    if (case.snapshot.day(oldest.at) - case.snapshot.day(start)).days < first_phase.until_day:
        return
    yield Finding(
        code="data-unavailable",
        severity="info",
        subject="anc-history",
        summary=w.summary(
            f"ANC {phase.label} assumes no neutropenia so far, but counts are on record only since {w.day(case.snapshot, oldest.at)}."
        ),
        why=(f"Oldest count of this course: {count_line(case, oldest)}.", start_line(case)),
        policy_says=(
            f"ANC {phase.label} only after a time without any neutropenia; a patient who had one stays at the shorter interval.",
        ),
        suggested=(
            "Look up the counts of the first year of treatment.",
            "After any neutropenia in that time, keep the shorter interval.",
        ),
        unchecked=(f"Blood counts before {w.day(case.snapshot, oldest.at)}.",),
        evidence=evidence_of(case, oldest),
        citation=case.policy.cite(phase),
    )


RULES = (neutropenia_free_time_not_on_record,)
