"""Words and offers that the blood count rules share."""

from __future__ import annotations

from service.alerts.case.case import Case
from service.alerts.case.counts import same_sample
from service.alerts.case.judged_counts import judged_kinds as judged_kinds
from service.alerts.case.judged_counts import stalest as stalest
from service.alerts.facts.patient import Measurement
from service.alerts.say import wording as w
from service.alerts.say.finding import Evidence, Offer, OrderTest, RemoveDraft

CBC = "cbc-with-differential"
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


def remove_drafts(case: Case) -> tuple[Offer, ...]:
    """Offers to remove every clozapine draft of the call."""
    if case.hook in ("medication-verify", "encounter-discharge"):
        return ()  # a signed order is the pharmacist's to refuse, not a draft to delete
    return tuple(RemoveDraft(d.ref, w.plain(d.label)) for d in case.clozapine_drafts if d.ref)


def names(case: Case) -> str:
    """The counts the policy judges, in words."""
    return "WBC and ANC" if case.uses_wbc else "ANC"


def start_words(case: Case) -> str:
    """That clozapine is being started, and when this is only a guess (clinical.md 3.6)."""
    if case.snapshot.state("medications") == "complete":
        return "Clozapine is being started."
    return (
        "Taken as a start: the medication orders could not all be read, and what was read shows no clozapine."
    )


def start_line(case: Case) -> str:
    """When the course began, or that nobody knows."""
    if case.starting:
        return start_words(case) if not case.restarting else "Clozapine is being restarted as a new course."
    if case.course.start is None:
        return (
            "The start of treatment is not in the record: the shortest interval is used. "
            "A MedicationStatement or order with the start date supplies it."
        )
    return f"Present course since {w.day(case.snapshot, case.course.start)} (day {case.course_day})."


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


def population_lines(case: Case) -> tuple[str, ...]:
    """Which thresholds are used, and on what evidence."""
    if case.ben.confirmed:
        facts = w.listed([w.safe(e.text, 80) for e in case.ben.evidence[:2]])
        if not case.policy.has_ben_bands:
            return (
                f"Benign ethnic neutropenia is on record ({facts}); this policy has no thresholds for it, so the general ones are used.",
            )
        return (f"Thresholds for benign ethnic neutropenia are used: {facts}.",)
    if case.ben.unconfirmed:
        facts = w.safe(case.ben.unconfirmed[0].text, 80)
        return (f"Benign ethnic neutropenia is not confirmed ({facts}): general thresholds are used.",)
    return ()


def without_differential(case: Case) -> Measurement | None:
    """The newest white cell count, when it is of a later sample than the newest ANC: a blood count without a differential."""
    wbc, anc = case.newest("wbc"), case.anc.newest
    if wbc is None or wbc.at is None:
        return None
    if anc is not None and (anc.at is None or anc.at >= wbc.at or same_sample(anc, wbc)):
        return None
    return wbc


def preliminary_anc(case: Case) -> Measurement | None:
    """A preliminary ANC that is newer than every settled one."""
    newest = case.anc.newest
    later = [
        m
        for m in case.anc.preliminary
        if m.at is not None and (newest is None or newest.at is None or m.at > newest.at)
    ]
    return max(later, key=lambda m: (m.at, -m.value), default=None)


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


def counts_readable(case: Case) -> bool:
    return case.snapshot.state("counts") != "unavailable" or bool(case.snapshot.measurements.get("anc"))
