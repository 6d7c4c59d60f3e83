"""A clinic of forty invented patients over 120 days, as plain dates and numbers: what happened, and when the EHR showed it."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

ZONE = ZoneInfo("America/New_York")
#: Summer time ends on 1 November: day 92.
FIRST_DAY = date(2026, 8, 1)
DAYS = 120
PATIENTS = 40
#: The EHR answers nothing on these days.
AWAY = range(50, 53)
POLICY_CHANGES_ON = 75

#: Who has a story of their own; everybody else is counted when due.
LATE, CORRECTED_DOWN, CORRECTED_UP, DELETED, IN_ERROR, GIVER, TAKER = (
    "p01",
    "p02",
    "p03",
    "p04",
    "p05",
    "p06",
    "p07",
)
MILD, MODERATE, SEVERE, FORGETFUL, CLOSED, OFF_AND_ON = "p08", "p09", "p10", "p11", "p12", "p13"
GONE_FROM_EHR, DIES, STOPS, UNCOUNTED, TWICE, SAME = "p14", "p15", "p16", "p17", "p18", "p19"


@dataclass
class Shown:
    """What the EHR shows from a day on: a resource, or that one is gone."""

    day: int
    resource: dict[str, Any]
    gone: bool = False


@dataclass
class Clinic:
    """Everything that will be shown, oldest first."""

    shown: list[Shown] = field(default_factory=list)

    def on(self, day: int) -> list[Shown]:
        """What is new between the morning before and the morning of a day."""
        return [s for s in self.shown if s.day == day]


def day_of(number: int) -> date:
    """The calendar date of a day of the story."""
    return FIRST_DAY + timedelta(days=number)


def morning(number: int) -> datetime:
    """The moment of the sweep: 05:30 on the wall clock."""
    return (
        datetime.combine(day_of(number), datetime.min.time(), ZONE).replace(hour=5, minute=30).astimezone(UTC)
    )


def count(patient: str, number: int, value: int, name: str = "", **more: Any) -> dict[str, Any]:
    """An ANC taken at nine o'clock on a day of the story, cells/µL; a name makes it one that may change."""
    at = datetime.combine(day_of(number), datetime.min.time(), ZONE).replace(hour=9)
    return {
        "resourceType": "Observation",
        "id": f"{patient}-{name or number + 1000}",
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": "751-8"}]},
        "subject": {"reference": f"Patient/{patient}"},
        "effectiveDateTime": at.isoformat(),
        "valueQuantity": {"value": value / 1000, "unit": "10*3/uL"},
    } | more


def order(patient: str, start: int, **more: Any) -> dict[str, Any]:
    """The order of clozapine."""
    return {
        "resourceType": "MedicationRequest",
        "id": f"{patient}-rx",
        "status": "active",
        "intent": "order",
        "subject": {"reference": f"Patient/{patient}"},
        "authoredOn": day_of(start).isoformat(),
        "medicationCodeableConcept": {"text": "clozapine 100 MG Oral Tablet"},
        "dosageInstruction": [
            {
                "timing": {"repeat": {"frequency": 1, "period": 1, "periodUnit": "d"}},
                "doseAndRate": [{"doseQuantity": {"value": 300, "unit": "mg"}}],
            }
        ],
    } | more


def person(patient: str, **more: Any) -> dict[str, Any]:
    """The patient."""
    return {"resourceType": "Patient", "id": patient, "gender": "female", "birthDate": "1984-05-02"} | more


def _step(course_day: int) -> int:
    """How far apart samples are taken here: a little sooner than the label asks, whatever it asks."""
    return 7 if course_day < 182 else 14 if course_day < 364 else 28


