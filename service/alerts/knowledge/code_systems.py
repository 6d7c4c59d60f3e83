"""Names of code systems: what senders write, and the one name each system has here, for drugs, allergies, problems and results alike."""

from __future__ import annotations

import re

from service.alerts.facts.remembered_texts import remembering

ATC = "http://www.whocc.no/atc"
SNOMED = "http://snomed.info/sct"
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
NDC = "http://hl7.org/fhir/sid/ndc"
#: The NHS dictionary of medicines and devices: its codes are concepts of the UK's edition of SNOMED CT.
DMD = "https://dmd.nhs.uk"
PZN = "http://fhir.de/CodeSystem/ifa/pzn"
LOINC = "http://loinc.org"
#: ICD-10 by edition; of a national one that divides WHO's no further (NL, CH, SE …) the codes mean what WHO's do.
ICD10 = {
    "who": "http://hl7.org/fhir/sid/icd-10",
    "cm": "http://hl7.org/fhir/sid/icd-10-cm",
    "gm": "http://fhir.de/CodeSystem/bfarm/icd-10-gm",
    "am": "http://hl7.org/fhir/sid/icd-10-am",
}

#: What people call the systems whose codes name a product.
PRODUCT_SYSTEMS = {RXNORM: "RxNorm", ATC: "ATC", SNOMED: "SNOMED CT", NDC: "NDC", DMD: "dm+d", PZN: "PZN"}

#: Spellings in lower case, without a slash at the end, without http or https, www, a version and ``urn:oid:``. Sources: HL7 terminology (NamingSystem, OID
#: registry), the German base profiles (fhir.de), HL7 Australia, RIVO-Noord (icd-10-nl), the WHO's own address; 6.135 (ICD-10-AM): ids 45269036604 and
#: 20402762502 of the text index; nehta.gov.au: 6744491778, 54192319693.
_KNOWN = {
    ATC: (
        "whocc.no/atc", "whocc.no/atc_ddd_index", "fhir.de/codesystem/bfarm/atc", "fhir.de/codesystem/dimdi/atc",
        "2.16.840.1.113883.6.73", "1.2.276.0.76.5.487", "atc", "who-atc",
    ),
    RXNORM: ("nlm.nih.gov/research/umls/rxnorm", "2.16.840.1.113883.6.88", "rxnorm"),
    # AMT is part of the Australian edition.
    SNOMED: ("snomed.info/sct", "2.16.840.1.113883.6.96", "snomed.info", "snomed-ct", "nehta.gov.au/amt/v2", "nehta.gov.au/amt/v3", "nehta.gov.au/amt"),
    NDC: ("hl7.org/fhir/sid/ndc", "2.16.840.1.113883.6.69"),
    DMD: ("dmd.nhs.uk", "read.info/dmd"),
    PZN: ("fhir.de/codesystem/ifa/pzn", "1.2.276.0.76.4.6", "pzn"),
    LOINC: ("loinc.org", "2.16.840.1.113883.6.1", "loinc", "ln"),
    ICD10["who"]: ("hl7.org/fhir/sid/icd-10", "2.16.840.1.113883.6.3", "terminology.hl7.org/codesystem/icd10", "2.16.840.1.113883.6.3.2"),
    ICD10["cm"]: ("hl7.org/fhir/sid/icd-10-cm", "2.16.840.1.113883.6.90"),
    ICD10["gm"]: ("fhir.de/codesystem/bfarm/icd-10-gm", "fhir.de/codesystem/dimdi/icd-10-gm"),
    ICD10["am"]: ("hl7.org/fhir/sid/icd-10-am", "2.16.840.1.113883.6.135"),
}  # fmt: skip
_BY_SPELLING = {spelling: name for name, spellings in _KNOWN.items() for spelling in spellings}
_EDITION = {name: edition for edition, name in ICD10.items()}
_BEFORE = re.compile(r"^(?:urn:oid:|oid:|https?://)?(?:www\.)?")
#: ICD-10 of a country, whatever else its address says: ``…/icd-10-nl``, ``urn:…:icd10gm``.
_ICD10 = re.compile(r"icd-?10-?(cm|gm|am)?(?![a-z]*pcs)")
_PCS = re.compile(r"icd-?10-?pcs")


@remembering(1024, 200)
def canonical(system: str) -> str:
    """The name of a system here, however it is written (an edition or a version of it counts as the system); an unknown one as it is."""
    plain = _BEFORE.sub("", system.strip().lower()).partition("|")[0].partition("?")[0].rstrip("/")
    if plain.startswith("snomed.info/sct/"):
        plain = "snomed.info/sct"
    return _BY_SPELLING.get(plain, system)


@remembering(1024, 200)
def icd10_edition(system: str) -> str:
    """``cm``, ``gm``, ``am``, ``who`` (also for what is not told apart); empty for another code system, ICD-10-PCS too."""
    known = _EDITION.get(canonical(system))
    if known is not None:
        return known
    folded = system.lower()
    found = None if _PCS.search(folded) else _ICD10.search(folded)
    return (found.group(1) or "who") if found is not None else ""
