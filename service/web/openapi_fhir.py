"""The FHIR part of the OpenAPI document: the operation at its three levels, and what describes it."""

from __future__ import annotations

import re
from typing import Any

from service.conformance.capability import SERVED
from service.conformance.routes import INSTANCE_PATH, TYPE_PATH
from service.operation.bundles import READ
from service.operation.content import MEDIA_TYPE
from service.operation.endpoint import NAME, PATH
from service.operation.standing import STANDINGS

Json = dict[str, Any]
_TEXT: Json = {"type": "string"}
_MOMENT: Json = {"type": "string", "format": "date-time"}


def ref(name: str) -> Json:
    """A schema of the components."""
    return {"$ref": f"#/components/schemas/{name}"}


def _resource(kind: str, required: list[str], properties: Json, description: str) -> Json:
    """A FHIR resource: what is said of it here, and whatever else it holds."""
    return {
        "type": "object",
        "description": description,
        "required": ["resourceType", *required],
        "properties": {"resourceType": {"const": kind, "type": "string"}, **properties},
        "additionalProperties": True,
    }


def _open(required: list[str], properties: Json) -> Json:
    return {"type": "object", "required": required, "properties": properties, "additionalProperties": True}


def _list(items: Json) -> Json:
    return {"type": "array", "items": items}


def _one_of(description: str, **by_type: str) -> Json:
    return {
        "description": description,
        "oneOf": [ref(name) for name in by_type.values()],
        "discriminator": {
            "propertyName": "resourceType",
            "mapping": {kind: f"#/components/schemas/{name}" for kind, name in by_type.items()},
        },
    }


_CONCEPT = _open([], {"coding": _list(ref("AnyCoding")), "text": _TEXT})
_REFERENCE = _open([], {"reference": _TEXT, "display": _TEXT})

SCHEMAS: Json = {
    "AnyCoding": _open([], {"system": _TEXT, "code": _TEXT, "display": _TEXT}),
    "AnyResource": {
        "type": "object",
        "description": "A FHIR R4 resource.",
        "properties": {"resourceType": _TEXT},
        "additionalProperties": True,
    },
    "RecordBundle": _resource(
        "Bundle",
        ["type"],
        {
            "type": {"enum": list(READ), "type": "string"},
            "entry": _list(_open([], {"fullUrl": _TEXT, "resource": ref("AnyResource")})),
        },
        "The record of one patient. MedicationRequests with status draft are the orders that are asked about.",
    ),
    "CheckParameters": _resource(
        "Parameters",
        ["parameter"],
        {
            "parameter": _list(
                _open(
                    ["name"],
                    {
                        "name": {
                            "type": "string",
                            "enum": [
                                "bundle",
                                "resource",
                                "patient",
                                "event",
                                "asOf",
                                "order",
                                "unavailable",
                            ],
                            "description": "bundle (or resource): the record, once, required. patient: id or reference. event: a hook "
                            "name. asOf: the moment of the question. order: a MedicationRequest or MedicationDispense, or a reference "
                            "to one in the Bundle. unavailable: a kind of data the record leaves out.",
                        },
                        "resource": ref("AnyResource"),
                        "valueCode": _TEXT,
                        "valueId": _TEXT,
                        "valueString": _TEXT,
                        "valueDateTime": _TEXT,
                        "valueReference": _REFERENCE,
                    },
                )
            )
        },
        "The record with more to say.",
    ),
    "CheckRequest": _one_of(
        "The record as a Bundle, or Parameters that hold it.",
        Bundle="RecordBundle",
        Parameters="CheckParameters",
    ),
    "DetectedIssue": _resource(
        "DetectedIssue",
        ["id", "status", "code", "severity", "detail"],
        {
            "id": _TEXT,
            "status": {"const": "final", "type": "string"},
            "code": _open(["coding"], {"coding": _list(ref("AnyCoding")), "text": _TEXT}),
            "severity": {"enum": ["high", "moderate", "low"], "type": "string"},
            "patient": _REFERENCE,
            "identifiedDateTime": _MOMENT,
            "implicated": _list(_REFERENCE),
            "evidence": _list(_open([], {"code": _list(_CONCEPT), "detail": _list(_REFERENCE)})),
            "detail": _TEXT,
            "reference": _TEXT,
            "mitigation": _list(_open(["action"], {"action": _CONCEPT})),
        },
        "A finding; the first coding is this service's, the second HL7's (v3-ActCode).",
    ),
    "Provenance": _resource(
        "Provenance",
        ["target", "recorded", "policy"],
        {
            "target": _list(_REFERENCE),
            "occurredDateTime": _MOMENT,
            "recorded": _MOMENT,
            "policy": _list(_TEXT),
            "entity": _list(_open(["role", "what"], {"role": _TEXT, "what": _REFERENCE})),
        },
        "Which policy and version said so, as of when, and how much of the record was read.",
    ),
    "AnswerOutcome": _resource(
        "OperationOutcome",
        ["issue"],
        {
            "issue": _list(
                _open(
                    ["severity", "code", "details"],
                    {
                        "severity": {"enum": ["error", "warning", "information"], "type": "string"},
                        "code": _TEXT,
                        "details": _open(["text"], {"coding": _list(ref("AnyCoding")), "text": _TEXT}),
                        "expression": _list(_TEXT),
                    },
                )
            )
        },
        f"The first issue says what the answer says as a whole: {', '.join(STANDINGS)}. The others name what was left out, by its entry.",
    ),
    "CheckAnswer": _resource(
        "Bundle",
        ["type", "timestamp", "entry"],
        {
            "type": {"const": "collection", "type": "string"},
            "timestamp": _MOMENT,
            "entry": _list(
                _open(
                    ["fullUrl", "resource"],
                    {
                        "fullUrl": _TEXT,
                        "resource": _one_of(
                            "What was found, why it can be trusted, and what was left out.",
                            DetectedIssue="DetectedIssue",
                            Provenance="Provenance",
                            OperationOutcome="AnswerOutcome",
                        ),
                    },
                )
            ),
        },
        "DetectedIssues, most severe first; one Provenance; one OperationOutcome.",
    ),
}


