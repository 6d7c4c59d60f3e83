"""What clinicians stated of the treatment itself: the statement that holds is the last of hold, stop and restart."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from service.alerts.case.exposure import is_live
from service.alerts.facts.patient import CLOZAPINE, ClinicianFlag, Medication
from service.alerts.facts.record_text import RecordText

#: Statements of which the newest holds.
OF_TREATMENT = ("hold", "stop", "restart")


def standing_statement(flags: Iterable[ClinicianFlag]) -> ClinicianFlag | None:
    """The hold or stop in force; None when none was stated, or a restart since."""
    newest = max((f for f in flags if f.kind in OF_TREATMENT), key=lambda f: f.at, default=None)
    return newest if newest is not None and newest.kind != "restart" else None


def halted_by(
    flags: Iterable[ClinicianFlag], records: Iterable[Medication], as_of: datetime
) -> Medication | None:
    """The hold or stop in force as a record that clozapine is not taken since the last dose; None while the EHR shows that it is.

    A statement never silences the record: an order that runs, a supply or a dose after it, and treatment counts as going on.
    """
    flag = standing_statement(f for f in flags if f.holds(as_of))
    if flag is None or flag.since is None:
        return None
    for m in records:
        if m.not_taken or m.stops:
            continue
        begun_since = m.start is not None and flag.since < m.start <= as_of
        if (m.role in ("order", "statement") and is_live(m, as_of)) or (m.role != "order" and begun_since):
            return None
    return Medication(
        ref=f"#{flag.kind}",
        role="statement",
        drugs=(CLOZAPINE,),
        label=RecordText(f"clozapine ({flag.kind} stated in this service's registry)"),
        status="not-taken",
        start=flag.since,
        authored=flag.at,
        not_taken=True,
        stop_reason=flag.text,
    )
