"""The treatment-resistance pathway (clinical.md 2.8): information at visits, for sites that switch it on."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from msgspec import Struct

from service.alerts import wording as w
from service.alerts.case import Case
from service.alerts.drugs import has_class
from service.alerts.facts import Measurement, Medication
from service.alerts.finding import Evidence, Finding
from service.alerts.rules.readings import evidence, line, order

_ANTIPSYCHOTIC = "antipsychotic"


def _asked(case: Case) -> bool:
    return case.snapshot.pathway and case.hook == "patient-view"


class Trial(Struct, frozen=True):
    """One antipsychotic as the record shows it. ``days`` None: a date is missing."""

    drug: str
    days: int | None
    mg_per_day: float | None
    long_acting: bool
    records: tuple[Medication, ...]


def trials(case: Case) -> list[Trial]:
    """Trials of antipsychotics other than clozapine, longest first: one per drug, from its first to its last record."""
    by_drug: dict[str, list[Medication]] = {}
    for m in case.snapshot.medications:
        if m.not_taken or m.role == "administration":
            continue
        for drug in m.drugs:
            if has_class(drug, _ANTIPSYCHOTIC):
                by_drug.setdefault(drug, []).append(m)
    found = []
    for drug, records in by_drug.items():
        starts = [m.start or m.authored for m in records]
        begins = [s for s in starts if s is not None]
        ends = [_end(case, m) for m in records]
        known = [e for e in ends if e is not None]
        days = (max(known) - min(begins)).days if begins and len(known) == len(ends) else None
        doses = [m.dose.mg_per_day for m in records if m.dose is not None and m.dose.mg_per_day is not None]
        found.append(
            Trial(drug, days, max(doses, default=None), any(m.long_acting for m in records), tuple(records))
        )
    return sorted(found, key=lambda t: (-(t.days or 0), t.drug))


def _end(case: Case, m: Medication) -> datetime | None:
    if m.end is not None:
        return min(m.end, case.as_of)
    if m.role == "dispense" and m.start is not None:
        return m.start + timedelta(days=m.days_supply or 0)
    return case.as_of if m.status in ("active", "") else None


def _trial_line(t: Trial) -> str:
    length = f"{t.days} days" if t.days is not None else "length not known"
    dose = f", up to {w.mg(t.mg_per_day)}/day" if t.mg_per_day is not None else ", dose not readable"
    return f"{t.drug.replace('-', ' ')}: {length}{dose}{', long-acting injection' if t.long_acting else ''}."


def trs_criteria(case: Case) -> Iterator[Finding]:
    """Schizophrenia and no clozapine: which trials the record shows, and what is missing for treatment resistance."""
    if not _asked(case) or case.relevant:
        return
    diagnosis = case.problems_of("schizophrenia")
    if not diagnosis:
        return
    rule = case.policy.pathway
    found = trials(case)
    long_enough = [t for t in found if t.days is not None and t.days >= rule.trial_days.value]
    lacking = max(0, int(rule.trials.value) - len(long_enough))
    weeks = w.number(rule.trial_days.value / timedelta(weeks=1).days)
    verdict = (
        f"{len(long_enough)} antipsychotics of {weeks} weeks or more: judge dose and adherence, consider clozapine"
        if not lacking
        else f"{lacking} more antipsychotic{'s' if lacking > 1 else ''} of {weeks} weeks needed"
    )
    yield Finding(
        code="trs-criteria",
        severity="info",
        subject="pathway-criteria",
        summary=w.summary(f"Treatment resistance: {verdict}."),
        why=(
            *(_trial_line(t) for t in found),
            *(() if found else ("No antipsychotic other than clozapine on record.",)),
        ),
        policy_says=(
            f"Treatment resistance: at least {w.number(rule.trials.value)} different antipsychotics, each {weeks} weeks or more at "
            f"{w.number(rule.chlorpromazine_mg.value)} mg/day chlorpromazine equivalents or more, adherence of {w.number(rule.adherence_percent.value)} % "
            "shown by two sources, one ideally a long-acting injection.",
        ),
        suggested=(
            "Judge the dose of each trial in chlorpromazine equivalents: this service holds no confirmed table of them.",
            "Check adherence by two sources.",
            "If the criteria are met, offer clozapine.",
        ),
        unchecked=("Dose equivalence and adherence of the trials.",),
        evidence=(
            *(Evidence(p.ref, w.safe(p.label), p.onset, p.onset_date_only) for p in diagnosis),
            *(Evidence(m.ref, w.safe(m.label)) for t in found for m in t.records[:1]),
        ),
        missing=() if not lacking else (f"{lacking} adequate antipsychotic trials",),
        citation=case.policy.cite(rule.trials),
    )


def _score(case: Case) -> tuple[Measurement, Measurement, float] | None:
    """(first, newest, improvement in %) of the symptom scale with the newest score; the scale's own minimum is taken off."""
    best: tuple[Measurement, Measurement, float] | None = None
    for scale in case.policy.pathway.scales:
        scores = case.series(scale.kind)
        if len(scores) < 2 or scores[0].at is None:
            continue
        now, first = scores[0], scores[-1]
        span = first.value - scale.minimum
        if span <= 0 or (best is not None and best[1].at is not None and best[1].at >= scores[0].at):
            continue
        best = (first, now, (first.value - now.value) / span * 100)
    return best


