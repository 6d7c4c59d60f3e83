"""Missing is not normal (clinical.md 3.6): what could not be read or recognised is said, never taken for fine."""

from __future__ import annotations

from collections.abc import Iterator

from service.alerts import wording as w
from service.alerts.asked import RELEVANT, when
from service.alerts.case import Case
from service.alerts.drugs import classes_of
from service.alerts.facts import Measurement, ReadProblem, SourceName
from service.alerts.finding import Citation, Evidence, Finding
from service.alerts.rules.counting import count_line, evidence_of, short

_THIS_SERVICE = Citation("This service", "what could not be checked")
#: Sources a clozapine answer rests on, and what is not checked without them.
_NEEDED: dict[SourceName, str] = {
    "counts": "blood counts (ANC)",
    "medications": "current medication orders (interactions, duplicate orders, start of treatment)",
}
#: Sources that add checks; named on the card, but not worth a card of their own.
_HELPFUL: dict[SourceName, str] = {
    "statements": "what the patient reports taking",
    "dispenses": "dispensed supply (missed doses)",
    "administrations": "administered doses (missed doses)",
    "labs": "other laboratory results",
    "vitals": "vital signs",
    "conditions": "problem list",
    "allergies": "allergies",
    "smoking": "smoking status",
    "patient": "age and sex",
}

#: Parts of the record that fit into one summary.
_AT_MOST_NAMED = 2
#: What a clinician calls the parts of a call.
_WHERE = {
    "draftOrders": "Orders of this call",
    "counts": "Blood counts",
    "medications": "Medication orders",
    "statements": "Reported medication",
    "dispenses": "Dispenses",
    "administrations": "Administrations",
    "labs": "Other laboratory results",
    "vitals": "Vital signs",
    "conditions": "Problem list",
    "allergies": "Allergies",
    "smoking": "Smoking status",
    "patient": "Patient record",
}


_SOURCES = {*_NEEDED, *_HELPFUL}
_COMPLETE = {"complete"}


def _all_read(case: Case) -> bool:
    states = case.snapshot.sources
    return set(states.values()) == _COMPLETE and states.keys() >= _SOURCES


def data_unavailable(case: Case) -> Iterator[Finding]:
    """A source the answer needs could not be read, wholly or in part."""
    if not case.snapshot.read_problems and _all_read(case):
        return
    orders_lost = any(p.matters and p.source == "draftOrders" for p in case.snapshot.read_problems)
    if not case.relevant and not orders_lost and not _may_matter(case):
        return
    missing: list[str] = []
    for source, what in _NEEDED.items():
        state = case.snapshot.state(source)
        if state == "unavailable":
            missing.append(what)
        elif state == "incomplete":
            missing.append(f"part of the {what}")
    lost = [p for p in case.snapshot.read_problems if p.matters]
    also = (
        [what for source, what in _HELPFUL.items() if case.snapshot.state(source) != "complete"]
        if case.relevant
        else []
    )
    if not missing and not lost and not also:
        return
    needed = bool(missing or lost)
    parts = [m.split(" (")[0] for m in missing]
    if orders_lost:
        parts = ["an order", *parts]
    elif lost and not missing:
        parts = _parts(lost)
    subject = w.listed(parts or [m.split(" (")[0] for m in also])
    reasons = [_reason(p) for p in case.snapshot.read_problems[:8]]
    yield Finding(
        code="data-unavailable",
        severity="warning" if needed else "info",
        changes_order=True,
        subject="data",
        summary=w.summary(
            f"Clozapine check incomplete: {subject} could not be read. Check by hand before relying on this."
            if needed
            else f"Not checked for lack of data: {subject}."
        ),
        # One line: the list of them stands under “What could not be checked”.
        why=(*([f"Could not be read: {w.listed([*missing, *also])}."] if missing or also else []), *reasons),
        policy_says=("An order is never presented as checked when the data for the check are missing.",),
        suggested=(
            "Look the missing data up in the record.",
            "Do not read the absence of other cards as safety.",
        ),
        unchecked=(*missing, *also),
        evidence=tuple(Evidence(p.ref, w.safe(p.reason)) for p in lost[:8] if p.ref),
        missing=(*missing, *also) or ("records that could not be read",),
        citation=_THIS_SERVICE,
        overrides="data",
    )


