"""At a visit: one card for what is only known of several drugs."""

from __future__ import annotations

from collections.abc import Iterator

from service.alerts.case.case import Case
from service.alerts.rules.interaction_words import drug
from service.alerts.say.found import Found
from service.alerts.say.sentence import Listed, sentence

#: From so many on, what is known already is told on one card at a visit.
_KNOWN_TOGETHER = 3


def as_one(case: Case, found: list[Found]) -> Iterator[Found]:
    """At a visit: what is only known of several drugs on one card, the rest as it is."""
    known = [f for f in found if f.severity == "info" and f.subject.startswith("drug:")]
    if len(known) < _KNOWN_TOGETHER:
        yield from found
        return
    yield from (f for f in found if f not in known)
    known.sort(key=lambda f: f.subject)
    drug_ids = [d for f in known for d in f.subject.removeprefix("drug:").split("+")]
    drug_ids = list(dict.fromkeys(drug_ids))
    yield Found(
        code="interactions-known",
        severity="info",
        subject="drugs",
        summary=sentence(
            "interactions-known.summary",
            drugs=Listed((drug(drug_ids[0], first=True), *map(drug, drug_ids[1:]))),
        ),
        why=tuple(f.summary for f in known),
        policy_says=(sentence("interactions-known.policy"),),
        suggested=(sentence("interactions-known.ask"), sentence("interactions-known.change")),
        evidence=tuple(e for f in known for e in f.evidence[:1]),
        decisive=tuple(sorted(drug_ids)),
        citation=case.policy.citation,
        also=tuple(dict.fromkeys(f.code for f in known)),
    )
