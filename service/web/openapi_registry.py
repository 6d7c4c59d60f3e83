"""The registry's part of the OpenAPI document."""

from __future__ import annotations

from typing import Any

from service.registry.statements import KINDS
from service.registry.worklist import STATUSES
from service.trail.analytics import DIMENSIONS

_TEXT = {"type": "string"}
_SECURITY: list[dict[str, list[str]]] = [{"registryToken": []}]


def _outcome(description: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/OperationOutcome"}
    return {"description": description, "content": {"application/json": {"schema": schema}}}


_ERRORS = {
    "400": _outcome("A parameter or the body cannot be used; the text names it."),
    "401": _outcome("No token, or an unknown one."),
    "403": _outcome("The token's role or sites do not cover this."),
    "421": _outcome("Without authentication: the Host is no name of this machine."),
    "429": _outcome("Too many requests with a wrong token; see Retry-After."),
    "503": _outcome("The database is away; nothing was changed. See Retry-After."),
}


def _query(name: str, description: str, schema: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": description, "schema": schema or _TEXT}


def _path(name: str, schema: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": schema or _TEXT}


def _body(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _operation(
    operation_id: str,
    answer: str,
    summary: str,
    *parameters: dict[str, Any],
    role: str = "viewer",
    body: dict[str, Any] | None = None,
    missing: bool = False,
    conflict: bool = False,
) -> dict[str, Any]:
    answers: dict[str, Any] = {
        "200": {
            "description": summary,
            "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{answer}"}}},
        }
    }
    if missing:
        answers["404"] = _outcome("There is no such patient, flag or alert at this site.")
    if conflict:
        answers["409"] = _outcome("The alert is not open any more, or cannot be closed; the text says why.")
    if body is not None:
        answers["415"] = _outcome("Without authentication: the body is not `application/json`.")
    operation: dict[str, Any] = {
        "operationId": operation_id,
        "summary": summary,
        "description": f"Role: {role}.",
        "tags": ["Registry"],
        "security": _SECURITY,
        "parameters": list(parameters),
        "responses": answers | _ERRORS,
    }
    return operation | ({"requestBody": body} if body is not None else {})


def _pushed(site: dict[str, Any]) -> dict[str, Any]:
    """Results of one or many patients, by integration engines."""
    fhir = {"application/fhir+json": {"schema": {"type": "object"}}}
    return {
        "operationId": "process-results",
        "summary": "Results of one or many patients: stored, judged at once",
        "description": "A Bundle (transaction, batch, message, collection, history, searchset) or one resource. The answer says for each "
        "entry whether it was taken, is irrelevant, of an unknown patient, or not understood. Role: sender.",
        "tags": ["Results"],
        "security": _SECURITY,
        "parameters": [site],
        "requestBody": {"required": True, "content": fhir},
        "responses": {
            "200": {
                "description": "What became of each entry; what was taken is in the database.",
                "content": fhir,
            },
            "413": _outcome("The body is larger than 5 MiB."),
            "415": _outcome("The body is not uncompressed JSON in UTF-8."),
            "422": _outcome("This is no delivery of results, and will never be."),
            **_ERRORS,
        },
    }


#: Where EHRs tell of changes.
_NOTIFY = "/fhir/notify/{site}/{key}"


def _told(parameters: list[dict[str, Any]], operation_id: str, summary: str, *, body: bool) -> dict[str, Any]:
    """A notification of a FHIR Subscription."""
    fhir = {"application/fhir+json": {"schema": {"type": "object"}}}
    operation: dict[str, Any] = {
        "operationId": operation_id,
        "summary": summary,
        "description": "By the EHR, with the address and the bearer token of its Subscription.",
        "tags": ["Results"],
        "security": [{"subscriptionToken": []}],
        "parameters": parameters,
        "responses": {
            "204": {"description": "It is stored."},
            "401": {"description": "No Subscription has this address and token."},
            "413": {"description": "The body is larger than 1 MiB."},
            "415": {"description": "The body is not uncompressed JSON in UTF-8."},
            "422": {"description": "This is no notification, and will never be."},
            "429": {"description": "Too many wrong tokens."},
            "503": {"description": "The database cannot be used now; nothing was stored. Send it again."},
        },
    }
    return operation | ({"requestBody": {"required": False, "content": fhir}} if body else {})


SECURITY_SCHEMES = {
    "subscriptionToken": {
        "type": "http",
        "scheme": "bearer",
        "description": "The token of one Subscription, in its `channel.header`.",
    },
    "registryToken": {
        "type": "http",
        "scheme": "bearer",
        "description": "A token of the settings' clients; not needed on loopback while authentication is off and no client is set.",
    },
}


def paths() -> dict[str, Any]:
    """The registry's routes."""
    site = _query("site", "Name of the site; the token's or the configured one by default.")
    one = "/registry/patients/{id}"
    limit = _query(
        "limit", "Rows of a page.", {"type": "integer", "minimum": 1, "maximum": 500, "default": 50}
    )
    cursor = _query("cursor", "The `next` of the page before.")
    patient = _path("id")
    subscription = [_path("site"), _path("key")]
    flag = {
        "kind": {"enum": list(KINDS)},
        "text": _TEXT,
        "by": {**_TEXT, "description": "The clinician; the token's name by default."},
        "continueAt": {
            "type": "number",
            "description": "Deviation: treatment goes on from this ANC on, cells/µL.",
        },
        "expires": {**_TEXT, "description": "Date or moment, ISO 8601."},
        "details": {
            "type": "object",
            "description": "What only this kind says: hold, stop: lastDose, reason, countsGoOn; restart: firstDose; do-not-rechallenge: reasons, scope, nadir, nadirOn, listedAs; contact: channel, outcome, comesOn; hand-out: days; transfer: receiver, begins, contact.",
        },
    }
    hand = {
        "until": {
            **_TEXT,
            "description": "A moment within 24 hours, ISO 8601; without a zone it is the site's.",
        },
        "reason": {**_TEXT, "description": "What is being done."},
        "by": {**_TEXT, "description": "Who has it in hand; the token's name by default."},
    }
    return {
        "/fhir/$process-results": {"post": _pushed(site)},
        _NOTIFY: {"post": _told(subscription, "notify", "Something changed at the EHR", body=True)},
        f"{_NOTIFY}/{{type}}/{{resource}}": {
            "put": _told([*subscription, _path("type"), _path("resource")], "notify-change", "A resource was made or changed at the EHR", body=True),
            "delete": _told([*subscription, _path("type"), _path("resource")], "notify-deletion", "A resource was deleted at the EHR", body=False),
        },
        "/registry/patients": {
            "get": _operation(
                "patients", "PatientPage", "The worklist, what must be done first",
                _query("status", "Which patients.", {"enum": list(STATUSES), "default": "on"}),
                _query("site", "Only this site; all the token covers by default."),
                limit,
                cursor,
            )
        },
        one: {
            "get": _operation("patient", "PatientView", "One patient: standing, findings, doses, counts, flags, history", patient, site, missing=True),
            "delete": _operation("forget-patient", "Deletion", "Delete everything known of a patient; the proof is the answer", patient, site, role="admin", missing=True),
        },
        f"{one}/dispensing": {
            "get": _operation("dispensing", "DispensingAnswer", "May clozapine be handed out now, for how many days at most, and why not", patient, site, missing=True)
        },
        f"{one}/flags": {
            "post": _operation(
                "flag-patient", "FlagKept",
                "A clinician's statement; the patient is evaluated at once, the answer holds what stood before and what stands now",
                patient, site, role="clinician", body=_body(flag, ["kind"]), missing=True,
            )
        },
        f"{one}/flags/{{flag}}": {
            "delete": _operation("withdraw-flag", "FlagWithdrawn", "Withdraw a statement", patient, _path("flag", {"type": "integer"}), site, role="clinician", missing=True)
        },
        f"{one}/unenrol": {"post": _operation("unenrol-patient", "State", "Take a patient off the roster", patient, site, role="admin", missing=True)},
        f"{one}/enrol": {"post": _operation("enrol-patient", "State", "Watch a patient again who was taken off", patient, site, role="admin", missing=True)},
        f"{one}/merge": {
            "post": _operation(
                "merge-patients", "Merged", "Put two records of one patient together", patient, site, role="admin", body=_body({"into": _TEXT}, ["into"]), missing=True
            )
        },
        "/alerts": {
            "get": _operation(
                "alerts", "AlertPage", "Alerts, most severe first",
                _query("state", "Which alerts; those in hand are open, too.", {"enum": ["open", "in-hand", "closed", "resolved", "all"], "default": "open"}),
                _query("site", "Only this site; all the token covers by default."),
                limit,
                cursor,
            )
        },
        "/alerts/{alert}/close": {
            "post": _operation(
                "close-alert", "State", "Close an alert; refused (409) while clozapine must stop", _path("alert", {"type": "integer"}), role="clinician",
                body=_body({"note": _TEXT, "by": _TEXT}, ["note"]), missing=True, conflict=True,
            )
        },
        "/alerts/{alert}/hand": {
            "post": _operation(
                "take-alert-in-hand", "InHand", "Take an alert in hand until a moment; then, or with new evidence, it is open again",
                _path("alert", {"type": "integer"}), role="clinician", body=_body(hand, ["until", "reason"]), missing=True, conflict=True,
            )
        },
        "/analytics/alerts": {
            "get": _operation(
                "alert-analytics", "Analytics", "Cards fired, accepted, overridden by reason, and the time to a response",
                _query("since", "First day; 13 weeks before `until` by default."),
                _query("until", "Day after the last one; tomorrow by default."),
                _query("by", f"Grouping, separated by commas: {', '.join(DIMENSIONS)}."),
                _query("site", "Only this site; all the token covers by default."),
            )
        },
    }  # fmt: skip
