"""Why a question could not be judged: the name of it in metrics and audit, and what a clinician is told."""

from __future__ import annotations

from service.alerts.say.language import english
from service.alerts.say.sentence import Sentence

#: FHIR issue type of the failure -> its name in the metrics, and in the catalogue of sentences (``[not-judged]``).
_CAUSES = {
    "required": "no-data",
    "too-long": "too-large",
    "throttled": "too-many-calls",
    "transient": "busy",
    "timeout": "timeout",
    "too-costly": "too-much-work",
    "exception": "fault",
}


def cause_of(failure_code: str) -> str:
    """A failure's name in metrics and audit."""
    return _CAUSES.get(failure_code, "fault")


def said_of(failure_code: str) -> Sentence:
    """The sentence for a failure (FHIR issue type)."""
    return Sentence(f"not-judged.{cause_of(failure_code)}")


def summary_of(failure_code: str) -> str:
    """The same as it stands on the card, in the terminal and in a JudgeError."""
    return english().summary(said_of(failure_code))
