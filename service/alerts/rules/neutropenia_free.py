"""How far back the counts reach: a protocol that lengthens the interval after a time without neutropenia needs that time on record."""

from __future__ import annotations

from collections.abc import Iterator

from service.alerts.case.case import Case
from service.alerts.case.interval import course_counts
from service.alerts.phrases.count import count_evidence, count_line, start_line
from service.alerts.phrases.result import on_day
from service.alerts.policy.words import phase_every
from service.alerts.rules.asked import when
from service.alerts.say.found import Found
from service.alerts.say.sentence import sentence


@when("visit")
@when("taking")
def neutropenia_free_time_not_on_record(case: Case) -> Iterator[Found]:
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
    day, every = on_day(case, oldest), phase_every(case.policy, phase)
    yield Found(
        code="data-unavailable",
        severity="info",
        subject="anc-history",
        summary=sentence("anc-history.summary", every=every, day=day),
        why=(sentence("anc-history.oldest", line=count_line(case, oldest)), start_line(case)),
        policy_says=(sentence("anc-history.policy", every=every),),
        suggested=(sentence("anc-history.look-up"), sentence("anc-history.keep")),
        unchecked=(sentence("anc-history.before", day=day),),
        evidence=count_evidence(case, oldest),
        citation=case.policy.cite(phase),
    )


RULES = (neutropenia_free_time_not_on_record,)
