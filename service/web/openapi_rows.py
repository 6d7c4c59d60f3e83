"""Schemas of what the registry answers with: rows of its tables as they are sent, and what is worked out of them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, Boolean, Column, Date, DateTime, Float, Integer

from service.alerts.dispensing import VERDICTS
from service.store.roster_tables import Alert, AlertEvent, PatientFlag, RegisteredPatient

Json = dict[str, Any]
_TEXT: Json = {"type": "string"}
_NUMBER: Json = {"type": "number"}
_WHOLE: Json = {"type": "integer"}
_MOMENT: Json = {"type": "string", "format": "date-time"}
_DAY: Json = {"type": "string", "format": "date"}
_KINDS: tuple[tuple[type[Any], Json], ...] = (
    (Boolean, {"type": "boolean"}),
    (Integer, _WHOLE),
    (Float, _NUMBER),
    (DateTime, _MOMENT),
    (Date, _DAY),
    (JSON, {"type": "array", "items": {}}),
)


def _column(column: Column[Any]) -> Json:
    kind = next((schema for type_, schema in _KINDS if isinstance(column.type, type_)), _TEXT)
    return kind if not column.nullable else {**kind, "type": [kind["type"], "null"]}


def _row(table: Any, *left_out: str) -> dict[str, Json]:
    return {c.name: _column(c) for c in table.__table__.columns if c.name not in left_out}


def _object(properties: Json, optional: tuple[str, ...] = ()) -> Json:
    return {
        "type": "object",
        "required": [name for name in properties if name not in optional],
        "properties": properties,
        "additionalProperties": True,
    }


def _list(items: Json) -> Json:
    return {"type": "array", "items": items}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _or_null(schema: Json) -> Json:
    return {**schema, "type": [schema["type"], "null"]}


_PATIENT = _row(RegisteredPatient, "facts", "swept_run", "sweeps")
_DOSE: Json = {
    "record": _TEXT,
    "reference": _TEXT,
    "status": _TEXT,
    "start": _or_null(_MOMENT),
    "end": _or_null(_MOMENT),
    "daysSupply": _or_null(_NUMBER),
    "notTaken": {"type": "boolean"},
    "mgPerDay": _or_null(_NUMBER),
    "label": _TEXT,
}
_COUNT: Json = {
    "kind": _TEXT,
    "value": _NUMBER,
    "unit": _TEXT,
    "at": _or_null(_MOMENT),
    "reference": _TEXT,
    "asSent": _TEXT,
}
_READ: Json = {
    "findings": _list(_object({"code": _ref("FindingCode"), "severity": _ref("Severity"), "summary": _TEXT})),
    "doses": _list(_object(_DOSE)),
    "counts": _list(_object(_COUNT)),
    "flags": _list(_ref("PatientFlag")),
    "history": _list(_ref("AlertEvent")),
}
_DISPENSING: Json = {
    "patient_id": _TEXT,
    "site": _TEXT,
    "policy": _TEXT,
    "worked_out_at": _MOMENT,
    "record_read_at": _or_null(_MOMENT),
    "verdict": {"type": "string", "enum": list(VERDICTS)},
    "says": _TEXT,
    "days": _or_null(_WHOLE),
    "until": _or_null(_DAY),
    "next_due": _or_null(_DAY),
    "counts": _list(_object(_COUNT)),
    "arithmetic": _or_null(_TEXT),
    "at_home": _or_null(_TEXT),
    "reasons": _list(_TEXT),
    "unconfirmed": _list(_TEXT),
    "holds": _or_null(_TEXT),
    "source": _or_null(_TEXT),
}
_GROUP: Json = {
    **dict.fromkeys(("fired", "accepted", "overridden", "unanswered"), _WHOLE),
    "overrideRate": _or_null(_NUMBER),
    "reasons": {"type": "object", "additionalProperties": _WHOLE},
    "medianSecondsToResponse": _or_null(_NUMBER),
}

SCHEMAS: Json = {
    "Severity": {"type": "string", "enum": ["info", "warning", "critical"]},
    "RegisteredPatient": _object(_PATIENT),
    "PatientPage": _object({"patients": _list(_ref("RegisteredPatient")), "next": _or_null(_TEXT)}),
    "PatientView": {
        **_object(_PATIENT | _READ | {"unreadable": _TEXT}, ("unreadable", *_READ)),
        "description": "A record that another version stored has unreadable in place of findings, doses, counts, flags and history.",
    },
    "DispensingAnswer": _object(_DISPENSING),
    "PatientFlag": _object(_row(PatientFlag)),
    "AlertEvent": _object({**_row(AlertEvent), "code": _TEXT, "subject": _TEXT, "state": _TEXT}),
    "Alert": _object({**_row(Alert, "seen"), "patient_id": _TEXT, "record_read_at": _or_null(_MOMENT)}),
    "AlertPage": _object({"alerts": _list(_ref("Alert")), "next": _or_null(_TEXT)}),
    "FlagKept": _object({"id": _WHOLE}),
    "FlagWithdrawn": _object({"withdrawn": _WHOLE}),
    "State": _object({"state": _TEXT}),
    "InHand": _object({"state": _TEXT, "by": _TEXT, "until": _MOMENT}),
    "Merged": _object({"merged": {"type": "boolean"}}),
    "Deletion": _object(
        {
            "site": _TEXT,
            "patient_hash": _TEXT,
            "deleted_at": _MOMENT,
            "deleted_by": _TEXT,
            "rows": {"type": "object", "additionalProperties": _WHOLE},
        }
    ),
    "Analytics": _object(
        {
            "since": _MOMENT, "until": _MOMENT, "by": _list(_TEXT),
            "alerts": _list({**_object(_GROUP), "description": "With one more member for each part of “by”."}),
        }
    ),
}  # fmt: skip
