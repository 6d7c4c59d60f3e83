"""What of a record was left out, named by its place and why: the sender sees which entry to mend."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence

from service.alerts.facts.ledger import Ledger
from service.alerts.say.language import english
from service.fhir.resources import Resource
from service.fhir.snapshot import home_of
from service.fhir.subjects import Whose
from service.operation.issues import Issue
from service.operation.question import Question

_LEFT_OUT = "It was not checked."
_IN_PART = "The rest of it was checked."


def left_out(question: Question, ledger: Ledger) -> list[Issue]:
    """One issue for each entry that is not believed to be the patient's, and for each resource or element that nobody understood.

    Args:
        question: with the places of what was read.
        ledger: of the facts, in words.

    Errors that the question names already are not named again; nor is what positively bears on no rule: it is counted.
    """
    known = sorted({issue.expression for issue in question.issues if issue.severity == "error"})
    foreign = dict(_foreign(question))
    found = [
        Issue("warning", "business-rule", f"{why}. {_LEFT_OUT}", at) for at, why in foreign.items()
    ]  # fmt: skip
    places = {_name(p.resource): p.at for p in question.places if p.at not in foreign}
    for entry in ledger.entries:
        at = places.get(entry.ref, "")
        if entry.fate != "not understood" or entry.kind == "subject" or _holds_at_or_below(known, at or "?"):
            continue
        where = f"{at}.{entry.element}" if at and entry.element and entry.element.isalpha() else at
        text = f"{entry.ref or 'A resource'}: {entry.why}. {_IN_PART if entry.element else _LEFT_OUT}"
        found.append(Issue("warning", "not-supported", text, where or question.where))
    return found


def _holds_at_or_below(places: Sequence[str], at: str) -> bool:
    """Whether sorted places hold one that begins with ``at``: of those that are not before it, it would be the first."""
    index = bisect_left(places, at)
    return index < len(places) and places[index].startswith(at)


def _foreign(question: Question) -> Iterator[tuple[str, str]]:
    """Place, and why it is not believed to be the patient's; the id, which is somebody else's, is not repeated."""
    resources: list[Resource] = [p.resource for p in question.places]
    home = home_of(question.gathered, resources, question.patient_id)
    whose = Whose(question.patient_id, home, resources)
    for place in question.places:
        why = whose.why_not(place.resource)
        if why:
            yield place.at, f"{type(place.resource).__name__}: {english().reason(why)}"


def _name(resource: Resource) -> str:
    name = type(resource).__name__
    return f"{name}/{resource.id}" if resource.id else name
