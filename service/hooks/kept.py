"""What is kept of a judged call: the audit trail and the roster before it is answered, the counts after. It can come from another process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from msgspec import Struct

from cds_hooks import Card, Response
from service.alerts.facts.ledger import Ledger
from service.alerts.facts.patient import PatientSnapshot
from service.ops.metrics import Metrics
from service.trail.call import Call
from service.trail.recorder import Recorder


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

    def answered(
        self, kept: Callable[[], Kept], cards: tuple[Card, ...] = (), encoded: bytes = b""
    ) -> Response:
        """The answer to a call that was judged: recorded before it leaves, which never waits for the database, counted after.

        Args:
            kept: what is kept of the call; asked once, when the answer is about to leave.
            cards: of the answer.
            encoded: the answer, where it was written elsewhere.
        """
        recorded: list[Kept] = []

        def record() -> None:
            recorded.append(kept())
            self._recorder.record(recorded[0].call, recorded[0].facts)

        def count() -> None:
            for one in recorded:
                self._count(one)

        return Response(cards, record=record, after=count, encoded=encoded)

    def _count(self, kept: Kept) -> None:
        call = kept.call
        self._metrics.findings(call.findings)
        self._metrics.not_understood(call.site, kept.ledger)
        for code in kept.shown:
            self._metrics.card(code, call.site, call.hook)
