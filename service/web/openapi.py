"""The OpenAPI 3.1 document, written by hand: the hot routes bypass FastAPI's machinery, and the document must say what they accept."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from cds_hooks import HOOKS
from service.alerts.say.finding_codes import finding_codes
from service.fhir.queries import QUERIES
from service.hooks.services import services
from service.web import openapi_fhir, openapi_registry, openapi_rows

_OUTCOME = {"$ref": "#/components/schemas/OperationOutcome"}


def _error(description: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": _OUTCOME}}}


_ERRORS = {
    "400": _error(
        "Malformed: not JSON, a required field missing or of the wrong type, another hook than the service's."
    ),
    "413": _error("The body is too large."),
    "415": _error("The body is not uncompressed JSON in UTF-8."),
    "401": _error(
        "Authentication is on, and the call carries no client token that opens this address. The reason stands in the service's log."
    ),
    "421": _error("Without authentication: the Host is no name of this machine."),
    "429": _error("More calls per second than this EHR may make; see Retry-After."),
    "503": _error("All places are taken, or the call took too long; see Retry-After. Nothing was checked."),
    "500": _error("The service failed; nothing was checked. The text names an incident id."),
}

#: Open mode needs no token.
_SECURITY: list[dict[str, list[str]]] = [{"clientToken": []}, {}]
_CLIENT_TOKEN = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "JWT",
    "description": "JWT of the EHR, signed with ES384 or RS384: iss, aud (this very address), exp, iat, jti; tenant optional. Each token opens once.",
}


def _object(required: list[str], properties: dict[str, Any], description: str = "") -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        schema["required"] = required
    if description:
        schema["description"] = description
    return schema


_TEXT = {"type": "string"}
_RESOURCE = openapi_fhir.ref("AnyResource")
_FINDING_CODE = {"$ref": "#/components/schemas/FindingCode"}
_CODING = _object(["system", "code"], {"system": _TEXT, "code": _TEXT, "display": _TEXT})

_CONTEXT_PROPERTIES: dict[str, Any] = {
    "userId": {"type": "string", "examples": ["Practitioner/dr-lee"]},
    "patientId": {"type": "string", "examples": ["clz-p1"]},
    "encounterId": _TEXT,
    "selections": {
        "type": "array",
        "items": _TEXT,
        "description": "Ids of the newly selected orders, e.g. MedicationRequest/103.",
    },
    "draftOrders": {**_RESOURCE, "description": "Bundle of the unsigned orders of the session."},
    "medications": {**_RESOURCE, "description": "Bundle of draft MedicationRequests."},
    "medication": {**_RESOURCE, "description": "The MedicationRequest being verified."},
}


def _request_schema(hook: str) -> dict[str, Any]:
    required = list(HOOKS[hook].required)
    names = dict.fromkeys([*required, "userId", "patientId", "encounterId"])
    return _object(
        ["hook", "hookInstance", "context"],
        {
            "hook": {"const": hook},
            "hookInstance": {"type": "string", "description": "UUID of this hook call."},
            "context": _object(required, {name: _CONTEXT_PROPERTIES[name] for name in names}),
            "prefetch": {
                "type": "object",
                "description": "Any of the keys of the discovery document; a value may be a resource, a Bundle, null or an OperationOutcome.",
                "properties": {key: {"type": ["object", "null"]} for key in QUERIES},
            },
            "fhirServer": {
                "type": "string",
                "description": "Read only when it is on this site's allow-list.",
            },
            "fhirAuthorization": _object(
                ["access_token", "token_type"],
                {
                    "access_token": _TEXT,
                    "token_type": {"const": "Bearer"},
                    "expires_in": {"type": "integer"},
                    "scope": _TEXT,
                    "subject": _TEXT,
                    "patient": _TEXT,
                },
            ),
        },
    )


_SCHEMAS: dict[str, Any] = {
    "OperationOutcome": _object(
        ["resourceType", "issue"],
        {
            "resourceType": {"const": "OperationOutcome"},
            "issue": {
                "type": "array",
                "items": _object(
                    ["severity", "code"],
                    {
                        "severity": {"enum": ["error"]},
                        "code": _TEXT,
                        "details": _object([], {"text": _TEXT}),
                        "expression": {"type": "array", "items": _TEXT},
                    },
                ),
            },
        },
        "What is wrong, what was expected and what to do.",
    ),
    "Coding": _CODING,
    "FindingCode": {
        "type": "string",
        "enum": sorted(finding_codes()),
        "description": "Code of a finding; docs/findings.md says what each means. A later version may add some.",
    },
    "FindingCoding": _object(["system", "code"], {"system": _TEXT, "code": _FINDING_CODE, "display": _TEXT}, "A finding."),
    "Action": _object(
        ["type", "description"],
        {"type": {"enum": ["create", "update", "delete"]}, "description": _TEXT, "resource": _RESOURCE, "resourceId": _TEXT},
    ),
    "Suggestion": _object(
        ["label", "uuid"],
        {
            "label": _TEXT,
            "uuid": _TEXT,
            "isRecommended": {"type": "boolean"},
            "actions": {"type": "array", "items": {"$ref": "#/components/schemas/Action"}},
        },
    ),
    "Card": _object(
        ["uuid", "summary", "indicator", "source"],
        {
            "uuid": _TEXT,
            "summary": {"type": "string", "maxLength": 139},
            "indicator": {"enum": ["info", "warning", "critical"]},
            "detail": {"type": "string", "description": "GitHub-flavoured Markdown without raw HTML."},
            "source": _object(["label"], {"label": _TEXT, "url": _TEXT, "topic": {"$ref": "#/components/schemas/FindingCoding"}}),
            "suggestions": {"type": "array", "items": {"$ref": "#/components/schemas/Suggestion"}},
            "selectionBehavior": {"enum": ["at-most-one", "any"]},
            "overrideReasons": {"type": "array", "items": {"$ref": "#/components/schemas/Coding"}},
            "links": {
                "type": "array",
                "items": _object(["label", "url", "type"], {"label": _TEXT, "url": _TEXT, "type": {"enum": ["absolute", "smart"]}}),
            },
        },
    ),
    "Cards": _object(["cards"], {"cards": {"type": "array", "items": {"$ref": "#/components/schemas/Card"}}}),
    "Feedback": _object(
        ["feedback"],
        {
            "feedback": {
                "type": "array",
                "items": _object(
                    ["card", "outcome", "outcomeTimestamp"],
                    {
                        "card": _TEXT,
                        "outcome": {"enum": ["accepted", "overridden"]},
                        "outcomeTimestamp": {"type": "string", "format": "date-time"},
                        "acceptedSuggestions": {"type": "array", "items": _object(["id"], {"id": _TEXT})},
                        "overrideReason": _object([], {"reason": {"$ref": "#/components/schemas/Coding"}, "userComment": _TEXT}),
                    },
                ),
            }
        },
    ),
    "Discovery": _object(
        ["services"],
        {
            "services": {
                "type": "array",
                "items": _object(
                    ["hook", "description", "id"],
                    {
                        "hook": _TEXT, "title": _TEXT, "description": _TEXT, "id": _TEXT, "version": _TEXT, "hookVersion": _TEXT,
                        "usageRequirements": _TEXT, "prefetch": {"type": "object", "additionalProperties": _TEXT},
                    },
                ),
            }
        },
    ),
    "Health": _object(["status"], {"status": {"enum": ["pass", "warn", "fail"]}, "version": _TEXT, "checks": {"type": "object"}}),
}  # fmt: skip


def _json(schema: dict[str, Any], description: str, media: str = "application/json") -> dict[str, Any]:
    return {"description": description, "content": {media: {"schema": schema}}}


def _page(operation: str, summary: str, media: dict[str, Any]) -> dict[str, Any]:
    return {
        "get": {
            "operationId": operation,
            "summary": summary,
            "tags": ["Governance"],
            "responses": {"200": {"description": summary, "content": media}},
        }
    }


#: Of routes that ``ops_token_sha256`` closes.
_OPERATORS = _error("A token of operators is configured, and the request does not bear it.")


def _of_policy(operation: str, summary: str, what: str, media: dict[str, Any]) -> dict[str, Any]:
    """What there is of one policy."""
    return {
        "get": {
            "operationId": operation,
            "summary": summary,
            "tags": ["Governance"],
            "parameters": [{"name": "id", "in": "path", "required": True, "schema": _TEXT}],
            "responses": {
                "200": {"description": what, "content": media},
                "401": _OPERATORS,
                "404": _error("No such policy."),
            },
        }
    }


def _service_paths() -> dict[str, Any]:
    paths: dict[str, Any] = {}

    async def unused(_: Any) -> Any:
        raise NotImplementedError

    for service in services(unused):
        name = f"Request-{service.hook}"
        _SCHEMAS[name] = _request_schema(service.hook)
        paths[f"/cds-services/{service.id}"] = {
            "post": {
                "operationId": service.id,
                "security": _SECURITY,
                "summary": service.title,
                "description": service.description,
                "tags": ["CDS Hooks"],
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}},
                },
                "responses": {
                    "200": _json(
                        {"$ref": "#/components/schemas/Cards"},
                        "Cards, most severe first; empty when there is nothing to say. A call that could not be judged (412, 413, 429, 500, 503) and hints at "
                        "clozapine gets one card of the code data-unavailable that says so, unless the EHR's setting errors is status.",
                    ),
                    "412": _error(
                        "Nothing that matters could be read, neither from prefetch nor from the FHIR server."
                    ),
                    **_ERRORS,
                },
            }
        }
        paths[f"/cds-services/{service.id}/feedback"] = {
            "post": {
                "operationId": f"{service.id}-feedback",
                "security": _SECURITY,
                "summary": "What became of the cards",
                "tags": ["CDS Hooks"],
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Feedback"}}},
                },
                "responses": {
                    "204": {"description": "Stored."},
                    **_ERRORS,
                    "503": _error("The feedback could not be stored; see Retry-After. Send it again."),
                },
            }
        }
    return paths


def document() -> dict[str, Any]:
    """The document served at ``/openapi.json`` and kept in ``openapi/openapi.json``."""
    health = _json({"$ref": "#/components/schemas/Health"}, "Healthy.", "application/health+json")
    unhealthy = _json(
        {"$ref": "#/components/schemas/Health"}, "Not ready, with the reasons.", "application/health+json"
    )
    html: dict[str, Any] = {"text/html": {"schema": _TEXT}}
    policy_media = {"application/json": {"schema": {"type": "object"}}, **html}
    paths: dict[str, Any] = {
        "/cds-services": {
            "get": {
                "operationId": "discovery",
                "security": _SECURITY,
                "summary": "Discovery",
                "tags": ["CDS Hooks"],
                "responses": {
                    "200": _json({"$ref": "#/components/schemas/Discovery"}, "The services offered."),
                    **{status: _ERRORS[status] for status in ("401", "421", "429", "503")},
                },
            }
        },
        **_service_paths(),
        **openapi_fhir.paths(_ERRORS, _SECURITY),
        "/health/live": {
            "get": {
                "operationId": "health-live",
                "summary": "The process answers",
                "tags": ["Operations"],
                "responses": {"200": health},
            }
        },
        "/health/ready": {
            "get": {
                "operationId": "health-ready",
                "summary": "Calls can be answered and recorded",
                "tags": ["Operations"],
                "responses": {"200": health, "503": unhealthy},
            }
        },
        "/health": {
            "get": {
                "operationId": "health",
                "summary": "Health in detail",
                "tags": ["Operations"],
                "responses": {"200": health, "401": _OPERATORS, "503": unhealthy},
            }
        },
        "/metrics": {
            "get": {
                "operationId": "metrics",
                "summary": "Prometheus metrics",
                "tags": ["Operations"],
                "responses": {
                    "200": {"description": "Metrics.", "content": {"text/plain": {"schema": _TEXT}}},
                    "401": _OPERATORS,
                },
            }
        },
        "/policies": _page("policies", "The shipped monitoring policies", policy_media),
        "/policies/{id}": _of_policy(
            "policy", "One policy: as JSON, or as a page where HTML is asked for", "The policy.", policy_media
        ),
        "/policies/{id}/patient": _of_policy(
            "patient-sheet",
            "The sheet for the patient that belongs to a policy: as JSON, or as a page to print where HTML is asked for",
            "The sheet.",
            policy_media,
        ),
    }
    paths |= openapi_registry.paths()
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Clozapine safety service",
            "version": version("clozapine-cds"),
            "description": "CDS Hooks 3.0 (readable by 2.0 clients) checks for clozapine: blood counts, missed doses, interactions, "
            "overdue monitoring.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        # Relative to where the document was fetched.
        "servers": [{"url": "/", "description": "The service that gave this document."}],
        "security": [],
        "tags": [{"name": n} for n in ("CDS Hooks", "FHIR", "Registry", "Governance", "Operations")],
        "paths": paths,
        "components": {
            "schemas": _SCHEMAS | openapi_fhir.SCHEMAS | openapi_rows.SCHEMAS,
            "securitySchemes": {"clientToken": _CLIENT_TOKEN, **openapi_registry.SECURITY_SCHEMES},
        },
    }