class TrialOfClozapine(Struct, frozen=True):
    """Whether clozapine has had its chance; ``missing`` says what it lacks."""

    levels: tuple[Measurement, ...]
    missing: tuple[str, ...]


def clozapine_trial(case: Case) -> TrialOfClozapine:
    """Two levels of 350 ng/mL a week or more apart and three months since, or 500 mg/day for three months without levels."""
    rule, levels = case.policy.pathway, case.policy.levels
    measured = [m for m in case.series("clozapine-level") if m.at is not None]
    enough = [m for m in measured if m.value >= levels.adequate.value]
    missing: list[str] = []
    span = w.number(rule.duration_days.value)
    if measured:
        first, last = (enough[-1], enough[0]) if enough else (None, None)
        if first is None or last is None or first.at is None or last.at is None:
            missing.append(f"two levels of {w.number(levels.adequate.value)} ng/mL or more")
        elif (last.at - first.at).days < rule.levels_apart_days.value:
            missing.append(
                f"a second level of {w.number(levels.adequate.value)} ng/mL, {w.number(rule.levels_apart_days.value)} days or more after the first"
            )
        if (
            first is not None
            and first.at is not None
            and case.days_since(first.at) < rule.duration_days.value
        ):
            missing.append(f"{span} days since the level was reached (so far {case.days_since(first.at)})")
    else:
        dose, start = case.established_mg_per_day, case.course.start
        if dose is None or dose < rule.dose_without_level.value:
            missing.append(f"a level, or {w.mg(rule.dose_without_level.value)}/day")
        if start is None or case.days_since(start) < rule.duration_days.value:
            missing.append(f"{span} days of treatment")
    return TrialOfClozapine(tuple(enough[:2]), tuple(missing))


def adequate_trial_not_met(case: Case) -> Iterator[Finding]:
    """Response to clozapine is poor, but the trial was not adequate yet."""
    score = _score(case) if _asked(case) and case.on_clozapine else None
    rule = case.policy.pathway
    if score is None or score[2] >= rule.response_percent.value:
        return
    trial = clozapine_trial(case)
    if not trial.missing:
        return
    yield Finding(
        code="adequate-trial-not-met",
        severity="info",
        subject="pathway-trial",
        summary=w.summary(f"Poor response, but no adequate clozapine trial yet: needs {trial.missing[0]}."),
        why=(
            _response(case, score),
            *(f"{line(case, m)}." for m in trial.levels),
            *(f"Needs {m}." for m in trial.missing),
        ),
        policy_says=(
            f"An adequate trial: a trough of {w.number(case.policy.levels.adequate.value)} ng/mL or more twice, then three months (two for aggression and self-harm, "
            f"four for negative and cognitive symptoms), or {w.mg(rule.dose_without_level.value)}/day without levels; adherence of {w.number(rule.adherence_percent.value)} %.",
        ),
        suggested=(
            "Check adherence, smoking and inducers.",
            "Take a trough level; raise the dose if it is low and tolerated.",
        ),
        evidence=evidence(case, (score[1], score[0], *trial.levels)),
        missing=trial.missing,
        citation=case.policy.cite(rule.duration_days),
        offers=order(case, "clozapine-level", "routine", "Poor response to clozapine"),
    )


