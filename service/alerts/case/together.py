"""How long another drug has been taken beside clozapine, and the clozapine dose before it (clinical.md 2.4)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import Literal

from service.alerts.case.beginning import latest_beginning
from service.alerts.case.case import Case
from service.alerts.case.exposure import is_live, span_of, was_given
from service.alerts.case.series import judged_value
from service.alerts.facts.patient import Measurement, Medication
from service.alerts.knowledge.classes import classes_of, longest_offset_days, offset_days

#: A record that begins at latest the day after another one ended goes on with it: that is how calendar days meet.
_NEXT_DAY = timedelta(days=1)
#: Just after a change the new dose is in force.
_A_MOMENT = timedelta(seconds=1)
#: A third is no round number: 0.3333 of 300 mg is 100 mg.
ROUNDED = 1.001


def _begun(m: Medication) -> datetime | None:
    return m.start or m.authored


def _records(case: Case, drug_id: str) -> list[Medication]:
    return [m for m in case.snapshot.medications if m.systemic and drug_id in m.drugs]


def taken_since(case: Case, drug_id: str) -> datetime | None:
    """Since when a drug is taken without a break, over all its records; None: it is not taken yet, or no record tells since when.

    A renewal takes up the order it replaces, or one that ended the day before.
    """
    if drug_id not in case.taken_since:
        case.taken_since[drug_id] = _unbroken_since(case, _records(case, drug_id))
    return case.taken_since[drug_id]


def latest_since(case: Case, drug_id: str, since: datetime) -> datetime:
    """Since when a drug is taken at the latest: a record that names a month or a year may have begun on its last day."""
    begun = [
        latest_beginning(since, m.start_until, case.as_of)
        for m in _records(case, drug_id)
        if m.start == since
    ]
    return max((since, *begun))


def _unbroken_since(case: Case, records: list[Medication]) -> datetime | None:
    if len(records) == 1:
        return _begun(records[0]) if is_live(records[0], case.as_of) else None
    dated = [at for m in records if is_live(m, case.as_of) and (at := _begun(m)) is not None]
    if not dated:
        return None
    since = min(dated)
    taken_up: set[str] = set()
    with_start = [(at, m) for m in records if (at := _begun(m)) is not None]
    for begun, m in sorted(with_start, key=lambda found: found[0], reverse=True):
        span = span_of(m, case.as_of)
        if span is None:
            continue
        if begun >= since or m.ref in taken_up or span.end + _NEXT_DAY >= since:
            since = min(since, begun)
            taken_up.update(m.replaces)
    return since


def clozapine_dose_before(case: Case, drug_id: str) -> float | None:
    """Daily dose of clozapine just before the drug was added, mg; None when no record tells.

    While the drug is only ordered that is the dose of today. Where no record tells since when it is taken, the highest dose of
    the course has to stand for it.
    """
    if not any(is_live(m, case.as_of) for m in _records(case, drug_id)):
        return case.established_mg_per_day
    since = taken_since(case, drug_id)
    if since is not None:
        return case.mg_per_day_before(since)
    began = case.course.start
    doses = [
        m.dose.mg_per_day
        for m in case.clozapine_records
        if m.dose is not None and m.dose.mg_per_day and (began is None or m.start is None or m.start >= began)
    ]
    return max(doses, default=None)


def dose_before_stopped(case: Case, drug_id: str) -> float | None:
    """Daily dose of clozapine just before a drug was added that has been stopped since, or is stopped now, mg; None when no record tells."""
    since = was_taken_since(case, drug_id)
    start = case.course.start
    if since is None or (start is not None and since <= start):
        return None  # in the latter case clozapine was titrated beside it
    return case.mg_per_day_before(since)


def was_taken_since(case: Case, drug_id: str) -> datetime | None:
    """Since when a drug was taken without a break that has been stopped since, or is stopped now; None when no record tells."""
    since = taken_since(case, drug_id)
    if since is not None:
        return since
    if drug_id not in case.was_taken_since:
        case.was_taken_since[drug_id] = _unbroken_until_stopped(case, _records(case, drug_id))
    return case.was_taken_since[drug_id]


def _unbroken_until_stopped(case: Case, records: list[Medication]) -> datetime | None:
    begun = [(at, m) for m in records if (at := _begun(m)) is not None]
    since = max((at for at, _ in begun), default=None)
    if since is None:
        return None
    for at, m in sorted(begun, key=_first, reverse=True):
        span = span_of(m, case.as_of)
        if span is not None and span.end + _NEXT_DAY >= since:
            since = min(since, at)
    return since


def _first(dated: tuple[datetime, Medication]) -> datetime:
    return dated[0]


def clozapine_changed(case: Case) -> datetime | None:
    """When the daily dose of clozapine was changed last before this call; None when no dated order tells."""
    begun = sorted(
        {
            at
            for m in case.clozapine_records
            if m.role == "order"
            and (at := _begun(m)) is not None
            and at <= case.as_of
            and was_given(m, case.as_of)
        },
        reverse=True,
    )
    changed: datetime | None = None
    for at in begun:
        if changed is not None and case.mg_per_day_before(at + _A_MOMENT) != case.mg_per_day_before(
            changed + _A_MOMENT
        ):
            break
        changed = at
    steps = [m.dose.steps for m in case.clozapine_records if m.dose is not None and is_live(m, case.as_of)]
    if any(len(s) > 1 for s in steps):
        return max((at for at, _ in _steps_taken(case)), default=changed)
    return changed


def _steps_taken(case: Case) -> list[tuple[datetime, float]]:
    """(from when, mg per day) of the steps of running titrations that have begun."""
    return [
        (at, s.mg_per_day)
        for m in case.clozapine_records
        if m.dose is not None and (begun := _begun(m)) is not None and is_live(m, case.as_of)
        for s in m.dose.steps
        if (at := begun + timedelta(days=s.first_day)) <= case.as_of
    ]


def own_dose_changed(case: Case, drug_id: str) -> datetime | None:
    """When the daily dose of another drug was changed last, by its orders or by a draft of this call; None when it never was, or no dose is read.

    As of clozapine: the orders of one day together are the dose from that day on.
    """
    by_day: dict[date, list[Medication]] = {}
    for m in _records(case, drug_id):
        if m.role == "order" and (at := _begun(m)) is not None and was_given(m, case.as_of):
            by_day.setdefault(case.snapshot.day(at), []).append(m)
    changed: datetime | None = None
    dose: float | None = None
    for day in sorted(by_day):
        new = _daily(by_day[day])
        if dose is not None and new is not None and new != dose:
            changed = min(at for m in by_day[day] if (at := _begun(m)) is not None)
        dose = new if new is not None else dose
    drafted = _daily([d for d in case.other_drafts if d.systemic and drug_id in d.drugs])
    return case.as_of if None not in (drafted, dose) and drafted != dose else changed


def _daily(records: list[Medication]) -> float | None:
    """What orders of one drug give a day together, mg; None when one of them cannot be read, or there is none."""
    doses = [m.dose.mg_per_day if m.dose is not None else None for m in records]
    return sum(d for d in doses if d is not None) if doses and None not in doses else None


#: How a strong inhibitor and the dose of clozapine stand to each other.
Standing = Literal["new", "smallest", "reduced", "first", "settled", "level-needed", "changed", "takes-over"]


def standing(case: Case, drug_id: str, levels: Iterable[Measurement]) -> Standing:
    """How a strong inhibitor that is taken, or ordered, and the dose of clozapine stand to each other (clinical.md 2.4).

    ``smallest``: no lower dose can be given. ``reduced``: the dose is at most a third of the dose before it. ``first``: it was there before the first dose of clozapine, which was
    titrated beside it; of a start: the dose is that of a first day. ``settled``: both unchanged for long, and a level in range says that
    they fit. ``level-needed``: the same without such a level. ``changed``: the dose fitted the inhibitor, whose own dose was changed lately or is
    changed now: the level moves again, and only a level tells how far. ``takes-over``: it follows another strong inhibitor that the dose fits.
    ``new``: anything else.

    Args:
        case: the question.
        drug_id: the inhibitor.
        levels: clozapine levels, newest first, without those known to be no trough levels.
    """
    since = taken_since(case, drug_id)
    if case.starting:
        taken = since is not None or any(drug_id in m.drugs for m in case.other_medications)
        return "first" if taken and _starts_small(case) else "new"
    now = case.current_mg_per_day
    if now is not None and now <= case.policy.dosing.restart_single.value:
        return "smallest"
    if since is None and dose_already_reduced(case, drug_id):
        return "reduced"
    if since is None:
        return (
            "takes-over"
            if any(is_adjusted_to(case, *left) for left in left_strong_inhibitors(case))
            else "new"
        )
    own_change, rule = own_dose_changed(case, drug_id), case.policy.interactions
    anew = own_change is not None and case.days_since(own_change) < rule.settled_days.value
    if dose_already_reduced(case, drug_id):
        return "changed" if anew else "reduced"
    start = case.course.start
    if start is not None and since < start:
        return "changed" if anew else "first"
    if start is None or case.days_since(since) < rule.settled_days.value:
        return "new"
    latest = latest_since(case, drug_id, since)
    if case.days_since(latest) < rule.settled_days.value:
        return "level-needed"  # it may be new, and it may be long settled
    drafted, before = case.drafted_mg_per_day, case.established_mg_per_day
    raised = drafted is not None and before is not None and drafted > before
    changed = clozapine_changed(case)
    fits = [
        m
        for m in levels
        if m.at is not None and (m.at - latest).days >= rule.level_after_days.value and m.at <= case.as_of
    ]
    newest = fits[0] if fits else None
    if newest is not None and judged_value(newest) > case.policy.levels.high.value:
        return "new"
    if anew:
        # What fitted the dose before does not tell what fits the new one, but it speaks against a third.
        return "changed" if newest is not None else "new"
    if changed is None or (raised and newest is None):
        return "new" if raised else "level-needed"
    if case.days_since(changed) < rule.settled_days.value:
        # A level that was in range beside the inhibitor speaks for a level after the change, not for a third of the dose.
        return "level-needed" if newest is not None else "new"
    last = changed if own_change is None else max(changed, own_change)
    if (
        newest is not None
        and newest.at is not None
        and (newest.at - last).days >= rule.level_after_days.value
    ):
        return "settled"
    return "level-needed"


def _starts_small(case: Case) -> bool:
    """The drafts begin with the dose of a first day, and a titration in steps ends at about a third of what is usual."""
    rule, most = case.policy.dosing, case.drafted_mg_per_day
    firsts = [
        m.dose.first_mg_per_day or m.dose.mg_per_day for m in case.clozapine_drafts if m.dose is not None
    ]
    if most is None or not firsts or None in firsts:
        return False
    first = sum(mg for mg in firsts if mg is not None)
    usual = rule.day_14_maximum.value * rule.strong_inhibitor_factor.value * ROUNDED
    return first <= rule.restart_single.value and most <= max(usual, rule.restart_single.value)


def left_strong_inhibitors(case: Case) -> list[tuple[str, Medication]]:
    """(drug, its record or the draft that ends it) of strong inhibitors that have ended, or end now, and whose effect still goes on.

    A drug that is ordered again counts with the record that ended: after a few days without it the dose still fits.
    """
    found = []
    for m in (*case.snapshot.medications, *(d for d in case.drafts if d.stops)):
        if not m.systemic or "clozapine" in m.drugs:
            continue
        for drug_id in m.drugs:
            group = next((c for c in classes_of(drug_id) if c.reduce_to_one_third), None)
            if group is None:
                continue
            if m.role == "draft":
                ends = taken_since(case, drug_id) is not None
            else:
                over = m.end or case.over_undated(m)
                ends = (
                    over is not None
                    and over <= case.as_of
                    and case.days_since(over) <= offset_days(drug_id, group.id)
                    and was_given(m, case.as_of)
                    and not is_live(m, case.as_of)
                )
            if ends:
                found.append((drug_id, m))
    return found


def is_adjusted_to(case: Case, drug_id: str, record: Medication) -> bool:
    """The dose of clozapine fits a strong inhibitor that ends: cut to a third for it, titrated beside it, or long taken beside it."""
    since, start, now = was_taken_since(case, drug_id), case.course.start, case.established_mg_per_day
    if since is None or start is None or now is None:
        return False
    if since <= start:
        return True
    before = dose_before_stopped(case, drug_id)
    if before and now <= before * case.policy.dosing.strong_inhibitor_factor.value * ROUNDED:
        return True
    changed, settled = clozapine_changed(case), case.policy.interactions.settled_days.value
    return case.days_since(since) >= settled and (changed is None or case.days_since(changed) >= settled)


def dose_already_reduced(case: Case, drug_id: str) -> bool:
    """The clozapine dose is at most a third of the dose before the inhibitor (clinical.md 2.4)."""
    now, before = case.current_mg_per_day, clozapine_dose_before(case, drug_id)
    if now is None or not before:
        return False
    return now <= before * case.policy.dosing.strong_inhibitor_factor.value * ROUNDED


def stop_window_days(case: Case, drug_id: str, class_id: str, record: Medication) -> float:
    """For how long after the stop of an inhibitor or inducer there is something to say.

    As long as its effect goes on (days of the drug itself); at least the days of the policy where the dose of clozapine was changed for it and
    is so still, as nobody has gone back yet, and where nothing bounds the day of the end.
    """
    gone = offset_days(drug_id, class_id)
    before, now = dose_before_stopped(case, drug_id), case.established_mg_per_day
    if case.over_at_latest(record) is not None and before is not None and before == now:
        return gone
    return max(case.policy.interactions.stopped_within_days.value, gone)


def is_return_after_stop(case: Case, mg_per_day: float) -> bool:
    """A dose that only goes back to what was taken before an inhibitor or inducer that has been stopped lately, or is stopped now."""
    ended = [*case.stopped_medications(longest_offset_days()), *(d for d in case.drafts if d.stops)]
    for m in ended:
        for drug_id in m.drugs:
            group = next((c for c in classes_of(drug_id) if c.effect == "raises" and c.stopped), None)
            if group is None or not m.systemic or m.drugs == ("clozapine",):
                continue
            over = m.end or case.over_undated(m)
            if m.role != "draft" and (
                over is None or case.days_since(over) > stop_window_days(case, drug_id, group.id, m)
            ):
                continue
            before = dose_before_stopped(case, drug_id)
            if before is not None and mg_per_day <= before * ROUNDED:
                return True
    return False
