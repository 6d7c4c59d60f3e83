"""Antipsychotic trials as the record shows them (clinical.md 2.8): how long, how much, and whether the drug was taken."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Literal

from msgspec import Struct

from service.alerts.case.case import Case
from service.alerts.case.charted import was_charted_as_given
from service.alerts.case.exposure import Span, span_of, supplies_of
from service.alerts.facts.patient import Medication
from service.alerts.knowledge.classes import has_class
from service.alerts.knowledge.equivalents import Form, equivalents
from service.alerts.policy.parts.pathway import Pathway

_ANTIPSYCHOTIC = "antipsychotic"
#: A unit.
_A_DAY = timedelta(days=1)

#: What shows that a drug was taken, each independent of the others.
AdherenceSource = Literal["supply", "injections", "chart", "levels"]
#: ``unknown``: length or dose cannot be told; ``missed``: too many days without supply.
Standing = Literal["adequate", "short", "low", "missed", "unknown"]


class InChlorpromazine(Struct, frozen=True, gc=False):
    """What a dose equals in mg of chlorpromazine a day, by one method (``knowledge/equivalents.toml``)."""

    method: str
    mg: float


class Trial(Struct, frozen=True, gc=False):
    """One antipsychotic as the record shows it."""

    drug: str
    standing: Standing
    #: The longest time it was taken without a break; None: no record tells how long.
    days: int | None
    #: A record does not tell how long: it may have been longer.
    open_ended: bool
    #: The largest dose, mg per day; of a depot on average.
    mg_per_day: float | None
    long_acting: bool
    records: tuple[Medication, ...]
    #: What the largest dose equals; empty where no table has the drug.
    equivalents: tuple[InChlorpromazine, ...] = ()
    #: The longest time without a break at a dose that is enough by every method.
    days_at_dose: int = 0
    #: Share of the trial that dispensed supply covers; None = not on record from its beginning on.
    covered_percent: float | None = None
    adherence: tuple[AdherenceSource, ...] = ()
    #: When it was first taken; None = a record does not tell.
    since: datetime | None = None


class _Piece(Struct, frozen=True, gc=False):
    """A time at one dose; ``end`` is not after ``start`` where nobody knows how long."""

    start: datetime | None
    end: datetime
    mg_per_day: float | None
    form: Form | None


class _Run(Struct, frozen=True, gc=False):
    """The longest time without a break."""

    start: datetime
    end: datetime

    @property
    def days(self) -> int:
        return (self.end - self.start).days


def trials(case: Case) -> list[Trial]:
    """Trials of antipsychotics other than clozapine, longest first; the breaks in between do not count, nor what is only taken as needed."""
    by_drug: dict[str, list[tuple[Medication, Span]]] = {}
    for m in case.snapshot.medications:
        drugs = [d for d in m.drugs if has_class(d, _ANTIPSYCHOTIC)]
        as_needed = m.dose is not None and m.dose.only_as_needed
        span = span_of(m, case.as_of) if drugs and not as_needed else None
        if span is not None:
            for drug in drugs:
                by_drug.setdefault(drug, []).append((m, span))
    found = [_trial(case, drug, given) for drug, given in by_drug.items()]
    return sorted(found, key=lambda t: (-(t.days or 0), t.drug))


def _trial(case: Case, drug: str, given: list[tuple[Medication, Span]]) -> Trial:
    rule = case.policy.pathway
    gap = timedelta(days=rule.trial_gap_days.value)
    injections = [m for m, _ in given if m.role == "administration" and m.long_acting]
    pieces = [
        *(p for m, span in given if m not in injections for p in _pieces(case, m, span)),
        *_injected(case, injections),
    ]
    dated = [p for p in pieces if p.start is not None and p.end > p.start]
    weights = {id(p): _in_chlorpromazine(rule, drug, p) for p in pieces}
    enough = [p for p in dated if _suffices(rule, weights[id(p)])]
    longest, at_dose = _longest(dated, gap), _longest(enough, gap)
    perhaps = _longest([p for p in dated if p in enough or not weights[id(p)]], gap)
    open_ended = len(dated) < len(pieces)
    largest = max(pieces, key=lambda p: (_least(weights[id(p)]), p.mg_per_day or 0))
    judged = at_dose or longest
    covered = _covered_percent(case, [m for m, _ in given], judged) if judged is not None else None
    return Trial(
        drug=drug,
        standing=_standing(rule, longest, at_dose, perhaps, covered, open_ended=open_ended, too_low=_too_low(rule, pieces, weights)),
        days=longest.days if longest is not None else None,
        open_ended=open_ended,
        mg_per_day=largest.mg_per_day,
        long_acting=any(m.long_acting for m, _ in given),
        records=tuple(m for m, _ in given),
        equivalents=weights[id(largest)],
        days_at_dose=at_dose.days if at_dose is not None else 0,
        covered_percent=covered,
        adherence=_shown_by(rule, [m for m, _ in given], injections, judged, covered),
        since=None if any(p.start is None for p in pieces) else min(p.start for p in pieces if p.start is not None),
    )  # fmt: skip


def _pieces(case: Case, m: Medication, span: Span) -> Iterator[_Piece]:
    """One record as times at one dose: each step of a titration is one of its own."""
    start, end = span.start, span.end
    if start is not None and end <= start and m.days_supply:
        end = min(start + timedelta(days=m.days_supply), case.as_of)
    if m.role == "dispense" and not m.days_supply and start is not None:
        end = start  # of nobody knows how much
    form: Form | None = "depot" if m.long_acting else None if m.parenteral else "oral"
    dose = m.dose if m.role != "administration" else None
    if dose is None:
        yield _Piece(start, end, None, form)
        return
    if not dose.steps or start is None or m.long_acting:
        # What is not given every day counts by its average, a depot without an interval by nothing.
        daily = dose.mean_mg_per_day if m.long_acting else dose.mean_mg_per_day or dose.mg_per_day
        yield _Piece(start, end, daily, form)
        return
    for n, step in enumerate(dose.steps):
        begins = start + timedelta(days=step.first_day)
        after = dose.steps[n + 1].first_day if n + 1 < len(dose.steps) else None
        ends = end if after is None else min(start + timedelta(days=after), end)
        if n == 0 or begins < end:
            yield _Piece(begins, max(ends, begins), step.mg_per_day, form)


def _injected(case: Case, injections: list[Medication]) -> Iterator[_Piece]:
    """Injections of a depot as times between them: each lasts until the next, the last as long as the one before it; a single one nobody knows how long."""
    rule = case.policy.pathway
    longest = timedelta(days=rule.depot_days.value + rule.trial_gap_days.value)
    given = sorted(
        (m for m in injections if m.start is not None and m.start <= case.as_of),
        key=lambda m: m.start,  # type: ignore[arg-type,return-value]
    )
    runs: list[list[Medication]] = []
    for m in given:
        assert m.start is not None
        last = runs[-1][-1].start if runs else None
        if last is not None and m.start - last <= longest:
            runs[-1].append(m)
        else:
            runs.append([m])
    for run in runs:
        times = [m.start for m in run if m.start is not None]
        if len(times) < 2 or times[-1] == times[0]:
            yield _Piece(times[0], times[0], None, "depot")
            continue
        amounts = [m.amount_mg for m in run[:-1]]
        known = [a for a in amounts if a is not None]
        days = (times[-1] - times[0]) / _A_DAY
        daily = sum(known) / days if len(known) == len(amounts) else None
        before_last = max(b - a for a, b in list(pairwise(times))[-1:])
        yield _Piece(times[0], min(times[-1] + before_last, case.as_of), daily, "depot")


def _in_chlorpromazine(rule: Pathway, drug: str, piece: _Piece) -> tuple[InChlorpromazine, ...]:
    if piece.mg_per_day is None or piece.form is None:
        return ()
    step = rule.chlorpromazine_step_mg.value
    return tuple(
        InChlorpromazine(e.source, round(e.chlorpromazine(piece.mg_per_day) / step) * step)
        for e in equivalents(drug, piece.form)
    )


def _least(found: tuple[InChlorpromazine, ...]) -> float:
    return min((e.mg for e in found), default=-1)


def _suffices(rule: Pathway, found: tuple[InChlorpromazine, ...]) -> bool:
    """The smaller equivalent decides."""
    return _least(found) >= rule.chlorpromazine_mg.value


def _too_low(rule: Pathway, pieces: list[_Piece], weights: dict[int, tuple[InChlorpromazine, ...]]) -> bool:
    """Every dose is known, and none is enough."""
    return all(weights[id(p)] and not _suffices(rule, weights[id(p)]) for p in pieces)


def _standing(
    rule: Pathway,
    longest: _Run | None,
    at_dose: _Run | None,
    perhaps: _Run | None,
    covered: float | None,
    *,
    open_ended: bool,
    too_low: bool,
) -> Standing:
    needed = rule.trial_days.value
    if at_dose is not None and at_dose.days >= needed:
        return "missed" if covered is not None and covered < rule.adherence_percent.value else "adequate"
    if too_low and (open_ended or (longest is not None and longest.days >= needed)):
        return "low"
    if open_ended or (perhaps is not None and perhaps.days >= needed):
        return "unknown"
    return "short" if longest is None or longest.days < needed or at_dose is not None else "low"


def _longest(pieces: list[_Piece], gap: timedelta) -> _Run | None:
    """The longest time without a break beyond ``gap``."""
    best: _Run | None = None
    begun = until = None
    for start, end in sorted((p.start, p.end) for p in pieces if p.start is not None):
        if begun is None or until is None or start - until > gap:
            begun, until = start, end
        until = max(until, end)
        if best is None or until - begun > best.end - best.start:
            best = _Run(begun, until)
    return best


def _covered_percent(case: Case, records: list[Medication], run: _Run) -> float | None:
    """Share of the run that dispenses of the drug cover; None when they are not on record from its beginning on."""
    dispensed = [m for m, _ in supplies_of(records, case.as_of) if m.start is not None and m.start < run.end]
    gap = timedelta(days=case.policy.pathway.trial_gap_days.value)
    if run.days < 1 or not dispensed or dispensed[0].start is None or dispensed[0].start > run.start + gap:
        return None
    covered: set[int] = set()
    carried: dict[str, int] = {}
    for m in dispensed:
        assert m.start is not None
        begin = (m.start - run.start).days
        begin = max(begin, carried.get(m.label, begin))
        carried[m.label] = begin + int(m.days_supply or 0)
        covered.update(range(max(begin, 0), min(carried[m.label], run.days)))
    return 100 * len(covered) / run.days


def _shown_by(
    rule: Pathway,
    records: list[Medication],
    injections: list[Medication],
    run: _Run | None,
    covered: float | None,
) -> tuple[AdherenceSource, ...]:
    """What shows that the drug was taken during the run."""
    if run is None or run.days < 1:
        return ()
    wanted = rule.adherence_percent.value
    charted = {
        m.start.date()
        for m in records
        if m.start is not None
        and not m.long_acting
        and was_charted_as_given(m)
        and run.start <= m.start < run.end
    }
    shown: list[AdherenceSource] = []
    if covered is not None and covered >= wanted:
        shown.append("supply")
    if any(m.start is not None and run.start <= m.start < run.end for m in injections):
        shown.append("injections")
    if 100 * len(charted) / run.days >= wanted:
        shown.append("chart")
    return tuple(shown)
