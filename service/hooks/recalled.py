"""What this service remembers, put to use in a call: facts the EHR's data lack, clinicians' flags, overrides in force."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import date, datetime, time
from typing import Protocol

from msgspec.structs import replace
from sqlalchemy import Engine

from service.alerts.case.course import course_of
from service.alerts.case.ending import is_over_undated
from service.alerts.case.exposure import is_live
from service.alerts.case.remembered import enrich
from service.alerts.facts.patient import ClinicianFlag, FromRegistry, PatientSnapshot, SourceName
from service.alerts.say.finding import Finding
from service.alerts.say.seen import Seen
from service.alerts.say.silence import Silence, audible
from service.ops.troubles import Troubles
from service.options.site import Site
from service.registry.roster import facts_of, is_on

log = logging.getLogger("service.hooks")
#: A call waits so long for the registry; then it is answered without.
_PATIENCE_SECONDS = 0.15
#: Sources without which the registry is asked.
_WORTH_ASKING: tuple[SourceName, ...] = (
    "medications", "counts", "labs", "conditions", "statements", "dispenses", "administrations",
)  # fmt: skip
_UNREADABLE = FromRegistry()


#: Facts, the day they are of, the first day of clozapine; and whether the patient is registered as on it.
Known = tuple[tuple[PatientSnapshot, datetime, date | None], bool]
#: What the registry holds of a patient (site, id); None: nothing.
Asking = Callable[[str, str], Awaitable[Known | None]]


class Latest(Protocol):
    """Overrides and flags, in memory (``service.registry.latest_facts``)."""

    def patient_key(self, site: str, patient_id: str) -> str:
        """The keyed hash of a patient."""
        ...

    def silences(self, patient_key: str) -> tuple[Silence, ...]:
        """Overrides in force."""
        ...

    @property
    def silent_patients(self) -> bool:
        """Whether any is in force for anybody."""
        ...

    def flags(self, site: str, patient_id: str) -> tuple[ClinicianFlag, ...]:
        """What clinicians stated."""
        ...


def asking(engine: Engine) -> Asking:
    """Asks the database."""

    def read(site: str, patient_id: str) -> Known | None:
        with engine.connect() as connection:
            facts = facts_of(connection, site, patient_id)
            return (facts, is_on(connection, site, patient_id)) if facts is not None else None

    async def ask(site: str, patient_id: str) -> Known | None:
        return await asyncio.to_thread(read, site, patient_id)

    return ask


class Recalled:
    """Reads the registry for calls.

    Args:
        ask: what it holds of a patient.
        latest: overrides and flags.
    """

    def __init__(self, ask: Asking, latest: Latest) -> None:
        self._ask = ask
        self.latest = latest
        self._troubles = Troubles(log)

    async def enriched(self, site: Site, snapshot: PatientSnapshot, as_of: datetime) -> PatientSnapshot:
        """The facts of a call with what the registry adds; the database is asked only when the call's data lack something."""
        flags = self.latest.flags(site.name, snapshot.patient_id)
        if flags:
            snapshot = replace(snapshot, flags=flags)
        if not site.options.enrol or not _lacking(site, snapshot, as_of):
            return snapshot
        try:
            known = await asyncio.wait_for(self._ask(site.name, snapshot.patient_id), _PATIENCE_SECONDS)
        except Exception as error:  # what is remembered must not keep what was sent from being judged
            self._troubles.says("the registry cannot be read in calls", type(error).__name__)
            return replace(snapshot, remembered=(_UNREADABLE,))
        self._troubles.says("the registry cannot be read in calls", "")
        if known is None:
            return snapshot
        (facts, known_at, start), on = known
        first_day = datetime.combine(start, time(), site.zone) if start is not None else None
        snapshot = replace(snapshot, registered=on)
        return enrich(snapshot, facts, snapshot.day(known_at), first_day, known_at)

    def audible(
        self,
        site: Site,
        patient_key: str,
        findings: Sequence[Finding],
        snapshot: PatientSnapshot,
        as_of: datetime,
    ) -> Sequence[Finding]:
        """The findings that no override in force silences; ``snapshot`` has the facts they rest on."""
        if not findings or not site.options.snooze_days or not self.latest.silent_patients:
            return findings
        silences = self.latest.silences(patient_key)
        if not silences:
            return findings
        return audible(findings, silences, as_of, snapshot.hook, Seen(snapshot, findings))


def _lacking(site: Site, snapshot: PatientSnapshot, as_of: datetime) -> bool:
    """A source that matters was not read, or nothing in the record tells since when clozapine is taken, or until when it was."""
    for source in _WORTH_ASKING:
        if snapshot.state(source) != "complete" and source not in site.options.not_sent:
            return True
    if any(m.unread for m in snapshot.medications):
        return True
    records = [m for m in snapshot.medications if "clozapine" in m.drugs]
    if any(is_over_undated(m, as_of) for m in records) and not any(is_live(m, as_of) for m in records):
        return True
    for m in records:
        if m.start is not None or m.authored is not None:
            return False
    if not records:
        return False
    policy = site.policy.on(as_of.astimezone(snapshot.zone).date())
    course = course_of(
        records,
        as_of,
        policy.interruption,
        shortest_break=policy.shortest_break,
        chart_kept=policy.chart_kept,
    )
    return course.start is None
