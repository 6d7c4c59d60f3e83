"""Who takes clozapine, as a question about one patient sees it: drafts and records of it, the course, whether it starts, goes on or waits."""

from __future__ import annotations

from datetime import datetime, timedelta

from msgspec.structs import replace

from service.alerts.case.beginning import latest_beginning
from service.alerts.case.course import Course, course_of
from service.alerts.case.ending import Renewing, is_over_undated
from service.alerts.case.exposure import (
    OVER,
    is_live,
    waits,
    was_given,
)
from service.alerts.case.in_question import NOTHING_STORED, Question, Stored, stored_copies
from service.alerts.case.next_dose import first_day
from service.alerts.case.regular_counts import Counting
from service.alerts.case.stated import halted_by
from service.alerts.facts.lazy import lazy
from service.alerts.facts.patient import CLOZAPINE, ORDER_HOOKS, Medication, PatientSnapshot
from service.alerts.facts.practice import AS_USUAL, Practice
from service.alerts.knowledge.drugs import names_of
from service.alerts.policy.judge import begins_anew
from service.alerts.policy.parts.values import Limit
from service.alerts.policy.policy import Policy

#: A blood count of any of these kinds is one.
_COUNTS = ("anc", "wbc")


class Treatment:
    """Orders and records of a snapshot at a moment, under a policy."""

    def __init__(
        self, snapshot: PatientSnapshot, policy: Policy, as_of: datetime, practice: Practice = AS_USUAL
    ) -> None:
        self.snapshot = snapshot
        #: How the site works.
        self.practice = practice
        self.as_of = as_of.astimezone(snapshot.zone)
        #: Date of the question in the site's time zone.
        self.today = self.as_of.date()
        #: The policy with what all policies shared on that day.
        self.policy = policy.on(self.today)
        self.hook = snapshot.hook
        #: Orders are being selected, signed, verified or refilled.
        self.is_order_hook = snapshot.hook in ORDER_HOOKS

    def days_since(self, at: datetime) -> int:
        """Whole calendar days from ``at`` to today, in the site's time zone."""
        return (self.today - self.snapshot.day(at)).days

    def hours_since(self, at: datetime) -> float:
        """Hours from ``at`` to the moment of the question."""
        return (self.as_of - at).total_seconds() / 3600

    def days_until_dose(self, at: datetime) -> int:
        """Calendar days from ``at`` to the first dose of what is drafted, in the site's time zone."""
        return (self._begins.date() - self.snapshot.day(at)).days

    @lazy
    def _begins(self) -> datetime:
        """When what is drafted begins; now while an order runs on."""
        if any(m.role == "order" and is_live(m, self.as_of) for m in self.clozapine_records):
            return self.as_of
        return min((first_day(d, self.as_of) for d in self.clozapine_drafts), default=self.as_of)

    @lazy
    def drafts(self) -> tuple[Medication, ...]:
        """Orders of this call that the question is about (order-select: the selected ones)."""
        return tuple([d for d in self.snapshot.drafts if d.selected])

    @lazy
    def clozapine_drafts(self) -> tuple[Medication, ...]:
        """Selected orders that start or continue clozapine."""
        return tuple([d for d in self.drafts if CLOZAPINE in d.drugs and not d.stops])

    @lazy
    def clozapine_in_session(self) -> tuple[Medication, ...]:
        """order-select: clozapine drafted earlier in this session and not selected now: background, but there."""
        return tuple(
            d for d in self.snapshot.drafts if not d.selected and CLOZAPINE in d.drugs and not d.stops
        )

    @lazy
    def orders_to_go_home_with(self) -> tuple[Medication, ...]:
        """At a discharge: the new orders of clozapine for home, which can still be cut."""
        if self.hook != "encounter-discharge":
            return ()
        new = self.policy.dosing.renewal_after_days.value
        return tuple(
            m
            for m in self.clozapine_records
            if m.setting == "discharge"
            and m.start is not None
            and is_live(m, self.as_of)
            and self.days_since(m.start) <= new
        )

    @lazy
    def stop_drafts(self) -> tuple[Medication, ...]:
        """Selected orders that stop clozapine."""
        return tuple([d for d in self.drafts if CLOZAPINE in d.drugs and d.stops])

    @lazy
    def stopping(self) -> bool:
        """The call stops clozapine altogether: none is drafted and no other order of it runs on."""
        if not self.stop_drafts or self.clozapine_drafts:
            return False
        live = [m for m in self.clozapine_records if m.role == "order" and is_live(m, self.as_of)]
        named = {s.ref for s in self.stop_drafts} | {r for s in self.stop_drafts for r in s.replaces}
        known = named & {m.ref for m in self.clozapine_records}
        # A stop that names no order of the record stops the only one there is.
        return not (any(m.ref not in known for m in live) if known else len(live) > 1)

    @lazy
    def clozapine_records(self) -> tuple[Medication, ...]:
        """Every record of clozapine but the drafts of this call and what the record holds of them.

        An order that is verified, refilled or signed again is no evidence of itself: its stored copy tells what was taken so far only
        when something else shows that it was taken (``in_question``).
        """
        if not self._stored.untaken:
            return self._all_clozapine
        untaken = {id(m) for m in self._stored.untaken}
        return tuple(self._before_question(m) for m in self._all_clozapine if id(m) not in untaken)

    def _before_question(self, m: Medication) -> Medication:
        """An order that was ended when the order in question took its place: without that one it runs on, for nobody stopped the drug."""
        if m.role != "order" or m.status not in OVER or m.stopped_because:
            return m
        for copy in self._stored.untaken:
            if m.ref not in copy.replaces or copy.start is None:
                continue
            if m.end is None or abs((self.snapshot.day(m.end) - self.snapshot.day(copy.start)).days) <= 1:
                return replace(m, status="active", stops=False, end=None, end_date_only=False)
        return m

    @lazy
    def _all_clozapine(self) -> tuple[Medication, ...]:
        records = tuple([m for m in self.snapshot.medications if CLOZAPINE in m.drugs])
        if not self.snapshot.flags:
            return records
        halted = halted_by(self.snapshot.flags, records, self.as_of)
        return (*records, halted) if halted is not None else records

    @lazy
    def _stored(self) -> Stored:
        """Stored copies of the orders in question."""
        anew = tuple([d for d in self.snapshot.drafts if CLOZAPINE in d.drugs and not d.stops])
        if not anew or not self._all_clozapine:
            return NOTHING_STORED
        dosing = self.policy.dosing
        return stored_copies(
            Question(
                drafts=anew,
                records=self._all_clozapine,
                hook=self.hook,
                as_of=self.as_of,
                day=self.snapshot.day,
                last_counted=lambda: max(self._count_times(), default=None),
                new_days=dosing.renewal_after_days.value,
                first_day_mg=dosing.first_day_maximum.value,
                rise_mg=dosing.early_rise_maximum.value,
            )
        )

    @property
    def unseen_orders(self) -> tuple[Medication, ...]:
        """Stored copies of the orders in question that count as treatment though no other record shows that they were taken."""
        return self._stored.unseen

    @lazy
    def course(self) -> Course:
        """The present or last course of clozapine."""
        records = self.clozapine_records
        undated = any(is_over_undated(m, self.as_of) for m in records)
        return course_of(
            records,
            self.as_of,
            self.policy.interruption,
            shortest_break=self.policy.shortest_break,
            chart_kept=self.policy.chart_kept,
            counting=self._counting if undated else None,
            renewing=self._renewing,
        )

    @property
    def _renewing(self) -> Renewing:
        """How orders of clozapine follow each other (``ending``)."""
        policy = self.policy
        return Renewing(
            in_time=timedelta(days=policy.unknown_end.renewed_within_days.value),
            alone=timedelta(days=policy.interruption.new_course.value),
        )

    @lazy
    def _counting(self) -> Counting:
        """Blood counts as witnesses of treatment (``ending``)."""
        policy = self.policy
        restart, intervals = policy.interruption.new_course.value, policy.unknown_end.silent_intervals.value
        counted = self._counted
        begun = [m.start for m in self.clozapine_records if m.start is not None]
        return Counting(
            times=counted,
            began=min((*begun, *counted[:1]), default=self.as_of),
            silence=tuple((p.until_day, intervals * max(p.every_days, restart)) for p in policy.schedule),
            within=timedelta(days=policy.unknown_end.within_days.value),
            follow_up=timedelta(days=policy.post_stop.window_days.value),
        )

    @lazy
    def _counted(self) -> tuple[datetime, ...]:
        """When blood was counted, oldest first."""
        return tuple(sorted(self._count_times()))

    def _count_times(self) -> set[datetime]:
        found = self.snapshot.measurements
        return {
            m.at for kind in _COUNTS for m in found.get(kind, ()) if m.at is not None and m.at <= self.as_of
        }

    @lazy
    def restarting(self) -> bool:
        """Clozapine is drafted after a break as long as the policy's restart limit."""
        last = self.course.last_exposure
        if not self.clozapine_drafts or last is None or self._continues_unseen:
            return False
        return begins_anew(self.policy.interruption, self.days_until_dose(last))

    @lazy
    def _continues_unseen(self) -> bool:
        """The draft itself says that treatment goes on (refill, renewal), though the record shows nothing; not a first fill."""
        if self.course.last_exposure is not None:
            return False
        untaken = self._stored.untaken
        earlier = {ref for d in (*self.clozapine_drafts, *untaken) for ref in d.replaces}
        # An order that carries out the one in question tells of nothing before it.
        return bool(earlier - {m.ref for m in (*self.clozapine_drafts, *untaken)}) or (
            self.hook == "medication-refill" and not untaken
        )

    @lazy
    def starting(self) -> bool:
        """Clozapine is drafted and none was taken within the restart limit (clinical.md 2)."""
        if not self.clozapine_drafts or self._continues_unseen:
            return False
        return self.course.last_exposure is None or self.restarting or self._merely_intended

    @lazy
    def _merely_intended(self) -> bool:
        """No record but statements that it is intended shows clozapine: it is watched like a treatment, and the draft begins it."""
        shown = [m for m in self.clozapine_records if was_given(m, self.as_of)]
        return bool(shown) and all(m.role == "statement" and m.status == "intended" for m in shown)

    @lazy
    def on_clozapine(self) -> bool:
        """An order, dispense, statement or administration covers today, or treatment is only interrupted."""
        if self._continues_unseen and self.clozapine_drafts:
            return True
        return (
            self.course.active
            and not self.restarting
            and not (self.clozapine_drafts and self._merely_intended)
        )

    @lazy
    def continuing(self) -> bool:
        """On clozapine, or clozapine is drafted within the restart limit after the last dose."""
        return self.on_clozapine or (bool(self.clozapine_drafts) and not self.starting)

    @lazy
    def relevant(self) -> bool:
        """The question concerns clozapine at all."""
        return bool(self.clozapine_drafts or self.stop_drafts) or self.on_clozapine

    @lazy
    def perhaps_taken(self) -> bool:
        """No record says that clozapine is taken now, but one that is over without a date may have run on until today."""
        ending = self.course.ending
        return ending is not None and not ending.latest_by and not self.relevant

    @lazy
    def endangered(self) -> bool:
        """What is dangerous under clozapine is said: the question concerns it, or it may be taken on after an order that was carried out."""
        if self.relevant:
            return True
        ending = self.course.ending
        return self.perhaps_taken and ending is not None and ending.carried_out

    @lazy
    def may_be_resumed(self) -> bool:
        """Not on clozapine today, but it was taken within the policy's follow-up after a stop, or an order waits: on hold, not yet begun."""
        if self.relevant:
            return False
        last = self.course.last_exposure
        if last is not None and 0 <= self.days_since(last) <= self.policy.post_stop.window_days.value:
            return True
        return any(waits(m, self.as_of) for m in self.clozapine_records)

    @lazy
    def stop_known(self) -> bool:
        """False where the end of treatment is only guessed (supply ran out, the chart ends) while orders that may go on were not all read."""
        if self.course.last_dose_basis in ("stop", "statement"):
            return True
        return self.snapshot.state("medications") == "complete" and not any(
            m.unread for m in self.snapshot.medications
        )

    @lazy
    def course_day(self) -> int | None:
        """Day of the course, 0 = first day; None when the start is unknown or there is no course."""
        if self.starting:
            return 0
        return self.days_since(self.course.start) if self.course.start is not None else None

    @lazy
    def least_course_day(self) -> int | None:
        """Day of the course if it began as late as its records allow: one that names a month or a year may have begun on its last day."""
        start, day = self.course.start, self.course_day
        if start is None or day is None or self.starting:
            return day
        latest = [
            latest_beginning(m.start, m.start_until, self.as_of)
            for m in self.clozapine_records
            if m.start is not None and start <= m.start <= self.as_of
        ]
        return min(day, self.days_since(min(latest))) if latest else day

    @lazy
    def in_titration(self) -> bool:
        """The first weeks of the course (policy ``interactions.titration_days``), or a start."""
        day = self.course_day
        return self.starting or (day is not None and day < self.policy.interactions.titration_days.value)

    @lazy
    def extra_gap(self) -> Limit | None:
        """The break after which the policy asks for denser counts for some weeks, by the brand that is taken; None where it asks for none."""
        extra = self.policy.interruption.extra
        if extra is None or extra.brand_gap is None:
            return extra.gap if extra is not None else None
        named = {
            name.casefold()
            for m in (*self.clozapine_records, *self.clozapine_drafts)
            for name in names_of(CLOZAPINE)
            if name.casefold() != CLOZAPINE and name.casefold() in m.label.casefold().split()
        } or {self.practice.clozapine_brand.casefold()}
        return extra.brand_gap if named == {extra.brand.casefold()} else extra.gap

    @lazy
    def current_clozapine(self) -> tuple[Medication, ...]:
        """Records that say clozapine is taken now, orders first."""
        live = [m for m in self.clozapine_records if is_live(m, self.as_of)]
        rank = {"order": 0, "statement": 1, "dispense": 2, "administration": 3}
        return tuple(sorted(live, key=lambda m: rank.get(m.role, 9)))
