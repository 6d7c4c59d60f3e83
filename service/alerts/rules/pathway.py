"""The pathway of the difficult to treat under clozapine (clinical.md 2.8): information at visits, for sites that switch it on."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from service.alerts.case.case import Case
from service.alerts.case.clozapine_trial import clozapine_trial, shown_by
from service.alerts.case.difficult_to_treat import is_wanted, poor_response, untreated
from service.alerts.case.response import Response, newest_function, newest_score
from service.alerts.case.target import target
from service.alerts.facts.patient import Measurement
from service.alerts.knowledge.classes import classes_of
from service.alerts.knowledge.drug_names import drugs_by_name
from service.alerts.phrases.result import (
    course_line,
    offer_test,
    on_day,
    result_evidence,
    result_fact,
)
from service.alerts.phrases.score import function_lines, scale, score
from service.alerts.rules.asked import when
from service.alerts.rules.causes import Seen, seen_causes
from service.alerts.say.found import Found
from service.alerts.say.sentence import (
    Counted,
    Dose,
    Listed,
    Number,
    Param,
    Quantity,
    Sentence,
    Term,
    as_recorded,
    quoted,
    sentence,
)


def _path(case: Case, part: str) -> str:
    return f"{case.policy.id}/pathway.{part}"


def _quoted(case: Case, part: str, texts: tuple[str, ...]) -> tuple[Sentence, ...]:
    """Texts of the policy's pathway, each a sentence by itself."""
    return tuple(quoted("policy", _path(case, f"{part}.{n}"), text) for n, text in enumerate(texts))


def _change(r: Response) -> Sentence:
    """``15 % better``, ``3 % worse``."""
    return sentence(
        "response.better" if r.percent >= 0 else "response.worse", percent=Number(abs(r.percent), 0)
    )


def _response_line(case: Case, r: Response) -> Sentence:
    """The response as a fact for the card."""
    return sentence(
        "response.line" if r.before_start else "response.line-no-baseline",
        scale=scale(r.now),
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
        f"clozapine-trial.lasts-{domain}",
        days=Counted(int(days.value)),
        problem=as_recorded(problems[0].name),
    )


@when("pathway")
@when("visit")
def adequate_trial_not_met(case: Case) -> Iterator[Found]:
    """Response to clozapine is poor, but the trial was not adequate yet."""
    answer = poor_response(case)
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
    yield from function_lines(case)
    for m in levels:
        yield result_fact(case, m)


@when("pathway")
@when("visit")
def clozapine_resistance_review(case: Case) -> Iterator[Found]:
    """An adequate trial and a poor response: what can be added, and how good the evidence is."""
    answer = poor_response(case)
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
    if poor_response(case) is None and untreated(case) is None:
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
        missing=()
        if seen
        else (
            sentence(
                "pseudo-resistance-checklist.missing",
                sources=Number(case.policy.pathway.adherence_sources.value),
            ),
        ),
        citation=case.policy.cite(items[0]),
    )


@when("pathway")
@when("starting", "taking")
def baseline_scales(case: Case) -> Iterator[Found]:
    """Clozapine begins and no recent score says how ill the patient is: without one nobody can tell later what it did."""
    rule = case.policy.pathway
    if not is_wanted(case) or case.snapshot.state("labs") == "unavailable":
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
                (sentence("pathway.dated", score=score(known[0]), day=on_day(case, known[0])),)
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
    adequate_trial_not_met,
    clozapine_resistance_review,
    pseudo_resistance_checklist,
    baseline_scales,
)
