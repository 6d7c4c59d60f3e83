"""What is kept of a judged call, once it is answered: the audit trail, the roster, the counts. It can come from another process."""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from service.alerts.facts.ledger import Ledger
from service.alerts.facts.patient import PatientSnapshot
from service.ops.metrics import Metrics
from service.trail.recorder import Call, Recorder


class Kept(Struct, frozen=True, kw_only=True):
    """One judged call."""

    call: Call
    ledger: Ledger
    #: Codes of the cards that were shown, in their order.
    shown: tuple[str, ...] = ()
    #: What the roster is to remember of the patient; None: nothing.
    facts: PatientSnapshot | None = None


class Noting(Protocol):
    """What is counted while a call is judged."""

    def rule_fault(self, rule: str, fault: Exception) -> None:
        """A rule that failed."""
        ...

    def foreign_server(self) -> None:
        """A FHIR server that is not on the site's list; it was not asked."""
        ...


class Keeper:
    """Counts and records judged calls.

    Args:
        recorder: keeps the audit trail.
        metrics: counts.
    """

    def __init__(self, recorder: Recorder, metrics: Metrics) -> None:
        self._recorder = recorder
        self._metrics = metrics

    def keep(self, kept: Kept) -> None:
        """Count and record one call; never waits for the database."""
        call = kept.call
        self._metrics.findings(call.findings)
        self._metrics.not_understood(call.site, kept.ledger)
        for code in kept.shown:
            self._metrics.card(code, call.site, call.hook)
        self._recorder.record(call, kept.facts)
