"""The record of a course as it grows: every entry with the moment from which an EHR shows it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from functools import cache
from random import Random
from urllib.parse import parse_qs

from msgspec import Struct

from service.alerts.policy.policy import Policy
from service.fhir.queries import QUERIES
from service.synthetic.chart import Writer
from service.synthetic.coding import UCUM, Json, coding
from service.synthetic.stories import Count, Story, Treatment
from tools.courses.calendar import BASELINE, Calendar, dose_on
from tools.courses.story import Course, Listed, doses, told

#: When things happen on a day: the chart is opened before blood is taken, and orders are written once the results are back.
OPENED, SAMPLED, RESULTED, ORDERED, HANDED_OVER = (timedelta(hours=h) for h in (9, 9.5, 13, 14, 15))
#: A single dose above this is split in two over the day.
_ONCE_UP_TO = 200
_WHITE_ABOVE_ANC = 2.4


class Entry(Struct, frozen=True):
    """One resource, shown from one moment until another one."""

    shown: datetime
    resource: Json
    until: datetime | None = None
    #: The day it tells of, in days of the course, and which result it is: a danger may take it away.
    day: float = 0
    what: str = ""


class Drafted(Struct, frozen=True):
    """An order that is written: when, and as what it stands on record once it is signed."""

    at: datetime
    draft: Json
    signed: Json
    #: The order is a new dose, not the same one again.
    changes: bool


def moment(day: float, at: timedelta = timedelta()) -> datetime:
    """So many days into the course, at a time of day (UTC)."""
    return datetime.combine(told().begins, time(), UTC) + timedelta(days=day) + at


class CourseWriter(Writer):
    """Writes one course the way one invented EHR writes (its habits are drawn from the name of the course)."""

    def __init__(self, course: Course, policy: Policy, days: Calendar) -> None:
        end = moment(course.end)
        story = Story(course.id, course.title, course.sex, course.age, Treatment("clozapine", 12.5), {})
        super().__init__(story, f"course-{course.id}", Random(course.id), end)
        self.course, self.policy, self.days = course, policy, days
        self.entries: list[Entry] = []
        self.drafted: list[Drafted] = []
        normal = coding().visit.normal
        self._usual = {what: self.random.uniform(*span) for what, span in normal.items()}

    # What is written

    def everything(self) -> list[Entry]:
        """The whole record, oldest first; products that records refer to are shown always."""
        self._patient()
        self._keep(moment(-5000))
        self._listed()
        self._beside()
        self._clozapine()
        for day in self.days.counts:
            self._blood(day)
        for day in sorted({d for days in self.days.tests.values() for d in days}):
            self._tests(day)
        self._levels()
        self._supplies()
        for first, last in self.course.stays:
            for day in range(first, last):
                self._charted(day)
        self.resources = []
        return sorted(self.entries, key=lambda e: e.shown)

    def _keep(
        self, shown: datetime, until: datetime | None = None, *, day: float = 0, what: str = ""
    ) -> None:
        """Whatever was written since the last time becomes entries."""
        for resource in self.resources:
            own = moment(-5000) if resource["resourceType"] == "Medication" else shown
            self.entries.append(
                Entry(own, resource, until if resource["resourceType"] != "Medication" else None, day, what)
            )
        self.resources = []

    def _ago(self, day: float) -> float:
        """A day of the course as the synthetic writer counts: days before the end."""
        return self.course.end - day

    def _listed(self) -> None:
        for problem in (*_ALWAYS, *self.course.problems):
            made = self.problem(problem.text, problem.since)
            end = moment(problem.until) if problem.until is not None else None
            shown = moment(problem.since, OPENED)
            self.entries.append(Entry(shown, made, end))
            if end is not None:
                over = {
                    "clinicalStatus": {"coding": [{"code": "resolved"}]},
                    "abatementDateTime": end.date().isoformat(),
                }
                self.entries.append(Entry(end, made | over))
        for answered in self.course.smoking:
            self.answer_smoking(answered.answer, answered.day)
        if self.course.sex == "female":
            self.pregnancy_test(BASELINE, "negative")
        for day, answer in self.course.pregnancy_tests:
            self.pregnancy_test(day, answer)

    def problem(self, text: str, since: float) -> Json:
        """An active entry of the problem list."""
        return self._resource(
            "Condition",
            clinicalStatus={"coding": [{"code": "active"}]},
            verificationStatus={"coding": [{"code": "confirmed"}]},
            code={"text": text},
            subject=self.subject,
            onsetDateTime=moment(since).date().isoformat(),
            recordedDate=moment(since).date().isoformat(),
        )

    def answer_smoking(self, answer: str, day: float) -> None:
        """An answer about smoking."""
        self._smoking(answer, 0)
        made = self.resources.pop() | {"effectiveDateTime": self._instant(moment(day, OPENED))}
        self.entries.append(Entry(moment(day, OPENED), made, day=day, what="smoking"))

    def pregnancy_test(self, day: float, answer: str) -> None:
        """A pregnancy test in urine."""
        code: Json = {"coding": [{"system": "http://loinc.org", "code": "2106-3"}], "text": "hCG"}
        made = self._observation(
            "laboratory", code, moment(day, SAMPLED), valueCodeableConcept={"text": answer.capitalize()}
        )
        self.entries.append(Entry(moment(day, RESULTED), made, day=day))

    # Drugs

    def named_order(self, drug: str, day: float, *, draft: bool = False) -> Json:
        """An order of another drug than clozapine, by its name."""
        return self._resource(
            "MedicationRequest",
            status="draft" if draft else "active",
            intent="order",
            subject=self.subject,
            authoredOn=self._instant(moment(day, ORDERED)),
            medicationCodeableConcept={"text": drug},
            dosageInstruction=[{"timing": {"repeat": {"frequency": 1, "period": 1, "periodUnit": "d"}}}],
        )

    def _beside(self) -> None:
        for taken in (*self.course.drugs, *self.course.more_drugs):
            made = self.named_order(taken.drug, taken.since)
            self._ordered(made, moment(taken.since, ORDERED), taken.until)

    def _ordered(self, made: Json, since: datetime, until: float | None) -> None:
        """An order as it stands: active until it is stopped, then with its end."""
        end = moment(until, ORDERED) if until is not None else None
        self.entries.append(Entry(since, made, end))
        if end is not None:
            dosage = dict(made["dosageInstruction"][0])
            repeat = dict(dosage.get("timing", {}).get("repeat", {}))
            repeat["boundsPeriod"] = {"start": since.date().isoformat(), "end": end.date().isoformat()}
            dosage["timing"] = {"repeat": repeat}
            self.entries.append(Entry(end, made | {"status": "stopped", "dosageInstruction": [dosage]}))

    def clozapine(
        self, mg: float, day: float, *, supply: int | None = None, replaces: str = "", by_hand: bool = False
    ) -> Json:
        """A draft order of clozapine: so many mg per day."""
        per_day = 1 if mg <= _ONCE_UP_TO else 2
        habit = self.habits.dose
        if by_hand:
            self.habits.dose = "mg"
        made = self._order(Treatment("clozapine", mg / per_day, per_day), draft=True)
        self.habits.dose = habit
        made["authoredOn"] = self._instant(moment(day, ORDERED))
        if supply:
            made["dispenseRequest"] = {
                "expectedSupplyDuration": {
                    "value": supply,
                    "unit": "days",
                    "system": UCUM,
                    "code": "d",
                }
            }
        if replaces:
            made["priorPrescription"] = {"reference": f"MedicationRequest/{replaces}"}
        return made

    def _clozapine(self) -> None:
        changes = dict(doses(self.course))
        days = set(changes)
        if self.course.seen_from:
            # Whoever comes from elsewhere brings one order, which says since when.
            days, changes = {0}, {0: doses(self.course)[-1][1]}
        if self.course.ordered == "steps":
            days = {min(days)}
        if self.course.renewed:
            days |= {d for d in self.days.visits if d > max(days)}
        order_days = sorted(days)
        running = ""
        for day, following in zip(order_days, (*order_days[1:], None), strict=True):
            mg = doses(self.course)[-1][1] if self.course.seen_from else dose_on(self.course, day)
            supply = None if self.course.seen_from or self.course.on_ward(day) else self._supply_on(day)
            draft = self.clozapine(mg, day, supply=supply, replaces=running)
            if self.course.ordered == "steps" and day == order_days[0]:
                draft = draft | {"dosageInstruction": self._steps()}
            self._keep(moment(-5000))
            signed = draft | {"status": "active"}
            running = draft["id"]
            at = moment(day, ORDERED)
            self._ordered(signed, at, following)
            self.drafted.append(Drafted(at, draft, signed, day in changes))

    def _steps(self) -> list[Json]:
        """The whole titration in one order."""
        plan = doses(self.course)
        lines = []
        for number, ((day, mg), following) in enumerate(zip(plan, (*plan[1:], None), strict=True), 1):
            per_day = 1 if mg <= _ONCE_UP_TO else 2
            repeat: Json = {"frequency": per_day, "period": 1, "periodUnit": "d"}
            if following is not None:
                repeat["boundsDuration"] = {"value": following[0] - day, "unit": "d", "code": "d"}
            dose = {"value": mg / per_day, "unit": "mg", "system": UCUM, "code": "mg"}
            lines.append(
                {"sequence": number, "timing": {"repeat": repeat}, "doseAndRate": [{"doseQuantity": dose}]}
            )
        return lines

    def _supply_on(self, day: int) -> int:
        """Days from a visit to the next one: so long a supply lasts."""
        following = next((v for v in self.days.visits if v > max(day, 0)), self.course.end)
        return following - max(day, 0)

    def _supplies(self) -> None:
        """Handed over at each visit, for as long as it is to the next one; on a ward nothing is."""
        leaving = {last for _, last in self.course.stays}
        for day in sorted({0, *self.days.visits, *leaving} - {BASELINE}):
            if self.course.on_ward(day) or day < self.course.seen_from:
                continue
            self.dispense(day, self._supply_on(day))

    def dispense(self, day: int, supply: int) -> None:
        """Clozapine handed over."""
        product = coding().drug["clozapine"].product_for(dose_on(self.course, day))
        made = self._resource(
            "MedicationDispense",
            status="completed",
            subject=self.subject,
            whenHandedOver=self._instant(moment(day, HANDED_OVER)),
            daysSupply={"value": supply, "unit": "days", "system": UCUM, "code": "d"},
            **self._medication("clozapine", product),
        )
        self.entries.append(Entry(moment(day, HANDED_OVER), made, day=day, what="dispense"))
        self._keep(moment(-5000))

    def _charted(self, day: int) -> None:
        """The doses of one day on a ward, at ten in the evening, or at ten in the morning and in the evening."""
        if day < 0:
            return
        mg = dose_on(self.course, day)
        per_day = 1 if mg <= _ONCE_UP_TO else 2
        product = coding().drug["clozapine"].product_for(mg / per_day)
        for hour in (10, 22)[-per_day:]:
            at = moment(day, timedelta(hours=hour))
            made = self._resource(
                "MedicationAdministration",
                status="completed",
                subject=self.subject,
                effectiveDateTime=self._instant(at),
                dosage={"dose": {"value": mg / per_day, "unit": "mg", "system": UCUM, "code": "mg"}},
                **self._medication("clozapine", product),
            )
            self.entries.append(Entry(at, made, day=day, what="given"))
        self._keep(moment(-5000))

    def not_given(self, day: int) -> Json:
        """The chart of a ward says that the doses of a day were not given."""
        return self._resource(
            "MedicationAdministration",
            status="not-done",
            subject=self.subject,
            effectiveDateTime=self._instant(moment(day, timedelta(hours=22))),
            medicationCodeableConcept={"text": "clozapine"},
        )

    def not_taken(self, since: int, day: int) -> Json:
        """The patient says that clozapine was taken for the last time on a day."""
        return self._resource(
            "MedicationStatement",
            status="stopped",
            subject=self.subject,
            medicationCodeableConcept={"text": "clozapine"},
            effectivePeriod={
                "start": moment(0).date().isoformat(),
                "end": self._instant(moment(since, timedelta(hours=7))),
            },
            dateAsserted=self._instant(moment(day, timedelta(hours=7))),
        )

    # Results

    def _blood(self, day: int) -> None:
        known = coding().counts
        usual = self.course.anc_under.get(self.policy.id, self.course.anc or 3.4)
        value = round(
            usual * Random(f"{self.course.id}/{day}").uniform(1 - known.change, 1 + known.change), 2
        )
        self.count(day, value)

    def count(
        self,
        day: float,
        anc: float,
        *,
        white: float | None = None,
        hours: timedelta = SAMPLED,
        at_once: bool = False,
    ) -> None:
        """A blood count; the white cell count is its own where the EHR's way of writing brings none."""
        at = moment(day, hours)
        way = self.habits.counts
        if white is not None or way in ("direct", "text", "no-unit") or self.course.anc is not None:
            self._result("anc", anc, at)
            self._result("wbc", round(white if white is not None else anc + _WHITE_ABOVE_ANC, 2), at)
        else:
            # The synthetic writer takes days before the end, and draws the hour: here the hour is given.
            before = len(self.resources)
            self._count(Count(anc, self._ago(day)))
            for resource in self.resources[before:]:
                resource["effectiveDateTime"] = self._instant(at)
        self._keep(at if at_once else moment(day, RESULTED), day=day, what="count")

    def value(self, what: str, day: float) -> float:
        """The usual value of a kind of result on a day: as the story changes it, else what was drawn for the patient."""
        steps = [v for since, v in self.course.values.get(what, ()) if since <= day]
        if steps:
            return steps[-1]
        return self.course.level if what == "level" else self._usual[what]

    def _tests(self, day: int) -> None:
        done = {test for test, days in self.days.tests.items() if day in days}
        at = moment(day, SAMPLED)
        vitals = [w for w in ("heart-rate", "temperature") if "vitals" in done]
        if "vitals" in done:
            self._blood_pressure(self.value("systolic", day), self.value("diastolic", day), at)
        for what in (*vitals, *(w for test in sorted(done) for w in _TESTED.get(test, ()))):
            self._result(what, self.value(what, day), at)
        self._keep(moment(day, RESULTED), day=day, what="test")

    def result(self, what: str, value: float, day: float, hours: timedelta = SAMPLED) -> None:
        """A single result, shown at once."""
        at = moment(day, hours)
        if what in ("systolic", "diastolic"):
            self._blood_pressure(value, 60, at)
        else:
            self._result(what, value, at)
        self._keep(at, day=day, what=what)

    def _levels(self) -> None:
        """A level a week after the target was reached, and every half year: at the first visit that allows."""
        settled = doses(self.course)[-1][0] + 7
        for wanted in (settled, settled + 182, settled + 364, settled + 546):
            day = next((v for v in self.days.visits if v >= wanted), None)
            if day is not None:
                self._result("level", self.value("level", day), moment(day, SAMPLED))
                self._keep(moment(day, RESULTED), day=day, what="level")
        for what, steps in self.course.values.items():
            # What the story changes is measured on the day on which it changes.
            for day, value in steps:
                if day > BASELINE and what in coding().result:
                    self.result(what, value, day)


