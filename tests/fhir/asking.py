"""Asking about one patient in few words: a visit, signed orders, and the cards that come."""

from __future__ import annotations

from typing import Any

from service.judge import judge
from tests.data import NOW, Json, anc, bundle, call, on_clozapine, prefetch


def cards(question: Json) -> dict[str, tuple[str, str]]:
    """Finding code -> (severity, summary) of the cards of a question, but for those of an ordinary chart."""
    judged = judge(question, as_of=NOW)
    assert judged.ledger.is_balanced
    return {
        f.code: (f.severity, f.summary)
        for f in reversed(judged.findings)
        if f.code not in ("constipation-no-prophylaxis", "monitoring-overdue")
    }


def visit(**sources: Any) -> dict[str, tuple[str, str]]:
    """A visit of a patient on clozapine with a good count, but for what is given."""
    return cards(
        call(
            "patient-view",
            prefetch(**({"medications": bundle(on_clozapine()), "counts": bundle(anc())} | sources)),
        )
    )


def signed(*drafts: Json) -> dict[str, tuple[str, str]]:
    """Orders signed for the same patient."""
    return cards(
        call("order-sign", prefetch(medications=bundle(on_clozapine()), counts=bundle(anc())), *drafts)
    )
