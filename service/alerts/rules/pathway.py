"""The treatment-resistance pathway (clinical.md 2.8): information at visits, for sites that switch it on."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from service.alerts.case.allergies import clozapine_allergies
from service.alerts.case.case import Case
from service.alerts.case.clozapine_trial import clozapine_trial
from service.alerts.case.coverage import coverage
from service.alerts.case.myocarditis import HEART_PROBLEMS
from service.alerts.case.response import Response, response
from service.alerts.case.trials import Trial, trials
from service.alerts.facts.patient import Measurement, SourceName
from service.alerts.knowledge.drugs import classes_of, drugs_by_name, has_class
from service.alerts.rules.allergy_phrases import allergy_evidence, allergy_line
from service.alerts.rules.asked import when
from service.alerts.rules.medication_phrases import medication_evidence
from service.alerts.rules.problem_phrases import problem_evidence
from service.alerts.rules.result_phrases import (
    offer_test,
    on_day,
    result_evidence,
    result_fact,
    result_line,
)
from service.alerts.say.found import Fact, Found
from service.alerts.say.sentence import (
    Counted,
    Day,
    Dose,
    Listed,
    Number,
    Param,
    Quantity,
    Record,
    Sentence,
    Term,
    quoted,
    recorded,
    sentence,
)

#: Where trials would be on record.
_TRIAL_SOURCES: tuple[SourceName, ...] = ("medications", "statements", "dispenses")


def _asked(case: Case) -> bool:
    return case.practice.pathway and case.hook == "patient-view"


def _drug(drug_id: str, *, first: bool = False) -> Term:
    return Term("drug", drug_id, drug_id.replace("-", " "), first=first)


def _quoted(case: Case, part: str, texts: tuple[str, ...]) -> tuple[Sentence, ...]:
    """Texts of the policy's pathway, each a sentence by itself."""
    path = f"{case.policy.id}/pathway.{part}"
    return tuple(quoted("policy", f"{path}.{n}", text) for n, text in enumerate(texts))


def _trial_line(t: Trial) -> Sentence:
    facts: list[Param] = [
        sentence("trial.length-unknown")
        if t.days is None
        else sentence("trial.length-open" if t.open_ended else "trial.length", days=Number(t.days, 0)),
        sentence("trial.dose-unreadable")
        if t.mg_per_day is None
        else sentence("trial.dose", dose=Dose(t.mg_per_day)),
    ]
    if t.long_acting:
        facts.append(sentence("trial.long-acting"))
    return sentence("trial.line", drug=_drug(t.drug), facts=Listed(tuple(facts), last=""))


def _against_clozapine(case: Case) -> tuple[tuple[Sentence, ...], tuple[Fact, ...]]:
    """(facts, evidence) of what must be known before clozapine is offered: an earlier course, a severe reaction, an allergy."""
    facts: list[Sentence] = []
    found: list[Fact] = []
    last = case.course.last_exposure
    if last is not None:
        day, reason = Day(case.snapshot.day(last)), case.course.stop_reason
        facts.append(
            sentence("trs-criteria.clozapine-before-because", day=day, reason=Record(reason))
            if reason
            else sentence("trs-criteria.clozapine-before", day=day)
        )
        found += [
            Fact(m.ref, recorded(m.label), m.start, m.start_date_only) for m in case.clozapine_records[:2]
        ]
    harmed = case.problems_of("agranulocytosis-history", *HEART_PROBLEMS, history=True)
    allergies = clozapine_allergies(case)
    facts += [sentence("problem.line", problem=Record(p.label)) for p in harmed]
    facts += [allergy_line(a) for a in allergies]
    return tuple(facts), (*found, *problem_evidence(harmed), *allergy_evidence(allergies))


def _verdict(met: int, lacking: int, vague: int, weeks: Number, *, against: bool) -> Sentence:
    """How many trials there are, or are still needed."""
    if not lacking:
        return sentence(
            "trs-criteria.met-against" if against else "trs-criteria.met", number=Number(met, 0), weeks=weeks
        )
    more = Counted(lacking, "more-antipsychotic")
    if not vague:
        return sentence("trs-criteria.lacking", more=more, weeks=weeks)
    return sentence("trs-criteria.lacking-vague", more=more, weeks=weeks, vague=Number(vague, 0))


