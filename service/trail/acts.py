"""Who did what in the registry: a row for every request and every command, carried out or refused, and each as a FHIR AuditEvent.

A row names the token and the site; the patient is a keyed hash, as on cards. It stays when the patient is deleted: who looked before, and who
deleted, is to be found afterwards by whoever knows the patient's id.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import Connection, insert

from service.store.tables import RegistryAct
from service.trail import audit_event

Act = Literal[
    "list", "view", "delete", "flag", "withdraw-flag", "unenrol", "enrol", "merge", "alerts", "close", "hand", "analytics", "export", "import", "sweep", "results", "dispensing",
]  # fmt: skip
PATIENT_KEY_SYSTEM = "https://clozapine-cds.example/patient-key"
_acts: Any = RegistryAct.__table__  # type: ignore[attr-defined]
_DICOM = "http://dicom.nema.org/resources/ontology/DCM"
#: R4 audit-event-action, and restful-interaction where the act is one.
_ACTIONS: dict[str, tuple[str, str]] = {
    "list": ("R", "search-type"), "alerts": ("R", "search-type"), "analytics": ("R", "search-type"), "view": ("R", "read"),
    "export": ("R", "operation"), "flag": ("C", "create"), "import": ("C", "batch"), "withdraw-flag": ("U", "update"), "close": ("U", "update"),
    "hand": ("U", "update"), "unenrol": ("U", "update"), "enrol": ("U", "update"), "merge": ("U", "operation"), "delete": ("D", "delete"),
    "sweep": ("E", "operation"), "dispensing": ("R", "read"), "results": ("C", "batch"),
}  # fmt: skip


def note(
    connection: Connection,
    at: datetime,
    client: str,
    role: str,
    act: Act,
    *,
    site: str = "",
    patient_key: str = "",
    alert: int | None = None,
    rows: int | None = None,
    status: int = 200,
) -> None:
    """Add a row. Raises SQLAlchemyError: what cannot be noted is not done, and nothing is shown."""
    connection.execute(
        insert(_acts).values(
            at=at.astimezone(UTC),
            client=client[:200],
            role=role[:20],
            act=act,
            site=site[:100],
            patient_key=patient_key,
            alert=alert,
            rows=rows,
            status=status,
        )
    )


def event(row: Any) -> dict[str, Any]:
    """One act as an R4 AuditEvent."""
    action, interaction = _ACTIONS.get(row.act, ("E", "operation"))
    kind: dict[str, Any] = audit_event.REST
    if row.status == 401:
        kind = {"system": _DICOM, "code": "110114", "display": "User Authentication"}
    elif row.act == "export":
        kind = {"system": _DICOM, "code": "110106", "display": "Export"}
    entities: list[dict[str, Any]] = []
    if row.patient_key:
        entities.append(
            {
                "what": {"identifier": {"system": PATIENT_KEY_SYSTEM, "value": row.patient_key}},
                "type": {
                    "system": "http://terminology.hl7.org/CodeSystem/audit-entity-type",
                    "code": "1",
                    "display": "Person",
                },
                "role": {
                    "system": "http://terminology.hl7.org/CodeSystem/object-role",
                    "code": "1",
                    "display": "Patient",
                },
            }
        )
    details = [("alert", row.alert), ("rows", row.rows), ("status", row.status)]
    entities.append(
        {
            "what": {"display": f"registry: {row.act}"},
            "detail": [
                {"type": name, "valueString": str(value)} for name, value in details if value is not None
            ],
        }
    )
    name = row.client or "unknown token"
    return {
        "resourceType": "AuditEvent",
        "id": f"registry-{row.id}",
        "type": kind,
        "subtype": [
            {"system": "http://hl7.org/fhir/restful-interaction", "code": interaction},
            {"system": "https://clozapine-cds.example/CodeSystem/registry-act", "code": row.act},
        ],
        "action": action,
        "recorded": audit_event.recorded(row.at),
        **audit_event.outcome(row.status, "It was refused"),
        "agent": [
            {
                "requestor": True,
                "who": {"identifier": {"value": name}},
                "name": name,
                **({"role": [{"text": row.role}]} if row.role else {}),
            }
        ],
        "source": {"observer": {"display": "clozapine-cds"}, **({"site": row.site} if row.site else {})},
        "entity": entities,
    }
