"""Missing is not normal (clinical.md 3.6): what could not be read or recognised is said, never taken for fine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

from service.alerts.case.beside import warned_of
from service.alerts.case.case import Case
from service.alerts.case.exposure import is_live, span_of, waits
from service.alerts.facts.patient import CLOZAPINE, Measurement, Medication, ReadProblem, SourceName
from service.alerts.rules.asked import RELEVANT, when
from service.alerts.rules.count_lines import count_line, evidence_of, short
from service.alerts.say import wording as w
from service.alerts.say.finding import Citation, Evidence, Finding

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

#: Where records of a role come from.
_SOURCE_OF = {
    "order": "medications",
    "statement": "statements",
    "dispense": "dispenses",
    "administration": "administrations",
}
_LONG_AGO = datetime.min.replace(tzinfo=UTC)
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
#: Sources any of which may be the only one to show that clozapine is taken.
_EVIDENCE: tuple[SourceName, ...] = ("medications", "statements", "dispenses", "administrations")
#: Problems for which clozapine is given.
_GIVEN_FOR = ("schizophrenia",)
#: Lines of causes on one card; what does not fit is counted.
_MOST_CAUSES = 5
#: Records that one line of a cause names.
_MOST_REFS = 3


class _Lost(Struct, frozen=True):
    """What was not read and may matter for this question."""

    #: Sources that the answer rests on.
    sources: tuple[SourceName, ...] = ()
    #: Records and parts of records.
    problems: tuple[ReadProblem, ...] = ()
    #: Sources that would have added checks.
    helpful: tuple[SourceName, ...] = ()


def _all_read(case: Case) -> bool:
    states = case.snapshot.sources
    return set(states.values()) == _COMPLETE and states.keys() >= _SOURCES


def data_unavailable(case: Case) -> Iterator[Finding]:
    """A source the answer needs could not be read, wholly or in part, or nobody can tell which drug a record is of."""
    snapshot = case.snapshot
    if not snapshot.read_problems and _all_read(case) and not any(m.unread for m in snapshot.medications):
        return
    lost = _lost(case) if case.relevant else _lost_elsewhere(case)
    if lost.sources or lost.problems or lost.helpful:
        yield _finding(case, lost)


def _missing(case: Case, sources: Iterable[SourceName]) -> tuple[SourceName, ...]:
    """Sources that were not read to the end, but for those that the site does not have."""
    snapshot = case.snapshot
    return tuple(s for s in sources if snapshot.state(s) != "complete" and s not in case.practice.not_sent)


def _lost(case: Case) -> _Lost:
    """The patient is on clozapine, or it is ordered or stopped: whatever could not be read matters."""
    problems = [p for p in case.snapshot.read_problems if p.matters]
    return _Lost(_missing(case, _NEEDED), (*problems, *_unread_medications(case)), _missing(case, _HELPFUL))


def _lost_elsewhere(case: Case) -> _Lost:
    """Nothing that was read says that clozapine is taken: what was not read is said where it may be taken all the same, and matters."""
    problems = [p for p in case.snapshot.read_problems if p.matters]
    orders = [p for p in problems if p.source == "draftOrders"]
    unread = _unread_medications(case)
    hidden = _missing(case, _EVIDENCE)
    if not _in_question(case, unread=bool(unread), orders_failed="medications" in hidden):
        # An order of this call that could not be read may be one of clozapine, whoever the patient is.
        return _Lost(problems=tuple(p for p in orders if not p.in_question_only))
    # A file that is read as a whole has no sources: its problems may concern any.
    records = [p for p in problems if p.source in _EVIDENCE or p.source not in _WHERE]
    counts: tuple[SourceName, ...] = ()
    if hidden or unread or records or case.may_be_resumed or case.snapshot.registered:
        counts = _missing(case, ("counts",))
        records += [p for p in problems if p.source == "counts"]
    sources = sorted((*counts, *hidden), key=lambda s: s not in _NEEDED)
    return _Lost(tuple(sources), (*orders, *records, *unread))


def _in_question(case: Case, *, unread: bool, orders_failed: bool) -> bool:
    """Clozapine may be in question, although nothing that was read proves it: something hints at it, or what is ordered must not go beside it.

    Args:
        case: the case.
        unread: there are records that may be in force and nobody can tell which drug they are of.
        orders_failed: orders could not be read. Either way a little suffices.

    A failed source alone is no hint, nor are several: else every chart of every patient would get a card while an EHR is slow.
    """
    if _warned(case) or _low_count(case) is not None:
        return True
    if case.snapshot.registered or case.clozapine_in_session or case.may_be_resumed:
        return True
    if any(p.hints for p in case.snapshot.read_problems):
        return True
    if case.is_order_hook or not (unread or orders_failed):
        return False
    # Clozapine of whatever time; what it is given for; an order nobody can name, and no counts to rule anything out; a record of which
    # a part is cut off; counts that somebody watches, and late.
    if case.clozapine_records or case.has_problems(_GIVEN_FOR) or (unread and _missing(case, ("counts",))):
        return True
    if all(case.snapshot.state(source) == "incomplete" for source in _NEEDED):
        return True
    return _count_is_due(case)


def _warned(case: Case) -> tuple[Medication, ...]:
    """Orders of this call that would draw a warning beside clozapine."""
    return tuple(d for d in case.other_drafts if warned_of(d)) if case.is_order_hook else ()


def _low_count(case: Case) -> Measurement | None:
    """The newest count on record, when it lies in an abnormal band of the policy."""
    decided = case.decided
    return decided[1] if decided is not None and decided[0].finding is not None else None


def _count_is_due(case: Case) -> bool:
    """There are counts, and the newest is older than it might be if the unread order were clozapine."""
    newest = case.anc.newest
    if newest is None:
        return False
    unread = _may_be_taken(case)
    if not unread:
        return case.age_days(newest) > max(phase.every_days for phase in case.policy.schedule)
    latest = max(unread, key=lambda m: m.start or _LONG_AGO)
    medications = tuple(
        replace(m, drugs=(CLOZAPINE,)) if m is latest else m for m in case.snapshot.medications
    )
    as_if = Case(replace(case.snapshot, medications=medications), case.policy, case.as_of, case.practice)
    return case.age_days(newest) > as_if.interval_days


def _may_be_taken(case: Case) -> list[Medication]:
    """Records of an unknown drug that is taken now, waits, or ended so lately that, of clozapine, it would still matter."""
    since = case.as_of - timedelta(days=case.policy.post_stop.window_days.value)
    return [m for m in case.snapshot.medications if m.unread and _is_of_interest(m, case.as_of, since)]


def _is_of_interest(m: Medication, as_of: datetime, since: datetime) -> bool:
    if is_live(m, as_of) or waits(m, as_of):
        return True
    span = span_of(m, as_of)
    return span is not None and span.end >= since


def _unread_medications(case: Case) -> tuple[ReadProblem, ...]:
    """As problems, the records of an unknown drug that may be taken."""
    if not any(m.unread for m in case.snapshot.medications):
        return ()
    return tuple(ReadProblem(_SOURCE_OF[m.role], m.ref, m.unread) for m in _may_be_taken(case))


def _finding(case: Case, lost: _Lost) -> Finding:
    whole = [_what(case, source) for source in lost.sources]
    also = [_what(case, source) for source in lost.helpful]
    needed = bool(lost.sources or lost.problems)
    # Why it matters is part of what is seen: whoever overrides it for one order or count has not done so for the next.
    orders = case.clozapine_drafts if case.relevant else _warned(case)
    low = None if case.relevant else _low_count(case)
    return Finding(
        code="data-unavailable",
        severity="warning" if needed else "info",
        changes_order=True,
        subject="data",
        summary=w.summary(_summary(case, lost, orders, low, needed=needed)),
        # One line: the list of them stands under “What could not be checked”.
        why=(
            *([f"{count_line(case, low)}."] if low is not None else []),
            *([] if case.relevant else [_interacting_line(d) for d in orders]),
            *([f"Could not be read: {w.listed([*whole, *also])}."] if whole or also else []),
            *([] if case.relevant else [_not_known(case)]),
            *_causes(case, lost),
        ),
        policy_says=("An order is never presented as checked when the data for the check are missing.",),
        suggested=_steps(case, lost, low),
        unchecked=(*whole, *also),
        evidence=(
            *(evidence_of(case, low) if low is not None else ()),
            *(Evidence(d.ref, w.safe(d.label), d.start, d.start_date_only) for d in orders if d.ref),
            *(Evidence(p.ref, w.safe(p.reason)) for p in lost.problems[:8] if p.ref),
        ),
        missing=(*whole, *also) or ("records that could not be read",),
        citation=_THIS_SERVICE,
    )


def _summary(
    case: Case, lost: _Lost, orders: tuple[Medication, ...], low: Measurement | None, *, needed: bool
) -> str:
    """What was not read, and first why that matters in somebody of whom nobody knows whether clozapine is taken."""
    named = _named(case, lost)
    if not needed:
        return f"Not checked for lack of data: {named}."
    reason = ""
    if low is not None:
        reason = short(case, low)
    elif orders and not case.relevant:
        reason = f"{w.capital(_interacting(orders))} with clozapine needs care"
    if not reason:
        return f"Clozapine check incomplete: {named} could not be read. Check by hand before relying on this."
    asked = f"{reason}. Is clozapine taken? "
    whole = f"{asked}{w.capital(named)} could not be read."
    return (
        whole if len(whole) <= w.SUMMARY_LIMIT else f"{asked}Part of the medication record could not be read."
    )


def _interacting(orders: tuple[Medication, ...]) -> str:
    """Names of drugs that warn beside clozapine: one, and that there are more."""
    names = list(dict.fromkeys(drug_id.replace("-", " ") for d in orders for drug_id, _ in warned_of(d)[:1]))
    return names[0] if len(names) == 1 else f"{names[0]} (and {len(names) - 1} more)"


def _interacting_line(order: Medication) -> str:
    _, group = warned_of(order)[0]
    return f"{w.safe(order.label)} is being ordered; beside clozapine: {group.headline}."


def _steps(case: Case, lost: _Lost, low: Measurement | None) -> tuple[str, ...]:
    careful = "Do not read the absence of other cards as safety."
    if case.relevant:
        return ("Look the missing data up in the record.", careful)
    steps = ["Look up whether the patient takes clozapine, and the newest ANC."]
    if any(p.source == "draftOrders" for p in lost.problems):
        steps.insert(0, "See what the order that could not be read is of.")
    if low is not None and case.decided is not None and case.decided[0].treatment != "continue":
        steps.append("If clozapine is taken: stop it, and count again at once.")
    return (*steps, "If it is not taken, this card asks for nothing more.", careful)


def _what(case: Case, source: SourceName) -> str:
    """A source that was not read, in words; of one that was read in part, that it was."""
    if source in _HELPFUL:
        return _HELPFUL[source]
    part = "part of the " if case.snapshot.state(source) == "incomplete" else ""
    return part + _NEEDED[source]


def _not_known(case: Case) -> str:
    """What is known of clozapine in a patient whose record shows no treatment."""
    if case.snapshot.registered:
        return "This service's registry has the patient as one on clozapine."
    return "Whether the patient takes clozapine cannot be told from what was read."


def _named(case: Case, lost: _Lost) -> str:
    """What the summary names: sources, an order of this call, parts of the record; of many parts, that there are many."""
    names = [_what(case, source).split(" (")[0] for source in lost.sources]
    if any(p.source == "draftOrders" for p in lost.problems):
        names.insert(0, "an order")
    elif lost.problems and not names:
        names = _parts(lost.problems)
    return w.listed(names or [_what(case, source).split(" (")[0] for source in lost.helpful])


def _parts(lost: Iterable[ReadProblem]) -> list[str]:
    """Which parts of the record lost something; of many, that there are many."""
    wheres = list(dict.fromkeys(_WHERE.get(p.source, "record").lower() for p in lost))
    return [f"part of the {where}" for where in wheres] if len(wheres) <= _AT_MOST_NAMED else ["some records"]


def _causes(case: Case, lost: _Lost) -> list[str]:
    """Why things could not be read, each cause once: ``Blood counts (Observation/7) – left out: …``; at most so many lines."""
    sources = {*lost.sources, *lost.helpful}
    told = [
        p for p in case.snapshot.read_problems if case.relevant or p.source in sources or p in lost.problems
    ]
    causes: dict[tuple[str, str], dict[str, None]] = {}
    # What may be clozapine itself comes first: orders of this call, then records whose drug nobody knows.
    unread = [p for p in lost.problems if p not in told]
    for p in sorted((*unread, *told), key=lambda p: p.source != "draftOrders"):
        causes.setdefault((p.source, p.reason), {}).update(dict.fromkeys([p.ref] if p.ref else []))
    lines = [_cause(*cause, list(refs)) for cause, refs in causes.items()]
    if len(lines) <= _MOST_CAUSES:
        return lines
    return [*lines[: _MOST_CAUSES - 1], f"… and {len(lines) - _MOST_CAUSES + 1} other causes."]


def _cause(source: str, reason: str, refs: list[str]) -> str:
    where = _WHERE.get(source, source)
    more = f" and {len(refs) - _MOST_REFS} more" if len(refs) > _MOST_REFS else ""
    which = f" ({', '.join(map(w.safe, refs[:_MOST_REFS]))}{more})" if refs else ""
    return f"{w.safe(where)}{which} – {w.safe(reason)}"


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
            # What has no name at all, data_unavailable says.
            if not m.drugs and not m.unread and m.matched_by == "none" and m.role in ("order", "statement")
        ]
    # Without a name there is nothing to recognise: data-unavailable speaks of it. What stays where it is put – eye drops – is checked
    # against nothing, recognised or not.
    shown = [m for m in shown if m.label and m.systemic]
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
    )


RULES = (data_unavailable, medication_unrecognized)
