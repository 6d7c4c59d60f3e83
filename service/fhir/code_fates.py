"""Whether a code says what something is, also where no rule asks for it: the border between *another test* and *nobody can tell*."""

from __future__ import annotations

from functools import lru_cache

from service.alerts.knowledge.code_systems import SNOMED, canonical, icd10_edition
from service.fhir.loinc import is_loinc
from service.fhir.resources import CodeableConcept

#: Terminologies whose codes name tests, problems, substances and products, whoever sends them. ICD-10 has a system for each country; of ICD-9 and ICD-11 no
#: table holds a code, so that nobody can tell what one says.
_TERMINOLOGIES = frozenset(
    {
        "http://www.whocc.no/atc",
        "http://www.nlm.nih.gov/research/umls/rxnorm",
        "http://snomed.info/sct",
        "http://hl7.org/fhir/sid/ndc",
        "https://dmd.nhs.uk",
    }
)


@lru_cache(maxsize=1024)
def _is_terminology(system: str) -> bool:
    if not system.strip():
        return False  # whose code it is nobody says
    return canonical(system) in _TERMINOLOGIES or is_loinc(system) or bool(icd10_edition(system))


def is_open(code: CodeableConcept | None) -> bool:
    """True when only codes of SNOMED CT name the thing: no table here holds whole branches of it, so that a code nobody knows may mean anything."""
    systems = (
        {canonical(c.system or "") for c in (code.coding or ()) if c.code} if code is not None else set()
    )
    return systems == {SNOMED}


def is_of_a_terminology(code: CodeableConcept | None) -> bool:
    """True when a code of a terminology that this service knows names the thing."""
    return code is not None and any(c.code and _is_terminology(c.system or "") for c in code.coding or ())