def _response(case: Case, score: tuple[Measurement, Measurement, float]) -> str:
    first, now, improvement = score
    return (
        f"{now.kind.upper()} {w.number(first.value)} on {w.day(case.snapshot, first.at)}, {w.number(now.value)} on "
        f"{w.day(case.snapshot, now.at)}: {w.number(improvement, 0)} % better."
    )


def clozapine_resistance_review(case: Case) -> Iterator[Finding]:
    """An adequate trial and a poor response: what can be added, and how good the evidence is."""
    score = _score(case) if _asked(case) and case.on_clozapine else None
    rule = case.policy.pathway
    if score is None or score[2] >= rule.response_percent.value:
        return
    trial = clozapine_trial(case)
    if trial.missing:
        return
    yield Finding(
        code="clozapine-resistance-review",
        severity="info",
        subject="pathway-resistance",
        summary=w.summary(
            f"Adequate clozapine trial, {w.number(score[2], 0)} % better: optimise first, then consider augmentation."
        ),
        why=(_response(case, score), *(f"{line(case, m)}." for m in trial.levels)),
        policy_says=rule.options,
        suggested=rule.optimisation,
        evidence=evidence(case, (score[1], score[0], *trial.levels)),
        citation=case.policy.cite(rule.response_percent),
    )


def pseudo_resistance_checklist(case: Case) -> Iterator[Finding]:
    """What to rule out before a treatment is called a failure, with what the record shows of it."""
    if not _asked(case):
        return
    score = _score(case)
    poor = case.on_clozapine and score is not None and score[2] < case.policy.pathway.response_percent.value
    looking = not case.relevant and bool(case.problems_of("schizophrenia")) and bool(trials(case))
    if not (poor or looking):
        return
    facts: list[str] = []
    found: list[Evidence] = []
    for p in case.problems_of("substance-use", "medical-comorbidity", "diabetes", "infection"):
        facts.append(f"Problem list: {w.safe(p.label)}.")
        found.append(Evidence(p.ref, w.safe(p.label), p.onset, p.onset_date_only))
    smoking = case.coded("smoking")
    if smoking and smoking[0].value == "current":
        facts.append(f"Smokes: {w.safe(smoking[0].raw)}.")
        found.append(Evidence(smoking[0].ref, w.safe(smoking[0].raw), smoking[0].at))
    for class_id in ("strong-inducer", "inducer"):
        for m in case.taken_now(class_id):
            facts.append(f"Inducer: {w.safe(m.label)}.")
            found.append(Evidence(m.ref, w.safe(m.label)))
    level = case.newest("clozapine-level")
    if level is not None and level.value < case.policy.levels.adequate.value:
        facts.append(f"Low level: {line(case, level)}.")
        found += evidence(case, [level])
    yield Finding(
        code="pseudo-resistance-checklist",
        severity="info",
        subject="pathway-checklist",
        summary="Before calling it treatment resistance: rule out what can be mistaken for it.",
        why=tuple(facts) or ("Nothing of the list stands out in the data of this call.",),
        policy_says=("Many patients called resistant have something else that can be treated.",),
        suggested=case.policy.pathway.checklist,
        evidence=tuple(found),
        missing=() if found else ("adherence from two sources",),
        citation=case.policy.cite(case.policy.pathway.adherence_percent),
    )


RULES = (trs_criteria, adequate_trial_not_met, clozapine_resistance_review, pseudo_resistance_checklist)
