"""Words and offers about blood counts, for the rules whose sentences are written in their own modules."""

from __future__ import annotations

from service.alerts.case.case import Case
from service.alerts.case.judged_counts import preliminary_anc, without_differential
from service.alerts.case.judged_counts import stalest as stalest
from service.alerts.facts.patient import Measurement
from service.alerts.rules.count_phrases import CBC as CBC
from service.alerts.rules.draft_removal import remove_drafts as remove_drafts
from service.alerts.say import wording as w
from service.alerts.say.finding import Evidence, Offer, OrderTest

NAMES = {"anc": "ANC", "wbc": "WBC"}


def count_line(case: Case, m: Measurement) -> str:
    """One count as a fact for the card: value, as sent, date, how it was obtained."""
    name = NAMES.get(m.kind, m.kind)
    how = "calculated from " if m.calculated else "as sent: "
    preliminary = ", preliminary" if m.status == "preliminary" else ""
    corrected = ", corrected" if m.status == "corrected" else ""
    when = w.moment(case.snapshot, m.at, m.date_only)
    return (
        f"{name} {w.bound_word(m)}{w.count(m.value)} on {when}{preliminary}{corrected} ({how}{w.safe(m.raw)})"
    )


def evidence_of(case: Case, *measurements: Measurement) -> tuple[Evidence, ...]:
    """Counts as evidence."""
    return tuple(Evidence(m.ref, count_line(case, m), m.at, m.date_only) for m in measurements)


def short(case: Case, m: Measurement) -> str:
    """A count for a summary."""
    name = NAMES.get(m.kind, m.kind)
    preliminary = " (preliminary)" if m.status == "preliminary" else ""
    return f"{name} {w.bound_word(m)}{w.count(m.value)} on {w.day(case.snapshot, m.at)}{preliminary}"


def order_cbc(case: Case, priority: str, reason: str) -> tuple[tuple[Offer, ...], tuple[str, ...]]:
    """The offer of a CBC and its step, unless one is ordered already (cds-hooks.md R5a)."""
    ordered = case.test_ordered(CBC)
    if ordered is not None:
        where = "drafted in this session" if ordered.draft else "ordered"
        return (), (f"A CBC with differential is already {where}.",)
    return (OrderTest(CBC, priority=priority, reason=reason),), ("Order a CBC with differential.",)


#: What an estimated end rests on, in words after “most likely until …”.
_ENDED_BY = {
    "dose": "last dose charted",
    "supply": "dispensed supply",
    "seen": "still active then",
    "counts": "blood counts kept coming",
    "update": "last change of the record",
    "said": "what the patient says",
}
_NOT_LATER = {
    "dose": "the last dose charted",
    "supply": "the dispensed supply",
    "counts": "no blood count since",
    "update": "the last change of the record",
    "said": "what the patient says",
    "next": "the order that followed",
    "validity": "the validity of the prescription",
    "silence": "nothing else on record",
}


def ending_line(case: Case) -> str:
    """That the end of treatment is an estimate, and what it rests on; nothing where a date is on record."""
    ending = case.course.ending
    if ending is None:
        return ""
    likely = ""
    if ending.best is not None and ending.best_by in _ENDED_BY:
        likely = f" most likely until {w.day(case.snapshot, ending.best)} ({_ENDED_BY[ending.best_by]}),"
    latest = _NOT_LATER.get(ending.latest_by, "")
    until = w.day(case.snapshot, ending.latest) if latest else "today"
    return (
        f"Estimate: the last clozapine record is over or on hold, but names no end. Taken{likely} at the latest until {until}"
        f"{f' ({latest})' if latest else ''}."
    )


def pending_lines(case: Case) -> tuple[str, ...]:
    """What is there of a newer count, and why it does not suffice: a CBC without a differential, a preliminary ANC."""
    lines = []
    early = preliminary_anc(case)
    if early is not None:
        lines.append(f"{count_line(case, early)}: a preliminary result does not replace a final one.")
    wbc = without_differential(case)
    if wbc is not None and early is None:
        lines.append(
            f"{count_line(case, wbc)} has no differential, so it gives no ANC: ask the laboratory for it."
        )
    return tuple(lines)
