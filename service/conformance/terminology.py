"""The codes of this service as FHIR: findings, override reasons, what an answer says as a whole; and the sets they are chosen from."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from service.alerts.knowledge.catalogue import every_reason
from service.alerts.say.finding_codes import finding_codes
from service.conformance.published import Published
from service.operation.standing import STANDINGS
from service.options.options import ANSWERS, FINDINGS, OVERRIDE_REASONS

Json = dict[str, Any]


def code_systems(published: Published) -> list[Json]:
    """The CodeSystems, by id."""
    findings = [(code, entry.title, entry.means) for code, entry in finding_codes().items()]
    reasons = [(r.code, r.display, "") for r in every_reason() if not r.system]
    answers = [(code, display, definition) for code, (display, definition) in STANDINGS.items()]
    links = published.links
    return [
        _system(published, FINDINGS, links.finding_system, "Clozapine findings", "What the service may find.", findings),
        _system(
            published, OVERRIDE_REASONS, links.reason_system, "Override reasons",
            "Reasons for not following a card that HL7's own code system lacks.", reasons,
        ),
        _system(
            published, ANSWERS, published.url("CodeSystem", ANSWERS), "Answers of the clozapine check",
            "What an answer says as a whole, so that nothing found is not taken for nothing wrong.", answers,
        ),
    ]  # fmt: skip


def value_sets(published: Published) -> list[Json]:
    """The ValueSets, by id: each code system whole; of the override reasons HL7's, too."""
    links = published.links
    hl7: dict[str, list[Json]] = {}
    for reason in every_reason():
        if reason.system:
            hl7.setdefault(reason.system, []).append({"code": reason.code})
    return [
        _set(published, FINDINGS, "Clozapine findings", [{"system": links.finding_system}]),
        _set(
            published, OVERRIDE_REASONS, "Override reasons",
            [{"system": links.reason_system}, *({"system": s, "concept": c} for s, c in hl7.items())],
        ),
        _set(published, ANSWERS, "Answers of the clozapine check", [{"system": published.url("CodeSystem", ANSWERS)}]),
    ]  # fmt: skip


def _name(identifier: str) -> str:
    return "".join(part.capitalize() for part in identifier.split("-"))


def _system(
    published: Published,
    identifier: str,
    url: str,
    title: str,
    description: str,
    concepts: Iterable[tuple[str, str, str]],
) -> Json:
    listed = [
        {"code": code, "display": display} | ({"definition": definition} if definition else {})
        for code, display, definition in concepts
    ]
    return published.head("CodeSystem", identifier) | {
        "url": url,
        "name": _name(identifier),
        "title": title,
        "description": description,
        "caseSensitive": True,
        "valueSet": published.url("ValueSet", identifier),
        "content": "complete",
        "count": len(listed),
        "concept": listed,
    }


def _set(published: Published, identifier: str, title: str, include: list[Json]) -> Json:
    return published.head("ValueSet", identifier) | {
        "name": f"{_name(identifier)}Set",
        "title": title,
        "description": f"{title}: every code that may stand there.",
        "compose": {"include": include},
    }
