"""What is said of a delivery: for each entry what became of it, as its sender's Bundle asks for it."""

from __future__ import annotations

from typing import Any

from service.operation.issues import Issue, outcome
from service.results.delivery import ANSWERED, Delivery, Part

Json = dict[str, Any]
#: What became of a part -> (status of its entry, severity and code of its issue, R4 issue-type).
_SAID: dict[str, tuple[str, Any, str]] = {
    "taken": ("202", "information", "informational"),
    "irrelevant": ("200", "information", "informational"),
    "unknown patient": ("404", "warning", "not-found"),
    "not understood": ("422", "error", "invalid"),
}
_WORDS = {
    "taken": "taken: it is stored and is judged now",
    "irrelevant": "irrelevant",
    "unknown patient": "unknown patient",
    "not understood": "not understood",
}


def _issue(part: Part, place: str) -> Issue:
    _, severity, code = _SAID[part.fate]
    text = _WORDS[part.fate] + (f". {part.why}" if part.why else ".")
    return Issue(severity, code, text, place)


def answer_to(delivery: Delivery) -> Json:
    """An OperationOutcome with an issue for each entry; for a transaction or batch the response Bundle, an outcome in each entry."""
    if delivery.type in ANSWERED:
        entries = [
            {
                "response": {
                    "status": _SAID[part.fate][0],
                    "outcome": outcome([_issue(part, f"Bundle.entry[{part.index}]")]),
                }
            }
            for part in delivery.parts
        ]
        return {
            "resourceType": "Bundle",
            "type": ANSWERED[delivery.type],
            **({"entry": entries} if entries else {}),
        }
    place = "Bundle.entry[{}]" if delivery.type else ""
    issues = [_issue(part, place.format(part.index)) for part in delivery.parts]
    return outcome(issues or [Issue("warning", "informational", "The Bundle holds no entry.")])
