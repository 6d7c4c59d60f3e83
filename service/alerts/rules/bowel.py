"""Bowel (clinical.md 2.5): every patient on clozapine needs a laxative or somebody who asks."""

from __future__ import annotations

from collections.abc import Iterator

from service.alerts.case.bowel import SLOW_BOWEL as SLOW_BOWEL
from service.alerts.case.bowel import blocked_bowel, slow_bowel
from service.alerts.case.case import Case
from service.alerts.case.onset import is_recent_problem
from service.alerts.facts.patient import Problem
from service.alerts.phrases.draft_removal import remove_drafts
from service.alerts.phrases.medication import medication_evidence
from service.alerts.phrases.problem import problem_evidence
from service.alerts.rules.asked import ENDANGERED, when, when_it_bears
from service.alerts.say.finding import Citation
from service.alerts.say.found import Found
from service.alerts.say.sentence import Record, Sentence, as_recorded, sentence

_SOURCE = Citation(
    "Treatment-resistant schizophrenia and clozapine management (clinical summary)", "Constipation"
)


@when("taking")
def constipation_no_prophylaxis(case: Case) -> Iterator[Found]:
    """On clozapine, and no laxative on the list; never said while an order is being placed."""
    if (
        not case.on_clozapine
        or case.snapshot.state("medications") != "complete"
        or case.taken_now("laxative")
        or slow_bowel(case)  # gi-hypomotility says more
        or blocked_bowel(case)
    ):
        return
    statements_read = case.snapshot.state("statements") != "unavailable"
    yield Found(
        code="constipation-no-prophylaxis",
        severity="info",
        subject="bowel",
        summary=sentence("constipation-no-prophylaxis.summary"),
        why=(sentence("constipation-no-prophylaxis.none"),),
        policy_says=(sentence("bowel.policy"),),
        suggested=(
            sentence("constipation-no-prophylaxis.ask"),
            sentence("constipation-no-prophylaxis.consider"),
        ),
        unchecked=() if statements_read else (sentence("constipation-no-prophylaxis.statements-unread"),),
        evidence=medication_evidence(case.current_clozapine[:1]),
        missing=(sentence("constipation-no-prophylaxis.missing"),),
        citation=_SOURCE,
    )


@when_it_bears
@when("problems")
@when(*ENDANGERED)
def gi_hypomotility(case: Case) -> Iterator[Found]:
    """Ileus, megacolon, impaction or another obstruction under clozapine, or a slow bowel on the problem list."""
    if not case.endangered:
        return
    blocked = blocked_bowel(case)
    if not case.relevant and not any(is_recent_problem(case, p) for p in blocked):
        return  # whether clozapine is taken at all is an estimate: only what is new and dangerous is said
    problems = blocked or slow_bowel(case)
    if not problems:
        return
    yield Found(
        code="gi-hypomotility",
        severity="critical" if blocked else "warning",
        subject="bowel",
        summary=sentence(
            "gi-hypomotility.blocked" if blocked else "gi-hypomotility.slow",
            problem=as_recorded(problems[0].name),
        ),
        why=(*(_line(p) for p in problems), *_laxative_lines(case)),
        policy_says=(sentence("bowel.policy"),),
        suggested=(
            (sentence("gi-hypomotility.stop"), sentence("gi-hypomotility.examine"))
            if blocked
            else (sentence("gi-hypomotility.treat"), sentence("gi-hypomotility.stop-others"))
        ),
        evidence=problem_evidence(problems),
        citation=_SOURCE,
        offers=remove_drafts(case) if blocked else (),
    )


def _line(p: Problem) -> Sentence:
    problem = Record(p.label)
    if p.verification in ("", "confirmed"):
        return sentence("gi-hypomotility.problem", problem=problem)
    return sentence(
        "gi-hypomotility.problem-unconfirmed", problem=problem, verification=Record(p.verification)
    )


def _laxative_lines(case: Case) -> tuple[Sentence, ...]:
    """The laxative that is taken, or that none is; nothing where the medications could not all be read."""
    laxative = case.taken_now("laxative")
    if laxative:
        return (sentence("gi-hypomotility.laxative", drug=Record(laxative[0].label)),)
    if case.snapshot.state("medications") == "complete":
        return (sentence("gi-hypomotility.no-laxative"),)
    return ()


RULES = (constipation_no_prophylaxis, gi_hypomotility)
