"""A trial of an antipsychotic in words."""

from __future__ import annotations

from service.alerts.case.case import Case
from service.alerts.case.clozapine_trial import shown_by
from service.alerts.case.trials import Trial
from service.alerts.knowledge.equivalents import methods, unclear_depots
from service.alerts.say.sentence import (
    Counted,
    Dose,
    Listed,
    Number,
    Param,
    Sentence,
    Term,
    sentence,
)


def _drug(drug_id: str, *, first: bool = False) -> Term:
    return Term("drug", drug_id, drug_id.replace("-", " "), first=first)


def trial_line(case: Case, t: Trial) -> Sentence:
    """Drug, length, dose and equivalents of a trial, and whether it counts."""
    facts: list[Param] = [
        sentence("trial.length-unknown")
        if t.days is None
        else sentence("trial.length-open" if t.open_ended else "trial.length", days=Counted(t.days)),
        sentence("trial.dose-unreadable")
        if t.mg_per_day is None
        else sentence("trial.dose-depot" if t.long_acting else "trial.dose", dose=Dose(t.mg_per_day)),
    ]
    if t.mg_per_day is not None:
        facts.append(_equals(t))
    if t.long_acting:
        facts.append(sentence("trial.long-acting"))
    if t.covered_percent is not None:
        facts.append(sentence("trial.covered", percent=Number(t.covered_percent, 0)))
    return sentence(
        "trial.line",
        drug=_drug(t.drug, first=True),
        facts=Listed(tuple(facts), last=""),
        verdict=_judged(case, t),
    )


def _equals(t: Trial) -> Sentence:
    if not t.equivalents:
        unclear = t.long_acting and t.drug in unclear_depots()
        return sentence("trial.dose-of-a-salt" if unclear else "trial.no-equivalent")
    amounts = [
        sentence(
            "trial.equivalent",
            dose=Dose(e.mg),
            method=Term("equivalence", e.method, methods()[e.method].title),
        )
        for e in t.equivalents
    ]
    return sentence("trial.equals", amounts=Listed(tuple(amounts), last="or"))


def _judged(case: Case, t: Trial) -> Sentence:
    """Whether the trial counts, and if not, why."""
    rule = case.policy.pathway
    days = Counted(int(rule.trial_days.value))
    match t.standing:
        case "adequate" if len(t.adherence) >= rule.adherence_sources.value:
            return sentence("trial.adequate-shown", sources=shown_by(t.adherence))
        case "adequate" if t.adherence:
            return sentence("trial.adequate-one-source", sources=shown_by(t.adherence))
        case "adequate":
            return sentence("trial.adequate-not-shown")
        case "short" if t.days_at_dose and t.days_at_dose != t.days:
            return sentence("trial.short-at-dose", days=days, so_far=Number(t.days_at_dose, 0))
        case "short":
            return sentence("trial.short", days=days)
        case "low":
            return sentence("trial.low", dose=Dose(rule.chlorpromazine_mg.value))
        case "missed":
            return sentence("trial.missed", percent=Number(rule.adherence_percent.value))
    return sentence("trial.unknown")
