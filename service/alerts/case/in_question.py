"""The order in question is no evidence of itself: what the record holds of it, and whether anything else shows that it was taken.

EHRs store an order before the pharmacist verifies it, and while it is changed and signed again; the service's own query brings that copy.
Taken for treatment it would turn a first dose into a renewal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from typing import Literal

from msgspec import Struct

from service.alerts.case.exposure import CARRIED_OUT, DISPENSE_GIVEN, NOT_ADMINISTERED, is_live
from service.alerts.facts.patient import Medication

#: Taken: other records show it. Unseen: none does, and it may have been. Untaken: it is only the order in question itself.
Verdict = Literal["taken", "unseen", "untaken"]


class Question(Struct, frozen=True, gc=False):
    """What is asked, and what is needed to judge the stored copies of it.

    Args:
        drafts: orders of clozapine in question.
        records: all clozapine records.
        hook: name of the hook.
        as_of: the moment.
        day: the site's calendar day of a moment.
        last_counted: tells when blood was counted last, None: never; seldom asked.
        new_days: an order is new for so many days.
        first_day_mg, rise_mg: what a titration may reach on its first day, and by how much it may rise a day.
    """

    drafts: tuple[Medication, ...]
    records: Sequence[Medication]
    hook: str
    as_of: datetime
    day: Callable[[datetime], date]
    last_counted: Callable[[], datetime | None]
    new_days: float
    first_day_mg: float
    rise_mg: float


class Stored(Struct, frozen=True, gc=False):
    """Stored copies of the orders in question that must not count as treatment, and those of which nobody knows."""

    untaken: tuple[Medication, ...] = ()
    unseen: tuple[Medication, ...] = ()


NOTHING_STORED = Stored()


def stored_copies(question: Question) -> Stored:
    """The copies of the orders in question among the records, judged."""
    names = _Names(question.drafts)
    copies = [m for m in question.records if m.role == "order" and (names.same(m) or names.follows(m))]
    if not copies:
        return NOTHING_STORED
    untaken, unseen = [], []
    for copy in copies:
        verdict = _verdict(question, copy, copies, same=names.same(copy))
        if verdict == "untaken":
            untaken.append(copy)
        elif verdict == "unseen":
            unseen.append(copy)
    return Stored(tuple(untaken), tuple(unseen))


class _Names:
    """By what the orders in question are known: their references, their identifiers, and the orders they carry out or follow."""

    def __init__(self, drafts: Sequence[Medication]) -> None:
        self.refs = {d.ref for d in drafts if d.ref}
        self.identifiers = {i for d in drafts for i in d.identifiers}
        self.carried_out = {ref for d in drafts for ref in d.based_on}
        self.followed = {ref for d in drafts for ref in d.replaces}

    def same(self, m: Medication) -> bool:
        """The record is the order in question, a part that carries it out, or the order that it carries out."""
        return (
            m.ref in self.refs
            or not self.identifiers.isdisjoint(m.identifiers)
            or (m.intent in CARRIED_OUT and not self.refs.isdisjoint((*m.replaces, *m.based_on)))
            or (bool(m.ref) and m.ref in self.carried_out)
        )

    def follows(self, m: Medication) -> bool:
        """The order in question is a new version of the record, which is itself the first of its line."""
        return bool(m.ref) and m.ref in self.followed and not m.replaces


def _verdict(question: Question, copy: Medication, copies: Sequence[Medication], *, same: bool) -> Verdict:
    if copy.start is None:
        return "untaken" if same else "taken"
    age = (question.day(question.as_of) - question.day(copy.start)).days
    if age <= 0:
        return "untaken"  # stored today, before it is signed or verified
    new = age <= question.new_days
    if not same and not new:
        return "taken"  # an order of long ago that is renewed
    if _was_handed_out(question, copy, copies, new=new):
        return "taken"
    if not new:
        if question.hook == "medication-refill":
            return "taken"  # it presumes an earlier fill
        counted = question.last_counted()
        if counted is not None and counted > copy.start + timedelta(days=question.new_days):
            return "taken"  # nobody goes on counting without treatment
        return "unseen"
    if question.hook in ("medication-verify", "medication-refill") or not _may_be_a_step(question, copy, age):
        return "untaken"
    # A titration that is written by changing one order: of every step but the first something was taken.
    return "unseen" if same else "taken"


def _was_handed_out(question: Question, copy: Medication, copies: Sequence[Medication], *, new: bool) -> bool:
    """A dose, a supply or a statement since the order was written shows that it was taken, unless another order explains it."""
    own = {id(m) for m in copies}
    others = [m for m in question.records if id(m) not in own]
    if new and any(m.role == "order" and is_live(m, question.as_of) for m in others):
        return False
    return any(_shows(m, copy, question.as_of, new=new) for m in others)


def _shows(m: Medication, copy: Medication, as_of: datetime, *, new: bool) -> bool:
    if m.not_taken or copy.start is None:
        return False
    if m.role == "statement":
        return not new and is_live(m, as_of)
    if m.start is None or not copy.start <= m.start <= as_of:
        return False
    if m.role == "administration":
        return m.status not in NOT_ADMINISTERED
    return m.role == "dispense" and m.status in DISPENSE_GIVEN


def _may_be_a_step(question: Question, copy: Medication, age: int) -> bool:
    """The stored dose is one that a titration begun when it was written can have reached."""
    mg = copy.dose.mg_per_day if copy.dose is not None else None
    return mg is not None and mg <= question.first_day_mg + age * question.rise_mg
