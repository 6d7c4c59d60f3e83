"""What a change of policy means for a patient: band by band, week by week, hour by hour; then all else that differs, by path."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from msgspec import Struct

from service.alerts.knowledge.class_effects import InteractionClass
from service.alerts.knowledge.classes import classes
from service.alerts.policy.judge import begins_anew, gap_of, phase_for, tier_for
from service.alerts.policy.parts.counts import Analyte, Band, Population
from service.alerts.policy.parts.doses import Dosing
from service.alerts.policy.parts.values import Value
from service.alerts.policy.paths import Comparison, Path
from service.alerts.policy.pieces import stretches
from service.alerts.policy.policy import Policy
from service.alerts.say import wording as w

_HOURS_A_DAY = 24
_CELLS_PER_GIGA = 1000
_WEEK = 7
#: Topics of what clinical words do not tell.
OTHERS = "Other values and texts"
BASIS = "Sources and remarks"


class Change(Struct, frozen=True):
    """One thing that changes for a patient when a site goes from the first policy to the second."""

    topic: str
    #: The situation: a count, a week of treatment, a gap.
    situation: str
    before: str
    after: str


def policy_diff(one: Policy, other: Policy) -> list[Change]:
    """Every difference between two policies; empty only when they differ in nothing but their names.

    First what changes for a patient, topic by topic in clinical words; then, by its path in the file, every other number and
    text that differs; last the sources, remarks and confirmations.
    """
    clinical = [change for compare in _TOPICS for change in compare(one, other)]
    there, back = Comparison(one, other), Comparison(other, one)
    others: list[Change] = []
    basis: list[Change] = []
    for d in there.differences():
        if d.basis:
            basis.append(Change(BASIS, d.written, d.before, d.after))
        elif not (_is_told(there, d.path) and _is_told(back, d.path)):
            others.append(Change(OTHERS, d.written, d.before, d.after))
    return [*clinical, *others, *basis]


def _is_told(compared: Comparison, path: Path) -> bool:
    """True when the clinical words alone show this one difference: it is put in by itself, and they change."""
    compares = _READS.get(path[0], ())
    hybrid = compared.with_one(path) if compares else None
    return hybrid is not None and any(True for compare in compares for _ in compare(compared.one, hybrid))


def _changed(topic: str, situation: str, before: str, after: str) -> Iterator[Change]:
    if before != after:
        yield Change(topic, situation, before, after)


# -- counts ---------------------------------------------------------------------------------------------------

_PEOPLE: tuple[tuple[Population, str], ...] = (("general", ""), ("ben", ", benign ethnic neutropenia"))
_COUNTS: tuple[tuple[Analyte, str], ...] = (("anc", "ANC"), ("wbc", "WBC"))


def _giga(cells: float) -> str:
    return w.number(cells / _CELLS_PER_GIGA, 3)


def _start(one: Policy, other: Policy) -> Iterator[Change]:
    for population, people in _PEOPLE:
        for analyte, name in _COUNTS:
            before, after = (_minimum(p, population, analyte) for p in (one, other))
            yield from _changed("Start", f"{name} needed to start{people}", before, after)
    before, after = (f"{p.baseline_window[0]:g} days old at most" for p in (one, other))
    yield from _changed("Start", "baseline count", before, after)
    before, after = (
        f"at least {p.start.ben_baseline_counts.value:g}" if p.start.ben_baseline_counts else "one"
        for p in (one, other)
    )
    yield from _changed("Start", "baseline counts, benign ethnic neutropenia", before, after)


def _minimum(policy: Policy, population: Population, analyte: Analyte) -> str:
    minimum = policy.start.minimum(population, analyte)
    if minimum is None:
        return "not needed"
    return f"{'≥' if minimum.comparator == '>=' else '>'} {_giga(minimum.value)} ×10⁹/L"


def _counts(one: Policy, other: Policy) -> Iterator[Change]:
    for population, people in _PEOPLE:
        for analyte, name in _COUNTS:
            limits = [
                bound
                for p in (one, other)
                for band in p.bands_of(population, analyte)
                for bound in (band.at_least, band.below)
                if bound is not None
            ]

            def answer(
                count: float, population: Population = population, analyte: Analyte = analyte
            ) -> tuple[str, str]:
                before, after = (_treatment(p.band(population, analyte, count)) for p in (one, other))
                return before, after

            for piece, (before, after) in stretches(limits, answer):
                yield from _changed(
                    "Blood counts", f"{name} {piece.text(' ×10⁹/L', _giga)}{people}", before, after
                )


def _treatment(band: Band | None) -> str:
    """What a band means for the patient, in a few words."""
    if band is None:
        return "not judged"
    if band.finding is None:
        return "continue"
    words = [{"continue": "continue", "interrupt": "interrupt", "stop": "stop"}[band.treatment]]
    if band.rechallenge == "never":
        words[0] += " for good"
    if band.stop_when_confirmed:
        words[0] += f" if confirmed within {band.confirm_within_hours} h"
    if band.rechallenge == "approval":
        words.append("again only with the approval of the protocol's committee")
    if band.rechallenge == "benefit-over-risk":
        words.append("again only if the benefit outweighs the risk")
    if band.every_label:
        words.append(f"count {band.every_label}")
    if band.consult_hematology:
        words.append("hematology")
    if band.until_normal != 1:
        words.append(f"until {band.until_normal} counts in a row are normal")
    recovery = band.recovery
    if recovery is not None and recovery.kind == "extra-counts":
        words.append(f"after recovery {recovery.counts} counts every {w.days(recovery.every_days)}")
    elif recovery is not None and recovery.kind == "lifelong":
        words.append(f"after recovery every {w.days(recovery.every_days)} for good")
    elif recovery is not None:
        words.append("after recovery as a new patient")
    return ", ".join(words)


def _schedule(one: Policy, other: Policy) -> Iterator[Change]:
    histories: tuple[tuple[bool, str], ...] = ((False, ""), (True, ", after a neutropenia"))
    only_once = not (one.steps_down or other.steps_down)
    limits = [p.until_day for policy in (one, other) for p in policy.schedule if p.until_day is not None]
    said: set[tuple[str, str, str]] = set()
    for neutropenic, history in histories[: 1 if only_once else 2]:

        def answer(day: float, neutropenic: bool = neutropenic) -> tuple[str, str]:
            before, after = (_interval(p, day, neutropenic) for p in (one, other))
            return before, after

        for piece, (before, after) in stretches(limits, answer):
            first = int(piece.lower) // _WEEK + 1
            last = "" if piece.upper is None else str(int(piece.upper) // _WEEK)
            weeks = f"week {first} on" if not last else f"weeks {first} to {last}"
            if (weeks, before, after) not in said:
                said.add((weeks, before, after))
                yield from _changed("Schedule", f"{weeks}, counts normal{history}", before, after)


def _interval(policy: Policy, day: float, neutropenic: bool) -> str:
    chosen = phase_for(policy.schedule, day, lambda: neutropenic)
    return f"{chosen.label} ({w.days(chosen.every_days)})"


# -- missed doses and breaks ----------------------------------------------------------------------------------


def _missed_doses(one: Policy, other: Policy) -> Iterator[Change]:
    regimens: tuple[tuple[int, str], ...] = ((1, "once daily"), (2, "twice daily"))
    depends = any(t.plus_dosing_interval for p in (one, other) for t in p.missed_dose)
    for doses, regimen in regimens if depends else ((1, ""),):
        between = _HOURS_A_DAY / doses
        limits = [gap_of(t, between) for p in (one, other) for t in p.missed_dose]

        def answer(gap: float, between: float = between) -> tuple[str, str]:
            before, after = (_restart(p, gap, between) for p in (one, other))
            return before, after

        for piece, (before, after) in stretches(limits, answer):
            suffix = f", clozapine {regimen}" if regimen else ""
            yield from _changed(
                "Missed doses", f"{piece.text(' h')} since the last dose{suffix}", before, after
            )


def _restart(policy: Policy, gap: float, between: float) -> str:
    found = tier_for(policy.missed_dose, gap, between)
    if found is None:
        return "same dose"
    if found.single_mg is not None:
        most = f", at most {w.mg(found.mg_per_day)} on the first day" if found.mg_per_day else ""
        return f"restart at {w.mg(found.single_mg)}{most}"
    low, high = w.number(found.percent_low or 0), w.number(found.percent_high or 0)
    return f"{high if low == high else f'{low} to {high}'} % of the dose"


def _breaks(one: Policy, other: Policy) -> Iterator[Change]:
    limits = [p.interruption.new_course.value for p in (one, other)] + [
        p.interruption.extra.gap.value / _HOURS_A_DAY for p in (one, other) if p.interruption.extra
    ]

    def answer(days: float) -> tuple[str, str]:
        before, after = (_after_break(p, days) for p in (one, other))
        return before, after

    for piece, (before, after) in stretches(limits, answer):
        yield from _changed("Breaks", f"break of {piece.text(' days')}", before, after)


def _after_break(policy: Policy, days: float) -> str:
    if begins_anew(policy.interruption, days):
        exempt = policy.interruption.exempt_after_days
        unless = (
            f"; treated {int(exempt.value) // _WEEK} weeks without neutropenia: schedule as before"
            if exempt
            else ""
        )
        return f"as a new patient, {policy.schedule[0].label}{unless}"
    extra = policy.interruption.extra
    if extra is not None and extra.gap.reached(days * _HOURS_A_DAY):
        return (
            f"from week {int(extra.after_day.value) // _WEEK + 1} on: "
            f"every {w.days(int(extra.every_days.value))} for {extra.weeks.value:g} weeks"
        )
    return "schedule as before"


def _after_stop(one: Policy, other: Policy) -> Iterator[Change]:
    before, after = (_post_stop(p) for p in (one, other))
    yield from _changed("After stopping", "counts after clozapine was stopped", before, after)


def _post_stop(policy: Policy) -> str:
    rule = policy.post_stop
    often = f"every {w.days(int(rule.every_days.value))}" if rule.every_days else "at the interval before"
    until = f", until the ANC is ≥ {_giga(rule.until_anc.value)} ×10⁹/L" if rule.until_anc else ""
    ben = f" (benign ethnic neutropenia: {_giga(rule.ben_until_anc.value)})" if rule.ben_until_anc else ""
    return f"{often}, watched for {w.days(int(rule.window_days.value))}{until}{ben}"


# -- supply and the rest --------------------------------------------------------------------------------------


def _dispensing(one: Policy, other: Policy) -> Iterator[Change]:
    before, after = (_required(p) for p in (one, other))
    yield from _changed("Dispensing", "current blood count", before, after)
    before, after = (_supply(p) for p in (one, other))
    yield from _changed("Dispensing", "days' supply", before, after)


def _required(policy: Policy) -> str:
    flag = policy.dispensing.requires_current_count
    if not flag.value:
        return "not required"
    return "required" if flag.confirmed else "required, not confirmed: national rules decide"


def _supply(policy: Policy) -> str:
    rule = policy.dispensing
    at_most = " / ".join(str(days) for _, days in rule.supply_by_interval)
    words = f"at most {at_most} days, by interval" if at_most else "at most one interval"
    if not rule.requires_current_count.value:
        words += " (information only)"
    if rule.until_next_count is not None and rule.until_next_count.value:
        words += ", never beyond the next count"
    return words


def _dosing(one: Policy, other: Policy) -> Iterator[Change]:
    for situation, words in _DOSES:
        before, after = (words(p.dosing) for p in (one, other))
        yield from _changed("Dosing", situation, before, after)


def _mg(value: Value | None, per: str = "") -> str:
    return f"{w.mg(value.value)}{per}" if value is not None else "–"


def _rises(d: Dosing) -> str:
    until = f" until {_mg(d.early_below)}/day" if d.early_below else ""
    return f"at most {_mg(d.early_rise_maximum)} a day{until}, for {w.days(int(d.early_days.value))}"


def _steps(d: Dosing) -> str:
    apart = f", {w.days(int(d.late_steps_apart_days.value))} apart" if d.late_steps_apart_days else ""
    return f"at most {_mg(d.late_step_maximum)}, {d.late_steps_per_week.value:g} times a week{apart}"


def _caution(d: Dosing) -> str:
    from_caution = f"caution above {_mg(d.seizure_caution_above)}/day, " if d.seizure_caution_above else ""
    return f"{from_caution}warning without an anticonvulsant above {_mg(d.seizure_above)}/day"


def _older(d: Dosing) -> str:
    first = f": {_mg(d.elderly_first_day_maximum)} on day 1" if d.elderly_first_day_maximum else ""
    rise = f", rises of at most {_mg(d.elderly_rise_maximum)}" if d.elderly_rise_maximum else ""
    return f"from {d.elderly_from_years.value:g} years{first}{rise}"


#: What is asked of the doses, in the order of a treatment, and the words for it.
_DOSES: tuple[tuple[str, Callable[[Dosing], str]], ...] = (
    ("day 1", lambda d: f"at most {_mg(d.first_day_maximum)}"),
    ("daily rises at first", _rises),
    ("highest dose at first", lambda d: f"{_mg(d.day_14_maximum)}/day before day {d.day_14.value:g}"),
    ("later steps", _steps),
    ("daily maximum", lambda d: _mg(d.daily_maximum)),
    ("once daily, not at bedtime", lambda d: f"up to {_mg(d.once_daily_maximum)}"),
    ("seizures", _caution),
    ("older patients", _older),
)


def _falling(one: Policy, other: Policy) -> Iterator[Change]:
    before, after = (_fall(p) for p in (one, other))
    yield from _changed("Falling counts", "before any band is reached", before, after)


def _fall(policy: Policy) -> str:
    rule = policy.falling
    parts = []
    for name, amount, percent, below in (
        ("ANC", rule.anc_fall, rule.anc_fall_percent, rule.anc_below),
        ("WBC", rule.wbc_fall, None, rule.wbc_below),
    ):
        by = [f"{_giga(amount.value)} ×10⁹/L"] if amount else []
        by += [f"{percent.value:g} %"] if percent else []
        if by:
            to = f" to < {_giga(below.value)} ×10⁹/L" if below else ""
            parts.append(f"{name} by {' or '.join(by)}{to}")
    if rule.flu_like is not None and rule.flu_like.value:
        parts.append("flu-like signs")
    often = f"; count {rule.every_label}" if rule.every_label else ""
    return f"{rule.severity}: {', '.join(parts)} within {w.days(int(rule.within_days.value))}{often}"


def _other_counts(one: Policy, other: Policy) -> Iterator[Change]:
    limits = [p.eosinophils.high.value for p in (one, other)]

    def eosinophils(count: float) -> tuple[str, str]:
        before, after = (_eosinophils(p, count) for p in (one, other))
        return before, after

    for piece, (before, after) in stretches(limits, eosinophils):
        yield from _changed("Other counts", f"eosinophils {piece.text(' ×10⁹/L', _giga)}", before, after)
    before, after = (f"stop below {_giga(p.platelets.low.value)} ×10⁹/L" for p in (one, other))
    yield from _changed("Other counts", "platelets", before, after)


def _eosinophils(policy: Policy, count: float) -> str:
    rule = policy.eosinophils
    if count <= rule.high.value:
        return "continue"
    if rule.high_severity != "critical":
        return "check for myocarditis, count again"
    restart = f", restart only below {_giga(rule.restart_below.value)} ×10⁹/L" if rule.restart_below else ""
    return f"stop{restart}"


def _fever(one: Policy, other: Policy) -> Iterator[Change]:
    def show(value: Value) -> str:
        return f"{value.value:g} {value.unit}"

    yield from _changed("Fever", "ANC at once from", show(one.fever.threshold), show(other.fever.threshold))
    yield from _changed(
        "Fever", "warning in the first weeks from", show(one.fever.early_threshold), show(other.fever.early_threshold)
    )  # fmt: skip


def _interactions(one: Policy, other: Policy) -> Iterator[Change]:
    for group in classes().values():
        if group.finding and "eu" in group.severity:
            before, after = (_class_severity(p, group) for p in (one, other))
            yield from _changed("Interactions", group.title, before, after)
    before, after = (
        p.interactions.valproate.value if p.interactions.valproate else "nothing of its own"
        for p in (one, other)
    )
    yield from _changed("Interactions", "blood counts with valproate", before, after)


def _class_severity(policy: Policy, group: InteractionClass) -> str:
    if policy.interactions.severity_region == "eu" and group.severity["eu"] == "critical":
        return "contraindicated (critical)"
    single = [drug for drug, severity in group.severity_of.items() if severity == "critical"]
    others = f", critical for {w.listed(single)}" if single else ""
    return f"{group.severity['default']}{others}"


_TOPICS = (
    _start,
    _counts,
    _schedule,
    _missed_doses,
    _breaks,
    _dosing,
    _after_stop,
    _dispensing,
    _falling,
    _other_counts,
    _fever,
    _interactions,
)
#: Which of them can show a change of a part of the policy; what none shows is listed by its path.
_READS: dict[str, tuple[Callable[[Policy, Policy], Iterator[Change]], ...]] = {
    "start": (_start,),
    "bands": (_counts,),
    "schedule": (_schedule, _breaks),
    "missed_dose": (_missed_doses,),
    "interruption": (_breaks,),
    "dosing": (_dosing,),
    "post_stop": (_after_stop,),
    "dispensing": (_dispensing,),
    "falling": (_falling,),
    "eosinophils": (_other_counts,),
    "platelets": (_other_counts,),
    "fever": (_fever,),
    "interactions": (_interactions,),
}