@when("pathway")
@when("visit")
def trs_criteria(case: Case) -> Iterator[Found]:
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
    weeks = Number(rule.trial_days.value / timedelta(weeks=1).days)
    vague = sum(1 for t in found if t.open_ended and t not in long_enough)
    unread = tuple(Term("source", s, s) for s in _TRIAL_SOURCES if case.snapshot.state(s) != "complete")
    against, against_evidence = _against_clozapine(case)
    yield Found(
        code="trs-criteria",
        severity="info",
        subject="pathway-criteria",
        summary=_verdict(len(long_enough), lacking, vague, weeks, against=bool(against)),
        why=(
            *(_trial_line(t) for t in found),
            *(() if found else (sentence("trs-criteria.none"),)),
            *against,
        ),
        policy_says=(
            sentence(
                "trs-criteria.policy",
                trials=Number(rule.trials.value),
                weeks=weeks,
                dose=Dose(rule.chlorpromazine_mg.value),
                percent=Number(rule.adherence_percent.value),
            ),
        ),
        suggested=(
            sentence("trs-criteria.judge"),
            sentence("trs-criteria.adherence"),
            sentence("trs-criteria.why-ended" if against else "trs-criteria.offer"),
        ),
        unchecked=(
            sentence("trs-criteria.unchecked"),
            *((sentence("trs-criteria.unread", sources=Listed(unread)),) if unread else ()),
        ),
        evidence=(
            *problem_evidence(diagnosis),
            *medication_evidence(m for t in found for m in t.records[:1]),
            *against_evidence,
        ),
        missing=() if not lacking else (sentence("trs-criteria.missing", number=Number(lacking, 0)),),
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


def _change(r: Response) -> Sentence:
    """``15 % better``, ``3 % worse``."""
    return sentence(
        "response.better" if r.percent >= 0 else "response.worse", percent=Number(abs(r.percent), 0)
    )


def _response_line(case: Case, r: Response) -> Sentence:
    """The response as a fact for the card."""
    return sentence(
        "response.line" if r.before_start else "response.line-no-baseline",
        scale=Term("scale", r.now.kind, r.now.kind.upper()),
        first=Number(r.first.value),
        first_day=on_day(case, r.first),
        now=Number(r.now.value),
        now_day=on_day(case, r.now),
        change=_change(r),
    )


def _checks(options: tuple[str, ...]) -> tuple[Sentence, ...]:
    """The interaction checks that the drugs among the options would need beside clozapine."""
    lines = []
    for drug in dict.fromkeys(d for option in options for d in drugs_by_name(option)):
        groups = {c.title: c for c in classes_of(drug) if c.finding and not c.long_acting_only}
        if groups:
            titles = tuple(Term("drug-class", c.id, c.title) for c in groups.values())
            lines.append(
                sentence(
                    "clozapine-resistance-review.beside", drug=_drug(drug, first=True), groups=Listed(titles)
                )
            )
    return tuple(lines)


@when("pathway")
@when("visit")
def adequate_trial_not_met(case: Case) -> Iterator[Found]:
    """Response to clozapine is poor, but the trial was not adequate yet."""
    answer = _poor_response(case)
    if answer is None:
        return
    rule = case.policy.pathway
    trial = clozapine_trial(case)
    if not trial.missing:
        return
    adequate = case.policy.levels.adequate
    yield Found(
        code="adequate-trial-not-met",
        severity="info",
        subject="pathway-trial",
        summary=sentence("adequate-trial-not-met.summary", lack=trial.missing[0]),
        why=(
            *_known(case, answer, trial.levels),
            *(sentence("adequate-trial-not-met.needs", lack=m) for m in trial.missing),
        ),
        policy_says=(
            sentence(
                "adequate-trial-not-met.policy",
                level=Quantity(adequate.value, adequate.unit),
                dose=Dose(rule.dose_without_level.value),
                percent=Number(rule.adherence_percent.value),
            ),
        ),
        suggested=(
            sentence("adequate-trial-not-met.check"),
            sentence("adequate-trial-not-met.take-level"),
        ),
        unchecked=trial.unchecked,
        evidence=result_evidence(case, (answer.now, answer.first, *trial.levels)),
        missing=trial.missing,
        citation=case.policy.cite(rule.duration_days),
        offers=offer_test(case, "clozapine-level", "routine", sentence("adequate-trial-not-met.reason")),
    )


def _known(case: Case, answer: Response, levels: tuple[Measurement, ...]) -> Iterator[Sentence]:
    """The response, and the levels that suffice."""
    yield _response_line(case, answer)
    for m in levels:
        yield result_fact(case, m)


@when("pathway")
@when("visit")
def clozapine_resistance_review(case: Case) -> Iterator[Found]:
    """An adequate trial and a poor response: what can be added, and how good the evidence is."""
    answer = _poor_response(case)
    if answer is None:
        return
    rule = case.policy.pathway
    trial = clozapine_trial(case)
    if trial.missing:
        return
    yield Found(
        code="clozapine-resistance-review",
        severity="info",
        subject="pathway-resistance",
        summary=sentence("clozapine-resistance-review.summary", change=_change(answer)),
        why=tuple(_known(case, answer, trial.levels)),
        policy_says=(*_quoted(case, "options", rule.options), *_checks(rule.options)),
        suggested=_quoted(case, "optimisation", rule.optimisation),
        unchecked=trial.unchecked,
        evidence=result_evidence(case, (answer.now, answer.first, *trial.levels)),
        citation=case.policy.cite(rule.response_percent),
    )


@when("pathway")
@when("visit")
def pseudo_resistance_checklist(case: Case) -> Iterator[Found]:
    """What to rule out before a treatment is called a failure, with what the record shows of it."""
    if not _asked(case):
        return
    poor = _poor_response(case) is not None
    looking = not case.relevant and bool(case.problems_of("schizophrenia")) and bool(trials(case))
    if not (poor or looking):
        return
    seen = tuple(_mistakable(case))
    yield Found(
        code="pseudo-resistance-checklist",
        severity="info",
        subject="pathway-checklist",
        summary=sentence("pseudo-resistance-checklist.summary"),
        why=tuple(line for line, _ in seen) or (sentence("pseudo-resistance-checklist.nothing"),),
        policy_says=(sentence("pseudo-resistance-checklist.policy"),),
        suggested=_quoted(case, "checklist", case.policy.pathway.checklist),
        evidence=tuple(fact for _, facts in seen for fact in facts),
        missing=() if seen else (sentence("pseudo-resistance-checklist.missing"),),
        citation=case.policy.cite(case.policy.pathway.adherence_percent),
    )


def _mistakable(case: Case) -> Iterator[tuple[Sentence, tuple[Fact, ...]]]:
    """What the record shows of the list: (fact, evidence)."""
    for p in case.problems_of("substance-use", "medical-comorbidity", "diabetes", "infection"):
        yield sentence("problem.line", problem=Record(p.label)), problem_evidence([p])
    smoking = case.coded("smoking")
    if smoking and smoking[0].value == "current":
        answer = Record(smoking[0].raw)
        yield (
            sentence("pseudo-resistance-checklist.smokes", answer=answer),
            (Fact(smoking[0].ref, recorded(smoking[0].raw), smoking[0].at),),
        )
    for class_id in ("strong-inducer", "inducer"):
        for m in case.taken_now(class_id):
            yield (
                sentence("pseudo-resistance-checklist.inducer", drug=Record(m.label)),
                medication_evidence([m]),
            )
    supply = coverage(case)
    if supply is not None and supply.percent < case.policy.pathway.adherence_percent.value:
        yield (
            sentence("pseudo-resistance-checklist.supply", percent=Number(supply.percent, 0)),
            tuple(
                Fact(m.ref, sentence("pseudo-resistance-checklist.dispense"), m.start, m.start_date_only)
                for m in supply.dispensed[-3:]
            ),
        )
    together = [m for m in case.taken_now("antipsychotic") if m.role in ("order", "statement")]
    if len({d for m in together for d in m.drugs if has_class(d, "antipsychotic")}) + case.on_clozapine > 1:
        for m in together:
            yield (
                sentence("pseudo-resistance-checklist.together", drug=Record(m.label)),
                medication_evidence([m]),
            )
    level = case.newest("clozapine-level")
    if level is not None and level.bound != ">" and level.value < case.policy.levels.adequate.value:
        yield (
            sentence("pseudo-resistance-checklist.low-level", line=result_line(case, level)),
            result_evidence(case, [level]),
        )


RULES = (trs_criteria, adequate_trial_not_met, clozapine_resistance_review, pseudo_resistance_checklist)
