"""Trials before clozapine (clinical.md 2.8): information at visits, for sites that switch it on."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from service.alerts.case.allergies import clozapine_allergies
from service.alerts.case.case import Case
from service.alerts.case.difficult_to_treat import Untreated, untreated
from service.alerts.case.myocarditis import HEART_PROBLEMS
from service.alerts.case.response import newest_function
from service.alerts.facts.patient import SourceName
from service.alerts.phrases.allergy import allergy_evidence, allergy_line
from service.alerts.phrases.medication import medication_evidence
from service.alerts.phrases.problem import problem_evidence
from service.alerts.phrases.result import (
    on_day,
    result_evidence,
)
from service.alerts.phrases.score import function_lines, score
from service.alerts.phrases.trial import trial_line
from service.alerts.rules.asked import when
from service.alerts.say.found import Fact, Found
from service.alerts.say.sentence import (
    Counted,
    Day,
    Dose,
    Listed,
    Number,
    Sentence,
    Term,
    as_recorded,
    recorded,
    sentence,
)

#: Where trials would be on record.
_TRIAL_SOURCES: tuple[SourceName, ...] = ("medications", "statements", "dispenses")


def _against_clozapine(case: Case) -> tuple[tuple[Sentence, ...], tuple[Fact, ...]]:
    """(facts, evidence) of what must be known before clozapine is offered: an earlier course, a severe reaction, an allergy."""
    facts: list[Sentence] = []
    found: list[Fact] = []
    last = case.course.last_exposure
    if last is not None:
        day, reason = Day(case.snapshot.day(last)), case.course.stop_reason
        facts.append(
            sentence("trs-criteria.clozapine-before-because", day=day, reason=as_recorded(reason))
            if reason
            else sentence("trs-criteria.clozapine-before", day=day)
        )
        found += [
            Fact(m.ref, recorded(m.label), m.start, m.start_date_only) for m in case.clozapine_records[:2]
        ]
    harmed = case.problems_of("agranulocytosis-history", *HEART_PROBLEMS, history=True)
    allergies = clozapine_allergies(case)
    facts += [sentence("problem.line", problem=as_recorded(p.name)) for p in harmed]
    facts += [allergy_line(a) for a in allergies]
    return tuple(facts), (*found, *problem_evidence(harmed), *allergy_evidence(allergies))


def _verdict(looked: Untreated, lacking: int, vague: int, *, against: bool) -> Sentence:
    """How many trials there are, or are still needed."""
    met, poor = Number(len(looked.adequate), 0), looked.poor
    if not lacking and against:
        return sentence("trs-criteria.met-against", number=met)
    if not lacking:
        return (
            sentence("trs-criteria.met-unrated", number=met)
            if poor is None
            else sentence("trs-criteria.met", number=met, score=score(poor))
        )
    assert poor is not None, "without a score it speaks of two trials only"
    more = Counted(lacking, "more-trial")
    if not vague:
        return sentence("trs-criteria.lacking", score=score(poor), more=more)
    return sentence("trs-criteria.lacking-vague", score=score(poor), more=more, vague=Number(vague, 0))


@when("pathway")
@when("visit")
def trs_criteria(case: Case) -> Iterator[Found]:
    """Schizophrenia and no clozapine: which adequate trials the record shows, and what is missing before clozapine."""
    looked = untreated(case)
    if looked is None:
        return
    rule = case.policy.pathway
    lacking = max(0, int(rule.trials.value) - len(looked.adequate))
    vague = sum(1 for t in looked.trials if t.standing == "unknown")
    unread = tuple(Term("source", s, s) for s in _TRIAL_SOURCES if case.snapshot.state(s) != "complete")
    against, against_evidence = _against_clozapine(case)
    function = newest_function(case)
    scores = tuple(m for m in (looked.poor, function[0] if function is not None else None) if m is not None)
    yield Found(
        code="trs-criteria",
        severity="info",
        subject="pathway-criteria",
        summary=_verdict(looked, lacking, vague, against=bool(against)),
        why=(
            *(
                (sentence("pathway.moderate", score=score(looked.poor), day=on_day(case, looked.poor)),)
                if looked.poor is not None
                else ()
            ),
            *(function_lines(case)),
            *(trial_line(case, t) for t in looked.trials),
            *against,
        ),
        policy_says=(
            sentence(
                "trs-criteria.policy",
                trials=Number(rule.trials.value),
                weeks=Number(rule.trial_days.value / timedelta(weeks=1).days),
                dose=Dose(rule.chlorpromazine_mg.value),
                percent=Number(rule.adherence_percent.value),
                sources=Number(rule.adherence_sources.value),
            ),
            sentence("trs-criteria.equivalents"),
        ),
        suggested=(
            *((sentence("trs-criteria.rate"),) if looked.poor is None or function is None else ()),
            sentence("trs-criteria.checklist"),
            sentence("trs-criteria.adherence", sources=Number(rule.adherence_sources.value)),
            sentence(
                "trs-criteria.complete"
                if lacking
                else "trs-criteria.why-ended"
                if against
                else "trs-criteria.offer"
            ),
        ),
        unchecked=(
            sentence("trs-criteria.unchecked"),
            *((sentence("trs-criteria.unread", sources=Listed(unread)),) if unread else ()),
        ),
        evidence=(
            *problem_evidence(case.problems_of("schizophrenia")),
            *result_evidence(case, scores),
            *medication_evidence(m for t in looked.trials for m in t.records[:1]),
            *against_evidence,
        ),
        missing=() if not lacking else (sentence("trs-criteria.missing", number=Number(lacking, 0)),),
        citation=case.policy.cite(rule.trials),
    )


RULES = (trs_criteria,)
