"""What a patient takes beside clozapine, as a question about one patient sees it: drafted, taken now, stopped lately."""

from __future__ import annotations

from datetime import datetime

from service.alerts.case.doses import Doses
from service.alerts.case.ending import Ending, endings_of
from service.alerts.case.exposure import (
    OVER,
    is_live,
    was_given,
)
from service.alerts.facts.lazy import lazy
from service.alerts.facts.patient import CLOZAPINE, Medication, PatientSnapshot
from service.alerts.facts.practice import AS_USUAL, Practice
from service.alerts.knowledge.classes import has_class
from service.alerts.policy.policy import Policy

ON_HOLD = "on-hold"


class OtherDrugs(Doses):
    """Other drugs beside clozapine."""

    def __init__(
        self, snapshot: PatientSnapshot, policy: Policy, as_of: datetime, practice: Practice = AS_USUAL
    ) -> None:
        super().__init__(snapshot, policy, as_of, practice)
        #: Since when other drugs are taken, as far as a rule has asked (``together``).
        self.taken_since: dict[str, datetime | None] = {}
        self.was_taken_since: dict[str, datetime | None] = {}
        self._taken_now: dict[str, tuple[Medication, ...]] = {}

    @lazy
    def other_drafts(self) -> tuple[Medication, ...]:
        """Selected orders of other drugs that start or continue them."""
        return tuple([d for d in self.drafts if CLOZAPINE not in d.drugs and not d.stops])

    @lazy
    def other_current(self) -> tuple[Medication, ...]:
        """Other drugs the record says are taken now and no order of this call ends, and unselected drafts of this session."""
        as_of = self.as_of
        live = [m for m in self.snapshot.medications if CLOZAPINE not in m.drugs and is_live(m, as_of)]
        ended = {ref for d in self.drafts if d.stops for ref in (d.ref, *d.replaces)}
        if ended:
            live = [m for m in live if m.ref not in ended]
        live += [
            d for d in self.snapshot.drafts if not d.selected and CLOZAPINE not in d.drugs and not d.stops
        ]
        return tuple(live)

    @lazy
    def other_medications(self) -> tuple[Medication, ...]:
        """Other drugs, drafted or taken now."""
        return (*self.other_drafts, *self.other_current)

    def taken_now(self, class_id: str) -> tuple[Medication, ...]:
        """Other medications (drafted or current) with a drug of the class that reaches the circulation."""
        known = self._taken_now.get(class_id)
        if known is None:
            known = self._taken_now[class_id] = tuple(
                [
                    m
                    for m in self.other_medications
                    if m.systemic and any(has_class(d, class_id) for d in m.drugs)
                ]
            )
        return known

    def over_undated(self, m: Medication) -> datetime | None:
        """The latest end of another drug's order or statement that is over without a date, as far as evidence bounds it; else its beginning."""
        if m.role not in ("order", "statement") or m.status not in (*OVER, ON_HOLD):
            return None
        known = self.over_at_latest(m)
        return known if known is not None or m.status == ON_HOLD else m.start or m.authored

    def over_at_latest(self, m: Medication) -> datetime | None:
        """Until when another drug's record that is over, or on hold, was followed at the latest; None when nothing bounds it."""
        if m.end is not None or m.status == ON_HOLD:
            return m.end or m.updated
        ending = self._other_endings.get(id(m))
        return ending.latest if ending is not None and ending.latest_by else None

    @lazy
    def _other_endings(self) -> dict[int, Ending]:
        """Ends of other drugs' records that are over without a date, each from the records of its own drugs."""
        by_drug: dict[tuple[str, ...], list[Medication]] = {}
        for m in self.snapshot.medications:
            if m.drugs and CLOZAPINE not in m.drugs:
                by_drug.setdefault(m.drugs, []).append(m)
        found: dict[int, Ending] = {}
        for records in by_drug.values():
            found |= endings_of(records, self.as_of)
        return found

    def stopped_medications(self, within_days: float) -> tuple[Medication, ...]:
        """Other drugs that were given, whose record ended within the last so many days and which nothing else says are still taken.

        An order or statement that is over without saying since when counts while it began within those days – its end lies in them –,
        or while the evidence puts its end there.
        """
        ended = []
        for m in self.snapshot.medications:
            if CLOZAPINE in m.drugs or not m.drugs:
                continue
            over = m.end or self.over_undated(m)
            if over is not None and over <= self.as_of and self.days_since(over) <= within_days:
                ended.append(m)
        if not ended:
            return ()
        current = {d for m in self.other_medications if m.systemic for d in m.drugs}
        return tuple(
            m
            for m in ended
            if current.isdisjoint(m.drugs) and was_given(m, self.as_of) and not is_live(m, self.as_of)
        )