def _parts(lost: list[ReadProblem]) -> list[str]:
    """Which parts of the record lost something; of many, that there are many."""
    wheres = list(dict.fromkeys(_WHERE.get(p.source, "record").lower() for p in lost))
    return [f"part of the {where}" for where in wheres] if len(wheres) <= _AT_MOST_NAMED else ["some records"]


def _reason(problem: ReadProblem) -> str:
    """Where, which record, and why: ``Blood counts (Observation/7) – left out: …``."""
    where = _WHERE.get(problem.source, problem.source)
    which = f" ({w.safe(problem.ref)})" if problem.ref else ""
    return f"{w.safe(where)}{which} – {w.safe(problem.reason)}"


def _may_matter(case: Case) -> bool:
    """Whether the patient takes clozapine is not known, and an order of this call would interact with it."""
    if case.snapshot.state("medications") == "complete":
        return False
    if not case.is_order_hook:
        return True
    return any(c.finding for d in case.other_drafts for drug in d.drugs for c in classes_of(drug))


def _stopping_count(case: Case) -> Measurement | None:
    """A recent count at which clozapine would have to stop, whoever takes it."""
    decided = case.decided
    if decided is None or decided[0].treatment == "continue":
        return None
    return decided[1] if case.age_days(decided[1]) <= case.policy.results.recent_days.value else None


@when(*RELEVANT, "abnormal-count")
def medication_unrecognized(case: Case) -> Iterator[Finding]:
    """Medications that cannot be identified: named, so that they are checked by eye.

    In a patient nobody knows to take clozapine it matters while a count is so low that clozapine would have to stop: a name
    that nothing recognises may be a brand of it.
    """
    low = None if case.relevant else _stopping_count(case)
    if not case.relevant and low is None:
        return
    shown = [m for m in case.other_drafts if not m.drugs and m.matched_by == "none"]
    if low is not None or not case.is_order_hook:
        shown += [
            m
            for m in case.other_current
            if not m.drugs and m.matched_by == "none" and m.role in ("order", "statement")
        ]
    shown = [
        m for m in shown if m.label
    ]  # without a name there is nothing to recognise: data-unavailable speaks of it
    if not shown:
        return
    names = [w.plain(m.label, 40) for m in shown]
    count = short(case, low) if low is not None else ""
    yield Finding(
        code="medication-unrecognized",
        severity="info",
        subject="unrecognized",
        summary=w.summary(
            f"Not checked against clozapine, medication not recognised: {w.listed(names[:3])}."
            if low is None
            else f"{count}, and medication not recognised: {w.listed(names[:2])}. Make sure that it is not clozapine."
        ),
        why=(
            *([f"{count_line(case, low)}: clozapine would have to stop."] if low is not None else []),
            *(f"{w.safe(m.label)} ({w.safe(m.ref)})" for m in shown[:10]),
        ),
        policy_says=("Interactions are checked for the drugs this service knows by code or name.",),
        suggested=(
            *(
                ["If one of them is clozapine under another name: stop it and count again at once."]
                if low is not None
                else []
            ),
            "Check these medications for interactions with clozapine by hand.",
        ),
        evidence=(
            *(evidence_of(case, low) if low is not None else ()),
            *(Evidence(m.ref, w.safe(m.label)) for m in shown[:10]),
        ),
        changes_order=True,
        missing=() if all(m.ref for m in shown) else ("the identity of a medication",),
        citation=_THIS_SERVICE,
        overrides="data",
    )


RULES = (data_unavailable, medication_unrecognized)