def open_clinic() -> Clinic:
    """The story, the same every time."""
    chance = random.Random(17)
    clinic = Clinic()
    starts = {
        f"p{n:02}": -chance.choice((3, 20, 90, 150, 172, 250, 340, 360, 500, 900)) for n in range(PATIENTS)
    }
    starts |= dict.fromkeys((MILD, MODERATE, SEVERE, TWICE, SAME), -500) | {UNCOUNTED: -4, FORGETFUL: -250}
    # Samples stop here, for those who are not counted as they should be.
    last = {FORGETFUL: 20, CLOSED: 10, OFF_AND_ON: 5, UNCOUNTED: -99, STOPS: 55, DIES: 30, TWICE: 30}
    for patient, start in starts.items():
        clinic.shown += [Shown(0, person(patient)), Shown(0, order(patient, start))]
        number = max(start, -40) + (0 if start > -40 else chance.randrange(7))
        while number < last.get(patient, DAYS):
            if not (patient in (MILD, MODERATE, SEVERE) and 40 <= number < 62):
                # Taken after the morning: seen the next one.
                clinic.shown.append(
                    Shown(max(0, number + 1), count(patient, number, chance.randrange(3300, 3700, 10)))
                )
            number += _step(number - start)
    _stories(clinic, starts)
    clinic.shown.sort(key=lambda s: s.day)
    return clinic


def _stories(clinic: Clinic, starts: dict[str, int]) -> None:
    def show(day: int, resource: dict[str, Any], *, gone: bool = False) -> None:
        clinic.shown.append(Shown(day, resource, gone))

    # Late: taken on day 30, shown on day 34 only, though a better one of day 31 is there before it.
    show(32, count(LATE, 31, 3400, "after"))
    show(34, count(LATE, 30, 1200, "late"))
    # Corrected: what was normal is not, and what was not is.
    show(25, count(CORRECTED_DOWN, 24, 3500, "a"))
    show(27, count(CORRECTED_DOWN, 24, 900, "a", status="corrected"))
    show(29, count(CORRECTED_DOWN, 28, 3500, "b"))
    show(25, count(CORRECTED_UP, 24, 400, "a"))
    show(27, count(CORRECTED_UP, 24, 3400, "a", status="corrected"))
    # Deleted in the EHR, and entered in error.
    show(36, count(DELETED, 35, 450, "a"))
    show(38, count(DELETED, 35, 450, "a"), gone=True)
    show(36, count(IN_ERROR, 35, 1100, "a"))
    show(39, count(IN_ERROR, 35, 1100, "a", status="entered-in-error"))
    # A result that was another patient's.
    show(42, count(GIVER, 41, 700, "a"))
    show(44, count(GIVER, 41, 700, "a", subject={"reference": f"Patient/{TAKER}"}))
    # Neutropenias, while the EHR is away too.
    for number, value in ((40, 1300), (43, 1250), (46, 1600), (60, 3300)):
        show(number + 1, count(MILD, number, value, "n%d" % number))
    for number, value in ((40, 800), (41, 600), (42, 1600), (49, 2000), (51, 3000), (58, 3200)):
        show(number + 1, count(MODERATE, number, value, "n%d" % number))
    for number, value in ((40, 400), (41, 100), (43, 450), (51, 700), (55, 1700)):
        show(number + 1, count(SEVERE, number, value, "n%d" % number))
    show(
        56,
        order(
            STOPS,
            starts[STOPS],
            status="stopped",
            dispenseRequest={"validityPeriod": {"end": day_of(55).isoformat()}},
        ),
    )
    show(60, person(DIES, deceasedDateTime=day_of(59).isoformat()))
    for resource in [s.resource for s in clinic.shown if s.resource["id"].startswith(GONE_FROM_EHR)]:
        show(45, resource, gone=True)
    # Two records of one patient: the EHR moves everything to the one that stays.
    for s in [s for s in clinic.shown if s.resource["id"].startswith(TWICE) and "subject" in s.resource]:
        show(40, s.resource | {"subject": {"reference": f"Patient/{SAME}"}})
    show(40, person(TWICE, link=[{"other": {"reference": f"Patient/{SAME}"}, "type": "replaced-by"}]))
    clinic.shown = [
        s
        for s in clinic.shown
        if not (s.resource["id"].startswith(GONE_FROM_EHR) and not s.gone and s.day >= 45)
    ]
