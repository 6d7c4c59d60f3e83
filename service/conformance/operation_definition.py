"""``OperationDefinition/clozapine-check``: what the operation takes and gives."""

from __future__ import annotations

from typing import Any

from cds_hooks import HOOKS
from service.conformance.published import Published
from service.fhir.queries import QUERIES
from service.operation.bundles import READ
from service.operation.endpoint import NAME

Json = dict[str, Any]


def operation_definition(published: Published) -> Json:
    """The OperationDefinition."""
    return published.head("OperationDefinition", NAME) | {
        "name": "ClozapineCheck",
        "title": "Clozapine check",
        "kind": "operation",
        "description": "The same rules and findings as the CDS Hooks services, for systems that speak FHIR: one DetectedIssue for each "
        "finding, one Provenance, and one OperationOutcome that begins with what the answer says as a whole.",
        "affectsState": False,
        "code": NAME,
        "comment": "A Bundle may be posted as it is, in place of Parameters. At the address of a patient that patient is meant.",
        "resource": ["Patient"],
        "system": True,
        "type": True,
        "instance": True,
        "parameter": [
            _in("bundle", "Bundle", f"The record of one patient, of type {', '.join(READ)}; the same as “resource”, one of them is required."),
            _in("resource", "Bundle", "As “bundle”, under the name that some clients give it."),
            _in("patient", "Reference", "Who is meant, where the Bundle does not say; also valueId or valueString."),
            _in("event", "code", f"The hook to play: {', '.join(HOOKS)}."),
            _in("asOf", "dateTime", "The moment of the question; now by default."),
            _in("order", "Any", "A MedicationRequest or MedicationDispense to be judged, or a valueReference to one in the Bundle.", "*"),
            _in("unavailable", "code", f"Data that the sender has no access to: {', '.join(QUERIES)}.", "*"),
            {
                "name": "return", "use": "out", "min": 1, "max": "1", "type": "Bundle",
                "documentation": "A collection: DetectedIssues, most severe first, a Provenance, an OperationOutcome.",
            },
        ],
    }  # fmt: skip


def _in(name: str, kind: str, documentation: str, most: str = "1") -> Json:
    return {
        "name": name,
        "use": "in",
        "min": 0,
        "max": most,
        "documentation": documentation,
        "type": kind,
    }
