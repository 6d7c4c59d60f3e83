"""What an override silences: the same finding for the same patient for a while, never a worse one, never a critical band."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from msgspec import Struct

from service.alerts.finding import SEVERITY_RANK, Finding

#: Counts at which clozapine must stop: they are said every time, whatever was answered before.
_ALWAYS_SAID = frozenset(
    {
        "anc-moderate-neutropenia",
        "anc-severe-neutropenia",
        "blood-count-red",
        "anc-below-initiation",
        "thrombocytopenia",
        "eosinophilia",
    }
)


class Silence(Struct, frozen=True):
    """An override in force: of a finding of a severity (rank), until a moment."""

    code: str
    subject: str
    severity_rank: int
    until: datetime


def may_be_silenced(code: str, severity: str) -> bool:
    """False for critical blood counts."""
    return not (severity == "critical" and code in _ALWAYS_SAID)


def audible(findings: Iterable[Finding], silences: Sequence[Silence], as_of: datetime) -> list[Finding]:
    """The findings that no override in force silences."""
    return [f for f in findings if not any(_covers(s, f, as_of) for s in silences)]


def _covers(silence: Silence, finding: Finding, as_of: datetime) -> bool:
    return (
        silence.until > as_of
        and (silence.code, silence.subject) == (finding.code, finding.subject)
        and SEVERITY_RANK[finding.severity] <= silence.severity_rank
        and may_be_silenced(finding.code, finding.severity)
    )
