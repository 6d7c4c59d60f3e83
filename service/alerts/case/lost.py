"""What was not read of a record, and whether it may matter for the question (clinical.md 3.6)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

from service.alerts.case.beside import warned_of
from service.alerts.case.case import Case
from service.alerts.case.exposure import is_live, span_of, waits
from service.alerts.facts.patient import CLOZAPINE, Measurement, Medication, ReadProblem, SourceName

#: Sources a clozapine answer rests on; what is not checked without them stands in ``[source]`` of the catalogue.
NEEDED: tuple[SourceName, ...] = ("counts", "medications")
#: Sources that add checks; named on the card, but not worth a card of their own.
_HELPFUL: tuple[SourceName, ...] = (
    "statements",
    "dispenses",
    "administrations",
    "labs",
    "vitals",
    "conditions",
    "allergies",
    "smoking",
    "patient",
)


#: Where records of a role come from.
_SOURCE_OF = {
    "order": "medications",
    "statement": "statements",
    "dispense": "dispenses",
    "administration": "administrations",
}


_LONG_AGO = datetime.min.replace(tzinfo=UTC)
_SOURCES = {*NEEDED, *_HELPFUL}
#: Parts of a call: its orders, and the sources.
_PARTS = {"draftOrders", *_SOURCES}
_COMPLETE = {"complete"}
#: Sources any of which may be the only one to show that clozapine is taken.
_EVIDENCE: tuple[SourceName, ...] = ("medications", "statements", "dispenses", "administrations")
#: Parts of a call that may hold an order or a record of it.
_MAY_HOLD_IT = {"draftOrders", *_EVIDENCE}
#: Why records are left out that are known to be somebody else's.
_NOT_THEIRS = {"left-out.other-patient", "left-out.other-server"}
#: Problems for which clozapine is given.
_GIVEN_FOR = ("schizophrenia",)


class Lost(Struct, frozen=True):
    """What was not read and may matter for this question."""

    #: Sources that the answer rests on.
    sources: tuple[SourceName, ...] = ()
    #: Records and parts of records.
    problems: tuple[ReadProblem, ...] = ()
    #: Sources that would have added checks.
    helpful: tuple[SourceName, ...] = ()


def cannot_tell(case: Case) -> bool:
    """Whether clozapine may be taken or ordered although nothing that was read says so.

    A record left out because it is somebody else's hides nothing, unless it names clozapine.
    """
    if case.relevant:
        return False
    if case.snapshot.registered or case.may_be_resumed or case.perhaps_taken:
        return True
    if _missing(case, _EVIDENCE) or _unread_medications(case):
        return True
    if any(
        p.hints or (p.matters and p.source in _MAY_HOLD_IT and p.reason.id not in _NOT_THEIRS)
        for p in case.snapshot.read_problems
    ):
        return True
    # A name that nothing recognises may be a brand of it.
    taken = (m for m in case.other_current if m.role in ("order", "statement"))
    return any(not m.drugs and m.matched_by == "none" and m.systemic for m in (*case.other_drafts, *taken))


def all_read(case: Case) -> bool:
    """Every source was read to its end."""
    states = case.snapshot.sources
    return set(states.values()) == _COMPLETE and states.keys() >= _SOURCES


def lost(case: Case) -> Lost:
    """What was not read and matters here."""
    return _beside_clozapine(case) if case.relevant else _elsewhere(case)


def _of_interest(case: Case) -> list[ReadProblem]:
    """What was not read and may matter, for what this question is about and what is known beside it."""
    problems = [p for p in case.snapshot.read_problems if p.matters]
    if not any(p.counted is not None or p.at_orders for p in problems):
        return problems
    return [p for p in problems if _is_wanted(case, p) and (case.clozapine_drafts or not p.at_orders)]


def _is_wanted(case: Case, p: ReadProblem) -> bool:
    """True but for a count whose values did not come while a usable one is as new, or none is due."""
    if p.counted is None or not case.relevant:
        return p.counted is None or (p.counted <= case.as_of and not p.if_due)
    newest = case.anc.newest
    if newest is None or newest.at is None:
        return True
    if case.days_since(newest.at) <= case.days_since(p.counted):
        return False
    return not p.if_due or case.answered_days(newest) >= case.interval_days


def _missing(case: Case, sources: Iterable[SourceName]) -> tuple[SourceName, ...]:
    """Sources that were not read to the end, but for those that the site does not have."""
    snapshot = case.snapshot
    return tuple(s for s in sources if snapshot.state(s) != "complete" and s not in case.practice.not_sent)


def _beside_clozapine(case: Case) -> Lost:
    """The patient is on clozapine, or it is ordered or stopped: whatever could not be read matters."""
    problems = [p for p in _of_interest(case) if not p.if_not_known]
    unread = _unread_medications(case)
    if case.is_order_hook and not (case.clozapine_drafts or case.stop_drafts or warned(case)):
        # Clozapine is taken as it is; what else is taken beside it is for its own orders and for visits.
        problems = [p for p in problems if p.source not in _EVIDENCE or p.hints]
        unread = ()
    return Lost(_missing(case, NEEDED), (*problems, *unread), _missing(case, _HELPFUL))


def _elsewhere(case: Case) -> Lost:
    """Nothing that was read says that clozapine is taken: what was not read is said where it may be taken all the same, and matters."""
    problems = _of_interest(case)
    orders = [p for p in problems if p.source == "draftOrders"]
    unread = _unread_medications(case)
    hidden = _missing(case, _EVIDENCE)
    if not _in_question(case, unread=bool(unread), orders_failed="medications" in hidden):
        # An order of this call that could not be read may be one of clozapine, whoever the patient is.
        return Lost(problems=tuple(p for p in orders if not p.in_question_only))
    # A file that is read as a whole has no sources: its problems may concern any.
    records = [p for p in problems if p.source in _EVIDENCE or p.source not in _PARTS]
    counts: tuple[SourceName, ...] = ()
    if hidden or unread or records or case.may_be_resumed or case.snapshot.registered:
        counts = _missing(case, ("counts",))
        records += [p for p in problems if p.source == "counts"]
    sources = sorted((*counts, *hidden), key=lambda s: s not in NEEDED)
    return Lost(tuple(sources), (*orders, *records, *unread))


def _in_question(case: Case, *, unread: bool, orders_failed: bool) -> bool:
    """Clozapine may be in question, although nothing that was read proves it: something hints at it, or what is ordered must not go beside it.

    Args:
        case: the case.
        unread: there are records that may be in force and nobody can tell which drug they are of.
        orders_failed: orders could not be read. Either way a little suffices.

    A failed source alone is no hint, nor are several: else every chart of every patient would get a card while an EHR is slow.
    """
    if warned(case) or low_count(case) is not None:
        return True
    if case.snapshot.registered or case.clozapine_in_session or case.may_be_resumed:
        return True
    if any(p.hints for p in case.snapshot.read_problems):
        return True
    if case.is_order_hook or not (unread or orders_failed):
        return False
    # Clozapine of whatever time; what it is given for; an order nobody can name, and no counts to rule anything out; a record of which
    # a part is cut off; counts that somebody watches, and late.
    if case.clozapine_records or case.has_problems(_GIVEN_FOR):
        return True
    if unread and (_missing(case, ("counts",)) or _unread_count(case)):
        return True
    if all(case.snapshot.state(source) == "incomplete" for source in NEEDED):
        return True
    return _count_is_due(case)


def warned(case: Case) -> tuple[Medication, ...]:
    """Orders of this call that would draw a warning beside clozapine."""
    return tuple(d for d in case.other_drafts if warned_of(d)) if case.is_order_hook else ()


def low_count(case: Case) -> Measurement | None:
    """The newest count on record, when it lies in an abnormal band of the policy."""
    decided = case.decided
    return decided[1] if decided is not None and decided[0].finding is not None else None


def _unread_count(case: Case) -> bool:
    """A count of which nobody can tell the value is newer than every usable one: it may be a low one."""
    newest = case.anc.newest
    return any(
        newest is None or u.at is None or newest.at is None or u.at > newest.at
        for u in case.anc.unusable
        if u.has_value
    )


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
