"""What every call asks of the registry, kept in memory and read anew every few seconds: overrides in force, clinicians' flags.

A call never waits for the database for these. When the database is away the last known state goes on.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache

from sqlalchemy import Engine, select
from sqlalchemy.exc import SQLAlchemyError

from service.alerts.facts.patient import ClinicianFlag
from service.alerts.say.silence import Silence
from service.ops.troubles import Troubles
from service.registry.roster import flag_in, patient_key
from service.store.roster_tables import PatientFlag, RegisteredPatient
from service.store.roster_tables import Silence as SilenceRow
from service.store.tables import ServiceSecret
from service.store.times import aware

log = logging.getLogger("service.registry")
_PAUSE_SECONDS = 5.0


#: An EHR asks several times about the patient whose chart is open.
_remembered_key = lru_cache(maxsize=1024)(patient_key)


class LatestFacts:
    """Overrides and flags, read in a thread of its own.

    Args:
        engine: database.
        clock: the moment; overrides that ended are not read.
    """

    def __init__(self, engine: Engine, clock: Callable[[], datetime]) -> None:
        self._engine = engine
        self._clock = clock
        self._key = b""
        self._silences: dict[str, tuple[Silence, ...]] = {}
        self._flags: dict[tuple[str, str], tuple[ClinicianFlag, ...]] = {}
        #: Reading anew: one at a time, and whoever waits for it is served by one that began after he asked.
        self._turn = threading.Lock()
        self._asked = itertools.count(1)
        self._begun = 0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="registry-memory", daemon=True)

    def start(self) -> None:
        """Begin reading."""
        self._thread.start()

    def close(self) -> None:
        """Stop reading."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(5)

    def patient_key(self, site: str, patient_id: str) -> str:
        """The keyed hash by which a patient of a site is known outside the registry; empty while the key is unknown."""
        if not self._key:
            return ""
        return _remembered_key(self._key, site, patient_id)

    def silences(self, patient_key: str) -> tuple[Silence, ...]:
        """Overrides in force for a patient."""
        return self._silences.get(patient_key, ())

    @property
    def silent_patients(self) -> bool:
        """False when no override is in force for anybody, so that nothing need be looked up."""
        return bool(self._silences)

    def flags(self, site: str, patient_id: str) -> tuple[ClinicianFlag, ...]:
        """What clinicians stated of a patient."""
        return self._flags.get((site, patient_id), ())

    def refresh(self) -> None:
        """Read anew, now. However many ask at once, one reads and the others wait for the next one. Raises SQLAlchemyError."""
        mine = next(self._asked)
        with self._turn:
            if self._begun >= mine:
                return  # another has read since
            self._begun = next(self._asked)
            self._read()

    def _read(self) -> None:
        with self._engine.connect() as connection:
            if not self._key:
                secret = connection.execute(
                    select(ServiceSecret.value).where(ServiceSecret.name == "patient-key")  # type: ignore[call-overload]
                ).scalar_one_or_none()
                self._key = bytes.fromhex(secret) if secret else b""
            table = SilenceRow.__table__  # type: ignore[attr-defined]
            silences: dict[str, list[Silence]] = {}
            for row in connection.execute(select(table).where(table.c.until > self._clock().astimezone(UTC))):
                until = aware(row.until)
                assert until is not None
                silences.setdefault(row.patient_key, []).append(
                    Silence(row.code, row.subject, row.severity_rank, until, row.seen, row.hook)
                )
            flag, patient = PatientFlag.__table__, RegisteredPatient.__table__  # type: ignore[attr-defined]
            flags: dict[tuple[str, str], list[ClinicianFlag]] = {}
            for row in connection.execute(
                select(flag, patient.c.site, patient.c.patient_id)
                .join(patient, patient.c.id == flag.c.patient)
                .where(flag.c.withdrawn_at.is_(None))
            ):
                flags.setdefault((row.site, row.patient_id), []).append(flag_in(row))
        self._silences = {key: tuple(found) for key, found in silences.items()}
        self._flags = {key: tuple(found) for key, found in flags.items()}

    def _run(self) -> None:
        troubles = Troubles(log)
        while True:
            try:
                self.refresh()
            except SQLAlchemyError as error:
                troubles.says("overrides and flags cannot be read anew", type(error).__name__)
            else:
                troubles.says("overrides and flags cannot be read anew", "")
            if self._closing.wait(_PAUSE_SECONDS):
                return
