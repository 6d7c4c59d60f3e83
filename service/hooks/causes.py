"""Why a question could not be judged: the name of it in metrics and audit, and what a clinician is told."""

from __future__ import annotations

_FAULT = "the service failed"
#: By FHIR issue type of the failure: its name in the metrics, and what a clinician is told.
_CAUSES = {
    "required": ("no-data", "no data of this patient could be read"),
    "too-long": ("too-large", "the data sent are too large to be read"),
    "throttled": ("too-many-calls", "too many calls came at once"),
    "transient": ("busy", "the service was too busy"),
    "timeout": ("timeout", "the check took too long"),
    "exception": ("fault", _FAULT),
}


def cause_of(failure_code: str) -> str:
    """A failure's name in metrics and audit."""
    return _CAUSES.get(failure_code, ("fault", _FAULT))[0]


def summary_of(failure_code: str) -> str:
    """The sentence for a failure (FHIR issue type), as it stands on the card, in the terminal and in a JudgeError."""
    says = _CAUSES.get(failure_code, ("fault", _FAULT))[1]
    return f"Clozapine was not checked: {says}. Look at the blood counts by hand."
