"""How often a blood count is due today (clinical.md 1.8): schedule, bands, recovery, interruptions."""

from __future__ import annotations

from datetime import date, datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

from service.alerts.case.banded import Banded
from service.alerts.case.falling import fall_of, flu_like_signs
from service.alerts.facts.patient import Measurement
from service.alerts.policy.judge import phase_for
from service.alerts.policy.parts.counts import Analyte, Band, Recovery
from service.alerts.policy.parts.schedule import SchedulePhase
from service.alerts.policy.parts.values import Value
from service.alerts.policy.words import (
    band_every,
    band_every_confirmed,
    band_title,
    falling_every,
    phase_every,
)
from service.alerts.say.sentence import Counted, Day, Number, Param, Sentence, sentence


def _every_days(phase: SchedulePhase) -> int:
    return phase.every_days


class Interval(Struct, frozen=True, gc=False):
    """The sampling interval that applies today, and why."""

    days: int
    #: How often, and why: phrases within a sentence.
    label: Param
    why: Sentence
    phase: SchedulePhase | None = None
    #: The band that shortens the interval, if one does.
    band: Band | None = None
    #: Extra counts after recovery that are still missing, out of ``recovery.counts``.
    recovery_counts_left: int = 0
    recovery: Recovery | None = None
    #: The number of another rule that shortens the interval (a break, falling counts).
    rule: Value | None = None
    start_known: bool = True
    #: Day of the schedule: of the course, or since the count from which it began anew; None: not known.
    day: int | None = None

    @property
    def cited(self) -> Band | Recovery | Value | SchedulePhase | None:
        """The part of the policy that sets the interval."""
        return self.band or self.recovery or self.rule or self.phase

    def due_soon_days(self, schedule: tuple[SchedulePhase, ...]) -> int:
        """Days before the due date from which it is mentioned.

        It goes by how often counts are due today: a weekly count after a neutropenia is announced like any weekly count, also in a
        patient whose schedule has long been monthly; otherwise it would be announced the moment the last one is in.
        """
        if self.phase is None:
            return 0
        if self.days >= self.phase.every_days:
            return self.phase.due_soon_days
        alike = [p for p in schedule if p.every_days <= self.days]
        nearest = max(alike, key=_every_days) if alike else min(schedule, key=_every_days)
        return min(nearest.due_soon_days, self.phase.due_soon_days)


class Episode(Struct, frozen=True, gc=False):
    """The latest run of abnormal counts of the course that has ended: its worst band and the counts after it."""

    band: Band
    #: Normal counts since, oldest first.
    recovered: tuple[Measurement, ...]


def is_confirmed(case: Banded, band: Band, deciding: Measurement) -> bool:
    """True when the count before the deciding one showed the same finding."""
    for m in case.series(deciding.kind):
        if m.at is not None and deciding.at is not None and m.at < deciding.at:
            earlier = case.band_of(m)
            return earlier is not None and earlier.finding == band.finding
    return False


def sampling_in(case: Banded, band: Band, deciding: Measurement) -> tuple[int, Param] | None:
    """(days, how often in words) between samples while in a band; None in a band that leaves the schedule as it is."""
    if band.confirmed_every_days is not None and is_confirmed(case, band, deciding):
        days = band.confirmed_every_days
        return days, band_every_confirmed(case.policy, band) if band.confirmed_every_label else every(days)
    if band.every_days is None:
        return None
    return band.every_days, band_every(case.policy, band) if band.every_label else every(band.every_days)


