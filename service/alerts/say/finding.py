"""What a rule says: a finding with its facts, its source and what may be done about it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Literal

from msgspec import Struct

Severity = Literal["info", "warning", "critical"]
#: Called with a name (a rule's, a card's) and the exception when it fails; the shell counts it, the core only reports it.
FaultObserver = Callable[[str, Exception], None]
SEVERITY_RANK: dict[str, int] = {"info": 0, "warning": 1, "critical": 2}


def worst(*severities: Severity) -> Severity:
    """The most severe of several severities."""
    return max(severities, key=SEVERITY_RANK.__getitem__)


class Citation(Struct, frozen=True, gc=False):
    """Where a rule or a number comes from: document, section, address, and whether a primary text confirmed it."""

    label: str
    section: str = ""
    url: str = ""
    confirmed: bool = True

    def __str__(self) -> str:
        text = f"{self.label} {self.section}".strip()
        return text if self.confirmed else f"{text} (not confirmed against the primary text)"


class Evidence(Struct, frozen=True, gc=False):
    """One fact behind a finding: the resource, what it says (Markdown-safe) and when."""

    ref: str
    text: str
    at: datetime | None = None
    date_only: bool = False


# What may be offered. An offer names the intention; ``service.fhir.build`` turns it into a FHIR resource.


class OrderTest(Struct, frozen=True, tag=True, gc=False):
    """Order a test; ``test`` is an id of ``knowledge/tests.toml`` (``cbc-with-differential``, ``troponin``, ...)."""

    test: str
    #: ``routine`` | ``urgent`` | ``asap`` | ``stat`` (FHIR request-priority).
    priority: str = "routine"
    reason: str = ""


class RemoveDraft(Struct, frozen=True, tag=True, gc=False):
    """Delete a draft order of this session."""

    ref: str
    label: str


class ChangeDose(Struct, frozen=True, tag=True, gc=False):
    """Replace the dose of a draft order by ``mg_per_day`` mg, in ``doses_per_day`` doses.

    With ``step_mg`` the order keeps its times of day, as far as multiples of so many mg can be given at them.
    """

    ref: str
    label: str
    mg_per_day: float
    doses_per_day: int = 1
    step_mg: float | None = None
    #: The tablet of the order cannot give the dose: the order is changed to one of so many mg.
    tablet_mg: float | None = None


class ReferTo(Struct, frozen=True, tag=True, gc=False):
    """Refer to (consult) a service; ``specialty`` is an id of ``knowledge/tests.toml`` ``[referral]``."""

    specialty: str
    priority: str = "urgent"
    reason: str = ""


class NotifyTeam(Struct, frozen=True, tag=True, gc=False):
    """A Task for the monitoring team."""

    task: str
    reason: str = ""


Offer = OrderTest | RemoveDraft | ChangeDose | ReferTo | NotifyTeam


class Finding(Struct, frozen=True, kw_only=True, gc=False):
    """One thing that is unsafe, due, or unknown.

    All text is already safe: record text in it went through ``wording.safe`` (Markdown) or ``wording.plain`` (summary).
    """

    code: str
    severity: Severity
    #: What the finding is about, for grouping and for "one card per subject": ``anc``, ``drug:fluvoxamine``, ``order:MedicationRequest/1``, ``monitoring``, ...
    subject: str
    #: One plain sentence, < 140 characters: what, number with unit, date.
    summary: str
    #: Facts, one line each (Markdown), the "Why".
    why: tuple[str, ...] = ()
    #: What the policy or the document says, in our words (Markdown).
    policy_says: tuple[str, ...] = ()
    #: Steps for the clinician, most urgent first (Markdown).
    suggested: tuple[str, ...] = ()
    #: What could not be checked in this context.
    unchecked: tuple[str, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    #: What is missing, when there is no fact to show (every finding has evidence or names what is missing).
    missing: tuple[str, ...] = ()
    #: What decided beside the evidence: the tier a gap has reached, the last dose, the end of a supply. When it changes the
    #: finding shows something new (``service.alerts.say.seen``); nothing that changes by the mere passing of a day belongs here.
    decisive: tuple[str, ...] = ()
    #: What it is about where no fact of the record shows it – what it says, and what is missing –, in no language: ids of sentences with
    #: what stands in them. Another wording of the catalogue, or another language, is nothing new (``service.alerts.say.seen``).
    about: tuple[str, ...] = ()
    citation: Citation
    offers: tuple[Offer, ...] = ()
    #: Which of the override-reason sets of its code (``finding_codes``) it offers; empty: the first.
    overrides: str = ""
    #: An ``info`` finding that bears on the order of this call; others are kept for the visit (alert economy).
    changes_order: bool = False
    #: Further codes folded into this finding (an interacting drug in several classes).
    also: tuple[str, ...] = ()
