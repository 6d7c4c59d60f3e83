"""Registered patients for tests: facts as a call would leave them, many at once."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import Engine, insert

from service.alerts.case import remembered
from service.alerts.facts.patient import Dose, Measurement, Medication, PatientSnapshot
from service.store.roster_tables import RegisteredPatient
from tests.data import NOW

ZONE = ZoneInfo("America/New_York")
COMPLETE = dict.fromkeys(
    ("patient", "medications", "statements", "dispenses", "administrations", "counts", "labs", "vitals", "conditions", "allergies", "smoking"),
    "complete",
)  # fmt: skip


def anc(value: float, days: float, id: str = "anc-1") -> Measurement:
    """A neutrophil count so many days before NOW."""
    return Measurement(
        "anc", value, NOW - timedelta(days=days), f"Observation/{id}", f"{value / 1000:g} 10*3/uL"
    )


def facts(patient: str, *counts: Measurement, course_days: int = 500, **more: object) -> PatientSnapshot:
    """A patient on clozapine for so many days, with these counts."""
    order = Medication(
        ref=f"MedicationRequest/{patient}",
        role="order",
        drugs=("clozapine",),
        label="clozapine 100 MG Oral Tablet",
        start=NOW - timedelta(days=course_days),
        authored=NOW - timedelta(days=course_days),
        dose=Dose(300, 300, 300, 1),
    )
    laxative = Medication(ref=f"MedicationRequest/{patient}-l", role="order", drugs=("senna",), label="senna")
    return PatientSnapshot(
        patient_id=patient,
        hook="sweep",
        zone=ZONE,
        sex="female",
        birth_date=date(1984, 5, 2),
        medications=(order, laxative),
        measurements={"anc": counts}
        | {k: (_normal(k),) for k in ("ecg", "weight", "glucose", "ldl", "alt", "systolic")},
        sources=COMPLETE,
        **more,
    )


def _normal(kind: str) -> Measurement:
    value = {"ecg": 1.0, "weight": 71, "glucose": 92, "ldl": 101, "alt": 21, "systolic": 122}[kind]
    return Measurement(kind, value, NOW - timedelta(days=10), f"Observation/{kind}", f"{value}")


def register(engine: Engine, site: str, people: list[PatientSnapshot]) -> None:
    """Put patients on the roster in one go."""
    at = datetime(2026, 11, 1, tzinfo=UTC)
    table = RegisteredPatient.__table__
    with engine.begin() as connection:
        connection.execute(
            insert(table),
            [
                {
                    "site": site, "patient_id": p.patient_id, "state": "on", "enrolled_at": at, "enrolled_by": "test",
                    "policy": "us-label-2025", "facts": remembered.dump(p), "facts_at": at, "swept_run": 0, "sweeps": 0,
                }
                for p in people
            ],
        )  # fmt: skip
