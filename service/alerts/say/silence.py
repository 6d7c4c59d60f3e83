"""What an override silences: what was seen, for those it was shown to, for a while. Never anything worse or newer, never a critical band.

The same holds between visits: an alert that says stop cannot be closed (``service.registry.patient_alerts``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from msgspec import Struct

from service.alerts.say.finding import SEVERITY_RANK, Finding
from service.alerts.say.finding_codes import codes_always_said, stopping_codes

#: Hooks of one act of one person: who selects an order signs it. Every other order hook is somebody else's own check.
_SHOWN_TO = {
    "order-select": "prescriber",
    "order-sign": "prescriber",
    "patient-view": "visit",
    "encounter-start": "visit",
    "encounter-discharge": "visit",
}


class Silence(Struct, frozen=True):
    """An override in force: of a finding of a severity (rank), until a moment.

    ``seen`` is what the finding showed (``service.alerts.say.seen``), ``hook`` where; one of an older version, which kept neither,
    silences nothing.
    """

    code: str
    subject: str
    severity_rank: int
    until: datetime
    seen: str = ""
    hook: str = ""


def may_be_silenced(code: str, severity: str) -> bool:
    """False for critical blood counts, and for whatever clozapine must stop at: said every time, whatever was answered before."""
    return not (severity == "critical" and (code in codes_always_said() or code in stopping_codes()))


def must_stop(code: str, severity: str) -> bool:
    """True for a finding at which clozapine must stop (or must not be started): nobody can close it."""
    return severity == "critical" and code in stopping_codes()


def audible(
    findings: Iterable[Finding],
    silences: Sequence[Silence],
    as_of: datetime,
    hook: str,
    seen: Callable[[Finding], str],
) -> list[Finding]:
    """The findings that no override in force silences.

    Args:
        findings: of one call.
        silences: overrides of the patient.
        as_of: the moment of the call.
        hook: its hook.
        seen: tells what a finding shows (``service.alerts.say.seen.Seen``); asked only about findings that may be silent.
    """
    return [f for f in findings if not any(_covers(s, f, as_of, hook, seen) for s in silences)]


def _covers(
    silence: Silence, finding: Finding, as_of: datetime, hook: str, seen: Callable[[Finding], str]
) -> bool:
    return (
        silence.until > as_of
        and (silence.code, silence.subject) == (finding.code, finding.subject)
        and SEVERITY_RANK[finding.severity] <= silence.severity_rank
        and may_be_silenced(finding.code, finding.severity)
        and _shown_to(silence.hook) == _shown_to(hook)
        and silence.seen != ""
        and silence.seen == seen(finding)
    )


def _shown_to(hook: str) -> str:
    return _SHOWN_TO.get(hook, hook)
