"""Bowel (clinical.md 2.5): every patient on clozapine needs a laxative or somebody who asks."""

from __future__ import annotations

from collections.abc import Iterator

from service.alerts import wording as w
from service.alerts.case import Case
from service.alerts.finding import Citation, Evidence, Finding


def constipation_no_prophylaxis(case: Case) -> Iterator[Finding]:
    """On clozapine, and no laxative on the list; never said while an order is being placed."""
    if (
        not case.on_clozapine
        or case.snapshot.state("medications") != "complete"
        or case.taken_now("laxative")
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
        evidence=tuple(Evidence(m.ref, w.safe(m.label)) for m in records),
        missing=("a laxative",),
        citation=Citation(
            "Treatment-resistant schizophrenia and clozapine management (clinical summary)", "Constipation"
        ),
        overrides="general",
    )


RULES = (constipation_no_prophylaxis,)
