"""Medications that nobody can identify (clinical.md 3.6): named, so that they are checked by eye."""

from __future__ import annotations

from collections.abc import Iterator

from service.alerts.case.case import Case
from service.alerts.case.lost import warned
from service.alerts.facts.patient import Measurement
from service.alerts.phrases.count import count_evidence, count_line, short_count
from service.alerts.rules.asked import RELEVANT, when
from service.alerts.say.cited import own
from service.alerts.say.found import Fact, Found
from service.alerts.say.sentence import Listed, Record, quoting, recorded, sentence


def _stopping_count(case: Case) -> Measurement | None:
    """A recent count at which clozapine would have to stop, whoever takes it."""
    decided = case.decided
    if decided is None or decided[0].treatment == "continue":
        return None
    return decided[1] if case.age_days(decided[1]) <= case.policy.results.recent_days.value else None


@when(*RELEVANT, "abnormal-count")
def medication_unrecognized(case: Case) -> Iterator[Found]:
    """Medications that cannot be identified: named, so that they are checked by eye.

    In a patient nobody knows to take clozapine it matters while a count is so low that clozapine would have to stop: a name
    that nothing recognises may be a brand of it.
    """
    low = None if case.relevant else _stopping_count(case)
    if not case.relevant and low is None:
        return
    shown = [m for m in case.other_drafts if not m.drugs and m.matched_by == "none"]
    if low is not None or not case.is_order_hook or case.clozapine_drafts or warned(case):
        shown += [
            m
            for m in case.other_current
            # What has no name at all, data_unavailable says.
            if not m.drugs and not m.unread and m.matched_by == "none" and m.role in ("order", "statement")
        ]
    # Without a name there is nothing to recognise: data-unavailable speaks of it. What stays where it is put – eye drops – is checked
    # against nothing, recognised or not.
    shown = [m for m in shown if m.label and m.systemic]
    if not shown:
        return
    names = [Record(m.label, short=40) for m in shown]
    if low is None:
        summary = sentence("medication-unrecognized.summary", drugs=Listed(tuple(names[:3])))
    else:
        summary = sentence(
            "medication-unrecognized.low-count",
            count=short_count(case, low),
            drugs=Listed(tuple(names[:2])),
        )
    yield Found(
        code="medication-unrecognized",
        severity="info",
        subject="unrecognized",
        summary=summary,
        why=(
            *(
                (sentence("medication-unrecognized.would-stop", line=count_line(case, low)),)
                if low is not None
                else ()
            ),
            *(
                sentence("medication-unrecognized.drug", drug=Record(m.label), ref=quoting(m.ref))
                for m in shown[:10]
            ),
        ),
        policy_says=(sentence("medication-unrecognized.policy"),),
        suggested=(
            *((sentence("medication-unrecognized.stop-if-clozapine"),) if low is not None else ()),
            sentence("medication-unrecognized.check"),
        ),
        evidence=(
            *(count_evidence(case, low) if low is not None else ()),
            *(Fact(m.ref, recorded(m.label)) for m in shown[:10]),
        ),
        changes_order=True,
        missing=() if all(m.ref for m in shown) else (sentence("medication-unrecognized.missing"),),
        citation=own("unchecked"),
    )


RULES = (medication_unrecognized,)
