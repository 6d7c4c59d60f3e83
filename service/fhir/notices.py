"""Alerts as FHIR resources for the EHR's own lists (contract "Registry, sweep, feedback"), built and checked with fhir.resources."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from typing import Any

import orjson

from service.alerts.say.finding import Finding
from service.alerts.say.finding_codes import finding_codes
from service.fhir.references import read_reference

_ISSUE_SEVERITY = {"critical": "high", "warning": "moderate", "info": "low"}
_PRIORITY = {"critical": "urgent", "warning": "routine", "info": "routine"}


def _code(finding: Finding, codes: str) -> dict[str, Any]:
    return {"coding": [{"system": codes, "code": finding.code}], "text": finding.summary}


def _is_told(channel: str, code: str) -> bool:
    """Tasks ask for something to be done, flags warn whoever opens the chart: not every finding does."""
    entry = finding_codes().get(code)
    return entry is not None and channel in entry.told_as


def _content(channel: str, f: Finding, patient: dict[str, str], at: str, codes: str) -> dict[str, Any] | None:
    if channel == "Task":
        if not _is_told("Task", f.code):
            return None
        return {
            "status": "requested",
            "intent": "order",
            "priority": _PRIORITY[f.severity],
            "code": _code(f, codes),
            "description": f.summary,
            "for": patient,
            "authoredOn": at,
        }
    if channel == "Flag":
        if not _is_told("Flag", f.code):
            return None
        return {
            "status": "active",
            "category": [{"text": "Clozapine safety"}],
            "code": _code(f, codes),
            "subject": patient,
            "period": {"start": at},
        }
    if channel == "CommunicationRequest":
        return {
            "status": "active",
            "priority": _PRIORITY[f.severity],
            "category": [_code(f, codes)],
            "subject": patient,
            "authoredOn": at,
            "payload": [{"contentString": "\n".join((f.summary, *f.suggested))}],
        }
    return {
        "status": "final",
        "code": _code(f, codes),
        "severity": _ISSUE_SEVERITY[f.severity],
        "patient": patient,
        "identifiedDateTime": at,
        "detail": "\n".join((f.summary, *f.why)),
        "mitigation": [{"action": {"text": step}} for step in f.suggested],
    }


def resource(
    channel: str, finding: Finding, patient_id: str, key: str, system: str, codes: str, at: datetime
) -> dict[str, Any] | None:
    """The resource for a finding; None when findings of its kind do not go on this channel.

    Args:
        channel: the type of resource.
        finding: what it tells.
        patient_id: whose it is.
        key: what it is found by, in ``system``.
        system: of the identifier.
        codes: the system of the finding codes.
        at: since when it is told.

    Raises ValueError when what was built is not valid R4 (a fault of this service).
    """
    stamp = at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    content = _content(channel, finding, {"reference": f"Patient/{patient_id}"}, stamp, codes)
    if content is None:
        return None
    built = {"resourceType": channel, "identifier": [{"system": system, "value": key}], **content}
    # The shape depends on the code and severity alone: validated once for each, with this patient's text.
    _validate_once(channel, finding, built)
    return built


_validated: set[tuple[str, str, str]] = set()


@cache
def _models() -> dict[str, Any]:
    """The models, when the first notice is built: they take half a second to import."""
    from fhir.resources.R4B.communicationrequest import CommunicationRequest
    from fhir.resources.R4B.detectedissue import DetectedIssue
    from fhir.resources.R4B.flag import Flag
    from fhir.resources.R4B.task import Task

    return {
        "Task": Task,
        "Flag": Flag,
        "CommunicationRequest": CommunicationRequest,
        "DetectedIssue": DetectedIssue,
    }


def _validate_once(channel: str, finding: Finding, built: dict[str, Any]) -> None:
    shape = (channel, finding.code, finding.severity)
    if shape not in _validated:
        _models()[channel].model_validate_json(orjson.dumps(built))
        _validated.add(shape)


#: Where the kinds of notices name their patient.
_SUBJECTS = {"Task": "for", "Flag": "subject", "CommunicationRequest": "subject", "DetectedIssue": "patient"}


def patient_of(notice: dict[str, Any]) -> str:
    """Id of the patient whom a notice (or an event for a webhook) is about; empty when it names none."""
    subject = notice.get(_SUBJECTS.get(str(notice.get("resourceType")), "patient"))
    text = subject.get("reference") if isinstance(subject, dict) else subject
    target = read_reference(text if isinstance(text, str) else None)
    return target.id if target.type == "Patient" else ""


def renamed(notice: dict[str, Any], patient_id: str) -> dict[str, Any]:
    """The same notice, or event for a webhook, about the patient whose record this one was merged into."""
    reference = f"Patient/{patient_id}"
    if "resourceType" in notice:
        return notice | {_SUBJECTS[notice["resourceType"]]: {"reference": reference}}
    return notice | ({"patient": reference} if "patient" in notice else {})


_OVER = frozenset({"cancelled", "completed", "rejected", "failed", "inactive", "revoked", "entered-in-error"})


def over(resource: dict[str, Any]) -> bool:
    """True when a notice has ended already, by whoever did what it asked for."""
    return resource.get("status") in _OVER


#: What a notice says of the finding; the rest (for whom, since when, under which identifier) stays as it was told.
_SAYS = ("priority", "description", "code", "category", "payload", "severity", "detail", "mitigation")


def changed(resource: dict[str, Any]) -> dict[str, Any]:
    """The elements of a notice that follow the finding."""
    return {name: resource[name] for name in _SAYS if name in resource}


def ended(channel: str) -> dict[str, str]:
    """What a notice says once its alert is resolved."""
    closed = {
        "Task": "cancelled",
        "Flag": "inactive",
        "CommunicationRequest": "revoked",
        "DetectedIssue": "cancelled",
    }
    return {"status": closed[channel]}


def webhook(
    alert: int,
    event: int,
    site: str,
    patient_id: str,
    what: str,
    code: str,
    severity: str,
    summary: str,
    at: datetime,
) -> dict[str, Any]:
    """The body of a webhook."""
    return {
        "event": event, "alert": alert, "site": site, "patient": f"Patient/{patient_id}", "what": what, "code": code,
        "severity": severity, "summary": summary, "at": at.astimezone(UTC).isoformat(),
    }  # fmt: skip
