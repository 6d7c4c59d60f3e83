"""What an answer says as a whole: whether the patient is on clozapine, so that "nothing to say" is never taken for more than it is."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from service.alerts.case.case import Case
from service.alerts.case.lost import cannot_tell
from service.alerts.facts.ledger import Ledger
from service.operation.issues import Issue
from service.options.options import ANSWERS, Links

Standing = Literal["on-clozapine", "not-on-clozapine", "unknown", "not-told"]

#: Display and definition of each, for the code system.
STANDINGS: dict[Standing, tuple[str, str]] = {
    "on-clozapine": (
        "On clozapine",
        "Clozapine is taken, ordered, or being stopped: its rules were asked. Without a DetectedIssue there is nothing to say.",
    ),
    "not-on-clozapine": (
        "Not on clozapine",
        "All medications of the record were read, and none shows that clozapine is taken or ordered: there was nothing to check.",
    ),
    "unknown": (
        "Could not tell",
        "Whether clozapine is taken could not be told from what was sent. Without a DetectedIssue nothing is known to be safe.",
    ),
    "not-told": (
        "Not told",
        "The site is in shadow mode: findings are counted and not told. Without a DetectedIssue nothing is known to be safe.",
    ),
}


class Whole(Struct, frozen=True):
    """The answer as a whole, with the sums of what was read."""

    standing: Standing
    taken: bool
    ledger: Ledger


def whole(case: Case, *, shadow: bool) -> Whole:
    """What is said of the whole answer.

    Args:
        case: what was judged.
        shadow: the site's findings are not told.
    """
    standing: Standing
    if shadow:
        standing = "not-told"
    elif case.relevant:
        standing = "on-clozapine"
    else:
        standing = "unknown" if cannot_tell(case) else "not-on-clozapine"
    return Whole(standing, case.on_clozapine, case.snapshot.ledger)


def summary(said: Whole, findings: int, links: Links, where: str) -> Issue:
    """The informational issue that every answer begins with.

    Args:
        said: the answer as a whole.
        findings: DetectedIssues in the answer.
        links: address of the code system.
        where: FHIRPath of the Bundle that was asked about.
    """
    display, definition = STANDINGS[said.standing]
    if said.standing == "on-clozapine":
        taken = "Clozapine is taken" if said.taken else "Clozapine is ordered or being stopped"
        told = (
            "there is nothing to say" if not findings else f"{findings} finding{'s' if findings > 1 else ''}"
        )
        text = f"{taken}; {told}."
    else:
        text = definition
    return Issue(
        "information",
        "informational",
        f"{text} {sums(said.ledger)}.{_irrelevant(said.ledger)}",
        where,
        coding=(f"{links.fhir_url}/CodeSystem/{ANSWERS}", said.standing, display),
    )


def sums(ledger: Ledger) -> str:
    """How much of what was sent was understood."""
    total = ledger.sums()
    return (
        f"{total['given']} resources of the record: {total['read']} read, {total['irrelevant']} irrelevant, "
        f"{total['not understood']} not understood"
    )


def _irrelevant(ledger: Ledger) -> str:
    """Why what bears on no rule does not, by kind."""
    kinds = [f"{many} {kind}" for kind, many in sorted(ledger.irrelevant.items())]
    return f" Irrelevant: {', '.join(kinds)}." if kinds else ""