def every(days: int) -> Sentence:
    """How often, within a sentence: ``weekly``, ``every 2 weeks``, ``every 30 days``."""
    if days % 7:
        return sentence("interval.every-days", days=Counted(days))
    if days == 7:
        return sentence("interval.weekly")
    return sentence("interval.every-weeks", weeks=Counted(days // 7, "week"))


def course_counts(case: Banded, kind: Analyte = "anc") -> tuple[Measurement, ...]:
    """Settled values of a count in the present course, newest first; all of them when the start is unknown."""
    start = case.course.start
    if start is None:
        return case.series(kind)
    first = start.astimezone(case.snapshot.zone).replace(hour=0, minute=0, second=0, microsecond=0)
    return tuple(m for m in case.series(kind) if m.at is not None and m.at >= first)


def episodes(case: Banded) -> tuple[Episode, ...]:
    """Episodes of abnormal counts of the course that are over, the latest first; those of the white cells where the policy judges them."""
    found = _episodes_of(case, "anc") if case.abnormal_anc else ()
    if not case.abnormal_wbc:
        return found
    return tuple(sorted((*found, *_episodes_of(case, "wbc")), key=_recovered_at, reverse=True))


def _recovered_at(episode: Episode) -> datetime:
    """When the first normal count after an episode was taken."""
    at = episode.recovered[0].at
    assert at is not None
    return at


def _episodes_of(case: Banded, kind: Analyte) -> tuple[Episode, ...]:
    found: list[Episode] = []
    recovered: list[Measurement] = []
    worst: Band | None = None
    for count in course_counts(case, kind):
        band = case.band_of(count)
        if band is None or band.finding is None:
            if worst is not None:
                found.append(Episode(worst, tuple(reversed(recovered))))
                worst = None
            recovered.append(count)
        elif recovered and (worst is None or band.at_least < worst.at_least):
            worst = band
    if worst is not None:
        found.append(Episode(worst, tuple(reversed(recovered))))
    return tuple(found)


def _recovering(past: tuple[Episode, ...], kind: str) -> tuple[Episode, Recovery] | None:
    """The latest episode after which the policy asks for a kind of recovery: a milder one since does not end it."""
    if not past:
        return None
    return next(
        ((e, e.band.recovery) for e in past if e.band.recovery is not None and e.band.recovery.kind == kind),
        None,
    )


def had_neutropenia(case: Banded) -> bool:
    """True when any count of the course lay below the normal band."""
    return bool(case.abnormal_anc) and any(
        (band := case.band_of(m)) is not None and band.finding is not None for m in course_counts(case)
    )


def _extra_counts_left(case: Banded, episode: Episode, recovery: Recovery) -> int:
    """Extra counts that are still missing after the first normal one; counts much closer than asked do not add up."""
    apart = recovery.every_days * case.policy.record.counts_apart_percent.value / 100
    done = 0
    last: date | None = None
    for count in episode.recovered:
        assert count.at is not None
        day = case.snapshot.day(count.at)
        if last is None:
            last = day  # the count that showed recovery
        elif (day - last).days > apart:
            done += 1
            last = day
    return max(0, recovery.counts - done)


def next_phase(case: Banded, interval: Interval) -> tuple[date, SchedulePhase] | None:
    """(first day, phase) of the schedule that follows the one that sets the interval today; None when another rule sets it, or none follows."""
    phase, day = interval.phase, interval.day
    if phase is None or day is None or phase.until_day is None or interval.cited is not phase:
        return None
    following = _phase(case, phase.until_day)
    if following.every_days <= phase.every_days:
        return None
    return case.today + timedelta(days=phase.until_day - day), following


def _phase(case: Banded, day: int) -> SchedulePhase:
    """Phase of the schedule for a day of the course."""
    # Counts that could not be read may hold a neutropenia: the interval is not lengthened on their absence.
    return phase_for(
        case.policy.schedule,
        day,
        lambda: case.snapshot.state("counts") != "complete" or had_neutropenia(case),
    )


def interval_today(case: Banded) -> Interval:
    """The interval that applies today; the shortest of schedule, band, recovery and interruption rules."""
    # A preliminary count warns, but the clock of the next one runs from the settled counts.
    decided = case.decided_by_settled
    sampling = sampling_in(case, *decided) if decided is not None else None
    if decided is not None and sampling is not None:
        band = decided[0]
        return Interval(
            days=sampling[0],
            label=sampling[1],
            why=sentence("interval.band", band=band_title(case.policy, band)),
            band=band,
            start_known=case.course_day is not None,
        )
    past = episodes(case)
    scheduled = _scheduled(case, past)
    unresolved = next((e for e in past[:1] if len(e.recovered) < e.band.until_normal), None)
    if unresolved is not None and unresolved.band.every_days is not None:
        return Interval(
            days=unresolved.band.every_days,
            label=band_every(case.policy, unresolved.band),
            why=sentence("interval.recovered", band=band_title(case.policy, unresolved.band)),
            band=unresolved.band,
            start_known=scheduled.start_known,
        )
    extra = _recovering(past, "extra-counts")
    left = _extra_counts_left(case, *extra) if extra is not None else 0
    lasting = extra if left else _recovering(past, "lifelong")
    if lasting is not None:
        episode, recovery = lasting
        if recovery.every_days and recovery.every_days < scheduled.days:
            return Interval(
                days=recovery.every_days,
                label=every(recovery.every_days),
                why=sentence("interval.recovered", band=band_title(case.policy, episode.band)),
                phase=scheduled.phase,
                recovery_counts_left=left,
                recovery=recovery,
                start_known=scheduled.start_known,
            )
        if left:
            return replace(scheduled, recovery_counts_left=left, recovery=recovery)
    return _after_break(case, scheduled) or _while_falling(case, scheduled) or scheduled


def kept_schedule(case: Banded) -> int | None:
    """Day of treatment by which the schedule goes on after a break that would begin a new course; None where it begins anew.

    The time on treatment and without neutropenia must be on record, up to the break: what was not read may hold one.
    """
    limit, course = case.policy.interruption.exempt_after_days, case.course
    if limit is None or case.abnormal_anc or case.snapshot.state("counts") != "complete":
        return None
    over, treated = course.restarted_after, course.treated_before or timedelta()
    if case.restarting or course.lapsed:
        stopped = course.last_dose if course.lapsed else course.last_exposure
        if course.start is None or stopped is None:
            return None
        stopped, treated, since = stopped, treated + (stopped - course.start), 0
    elif over is not None and course.treated_before is not None:
        stopped, since = over.start, case.days_since(over.end)
    else:
        return None
    counted = [m.at for m in case.series("anc") if m.at is not None]
    first = min(counted, default=None)
    if first is None or min(treated, stopped - first) < timedelta(days=limit.value):
        return None
    if case.problems_of("neutropenia", "agranulocytosis-history", "neutropenic-fever", history=True):
        return None
    return treated.days + since


def _scheduled(case: Banded, past: tuple[Episode, ...]) -> Interval:
    """What the schedule asks for on this day of the course; anew from the first normal count where an episode asks for that."""
    # What is not known to be long past may be of today: the shorter interval holds.
    day = case.least_course_day
    if day is None:
        days = int(case.policy.unknown_start_every_days.value)
        return Interval(
            days=days,
            label=every(days),
            why=sentence("interval.start-unknown"),
            phase=case.policy.schedule[0],
            start_known=False,
        )
    kept = kept_schedule(case)
    if kept is not None:
        phase = _phase(case, kept)
        why = sentence("interval.kept-after-break", day=Number(kept, 0))
        return Interval(days=phase.every_days, label=phase_every(case.policy, phase), why=why, phase=phase)
    anew = _recovering(past, "new-patient")
    # Without a known start the first normal count may lie years before the course: the shortest interval stays.
    if anew is not None and not case.starting:
        first_normal = anew[0].recovered[0].at
        assert first_normal is not None
        day = case.days_since(first_normal)
        why = sentence("interval.new-patient", day=Number(day, 0), band=band_title(case.policy, anew[0].band))
    else:
        why = _day_of_treatment(case, day)
    phase = _phase(case, day)
    return Interval(
        days=phase.every_days, label=phase_every(case.policy, phase), why=why, phase=phase, day=day
    )


def _day_of_treatment(case: Banded, day: int) -> Sentence:
    """The day of the course, and that the days are counted from a break which no order shows."""
    back = case.course.restarted_after
    if back is None or not back.under_order or case.starting:
        return sentence("interval.day", day=Number(day, 0))
    return sentence(
        "interval.day-since-about-break" if back.estimated else "interval.day-since-break",
        day=Number(day, 0),
        length=Counted(round(back.hours / 24)),
    )


def _after_break(case: Banded, scheduled: Interval) -> Interval | None:
    """Denser counts for some weeks after a break, where the policy asks for them."""
    extra = case.policy.interruption.extra
    limit = case.extra_gap
    if (
        extra is None
        or limit is None
        or extra.every_days.value >= scheduled.days
        or case.course.start is None
    ):
        return None
    first_day = case.snapshot.day(case.course.start)
    for gap in case.course.breaks:
        after = (case.snapshot.day(gap.start) - first_day).days
        resumed = case.snapshot.day(gap.end)
        watched_until = resumed + timedelta(weeks=extra.weeks.value)
        if limit.reached(gap.hours) and after >= extra.after_day.value and case.today < watched_until:
            return Interval(
                days=int(extra.every_days.value),
                label=every(int(extra.every_days.value)),
                why=sentence("interval.break", day=Day(resumed)),
                phase=case.policy.schedule[0],
                rule=extra.every_days,
            )
    return None


def _while_falling(case: Banded, scheduled: Interval) -> Interval | None:
    """Denser counts while they fall or while there are flu-like signs, where the policy asks for them."""
    rule = case.policy.falling
    if rule.every_days is None or rule.every_days.value >= scheduled.days or case.starting:
        return None
    fall = fall_of(case, preliminary=False)
    if fall is not None:
        why = sentence("interval.wbc-fell" if fall.now.kind == "wbc" else "interval.anc-fell")
    elif flu_like_signs(case) is not None:
        why = sentence("interval.flu-like")
    else:
        return None
    return Interval(
        days=int(rule.every_days.value),
        label=falling_every(case.policy) if rule.every_label else every(int(rule.every_days.value)),
        why=why,
        rule=rule.every_days,
        start_known=scheduled.start_known,
    )
