"""When an order or statement that is over and names no end came to its end: an estimate, with what it rests on.

FHIR R4 gives a MedicationRequest no end date: one that is ``completed`` or ``stopped`` was taken until some time between the day it was
written and today. What else is on record narrows that down: doses charted, supply handed over, the last change of the record, the next order,
blood counts that kept coming. Which end is asked for depends on the question: the *latest* for what may still be dangerous (bands, follow-up
counts, interactions), the *best supported* for the length of a gap.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import accumulate, pairwise
from typing import Literal

from msgspec import Struct

from service.alerts.case.exposure import (
    ADMINISTRATION_COVERS,
    DISPENSE_GIVEN,
    NOT_ADMINISTERED,
    ORDER_LIVE,
    ORDER_NOT_GIVEN,
    STATEMENT_LIVE,
    span_of,
    supplies_of,
)
from service.alerts.case.regular_counts import Counting
from service.alerts.facts.patient import Medication

#: What an end rests on: the day the record was written, a dose charted, supply handed over, this service saw it active, blood counts that
#: kept coming, the last change of the record, what the patient says, the next order, the validity of the prescription, a long silence;
#: ``""``: nothing bounds it.
Witness = Literal[
    "written", "dose", "supply", "seen", "counts", "update", "said", "next", "validity", "silence", ""
]


class Ending(Struct, frozen=True, gc=False):
    """Between when and when a record that is over was taken to its end. ``earliest`` ≤ ``best`` ≤ ``latest`` ≤ the moment of the question."""

    ref: str
    #: When it began; None: not known.
    start: datetime | None
    #: It was taken until then at least; None: not even its beginning is known.
    earliest: datetime | None
    #: The best supported end; None when nothing supports any.
    best: datetime | None
    best_by: Witness
    #: It may have been taken until then.
    latest: datetime
    latest_by: Witness
    #: It was over by then according to its last change or to what the patient says: the end a gap may be counted from.
    over_by: datetime | None = None
    #: An order for home that was carried out to its end (``completed``): nobody stopped it, the next one is to be expected.
    carried_out: bool = False
    #: When the next order was to be expected: by the supply it ordered, or by the rhythm of the orders before it; None: nothing tells.
    due: datetime | None = None
    #: It was carried out so lately, or is due for renewal so lately, that the drug is taken on between two prescriptions.
    between: bool = False


class Renewing(Struct, frozen=True, gc=False):
    """How orders for home follow each other.

    ``completed`` says that an order was carried out, not that the drug was stopped: systems set it when the supply is issued, when its time
    is over, or when the next order is written.

    Args:
        in_time: an order that follows so soon after the end of one carried out renews it, and until then it may be taken.
        alone: the distance of two orders tells a rhythm by itself when it is no longer; else it takes two distances.
    """

    in_time: timedelta = timedelta(0)
    alone: timedelta = timedelta(0)


#: So many distances between orders, one after the other, tell a rhythm: of one alone nobody knows whether the next is like it.
_RHYTHM = 2
#: Nothing is taken for a renewal.
NO_RENEWALS = Renewing()


def is_over_undated(medication: Medication, as_of: datetime) -> bool:
    """An order or statement that was given, is over or on hold, and does not say since when; an end still to come was only planned."""
    if medication.not_taken or (medication.end is not None and medication.end <= as_of):
        return False
    if medication.start is not None and medication.start > as_of:
        return False
    if medication.role == "order":
        return medication.status not in ORDER_LIVE and medication.status not in ORDER_NOT_GIVEN
    return medication.role == "statement" and medication.status not in STATEMENT_LIVE


def endings_of(
    records: Sequence[Medication],
    as_of: datetime,
    counting: Counting | None = None,
    renewing: Renewing = NO_RENEWALS,
) -> dict[int, Ending]:
    """The estimated end of every record that is over without a date, by ``id(record)``.

    Args:
        records: every record of one drug.
        as_of: the moment of the question.
        counting: blood counts, where they tell something of the drug.
        renewing: how orders of the drug follow each other.
    """
    over = [r for r in records if is_over_undated(r, as_of)]
    if not over:
        return {}
    witnesses = _Witnesses(records, as_of, counting, renewing)
    found = {}
    for r in over:
        ending = witnesses.ending_of(r)
        if ending is not None:
            found[id(r)] = ending
    return found


class _Witnesses:
    """What the records of one drug tell of each other's end, put in order once."""

    def __init__(
        self,
        records: Sequence[Medication],
        as_of: datetime,
        counting: Counting | None,
        renewing: Renewing = NO_RENEWALS,
    ) -> None:
        self.as_of = as_of
        self.counting = counting
        self.renewing = renewing
        self.runs = counting.runs() if counting is not None else []
        self.doses = sorted(
            r.start
            for r in records
            if r.role == "administration"
            and r.start is not None
            and r.start <= as_of
            and r.status not in NOT_ADMINISTERED
            and not r.not_taken
        )
        supplied = sorted((m.start, end) for m, end in supplies_of(records, as_of) if m.start is not None)
        self.supplied = [at for at, _ in supplied]
        #: When all supply handed over from then on is used up.
        self.used_up = [*accumulate((end for _, end in reversed(supplied)), max)][::-1]
        #: Supply of which nobody knows how long it lasts: only a sign of life.
        self.handed_over = sorted(
            r.start
            for r in records
            if r.role == "dispense"
            and r.start is not None
            and r.start <= as_of
            and r.status in DISPENSE_GIVEN
            and not r.days_supply
            and not r.not_taken
        )
        orders = [
            (r.start, r)
            for r in records
            if r.role == "order" and r.start is not None and span_of(r, as_of) is not None
        ]
        orders.sort(key=lambda found: found[0])
        self.orders = [r for _, r in orders]
        self.begun = [at for at, _ in orders]
        #: The same, several strengths of one day as one order: the last of them.
        self.written = [at for at, after in pairwise(self.begun) if after - at >= ADMINISTRATION_COVERS]
        self.written += self.begun[-1:]
        self.renewed: dict[str, datetime] = {}
        for at, r in orders:
            for ref in r.replaces:
                self.renewed.setdefault(ref, at)
        self.said_over = sorted(_said_over(records, as_of))

    def ending_of(self, record: Medication) -> Ending | None:
        """The end of one record; None when nothing dates it at all."""
        start = record.start
        if start is None:
            return self._undated(record)
        dose = _last_from(self.doses, start)
        supply = self._supplied_until(start)
        handed = _last_from(self.handed_over, start)
        alive: list[tuple[datetime, Witness]] = [(start, "written")]
        alive += [(at, "dose") for at in (dose,) if at is not None]
        alive += [(min(at, self.as_of), "supply") for at in (supply, handed) if at is not None]
        if record.seen_active is not None and start <= record.seen_active <= self.as_of:
            alive.append((record.seen_active, "seen"))
        renewed = self.renewed.get(record.ref)
        if renewed is not None and renewed > start:
            alive.append((renewed, "next"))  # whoever renews an order says that it was taken till then
        earliest, earliest_by = max(alive, key=_at)
        limits = self._limits(record, start, dose, supply)
        latest, latest_by = self._latest(start, earliest, limits, record.valid_until)
        over_by = _over_by(record, start, self.as_of)
        cap = _not_after(record, over_by, renewed, start)
        if cap is not None and cap[0] < latest:
            latest, latest_by = cap
        latest = max(latest, start)
        carried_out = _is_carried_out(record)
        between = False
        if carried_out and latest_by in _NO_STOP:
            latest, latest_by = self._until_renewed(start, latest, latest_by)
            between = not latest_by
        if latest >= self.as_of:
            latest, latest_by = self.as_of, ""
        due = self._due(record, start)
        if carried_out and over_by is None and due is not None and not latest_by:
            between = self.as_of <= due + self.renewing.in_time
        earliest = min(earliest, latest)
        used_up = _used_up(record, start, over_by)
        best, best_by = self._best(record, earliest, earliest_by, latest, used_up)
        return Ending(
            record.ref,
            start,
            earliest,
            best,
            best_by,
            latest,
            latest_by,
            min(used_up, latest) if used_up is not None and used_up > start else None,
            carried_out,
            due,
            between,
        )

    def _undated(self, record: Medication) -> Ending | None:
        """A record without a beginning: that it was over is all that is known, and only when something dates that."""
        known: list[tuple[datetime, Witness]] = []
        if record.updated is not None and record.updated <= self.as_of:
            known.append((record.updated, "update"))
        if record.role == "statement" and record.authored is not None and record.authored <= self.as_of:
            known.append((record.authored, "said"))
        if not known:
            return None
        at, by = min(known, key=_at)
        return Ending(record.ref, None, None, at, by, at, by, at)

    def _limits(
        self, record: Medication, start: datetime, dose: datetime | None, supply: datetime | None
    ) -> list[tuple[datetime, Witness]]:
        """Ends that other records suggest; counts that kept coming long after them show that it went on."""
        found: list[tuple[datetime, Witness]] = []
        tracked: list[tuple[datetime, Witness]] = []
        if dose is not None:
            tracked.append((dose + ADMINISTRATION_COVERS, "dose"))
        if supply is not None:
            tracked.append((supply, "supply"))
        if tracked:
            found.append(max(tracked, key=_at))
        if record.valid_until is not None and record.valid_until > start:
            found.append((record.valid_until, "validity"))
        index = bisect_right(self.said_over, start)
        if index < len(self.said_over):
            found.append((self.said_over[index], "said"))
        if (
            record.role == "statement"
            and record.authored is not None
            and start < record.authored <= self.as_of
        ):
            found.append((record.authored, "said"))
        index = bisect_right(self.begun, start)
        if record.role == "order" and index < len(self.orders):
            begun, end = self.begun[index], self.orders[index].end
            found.append((max(begun, end) if end is not None and end <= self.as_of else begun, "next"))
        return found

    def _latest(
        self,
        start: datetime,
        earliest: datetime,
        limits: list[tuple[datetime, Witness]],
        valid_until: datetime | None,
    ) -> tuple[datetime, Witness]:
        """The latest end that the limits and the blood counts allow, before the cap of the record itself."""
        limit = min(limits, key=_at, default=None)
        if limit is not None and limit[0] < earliest:
            limit = (earliest, limit[1])
        counting = self.counting
        if counting is None:
            return limit if limit is not None else (self.as_of, "")
        run = self._run(start, earliest, valid_until)
        if run is None:
            silent: tuple[datetime, Witness] = (earliest + counting.within, "silence")
            return min(limit, silent, key=_at) if limit is not None else silent
        until: tuple[datetime, Witness] = (max(run[1] + counting.silent_after(run[1]), earliest), "counts")
        if limit is None:
            return until
        # Counts that came without a pause beyond the follow-up of a limit show that it was none; one of years later does not.
        without_pause = run[0] <= limit[0] + counting.silent_after(limit[0])
        goes_on = without_pause or run[1] - run[0] >= counting.within
        if goes_on and run[1] > limit[0] + counting.follow_up:
            return until
        return min(limit, until, key=_at)

    def _run(
        self, start: datetime, earliest: datetime, valid_until: datetime | None
    ) -> tuple[datetime, datetime] | None:
        """The last stretch of counts that shows treatment under a record: the first one after its beginning, or one that lasts long.

        The first one begins while the order is valid, or so soon after the last thing known that it may have run on.
        """
        counting = self.counting
        if counting is None:
            return None
        after = [run for run in self.runs if run[1] > start]
        if not after:
            return None
        long = [run for run in after if run[1] - run[0] >= counting.within]
        if long:
            return long[-1]
        begins_by = earliest + counting.within
        if valid_until is not None:
            begins_by = max(begins_by, valid_until)
        return after[0] if after[0][0] <= begins_by else None

    def _until_renewed(self, start: datetime, latest: datetime, by: Witness) -> tuple[datetime, Witness]:
        """Between two orders that follow each other in time the drug may be taken, unless somebody says that it is not."""
        until: list[tuple[datetime, Witness]] = [(self.as_of, "")]
        following, contradicted = bisect_right(self.begun, start), bisect_right(self.said_over, start)
        if following < len(self.begun):
            until.append((self.begun[following], "next"))
        if contradicted < len(self.said_over):
            until.append((self.said_over[contradicted], "said"))
        upto = min(until, key=_at)
        return upto if latest < upto[0] <= latest + self.renewing.in_time else (latest, by)

    def _due(self, record: Medication, start: datetime) -> datetime | None:
        """When the order after this one was to be expected."""
        if record.role != "order" or record.status == "on-hold":
            return None
        lasts = [timedelta(days=record.days_supply * (1 + record.repeats))] if record.days_supply else []
        index = bisect_right(self.written, start)
        apart = [after - at for at, after in pairwise(self.written[max(index - _RHYTHM - 1, 0) : index])]
        if len(apart) == _RHYTHM or (apart and apart[0] <= self.renewing.alone):
            lasts.append(min(apart))
        return start + max(lasts) if lasts else None

    def _supplied_until(self, start: datetime) -> datetime | None:
        """When the supply of a record is used up; it may have been handed over on the day before a time that is only a date."""
        index = bisect_left(self.supplied, start - ADMINISTRATION_COVERS)
        return self.used_up[index] if index < len(self.used_up) else None

    def _best(
        self,
        record: Medication,
        earliest: datetime,
        earliest_by: Witness,
        latest: datetime,
        over_by: datetime | None,
    ) -> tuple[datetime | None, Witness]:
        """Charts, then supply, then the record's last change or what is said, then counts that kept coming."""
        if earliest_by in ("dose", "supply"):
            return earliest, earliest_by
        start = record.start or earliest
        if over_by is not None and start < over_by <= latest:
            said = record.role == "statement" and over_by == record.authored
            return over_by, "said" if said else "update"
        run = self._run(start, earliest, record.valid_until)
        if run is not None and run[1] >= earliest:
            return min(run[1], latest), "counts"
        return (earliest, "seen") if earliest_by == "seen" else (None, "")


