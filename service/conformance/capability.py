"""``GET /fhir/metadata``: the CapabilityStatement, which FHIR clients ask for first."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from service.conformance.published import Published
from service.operation.content import MEDIA_TYPE
from service.operation.endpoint import NAME
from service.operation.narrative import narrative

Json = dict[str, Any]
#: What is read and searched by address: nothing of a patient.
SERVED = ("CodeSystem", "OperationDefinition", "StructureDefinition", "ValueSet")


def capability_statement(published: Published) -> Json:
    """The CapabilityStatement."""
    head = published.head("CapabilityStatement", NAME) | {
        "url": f"{published.links.fhir_url}/metadata",
        "text": narrative("Checks clozapine treatment: post a record to $clozapine-check. No patient's data are stored or served."),
    }  # fmt: skip
    operation = {"name": NAME, "definition": published.url("OperationDefinition", NAME)}
    return head | {
        "name": "ClozapineCheckServer",
        "title": "Clozapine safety service",
        "description": "Answers the operation $clozapine-check, and with the code systems, value sets and definitions that its answers name.",
        "kind": "instance",
        "software": {"name": "clozapine-cds", "version": version("clozapine-cds")},
        "implementation": {
            "description": "Clozapine safety service",
            "url": published.links.fhir_url,
        },
        "fhirVersion": "4.0.1",
        "format": [MEDIA_TYPE, "json"],
        "rest": [
            {
                "mode": "server",
                "documentation": "Bundles of type batch, transaction and history are refused.",
                "security": {
                    "description": "Where authentication is on: a JWT of the caller in Authorization, as CDS Hooks 2.0 describes it. "
                    "This statement and the definitions need none.",
                },
                "resource": [
                    *(
                        {
                            "type": name,
                            "interaction": [{"code": "read"}, {"code": "search-type"}],
                            "searchParam": [
                                {
                                    "name": "url",
                                    "type": "uri",
                                    "definition": "http://hl7.org/fhir/SearchParameter/conformance-url",
                                }
                            ],
                        }
                        for name in SERVED
                    ),
                    {"type": "Patient", "operation": [operation]},
                ],
                "operation": [operation],
            }
        ],
    }
