"""The pathway of the difficult to treat (clinical.md 2.8): information at visits, for sites that switch it on.

It speaks where symptoms are poor by a score, or two adequate trials stand on record, and stays silent in the first weeks of a treatment.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from msgspec import Struct

from service.alerts.case.allergies import clozapine_allergies
from service.alerts.case.case import Case
from service.alerts.case.clozapine_trial import clozapine_trial, shown_by
from service.alerts.case.myocarditis import HEART_PROBLEMS
from service.alerts.case.response import Response, newest_function, newest_score, response
from service.alerts.case.target import target
from service.alerts.case.trials import Trial, trials
from service.alerts.facts.patient import Measurement, SourceName
from service.alerts.knowledge.drugs import classes_of, drugs_by_name
from service.alerts.knowledge.equivalents import methods, unclear_depots
from service.alerts.phrases.allergy import allergy_evidence, allergy_line
from service.alerts.phrases.medication import medication_evidence
from service.alerts.phrases.problem import problem_evidence
from service.alerts.phrases.result import (
    course_line,
    offer_test,
    on_day,
    result_evidence,
    result_fact,
)
from service.alerts.rules.asked import when
from service.alerts.rules.causes import Seen, seen_causes
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


def _on(case: Case) -> bool:
    """The site wants the pathway."""
    return case.practice.pathway


def _asked(case: Case) -> bool:
    return _on(case) and case.hook == "patient-view"


def _drug(drug_id: str, *, first: bool = False) -> Term:
    return Term("drug", drug_id, drug_id.replace("-", " "), first=first)


def _path(case: Case, part: str) -> str:
    return f"{case.policy.id}/pathway.{part}"


def _quoted(case: Case, part: str, texts: tuple[str, ...]) -> tuple[Sentence, ...]:
    """Texts of the policy's pathway, each a sentence by itself."""
    return tuple(quoted("policy", _path(case, f"{part}.{n}"), text) for n, text in enumerate(texts))


# Trials before clozapine ----------------------------------------------------------------------------------------------


def _trial_line(case: Case, t: Trial) -> Sentence:
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


class _Looked(Struct, frozen=True):
    """What speaks for looking at the trials of a patient without clozapine."""

    trials: tuple[Trial, ...]
    adequate: tuple[Trial, ...]
    #: The newest score, when symptoms are at least moderate by it.
    poor: Measurement | None


def _looked(case: Case) -> _Looked | None:
    """Schizophrenia without clozapine, and either symptoms are poor by a score or two adequate trials stand on record; None otherwise.

    Never in the first weeks of the first treatment, and not while a score says that the patient is well.
    """
    if not _asked(case) or case.relevant or case.snapshot.state("medications") == "unavailable":
        return None
    if not case.problems_of("schizophrenia"):
        return None
    found = tuple(trials(case))
    adequate = tuple(t for t in found if t.standing == "adequate")
    score = newest_score(case)
    if score is not None and not score[1]:
        return None
    if len(adequate) < case.policy.pathway.trials.value and (score is None or not _tried(case, found)):
        return None
    return _Looked(found, adequate, score[0] if score is not None else None)


def _tried(case: Case, found: tuple[Trial, ...]) -> bool:
    """Treatment began long enough ago for one trial: before that nothing can be difficult to treat."""
    needed = case.policy.pathway.trial_days.value
    begun = [case.days_since(t.since) for t in found if t.since is not None]
    if any(days >= needed for days in begun):
        return True
    # Of a drug taken since nobody knows when the diagnosis tells: a first episode is young.
    onsets = [case.days_since(p.onset) for p in case.problems_of("schizophrenia") if p.onset is not None]
    return any(t.since is None for t in found) and any(days >= needed for days in onsets)


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


def _score(m: Measurement) -> Sentence:
    return sentence("pathway.score", scale=_scale(m), score=Number(m.value))


def _scale(m: Measurement) -> Term:
    return Term("scale", m.kind, m.kind.upper())