def _at(found: tuple[datetime, Witness]) -> datetime:
    return found[0]


def _last_from(times: list[datetime], start: datetime) -> datetime | None:
    """The last of sorted times, if it is not before a start."""
    return times[-1] if times and times[-1] >= start else None


def _said_over(records: Iterable[Medication], as_of: datetime) -> list[datetime]:
    """Days on which a statement says that the drug is not taken, or is taken no longer."""
    found = []
    for r in records:
        if r.role != "statement":
            continue
        at = r.start if r.not_taken else r.end
        if at is not None and at <= as_of:
            found.append(at)
    return found


#: Ends that do not say that somebody stopped the drug.
_NO_STOP = frozenset({"update", "supply", "validity"})


def _is_carried_out(record: Medication) -> bool:
    """An order for home that is completed: FHIR means that what it ordered was done. On a ward the doses end with it."""
    return record.role == "order" and record.status == "completed" and record.setting != "inpatient"


def _over_by(record: Medication, start: datetime, as_of: datetime) -> datetime | None:
    """When the record was over already: what the patient says of it, else its last change; an order carried out to its end leaves its supply."""
    if record.role == "statement" and record.authored is not None and start < record.authored <= as_of:
        return record.authored
    if record.updated is None or record.updated > as_of:
        return None
    if not record.days_supply and _is_carried_out(record) and record.updated - start <= ADMINISTRATION_COVERS:
        return None  # it was issued that day, and nobody takes an order for a day: this change tells nothing of the end
    left = (record.days_supply or 0) if record.role == "order" and record.status == "completed" else 0
    since = as_of - record.updated
    return as_of if left >= since.total_seconds() / 86400 else record.updated + timedelta(days=left)


def _used_up(record: Medication, start: datetime, over_by: datetime | None) -> datetime | None:
    """The end a gap is counted from: an order completed when all that it ordered was used up leaves nothing."""
    if over_by is None or record.updated is None or not record.days_supply or not _is_carried_out(record):
        return over_by
    ordered = timedelta(days=record.days_supply * (1 + record.repeats))
    return record.updated if record.updated >= start + ordered - ADMINISTRATION_COVERS else over_by


def _not_after(
    record: Medication, over_by: datetime | None, renewed: datetime | None, start: datetime
) -> tuple[datetime, Witness] | None:
    """What no other fact moves: the last change of the record (it was over then), and the order that renews it."""
    found: list[tuple[datetime, Witness]] = []
    if record.updated is not None and over_by is not None and record.updated >= start:
        found.append((max(over_by, record.updated), "update"))
    if renewed is not None and renewed > start:
        found.append((renewed, "next"))
    return min(found, key=_at, default=None)
