"""What is wrong with what was sent: element, expectation, way out. Never a value of the record."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

import orjson
from fhir.resources.R4B import get_fhir_model_class
from fhir.resources.R4B.operationoutcome import OperationOutcome
from msgspec import Struct
from pydantic import ValidationError

from cds_hooks.errors import ProtocolError

#: Of one resource that many faults are named, the rest is counted: the first usually explains the others.
_PER_RESOURCE = 5
#: Issues of one answer.
_AT_MOST = 100
_ELEMENT = re.compile(r"^[A-Za-z_][A-Za-z0-9_]{0,49}$")
_CHOICE = re.compile(r"'([A-Za-z]{1,50})'")
_TIMES = ("date", "time", "authored", "issued", "start", "end", "when", "recorded", "instant", "onset")


class Issue(Struct, frozen=True):
    """One issue of an OperationOutcome."""

    severity: Literal["error", "warning", "information"]
    #: FHIR issue type.
    code: str
    text: str
    expression: str = ""
    #: System, code and display of what it says.
    coding: tuple[str, str, str] | None = None


def _path(location: Sequence[int | str]) -> str:
    """``dosageInstruction[0].timing``; a name that is no element name is not repeated."""
    path = ""
    for step in location:
        if isinstance(step, int):
            path += f"[{step}]"
        elif _ELEMENT.match(step):
            path += f".{step}" if path else step
        else:
            return f"{path}.?" if path else "?"
    return path


def _expected(kind: str, message: str, element: str) -> str:
    if "missing" in kind:
        return "is required and missing"
    if kind == "extra_forbidden":
        return "is not an element of this type of resource"
    if kind == "list_type":
        return "must be a list"
    if kind in ("dict_type", "model_type", "json_invalid"):
        return "must be an object"
    choices = _CHOICE.findall(message)
    if choices:
        names = ", ".join(choices)
        return f"only one of {names} may be there" if "multiple" in message else f"one of {names} is required"
    if kind.startswith(("datetime", "date")) or any(part in element.lower() for part in _TIMES):
        return "must be a date or time that exists, such as 2026-11-20 or 2026-11-20T10:00:00Z"
    if kind == "string_pattern_mismatch":
        return "holds characters that FHIR does not allow there"
    return "has a wrong type or format"


def faults(resource: dict[str, Any]) -> list[tuple[str, str]]:
    """Where a resource is not valid R4: (element, what is expected there), the first few.

    The resource must have the type of one that fhir.resources knows.
    """
    try:
        get_fhir_model_class(resource["resourceType"]).model_validate(resource)
    except ValidationError as error:
        found: dict[tuple[str, str], None] = {}
        for fault in error.errors(include_url=False, include_context=False, include_input=False):
            location = fault["loc"]
            element = str(location[-1]) if location else ""
            found[_path(location), _expected(fault["type"], fault["msg"], element)] = None
        named = list(found)[:_PER_RESOURCE]
        if len(found) > _PER_RESOURCE:
            named.append(("", f"{len(found) - _PER_RESOURCE} more elements are not valid"))
        return named
    except Exception:
        # The validator itself gives up on unknown contained types and on deep nesting.
        return [("", "holds something nested in it that is not FHIR R4")]
    return []


def _details(issue: Issue) -> dict[str, Any]:
    if issue.coding is None:
        return {"text": issue.text}
    system, code, display = issue.coding
    return {"coding": [{"system": system, "code": code, "display": display}], "text": issue.text}


def outcome(issues: Sequence[Issue]) -> dict[str, Any]:
    """An OperationOutcome, checked."""
    shown = list(issues[:_AT_MOST])
    if len(issues) > _AT_MOST:
        more = f"{len(issues) - _AT_MOST} further issues are not listed."
        shown.append(Issue("warning", "too-long", more))
    content = {
        "issue": [
            {"severity": i.severity, "code": i.code, "details": _details(i)}
            | ({"expression": [i.expression]} if i.expression else {})
            for i in shown
        ]
    }
    checked: dict[str, Any] = orjson.loads(
        OperationOutcome.model_validate(content).model_dump_json(exclude_none=True)
    )
    return {"resourceType": "OperationOutcome", **checked}


def refuse_unsound(issues: Sequence[Issue]) -> None:
    """What ``Prefer: handling=strict`` asks for: refuse what is not all valid and read. Raises ProtocolError 400 naming the places."""
    unsound = [i for i in issues if i.severity != "information"]
    if not unsound:
        return
    more = f" {len(unsound) - 1} further faults are at the places named." if len(unsound) > 1 else ""
    text = f"Nothing was checked, as handling=strict asks for: {unsound[0].text}{more}"
    places = list(dict.fromkeys(i.expression for i in unsound if i.expression))[:_AT_MOST]
    raise ProtocolError(400, text, code=unsound[0].code, expression=places)
