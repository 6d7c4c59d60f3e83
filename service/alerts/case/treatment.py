"""What a patient takes, as a question about one patient sees it: drafts and records of clozapine, doses in force, other drugs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta

from msgspec.structs import replace

from service.alerts.case.charted import chart_of
from service.alerts.case.charted_dose import largest, most_in_a_day
from service.alerts.case.course import Course, course_of
from service.alerts.case.ending import Counting, Ending, Renewing, endings_of, is_over_undated
from service.alerts.case.exposure import (
    ADMINISTRATION_COVERS,
    CARRIED_OUT,
    FOR_HOME,
    is_live,
    waits,
    was_given,
)
from service.alerts.case.in_question import NOTHING_STORED, Question, Stored, stored_copies
from service.alerts.case.returning import Return, return_of
from service.alerts.facts.lazy import lazy
from service.alerts.facts.patient import CLOZAPINE, ORDER_HOOKS, Dose, Medication, PatientSnapshot
from service.alerts.facts.practice import AS_USUAL, Practice
from service.alerts.knowledge.drugs import has_class
from service.alerts.policy.judge import begins_anew
from service.alerts.policy.policy import Policy

#: A blood count of any of these kinds is one.
_COUNTS = ("anc", "wbc")
#: Orders and statements that are over, with or without a date.
_OVER = frozenset({"completed", "stopped", "ended"})


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
        #: Since when other drugs are taken, as far as a rule has asked (``rules.together``).
        self.taken_since: dict[str, datetime | None] = {}
        self._taken_now: dict[str, tuple[Medication, ...]] = {}

    def days_since(self, at: datetime) -> int:
        """Whole calendar days from ``at`` to today, in the site's time zone."""
        return (self.today - self.snapshot.day(at)).days

    def hours_since(self, at: datetime) -> float:
        """Hours from ``at`` to the moment of the question."""
        return (self.as_of - at).total_seconds() / 3600

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
        if m.role != "order" or m.status not in _OVER or m.stop_reason:
            return m
        for copy in self._stored.untaken:
            if m.ref not in copy.replaces or copy.start is None:
                continue
            if m.end is None or abs((self.snapshot.day(m.end) - self.snapshot.day(copy.start)).days) <= 1:
                return replace(m, status="active", stops=False, end=None, end_date_only=False)
        return m

    @lazy
    def _all_clozapine(self) -> tuple[Medication, ...]:
        return tuple([m for m in self.snapshot.medications if CLOZAPINE in m.drugs])

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
        return begins_anew(self.policy.interruption, self.as_of - last)

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
        return self.course.last_exposure is None or self.restarting

    @lazy
    def on_clozapine(self) -> bool:
        """An order, dispense, statement or administration covers today, or treatment is only interrupted."""
        if self._continues_unseen and self.clozapine_drafts:
            return True
        return self.course.active and not self.restarting

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
    def in_titration(self) -> bool:
        """The first weeks of the course (policy ``interactions.titration_days``), or a start."""
        day = self.course_day
        return self.starting or (day is not None and day < self.policy.interactions.titration_days.value)

    @lazy
    def current_clozapine(self) -> tuple[Medication, ...]:
        """Records that say clozapine is taken now, orders first."""
        live = [m for m in self.clozapine_records if is_live(m, self.as_of)]
        rank = {"order": 0, "statement": 1, "dispense": 2, "administration": 3}
        return tuple(sorted(live, key=lambda m: rank.get(m.role, 9)))

    @lazy
    def drafted_mg_per_day(self) -> float | None:
        """Daily dose of all clozapine drafts of the call together, mg; None when any is unreadable or there is none."""
        return _summed(self.clozapine_drafts)

    @lazy
    def established_regimen(self) -> Medication | None:
        """The clozapine record that tells the dose the patient was on before this call."""
        dosed = [
            m
            for m in self.clozapine_records
            if m.dose is not None and m.dose.mg_per_day and was_given(m, self.as_of)
        ]
        if not dosed:
            return None
        live = [m for m in dosed if m.role in ("order", "statement") and is_live(m, self.as_of)]
        pool = live or [m for m in dosed if m.role in ("order", "statement")] or dosed
        return max(
            pool, key=lambda m: m.start or m.authored or datetime.min.replace(tzinfo=self.as_of.tzinfo)
        )

    @lazy
    def hours_between_doses(self) -> float:
        """Hours between two doses of the established regimen: 24 h / doses per day; a day where nobody knows."""
        regimen = self.established_regimen
        per_day = regimen.dose.doses_per_day if regimen is not None and regimen.dose is not None else None
        return 24 / per_day if per_day else 24.0

    @lazy
    def running_orders(self) -> tuple[Medication, ...]:
        """Live clozapine orders that together make the daily dose: each treatment once.

        Left out are the order that a live one renews (linked, or the same dose written again later), an order that only carries out
        a live one, and the orders for home while the patient has one for the ward.
        """
        live = [m for m in self.clozapine_records if m.role == "order" and is_live(m, self.as_of)]
        if len(live) < 2:
            return tuple(live)
        refs = {m.ref for m in live}
        live = [m for m in live if m.intent not in CARRIED_OUT or refs.isdisjoint(m.replaces)]
        renewed = {ref for m in live if m.intent not in CARRIED_OUT for ref in m.replaces}
        on_ward = any(m.setting == "inpatient" for m in live)
        written_last: dict[tuple[object, ...], date] = {}
        for m in live:
            if m.start is not None and m.dose is not None:
                day, regimen = self.snapshot.day(m.start), _regimen(m.dose)
                written_last[regimen] = max(day, written_last.get(regimen, day))
        return tuple(
            m
            for m in live
            if m.ref not in renewed
            and not (on_ward and m.setting in FOR_HOME)
            and not self._written_again(m, written_last)
        )

    def _written_again(self, order: Medication, written_last: Mapping[tuple[object, ...], date]) -> bool:
        """The same dose was written again, long enough afterwards to be a renewal."""
        if order.start is None or order.dose is None:
            return False
        apart = (written_last[_regimen(order.dose)] - self.snapshot.day(order.start)).days
        return apart > self.policy.dosing.renewal_after_days.value

    @lazy
    def established_mg_per_day(self) -> float | None:
        """Daily dose the patient was on, mg: of a return after a gap what was reached, else what is ordered, else what was charted last."""
        if self.returning is not None:
            return self.returning.reached
        ordered = self.ordered_mg_per_day
        given = self._given_instead(ordered) if ordered is not None and self.running_orders else None
        return ordered if given is None else given

    def _given_instead(self, ordered: float) -> float | None:
        """What the chart of the last week shows to be given in place of a higher dose that is ordered, mg per day; None when it does not.

        Only a chart that is kept, over days that the orders cover unchanged, and by smaller doses: of doses as ordered some may be refused or
        not charted.
        """
        if not self.charted or any(m.dose is None or m.dose.steps for m in self.running_orders):
            return None
        week = [r for r in self.charted if r.start and self.as_of - r.start <= self.policy.dose_charted]
        days = [r.start for r in week if r.start]
        least = timedelta(days=self.policy.record.dose_charted_least_days.value)
        if not days or self.as_of - max(days) > self.policy.chart_kept or max(days) - min(days) < least:
            return None
        if any(m.start is None or m.start > min(days) for m in self.running_orders):
            return None
        given, single = most_in_a_day(week), largest(week)
        of_order = max((m.dose.largest_single_mg or 0.0 for m in self.running_orders if m.dose), default=0.0)
        return given if given is not None and given < ordered and single and single < of_order else None

    @lazy
    def ordered_mg_per_day(self) -> float | None:
        """Daily dose by running orders together (of a titration today's step), else by the last known regimen or the chart, mg."""
        doses = [self._mg_in_force(m) for m in self.running_orders]
        if doses and None not in doses:
            return sum(d for d in doses if d is not None)
        regimen = self.established_regimen
        if regimen is None or (not is_live(regimen, self.as_of) and self._charted_since(regimen)):
            return self._charted_mg_per_day
        return self._mg_in_force(regimen)

    def _charted_since(self, regimen: Medication) -> bool:
        """Doses were charted after a regimen that is over, so they tell more than it does."""
        last, over = max((r.start for r in self.charted if r.start), default=None), regimen.end
        return last is not None and over is not None and last > over + ADMINISTRATION_COVERS

    @lazy
    def charted(self) -> tuple[Medication, ...]:
        """Charted doses of clozapine that were given."""
        return chart_of(self.clozapine_records, self.as_of, self.policy.chart_kept).given

    @lazy
    def _charted_mg_per_day(self) -> float | None:
        """The most given within a day of the last two that were charted, mg."""
        last = max((r.start for r in self.charted if r.start), default=None)
        if last is None:
            return None
        latest = timedelta(days=self.policy.record.last_charted_days.value)
        return most_in_a_day([r for r in self.charted if r.start and last - r.start < latest])

    @lazy
    def returning(self) -> Return | None:
        """Clozapine is taken again after a gap that calls for a new titration, and the dose before it has not been reached."""
        course = self.course
        breaks = course.breaks if course.restarted_after is None else (course.restarted_after, *course.breaks)
        if not breaks or not self.charted:
            return None
        singles = [m.dose.largest_single_mg for m in self.running_orders if m.dose is not None]
        return return_of(
            breaks,
            self.charted,
            self.policy.retitrated_gaps,
            self.policy.dose_charted,
            between_doses=self.hours_between_doses,
            ordered_mg=self.ordered_mg_per_day,
            ordered_single_mg=max((mg for mg in singles if mg is not None), default=None),
            not_before=self.as_of - timedelta(days=self.policy.dosing.early_days.value),
        )

    def _mg_in_force(self, order: Medication, at: datetime | None = None) -> float | None:
        """Daily dose of an order at a time (else when the last dose was taken), mg: of a titration that day's step, not the highest to come."""
        dose = order.dose
        began = order.start or order.authored
        if dose is None or not dose.steps or began is None:
            return dose.mg_per_day if dose is not None else None
        last = at or self.course.last_dose or self.as_of
        moment = min(last, order.end or self.as_of, self.as_of)
        day = (self.snapshot.day(moment) - self.snapshot.day(began)).days
        reached = [s for s in dose.steps if s.first_day <= day] or dose.steps[:1]
        return max(reached, key=lambda s: s.first_day).mg_per_day

    def mg_per_day_before(self, at: datetime) -> float | None:
        """Daily dose of clozapine just before a time, mg; None when no readable record tells.

        Of several regimens the one that began last counts (its orders of one day together), so that a higher dose of years
        ago, or an order nobody closed, does not.
        """
        given = [
            (began, m)
            for m in self.clozapine_records
            if m.dose is not None
            and (began := m.start or m.authored) is not None
            and began < at
            and was_given(m, self.as_of)
        ]
        regimen = (
            [g for g in given if g[1].role == "order"]
            or [g for g in given if g[1].role == "statement"]
            or given
        )
        if not regimen:
            return None
        last = max(self.snapshot.day(began) for began, _ in regimen)
        doses = [
            self._mg_in_force(m, at - timedelta(seconds=1))
            for began, m in regimen
            if self.snapshot.day(began) == last
        ]
        return None if None in doses else sum(d for d in doses if d is not None)

    @lazy
    def current_mg_per_day(self) -> float | None:
        """Daily dose that applies after this call: the drafts', else the established one."""
        return self.drafted_mg_per_day if self.clozapine_drafts else self.established_mg_per_day

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
        if m.role not in ("order", "statement") or m.status not in _OVER:
            return None
        ending = self._other_endings.get(id(m))
        return ending.latest if ending is not None and ending.latest_by else m.start or m.authored

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


def _regimen(dose: Dose) -> tuple[object, ...]:
    """What two orders of the same dose have in common, however they are worded."""
    return dose.mg_per_day, dose.doses_per_day, dose.bedtime, dose.steps


def _summed(orders: Iterable[Medication]) -> float | None:
    """Doses together in mg per day; None without orders or when one is unreadable."""
    total = 0.0
    some = False
    for order in orders:
        if order.dose is None or order.dose.mg_per_day is None:
            return None
        some = True
        total += order.dose.mg_per_day
    return total if some else None
