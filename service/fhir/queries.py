"""What the service asks for: prefetch key -> FHIR query (contract; cds-hooks checklist D6–D8).

Reads and type-level searches with token equality only; no date token, no repeated parameter, no _include: what widely used clients fill.
"""

from __future__ import annotations

from service.alerts.knowledge.codes import coded_kinds, kinds, kinds_from

_PATIENT = "patient={{context.patientId}}"


def _codes(names: tuple[str, ...], *more: str) -> str:
    loinc = [code for name in names for code in kinds()[name].loinc]
    return ",".join(f"http://loinc.org|{code}" for code in (*loinc, *more))


def _observations(codes: str, count: int) -> str:
    return f"Observation?{_PATIENT}&code={codes}&_sort=-date&_count={count}"


#: Panels that hold counts in ``component``: CBC with differential.
_CBC_PANELS = ("57021-8", "69742-5", "57782-5")
#: The same, and the CBC without a differential (CBC panel - Blood by Automated count), whose result names its members.
CBC_PANELS = frozenset((*_CBC_PANELS, "58410-2"))
_BLOOD_PRESSURE_PANELS = ("85354-9", "55284-4")

QUERIES: dict[str, str] = {
    "patient": "Patient/{{context.patientId}}",
    # ``date`` of a MedicationRequest is when doses are due (timing.event), which hardly any order has: sorting by it sorts nothing.
    "medications": f"MedicationRequest?{_PATIENT}&_sort=-authoredon&_count=100",
    "statements": f"MedicationStatement?{_PATIENT}&_count=100",
    "dispenses": f"MedicationDispense?{_PATIENT}&_count=100",
    "administrations": f"MedicationAdministration?{_PATIENT}&_count=100",
    "counts": _observations(_codes(kinds_from("counts"), *_CBC_PANELS), 100),
    "labs": _observations(
        _codes(
            kinds_from("labs"),
            *coded_kinds()["pregnancy-test"].loinc,
            *coded_kinds()["pregnancy-status"].loinc,
        ),
        100,
    ),
    "vitals": _observations(_codes(kinds_from("vitals"), *_BLOOD_PRESSURE_PANELS), 50),
    "conditions": f"Condition?{_PATIENT}&_count=100",
    "allergies": f"AllergyIntolerance?{_PATIENT}&_count=50",
    "smoking": _observations(
        ",".join(
            (
                *(f"http://loinc.org|{code}" for code in coded_kinds()["smoking"].loinc),
                *(f"http://snomed.info/sct|{code}" for code in coded_kinds()["smoking"].snomed),
            )
        ),
        10,
    ),
}
