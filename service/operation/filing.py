"""Under which source of a record a resource is filed: what could not be read of it is said of its own part of the record."""

from __future__ import annotations

from service.alerts.knowledge.codes import coded_by_loinc, coded_by_snomed, kinds_by_loinc, source_of
from service.fhir.resources import Observation, Resource

#: What nobody can tell the kind of may be an order of clozapine.
RECORD = "medications"
_SOURCES = {
    "Patient": "patient",
    "MedicationStatement": "statements",
    "MedicationDispense": "dispenses",
    "MedicationAdministration": "administrations",
    "Condition": "conditions",
    "AllergyIntolerance": "allergies",
    # Reports and specimens are read before the results that they speak of, which may be of any source: counts are the first of them.
    "Observation": "counts",
    "DiagnosticReport": "counts",
    "Specimen": "counts",
}


def filed_under(type_name: object) -> str:
    """The source of a type of resource."""
    return _SOURCES.get(type_name, RECORD) if isinstance(type_name, str) else RECORD


def filed(resource: Resource) -> str:
    """The source of a resource: of a result the one that its code belongs to."""
    if type(resource) is not Observation or resource.hasMember:
        return filed_under(type(resource).__name__)
    codings = resource.code.coding if resource.code is not None else None
    for coding in codings or ():
        code = coding.code or ""
        kind = kinds_by_loinc().get(code)
        if kind is not None:
            return source_of(kind.id)
        coded = coded_by_loinc().get(code) or coded_by_snomed().get(code)
        if coded is not None:
            return "smoking" if coded[0] == "smoking" else "labs"
    return "counts"