def _verdict(looked: _Looked, lacking: int, vague: int, *, against: bool) -> Sentence:
    """How many trials there are, or are still needed."""
    met, poor = Number(len(looked.adequate), 0), looked.poor
    if not lacking and against:
        return sentence("trs-criteria.met-against", number=met)
    if not lacking:
        return (
            sentence("trs-criteria.met-unrated", number=met)
            if poor is None
            else sentence("trs-criteria.met", number=met, score=_score(poor))
        )
    assert poor is not None, "without a score it speaks of two trials only"
    more = Counted(lacking, "more-trial")
    if not vague:
        return sentence("trs-criteria.lacking", score=_score(poor), more=more)
    return sentence("trs-criteria.lacking-vague", score=_score(poor), more=more, vague=Number(vague, 0))


@when("pathway")
@when("visit")
def trs_criteria(case: Case) -> Iterator[Found]:
    """Schizophrenia and no clozapine: which adequate trials the record shows, and what is missing before clozapine."""
    looked = _looked(case)
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
                (sentence("pathway.moderate", score=_score(looked.poor), day=on_day(case, looked.poor)),)
                if looked.poor is not None
                else ()
            ),
            *(_function_lines(case)),
            *(_trial_line(case, t) for t in looked.trials),
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
            sentence("trs-criteria.adherence"),
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


def _function_lines(case: Case) -> Iterator[Sentence]:
    found = newest_function(case)
    if found is not None:
        word = "impaired" if found[1] else "fair"
        yield sentence(f"pathway.function-{word}", score=_score(found[0]), day=on_day(case, found[0]))


# Under clozapine ------------------------------------------------------------------------------------------------------


def _poor_response(case: Case) -> Response | None:
    """The response to clozapine if it is less than a trial asks for, the illness is still at least moderate, and the first weeks are over."""
    if not _asked(case) or not case.on_clozapine:
        return None
    rule, day = case.policy.pathway, case.course_day
    if day is not None and day < rule.trial_days.value:
        return None
    answer = response(case)
    if answer is None or answer.percent >= rule.response_percent.value or not answer.moderate:
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
        scale=_scale(r.now),
        first=Number(r.first.value),
        first_day=on_day(case, r.first),
        now=Number(r.now.value),
        now_day=on_day(case, r.now),
        change=_change(r),
    )


def _options(case: Case) -> Iterator[Sentence]:
    """What can be added, with its evidence and the checks it needs beside clozapine; what fits the symptoms of the record first."""
    rule = case.policy.pathway
    domain = target(case)[0]
    for n, o in sorted(enumerate(rule.options), key=lambda option: domain not in option[1].domains):
        path = _path(case, f"options.{n}")
        said: dict[str, Param] = {
            "option": Term("policy", f"{path}.value", o.value),
            "evidence": Term("policy", f"{path}.evidence", o.evidence),
            "basis": sentence(
                "pathway.basis" if o.confirmed else "pathway.basis-unconfirmed",
                source=Term("policy", f"{path}.source", o.source),
                section=Term("policy", f"{path}.section", o.section),
            ),
        }
        checks = () if o.instead else _checks(o.value)
        if checks:
            said["checks"] = Listed(checks)
        yield Sentence(f"clozapine-resistance-review.option{'-checked' if checks else ''}", said)


def _checks(option: str) -> tuple[Term, ...]:
    """The classes by which the drugs of an option are checked beside clozapine."""
    found = {
        c.id: c.title
        for drug in drugs_by_name(option)
        for c in classes_of(drug)
        if c.finding and not c.long_acting_only
    }
    return tuple(Term("drug-class", class_id, title) for class_id, title in found.items())