_ALWAYS = (Listed("Schizophrenia"),)
#: Organ test of the policies -> what is measured.
_TESTED = {
    "troponin-crp": ("troponin", "crp"),
    "ecg": ("qtc",),
    "weight": ("weight",),
    "glucose": ("hba1c",),
    "lipids": ("ldl",),
    "liver": ("alt",),
}


def shown_at(entries: list[Entry], now: datetime) -> Iterator[Json]:
    """What an EHR shows at a moment."""
    for entry in entries:
        if entry.shown <= now and (entry.until is None or now < entry.until):
            yield entry.resource


@cache
def _wanted() -> list[tuple[str, str, frozenset[str]]]:
    """(prefetch key, type of resource, codes) of every query of the service."""
    found = []
    for key, query in QUERIES.items():
        path, _, parameters = query.partition("?")
        codes = parse_qs(parameters).get("code", [""])[0].split(",")
        found.append((key, path.partition("/")[0], frozenset(c.rpartition("|")[2] for c in codes if c)))
    return found


def prefetch(resources: list[Json]) -> Json:
    """The record by prefetch key, as a client sends it that knows the whole of it."""
    by_key: dict[str, list[Json]] = {key: [] for key, _, _ in _wanted()}
    for resource in resources:
        kind = resource["resourceType"]
        for key, type_name, codes in _wanted():
            if kind == type_name or (kind == "Medication" and type_name == "MedicationRequest"):
                if codes and codes.isdisjoint(c["code"] for c in resource["code"]["coding"]):
                    continue
                by_key[key].append(resource)
    bundles: Json = {
        key: {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": r} for r in found]}
        for key, found in by_key.items()
    }
    return bundles | {"patient": by_key["patient"][0]}
