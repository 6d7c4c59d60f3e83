"""The ledger kept beside the product: what must be known, due and open of every patient. Plain Python, out of the label's text."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from tests.registry.ledger.clinic import ZONE

#: (until day of the course, days between counts); the last has no end.
SCHEDULES = {
    "us-label-2025": ((182, 7), (364, 14), (None, 30)),
    "eu-smpc-2025": ((126, 7), (364, 28), (728, 84), (None, 365)),
}
#: Under EU rules a neutropenia in this course keeps the counts monthly.
LONGEST_AFTER_NEUTROPENIA = 28
MILD, MODERATE, SEVERE = "anc-mild-neutropenia", "anc-moderate-neutropenia", "anc-severe-neutropenia"
OVERDUE, MISSING = "anc-overdue", "anc-missing"
#: The codes that the ledger judges.
CODES = frozenset({MILD, MODERATE, SEVERE, OVERDUE, MISSING})


@dataclass
class Page:
    """What the EHR has shown of one patient."""

    start: date | None = None
    over: bool = False
    dead: bool = False
    counts: dict[str, tuple[datetime, int]] = field(default_factory=dict)

    def by_time(self) -> list[tuple[datetime, int]]:
        """The counts, oldest first; one a moment."""
        return sorted(self.counts.values())


class Book:
    """The pages, by patient."""

    def __init__(self) -> None:
        self.pages: dict[str, Page] = {}

    def page(self, patient: str) -> Page:
        """The page of a patient."""
        return self.pages.setdefault(patient, Page())

    def write(self, resource: dict[str, Any], *, gone: bool) -> None:
        """Note what the EHR showed."""
        kind, id = resource["resourceType"], resource["id"]
        if kind == "Patient":
            self.page(id).dead = "deceasedDateTime" in resource
            return
        patient = resource["subject"]["reference"].removeprefix("Patient/")
        if kind == "MedicationRequest":
            self.page(patient).start = date.fromisoformat(resource["authoredOn"])
            self.page(patient).over = resource["status"] != "active"
            return
        for page in self.pages.values():
            page.counts.pop(id, None)
        if gone or resource["status"] == "entered-in-error":
            return
        at = datetime.fromisoformat(resource["effectiveDateTime"])
        self.page(patient).counts[id] = (at, round(resource["valueQuantity"]["value"] * 1000))

    def interval(self, patient: str, today: date, policy: str) -> int:
        """Days between counts today."""
        page = self.page(patient)
        assert page.start is not None
        counts = [(at, value) for at, value in page.by_time() if at.astimezone(ZONE).date() >= page.start]
        low = [(at, value) for at, value in counts if value < 1500]
        if counts and counts[-1][1] < 1500:
            return 1 if counts[-1][1] < 1000 else 3 if policy.startswith("us") else 4
        day = (today - page.start).days
        severe = [at for at, value in low if value < 500]
        if severe and policy.startswith("us"):
            # As a new patient: from the first normal count after it.
            again = next(at for at, value in counts if at > severe[-1] and value >= 1500)
            day = (today - again.astimezone(ZONE).date()).days
        step = next(every for until, every in SCHEDULES[policy] if until is None or day < until)
        if not low:
            return step
        if policy.startswith("eu"):
            return min(step, LONGEST_AFTER_NEUTROPENIA)
        moderate = [at for at, value in low if value < 1000]
        if moderate and self._weekly_counts(counts, moderate[-1]) < 4:
            return min(step, 7)
        return step

    @staticmethod
    def _weekly_counts(counts: list[tuple[datetime, int]], since: datetime) -> int:
        """Weekly counts after the first normal one that followed a neutropenia."""
        done, last = 0, None
        for at, value in counts:
            if at <= since or value < 1500:
                continue
            if last is None:
                last = at
            elif at.date() - last.date() > timedelta(days=3):
                done, last = done + 1, at
        return done

    def due(self, patient: str, today: date, policy: str) -> date | None:
        """When the next count is due; None when nothing is."""
        page = self.page(patient)
        if page.over or page.dead:
            return None
        counts = page.by_time()
        if not counts:
            return page.start
        return counts[-1][0].astimezone(ZONE).date() + timedelta(days=self.interval(patient, today, policy))

    def open(self, patient: str, today: date, policy: str) -> dict[str, str]:
        """code -> what its sentence must name, of all that has to be open."""
        page = self.page(patient)
        if page.over or page.dead:
            return {}
        counts = page.by_time()
        if not counts:
            return {MISSING: ""}
        found: dict[str, str] = {}
        value = counts[-1][1]
        if value < 1500:
            code = SEVERE if value < 500 else MODERATE if value < 1000 else MILD
            found[code] = str(value)
        due = self.due(patient, today, policy)
        assert due is not None
        if today > due:
            late = (today - due).days
            found[OVERDUE] = f"{late} day"
        return found