def _target_line(case: Case) -> Sentence:
    """How long the trial must last, and why."""
    domain, days, problems = target(case)
    if not problems:
        return sentence("clozapine-trial.lasts", days=Counted(int(days.value)))
    return sentence(
        f"clozapine-trial.lasts-{domain}", days=Counted(int(days.value)), problem=Record(problems[0].label)
    )


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
            _target_line(case),
            *(sentence("adequate-trial-not-met.needs", lack=m) for m in trial.missing),
        ),
        policy_says=(
            sentence(
                "adequate-trial-not-met.policy",
                level=Quantity(adequate.value, adequate.unit),
                apart=Counted(int(rule.levels_apart_days.value)),
                positive=Counted(int(rule.duration_days.value)),
                aggression=Counted(int(rule.duration_aggression_days.value)),
                negative=Counted(int(rule.duration_negative_days.value)),
                dose=Dose(rule.dose_without_level.value),
                percent=Number(rule.adherence_percent.value),
                sources=Number(rule.adherence_sources.value),
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
    yield from _function_lines(case)
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
        why=(
            *_known(case, answer, trial.levels),
            _target_line(case),
            *(
                (sentence("clozapine-trial.adherence-shown", sources=shown_by(trial.adherence)),)
                if len(trial.adherence) >= rule.adherence_sources.value
                else ()
            ),
        ),
        policy_says=(quoted("policy", _path(case, "options_says"), rule.options_says), *_options(case)),
        suggested=_quoted(case, "optimisation", rule.optimisation),
        unchecked=trial.unchecked,
        evidence=result_evidence(case, (answer.now, answer.first, *trial.levels)),
        citation=case.policy.cite(rule.response_percent),
    )


@when("pathway")
@when("visit")
def pseudo_resistance_checklist(case: Case) -> Iterator[Found]:
    """What to rule out before more is tried, matched to what the record shows of it."""
    if _poor_response(case) is None and _looked(case) is None:
        return
    found = seen_causes(case)
    seen: list[Seen] = []
    for one in (s for of_item in found for s in of_item):
        if one not in seen:  # a problem may be of two items
            seen.append(one)
    items = case.policy.pathway.checklist
    # What the record shows comes first, the rest is for asking.
    order = sorted(range(len(items)), key=lambda n: not found[n])
    yield Found(
        code="pseudo-resistance-checklist",
        severity="info",
        subject="pathway-checklist",
        summary=sentence("pseudo-resistance-checklist.summary-seen", number=Counted(len(seen), "cause"))
        if seen
        else sentence("pseudo-resistance-checklist.summary"),
        why=tuple(line for line, _ in seen) or (sentence("pseudo-resistance-checklist.nothing"),),
        policy_says=(sentence("pseudo-resistance-checklist.policy"),),
        suggested=tuple(
            quoted("policy", _path(case, f"checklist.{n}.value"), items[n].value)
            if not found[n]
            else sentence(
                "pseudo-resistance-checklist.on-record",
                item=Term("policy", _path(case, f"checklist.{n}.value"), items[n].value),
            )
            for n in order
        ),
        evidence=tuple(fact for _, facts in seen for fact in facts),
        missing=() if seen else (sentence("pseudo-resistance-checklist.missing"),),
        citation=case.policy.cite(items[0]),
    )


@when("pathway")
@when("starting", "taking")
def baseline_scales(case: Case) -> Iterator[Found]:
    """Clozapine begins and no recent score says how ill the patient is: without one nobody can tell later what it did."""
    rule = case.policy.pathway
    if not _on(case) or case.snapshot.state("labs") == "unavailable":
        return
    if not case.starting:
        day = case.course_day
        if (
            case.hook != "patient-view"
            or not case.on_clozapine
            or day is None
            or day > rule.baseline_until_day.value
        ):
            return
    symptoms, function = newest_score(case), newest_function(case)
    if symptoms is not None and function is not None:
        return
    word = "both" if symptoms is None and function is None else "symptoms" if symptoms is None else "function"
    known = symptoms or function
    yield Found(
        code="baseline-scales",
        severity="info",
        subject="pathway-baseline",
        summary=sentence(f"baseline-scales.none-of-{word}"),
        why=(
            course_line(case),
            *(
                (sentence("pathway.dated", score=_score(known[0]), day=on_day(case, known[0])),)
                if known is not None
                else ()
            ),
        ),
        policy_says=(sentence("baseline-scales.policy", percent=Number(rule.response_percent.value)),),
        suggested=(
            sentence(
                "baseline-scales.rate",
                weeks=Counted(round(rule.trial_days.value / timedelta(weeks=1).days), "week"),
                days=Counted(int(rule.duration_days.value)),
            ),
        ),
        evidence=result_evidence(case, [known[0]] if known is not None else []),
        missing=(sentence("baseline-scales.missing"),),
        citation=case.policy.cite(rule.response_percent),
        changes_order=True,
    )


RULES = (
    trs_criteria,
    adequate_trial_not_met,
    clozapine_resistance_review,
    pseudo_resistance_checklist,
    baseline_scales,
)