def paths(errors: Json, security: list[Json]) -> Json:
    """The routes below ``/fhir``.

    Args:
        errors: answers by status, as ``application/json``.
        security: of calls.
    """
    told = {s: e | {"content": {MEDIA_TYPE: e["content"]["application/json"]}} for s, e in errors.items()}
    not_acceptable = told["415"] | {"description": "Neither Accept nor _format takes FHIR R4 as JSON."}
    instance = {"name": "id", "in": "path", "required": True, "schema": _TEXT}
    described = {
        "/fhir/metadata": _get("capabilities", "What this FHIR server can do", [], told, not_acceptable),
    }
    for name in SERVED:
        query = [
            {"name": n, "in": "query", "required": False, "schema": _TEXT} for n in ("url", "_id", "_format")
        ]
        described[f"/fhir/{name}"] = _get(
            f"search-{_words(name)}", f"{name}s of this service", query, told, not_acceptable
        )
        described[f"/fhir/{name}/{{id}}"] = _get(f"read-{_words(name)}", f"One {name}", [instance], told, not_acceptable, missing=True)  # fmt: skip
    return {
        PATH: {"post": _check(NAME, [], told, not_acceptable, security)},
        TYPE_PATH: {"post": _check(f"{NAME}-type", [], told, not_acceptable, security)},
        INSTANCE_PATH: {"post": _check(f"{NAME}-instance", [instance], told, not_acceptable, security)},
        **described,
    }


def _words(name: str) -> str:
    """``CodeSystem`` as ``code-system``."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", name).lower()


def _check(operation: str, parameters: list[Json], told: Json, refused: Json, security: list[Json]) -> Json:
    body = {"schema": ref("CheckRequest")}
    return {
        "operationId": operation,
        "summary": "The clozapine check for systems without CDS Hooks",
        "description": "The same rules and findings as the hooks, as FHIR: one DetectedIssue for each finding, most severe first, "
        "one Provenance that names policy and version, and one OperationOutcome that says what the answer says as a whole and what was "
        "left out. application/json is read, too; gzip is taken and sent.",
        "tags": ["FHIR"],
        "security": security,
        "parameters": parameters,
        "requestBody": {"required": True, "content": {MEDIA_TYPE: body}},
        "responses": {
            "200": {
                "description": "What was found.",
                "content": {MEDIA_TYPE: {"schema": ref("CheckAnswer")}},
            },
            "406": refused,
            **told,
        },
    }


def _get(operation: str, summary: str, parameters: list[Json], told: Json, refused: Json, *, missing: bool = False) -> Json:  # fmt: skip
    answers: Json = {
        "200": {"description": summary, "content": {MEDIA_TYPE: {"schema": ref("AnyResource")}}},
        "406": refused,
        "421": told["421"],
    }
    if missing:
        answers["404"] = told["400"] | {"description": "There is none of this id."}
    return {
        "get": {
            "operationId": operation,
            "summary": summary,
            "tags": ["FHIR"],
            "security": [],
            "parameters": parameters,
            "responses": answers,
        }
    }
