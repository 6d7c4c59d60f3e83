"""Bowel (clinical.md 2.5): every patient on clozapine needs a laxative or somebody who asks."""

from __future__ import annotations

from collections.abc import Iterator

from service.alerts.case.case import Case
from service.alerts.rules.asked import ENDANGERED, when, when_it_bears
from service.alerts.rules.count_lines import remove_drafts
from service.alerts.rules.listed import is_recent_problem
from service.alerts.say import wording as w
from service.alerts.say.finding import Citation, Evidence, Finding

#: Kinds of problems that say that the bowel is slow, but not blocked.
SLOW_BOWEL = ("bowel-hypomotility", "constipation")


@when("taking")
def constipation_no_prophylaxis(case: Case) -> Iterator[Finding]:
    """On clozapine, and no laxative on the list; never said while an order is being placed."""
    if (
        not case.on_clozapine
        or case.snapshot.state("medications") != "complete"
        or case.taken_now("laxative")
        or case.problems_of(*SLOW_BOWEL, "gi-obstruction")  # gi-hypomotility says more
    ):
        return
    records = case.current_clozapine[:1]
    yield Finding(
        code="constipation-no-prophylaxis",
        severity="info",
        subject="bowel",
        summary="On clozapine without a laxative: ask about bowel habit, consider a stimulant laxative with a softener.",
        why=("No laxative is on the medication list.",),
        policy_says=(
            "Clozapine slows the bowel in most patients; severe constipation can end in ileus and death.",
        ),
        suggested=(
            "Ask about stool frequency and straining at every visit.",
            "Consider a stimulant laxative with a stool softener.",
        ),
        unchecked=("What the patient takes without an order was not read.",)
        if case.snapshot.state("statements") == "unavailable"
        else (),
        evidence=tuple(Evidence(m.ref, w.safe(m.label)) for m in records),
        missing=("a laxative",),
        citation=Citation(
            "Treatment-resistant schizophrenia and clozapine management (clinical summary)", "Constipation"
        ),
    )


@when_it_bears
@when("problems")
@when(*ENDANGERED)
def gi_hypomotility(case: Case) -> Iterator[Finding]:
    """Ileus, megacolon, impaction or another obstruction under clozapine, or a slow bowel on the problem list."""
    if not case.endangered:
        return
    blocked = case.problems_of("gi-obstruction")
    if not case.relevant and not any(is_recent_problem(case, p) for p in blocked):
        return  # whether clozapine is taken at all is an estimate: only what is new and dangerous is said
    problems = blocked or case.problems_of(*SLOW_BOWEL)
    if not problems:
        return
    first = problems[0]
    verified = [
        f" ({w.safe(p.verification)})" if p.verification not in ("", "confirmed") else "" for p in problems
    ]
    laxative = case.taken_now("laxative")
    readable = case.snapshot.state("medications") == "complete"
    yield Finding(
        code="gi-hypomotility",
        severity="critical" if blocked else "warning",
        subject="bowel",
        summary=w.summary(
            f"{w.plain(first.label)} on the problem list under clozapine: "
            + (
                "a bowel emergency, stop clozapine and examine now."
                if blocked
                else "treat it before it becomes ileus."
            )
        ),
        why=(
            *(f"Problem list: {w.safe(p.label)}{v}." for p, v in zip(problems, verified, strict=True)),
            *(
                (f"Laxative: {w.safe(laxative[0].label)}.",)
                if laxative
                else ("No laxative on the list.",)
                if readable
                else ()
            ),
        ),
        policy_says=(
            "Clozapine slows the bowel in most patients; severe constipation can end in ileus and death.",
        ),
        suggested=(
            ("Stop clozapine and other drugs that slow the bowel.", "Examine now; surgical opinion.")
            if blocked
            else (
                "Stimulant laxative with a softener; ask about stools at every visit.",
                "Stop anticholinergics and opioids if possible.",
            )
        ),
        evidence=tuple(Evidence(p.ref, w.safe(p.label), p.onset, p.onset_date_only) for p in problems),
        citation=Citation(
            "Treatment-resistant schizophrenia and clozapine management (clinical summary)", "Constipation"
        ),
        offers=remove_drafts(case) if blocked else (),
    )


RULES = (constipation_no_prophylaxis, gi_hypomotility)
