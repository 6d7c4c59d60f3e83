"""Names of code systems: what senders write, and the one name each system has here."""

from __future__ import annotations

from functools import lru_cache

ATC = "http://www.whocc.no/atc"
SNOMED = "http://snomed.info/sct"
#: Spellings in lower case, without a slash at the end and without http or https. Sources: HL7 terminology (terminology.hl7.org, OID registry), the
#: German base profiles (fhir.de) and the WHO's own address.
_KNOWN = {
    ATC: (
        "www.whocc.no/atc", "whocc.no/atc", "www.whocc.no/atc_ddd_index", "fhir.de/codesystem/bfarm/atc", "fhir.de/codesystem/dimdi/atc",
        "urn:oid:2.16.840.1.113883.6.73", "urn:oid:1.2.276.0.76.5.487",
    ),
    "http://www.nlm.nih.gov/research/umls/rxnorm": ("www.nlm.nih.gov/research/umls/rxnorm", "urn:oid:2.16.840.1.113883.6.88"),
    SNOMED: ("snomed.info/sct", "urn:oid:2.16.840.1.113883.6.96"),
    "http://hl7.org/fhir/sid/ndc": ("hl7.org/fhir/sid/ndc", "urn:oid:2.16.840.1.113883.6.69"),
    "https://dmd.nhs.uk": ("dmd.nhs.uk", "read.info/dmd"),
}  # fmt: skip
_BY_SPELLING = {spelling: name for name, spellings in _KNOWN.items() for spelling in spellings}


@lru_cache(maxsize=1024)
def canonical(system: str) -> str:
    """The name of a system here, however it is written (an edition of SNOMED CT counts as SNOMED CT); an unknown one as it is."""
    plain = system.strip().lower().removeprefix("https://").removeprefix("http://").rstrip("/")
    if plain.startswith("snomed.info/sct/"):
        plain = "snomed.info/sct"
    return _BY_SPELLING.get(plain, system)
