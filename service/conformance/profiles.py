"""The profile of the DetectedIssues that the operation answers with."""

from __future__ import annotations

from typing import Any

from service.conformance.published import Published
from service.options.options import FINDINGS

ISSUE_PROFILE = "clozapine-detected-issue"
Json = dict[str, Any]


def structure_definitions(published: Published) -> list[Json]:
    """The profiles, as what they add to the base resource."""
    elements = [
        _element("code", min=1),
        _element("code.coding", min=1)
        | {
            "slicing": {"discriminator": [{"type": "value", "path": "system"}], "rules": "open"},
        },
        _element("code.coding:finding", min=1, max="1", path="code.coding")
        | {
            "sliceName": "finding",
            "binding": {"strength": "required", "valueSet": published.url("ValueSet", FINDINGS)},
        },
        _element("code.coding:finding.system", min=1, path="code.coding.system")
        | {"fixedUri": published.links.finding_system},
        _element("code.coding:finding.code", min=1, path="code.coding.code"),
        _element("severity", min=1),
        _element("identifiedDateTime", min=1, path="identified[x]"),
        _element("detail", min=1),
    ]
    elements[6]["type"] = [{"code": "dateTime"}]
    elements[6]["id"] = "DetectedIssue.identified[x]"
    return [
        published.head("StructureDefinition", ISSUE_PROFILE)
        | {
            "name": "ClozapineDetectedIssue",
            "title": "Clozapine finding",
            "description": "A finding: coded by this service, graded, dated, and told in plain text.",
            "fhirVersion": "4.0.1",
            "kind": "resource",
            "abstract": False,
            "type": "DetectedIssue",
            "baseDefinition": "http://hl7.org/fhir/StructureDefinition/DetectedIssue",
            "derivation": "constraint",
            "differential": {"element": [{"id": "DetectedIssue", "path": "DetectedIssue"}, *elements]},
        }
    ]


def _element(name: str, *, path: str = "", min: int | None = None, max: str = "") -> Json:
    built: Json = {"id": f"DetectedIssue.{name}", "path": f"DetectedIssue.{path or name}"}
    if min is not None:
        built["min"] = min
    if max:
        built["max"] = max
    return built
