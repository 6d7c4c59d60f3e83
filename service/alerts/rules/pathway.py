"""The treatment-resistance pathway (clinical.md 2.8): information at visits, for sites that switch it on."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from service.alerts.case.case import Case
from service.alerts.facts.patient import SourceName
from service.alerts.knowledge.drugs import classes_of, drugs_by_name, has_class
from service.alerts.rules.asked import when
from service.alerts.rules.myocarditis import HEART_PROBLEMS
from service.alerts.rules.problems import clozapine_allergies
from service.alerts.rules.readings import evidence, line, order
from service.alerts.rules.supply import coverage
from service.alerts.rules.trials import Response, Trial, clozapine_trial, response, trials
from service.alerts.say import wording as w
from service.alerts.say.finding import Evidence, Finding

#: Where trials would be on record.
_TRIAL_SOURCES: tuple[SourceName, ...] = ("medications", "statements", "dispenses")


def _asked(case: Case) -> bool:
    return case.practice.pathway and case.hook == "patient-view"


def _trial_line(t: Trial) -> str:
    length = f"{t.days} days" if t.days is not None else "length not known"
    if t.days is not None and t.open_ended:
        length += " or more, one record tells no end"
    dose = f", up to {w.mg(t.mg_per_day)}/day" if t.mg_per_day is not None else ", dose not readable"
    return f"{t.drug.replace('-', ' ')}: {length}{dose}{', long-acting injection' if t.long_acting else ''}."


def _against_clozapine(case: Case) -> tuple[tuple[str, ...], tuple[Evidence, ...]]:
    """(facts, evidence) of what must be known before clozapine is offered: an earlier course, a severe reaction, an allergy."""
    facts: list[str] = []
    found: list[Evidence] = []
    last = case.course.last_exposure
    if last is not None:
        reason = f" ({w.safe(case.course.stop_reason)})" if case.course.stop_reason else ""
        facts.append(f"Clozapine was taken before, until {w.day(case.snapshot, last)}{reason}.")
        found += [
            Evidence(m.ref, w.safe(m.label), m.start, m.start_date_only) for m in case.clozapine_records[:2]
        ]
    for p in case.problems_of("agranulocytosis-history", *HEART_PROBLEMS, history=True):
        facts.append(f"Problem list: {w.safe(p.label)}.")
        found.append(Evidence(p.ref, w.safe(p.label), p.onset, p.onset_date_only))
    for a in clozapine_allergies(case):
        facts.append(f"Allergy list: {w.safe(a.label)}.")
        found.append(Evidence(a.ref, w.safe(a.label)))
    return tuple(facts), tuple(found)


@when("pathway")
@when("visit")
def trs_criteria(case: Case) -> Iterator[Finding]:
    """Schizophrenia and no clozapine: which trials the record shows, and what is missing for treatment resistance."""
    if not _asked(case) or case.relevant or case.snapshot.state("medications") == "unavailable":
        return
    diagnosis = case.problems_of("schizophrenia")
    if not diagnosis:
        return
    rule = case.policy.pathway
    found = trials(case)
    long_enough = [t for t in found if t.days is not None and t.days >= rule.trial_days.value]
    lacking = max(0, int(rule.trials.value) - len(long_enough))
    weeks = w.number(rule.trial_days.value / timedelta(weeks=1).days)
    vague = sum(1 for t in found if t.open_ended and t not in long_enough)
    unread: list[str] = [s for s in _TRIAL_SOURCES if case.snapshot.state(s) != "complete"]
    against, against_evidence = _against_clozapine(case)
    clozapine = "see the record on clozapine" if against else "consider clozapine"
    verdict = (
        f"{len(long_enough)} antipsychotics of {weeks} weeks or more: judge dose and adherence, {clozapine}"
        if not lacking
        else f"{lacking} more antipsychotic{'s' if lacking > 1 else ''} of {weeks} weeks needed"
        + (f", {vague} on record of unknown length" if vague else "")
    )
    yield Finding(
        code="trs-criteria",
        severity="info",
        subject="pathway-criteria",
        summary=w.summary(f"Treatment resistance: {verdict}."),
        why=(
            *(_trial_line(t) for t in found),
            *(() if found else ("No antipsychotic other than clozapine on record.",)),
            *against,
        ),
        policy_says=(
            f"Treatment resistance: at least {w.number(rule.trials.value)} different antipsychotics, each {weeks} weeks or more at "
            f"{w.number(rule.chlorpromazine_mg.value)} mg/day chlorpromazine equivalents or more, adherence of {w.number(rule.adherence_percent.value)} % "
            "shown by two sources, one ideally a long-acting injection.",
        ),
        suggested=(
            "Judge the dose of each trial in chlorpromazine equivalents: this service holds no confirmed table of them.",
            "Check adherence by two sources.",
            "Find out why clozapine ended or what speaks against it before it is offered."
            if against
            else "If the criteria are met, offer clozapine.",
        ),
        unchecked=(
            "Dose equivalence and adherence of the trials.",
            *((f"Not completely read: {w.listed(unread)}.",) if unread else ()),
        ),
        evidence=(
            *(Evidence(p.ref, w.safe(p.label), p.onset, p.onset_date_only) for p in diagnosis),
            *(Evidence(m.ref, w.safe(m.label)) for t in found for m in t.records[:1]),
            *against_evidence,
        ),
        missing=() if not lacking else (f"{lacking} adequate antipsychotic trials",),
        citation=case.policy.cite(rule.trials),
    )


def _poor_response(case: Case) -> Response | None:
    """The response to clozapine if it is less than a trial asks for."""
    if not _asked(case) or not case.on_clozapine:
        return None
    answer = response(case)
    if answer is None or answer.percent >= case.policy.pathway.response_percent.value:
        return None
    return answer


def _checks(options: tuple[str, ...]) -> tuple[str, ...]:
    """The interaction checks that the drugs among the options would need beside clozapine."""
    lines = []
    for drug in dict.fromkeys(d for option in options for d in drugs_by_name(option)):
        groups = dict.fromkeys(c.title for c in classes_of(drug) if c.finding and not c.long_acting_only)
        if groups:
            lines.append(
                f"{drug.replace('-', ' ').capitalize()} beside clozapine: check {w.listed(list(groups))}."
            )
    return tuple(lines)


@when("pathway")
@when("visit")
def adequate_trial_not_met(case: Case) -> Iterator[Finding]:
    """Response to clozapine is poor, but the trial was not adequate yet."""
    answer = _poor_response(case)
    if answer is None:
        return
    rule = case.policy.pathway
    trial = clozapine_trial(case)
    if not trial.missing:
        return
    yield Finding(
        code="adequate-trial-not-met",
        severity="info",
        subject="pathway-trial",
        summary=w.summary(f"Poor response, but no adequate clozapine trial yet: needs {trial.missing[0]}."),
        why=(
            answer.line(case),
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
        unchecked=trial.unchecked,
        evidence=evidence(case, (answer.now, answer.first, *trial.levels)),
        missing=trial.missing,
        citation=case.policy.cite(rule.duration_days),
        offers=order(case, "clozapine-level", "routine", "Poor response to clozapine"),
    )


@when("pathway")
@when("visit")
def clozapine_resistance_review(case: Case) -> Iterator[Finding]:
    """An adequate trial and a poor response: what can be added, and how good the evidence is."""
    answer = _poor_response(case)
    if answer is None:
        return
    rule = case.policy.pathway
    trial = clozapine_trial(case)
    if trial.missing:
        return
    yield Finding(
        code="clozapine-resistance-review",
        severity="info",
        subject="pathway-resistance",
        summary=w.summary(
            f"Adequate clozapine trial, {answer.words()}: optimise first, then consider augmentation."
        ),
        why=(answer.line(case), *(f"{line(case, m)}." for m in trial.levels)),
        policy_says=(*rule.options, *_checks(rule.options)),
        suggested=rule.optimisation,
        unchecked=trial.unchecked,
        evidence=evidence(case, (answer.now, answer.first, *trial.levels)),
        citation=case.policy.cite(rule.response_percent),
    )


@when("pathway")
@when("visit")
def pseudo_resistance_checklist(case: Case) -> Iterator[Finding]:
    """What to rule out before a treatment is called a failure, with what the record shows of it."""
    if not _asked(case):
        return
    poor = _poor_response(case) is not None
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
    supply = coverage(case)
    if supply is not None and supply.percent < case.policy.pathway.adherence_percent.value:
        facts.append(f"Dispensed supply covers {w.number(supply.percent, 0)} % of the last days.")
        found += [Evidence(m.ref, "dispense", m.start, m.start_date_only) for m in supply.dispensed[-3:]]
    together = [m for m in case.taken_now("antipsychotic") if m.role in ("order", "statement")]
    if len({d for m in together for d in m.drugs if has_class(d, "antipsychotic")}) + case.on_clozapine > 1:
        facts += [f"Antipsychotics together: {w.safe(m.label)}." for m in together]
        found += [Evidence(m.ref, w.safe(m.label)) for m in together]
    level = case.newest("clozapine-level")
    if level is not None and level.bound != ">" and level.value < case.policy.levels.adequate.value:
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
