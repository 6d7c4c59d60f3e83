"""What is due when: blood counts, organ tests, a pregnancy test (clinical.md 1.2, 2.5)."""

from __future__ import annotations

from typing import Annotated

from msgspec import Struct

from service.alerts.policy.numbers import Quantity
from service.alerts.policy.parts.values import Value
from service.alerts.say.finding import Severity
from service.alerts.say.sentence import Listed, Number, sentence


class SchedulePhase(Struct, frozen=True, forbid_unknown_fields=True):
    """Sampling interval while counts are normal, until ``until_day`` of the course (exclusive; None = for good)."""

    label: str
    every_days: Annotated[int, Quantity("d", 0, 400)]
    source: str
    #: Days before the due date from which "due soon" is said; unless stated ``unless_stated.due_soon_days``.
    due_soon_days: Annotated[int, Quantity("d", 0, 60)]
    section: str = ""
    until_day: Annotated[int, Quantity("d", 1, 4000)] | None = None
    confirmed: bool = True
    #: The phase is reached only by a patient without any neutropenia in the course so far.
    needs_no_neutropenia: bool = False


class Overdue(Struct, frozen=True, forbid_unknown_fields=True):
    """When an overdue count becomes critical."""

    critical_intervals: Annotated[Value, Quantity("", 1, 10)]
    #: That fewer counts will be enough is said so many days before, and earlier only on the day of a count.
    less_often_days: Annotated[Value, Quantity("d", 1, 60)]
    #: A standing order asks as often as the policy while the two differ by no more than this share of the policy's interval.
    rhythm_percent: Annotated[Value, Quantity("%", 1, 50)]


class UnlessStated(Struct, frozen=True, forbid_unknown_fields=True):
    """What a phase of the schedule or an organ test holds where the file does not state it; filled in when the file is read."""

    #: ``schedule.due_soon_days``
    due_soon_days: Annotated[Value, Quantity("d", 0, 60)]
    #: ``monitoring.early_days``
    early_days: Annotated[Value, Quantity("d", 0, 60)]
    #: ``monitoring.baseline_window_days``
    baseline_window_days: Annotated[Value, Quantity("d", 1, 400)]


class MonitoringTest(Struct, frozen=True, forbid_unknown_fields=True):
    """One organ test and its schedule (clinical.md 2.5); days are days of the course."""

    id: str
    title: str
    #: Measurement kinds (or coded kinds) any of which satisfies the test.
    kinds: tuple[str, ...]
    source: str
    #: A baseline taken up to so many days before the start counts; unless stated ``unless_stated.baseline_window_days``.
    baseline_window_days: Annotated[int, Quantity("d", 1, 400)]
    #: Days the early schedule tolerates before the due day; unless stated ``unless_stated.early_days``.
    early_days: Annotated[int, Quantity("d", 0, 60)]
    section: str = ""
    confirmed: bool = True
    baseline: bool = True
    #: Kinds that must *all* be there (troponin and CRP); empty = any of ``kinds``.
    all_kinds: tuple[str, ...] = ()
    #: Days of the course on which the test is due.
    days: Annotated[tuple[int, ...], Quantity("d", 0, 4000)] = ()
    #: After the last of ``days``: every so many days (None = no more).
    then_every_days: Annotated[int, Quantity("d", 1, 1200)] | None = None
    #: Flagged when so many days late.
    late_days: Annotated[int, Quantity("d", 0, 365)] = 0
    #: No longer flagged from this day of the course on.
    until_day: Annotated[int, Quantity("d", 1, 4000)] | None = None
    severity: Severity = "warning"
    #: id of ``knowledge/tests.toml`` to order.
    order: str = ""

    @property
    def schedule(self) -> Listed:
        """``baseline, day 7, 28, then every 365 days``."""
        parts = [sentence("test-schedule.baseline")] if self.baseline else []
        if self.days:
            days = Listed(tuple(Number(day, 0) for day in self.days), last="")
            parts.append(sentence("test-schedule.days", days=days))
        if self.then_every_days:
            parts.append(sentence("test-schedule.every", days=Number(self.then_every_days, 0)))
        return Listed(tuple(parts), last="")


class PregnancyTest(Struct, frozen=True, forbid_unknown_fields=True):
    """Pregnancy test before the first dose (clinical.md 2.5)."""

    from_years: Annotated[Value, Quantity("a", 8, 25)]
    to_years: Annotated[Value, Quantity("a", 40, 65)]
    window_days: Annotated[Value, Quantity("d", 1, 60)]
    #: A positive test means pregnancy for so long, unless a later one says otherwise.
    carried_days: Annotated[Value, Quantity("d", 200, 320)]
    says: str
