"""From a story to the FHIR R4 resources of one invented patient, in the ways of one EHR."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from itertools import count
from random import Random

from msgspec import Struct

from service.synthetic.coding import ATC, LOINC, RXNORM, UCUM, Habits, Json, Product, coding
from service.synthetic.stories import Count, Story, Treatment

_CLINICAL = "http://terminology.hl7.org/CodeSystem/condition-clinical"
_VERIFICATION = "http://terminology.hl7.org/CodeSystem/condition-ver-status"
_CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"
_ICD10 = "http://hl7.org/fhir/sid/icd-10-cm"
_SNOMED = "http://snomed.info/sct"
#: Every resource says that no patient stands behind it.
_TEST_DATA = {
    "security": [
        {
            "system": "http://terminology.hl7.org/CodeSystem/v3-ActReason",
            "code": "HTEST",
            "display": "test health data",
        }
    ]
}


class Chart(Struct, frozen=True):
    """One invented patient: what is on record, and the order that is being written."""

    patient_id: str
    story: Story
    resources: list[Json]
    #: The draft order of the order hooks, and the Medication it may refer to.
    draft: Json


def make_chart(story: Story, *, seed: int, number: int, as_of: datetime) -> Chart:
    """The chart of patient ``number`` (from 1) at ``as_of``; the same arguments give the same chart."""
    return Writer(story, f"syn-{seed}-{number}", Random(f"{seed}/{number}"), as_of).write()  # noqa: S311


class Writer:
    def __init__(self, story: Story, patient_id: str, random: Random, as_of: datetime) -> None:
        self.story = story
        self.patient_id = patient_id
        self.random = random
        self.as_of = as_of
        self.habits = Habits(random)
        self.subject = {"reference": f"Patient/{patient_id}"}
        self.resources: list[Json] = []
        self._numbers = count(1)
        self._products: set[str] = set()

    def write(self) -> Chart:
        story = self.story
        self._patient()
        for problem in story.problems:
            self._problem(problem.what, problem.since, problem.verification)
        for treatment in story.on:
            self.resources.append(self._order(treatment))
        self._dispenses()
        self._administrations()
        self._counts()
        self._visits()
        for result in story.results:
            self._result(result.what, result.value, self._at(result.days))
        for smoking in story.smoking:
            self._smoking(smoking.answer, smoking.days)
        draft = self._order(story.draft, draft=True)
        return Chart(self.patient_id, story, self.resources, draft)

    # Times and ids

    def _at(self, days: float = 0, hours: float = 0) -> datetime:
        return self.as_of - timedelta(days=days, hours=hours)

    def _morning(self, days: float) -> datetime:
        """So many days ago, at most an hour and a half earlier in the day: samples are taken when it suits."""
        at = self._at(days)
        # ... and never on the day before: stories count in days.
        return at - timedelta(minutes=min(self.random.randrange(90), at.hour * 60 + at.minute))

    def _instant(self, at: datetime) -> str:
        offset = self.habits.offset_hours
        local = at.astimezone(timezone(timedelta(hours=offset)) if offset else UTC)
        text = local.isoformat(timespec="milliseconds" if self.habits.milliseconds else "seconds")
        return text.removesuffix("+00:00") + "Z" if not offset else text

    def _day(self, days: float) -> str:
        return self._at(days).date().isoformat()

    def _resource(self, type_name: str, **content: object) -> Json:
        prefix = type_name.lower()[:24]
        return {
            "resourceType": type_name,
            "id": f"{self.patient_id}-{prefix}-{next(self._numbers)}",
            "meta": _TEST_DATA,
        } | content

    # Who

    def _patient(self) -> None:
        names, story = coding().names, self.story
        born = self.as_of.date() - timedelta(days=round(story.age * 365.25) + self.random.randrange(1, 300))
        self.resources.append(
            {
                "resourceType": "Patient",
                "id": self.patient_id,
                "meta": _TEST_DATA,
                "name": [
                    {
                        "family": self.random.choice(names["family"]),
                        "given": [self.random.choice(names[f"given_{story.sex}"])],
                    }
                ],
                "gender": story.sex,
                "birthDate": born.isoformat(),
            }
        )

    def _problem(self, what: str, since: int, verification: str) -> None:
        known, habit = coding().problem[what], self.habits.problems
        code: Json = {"text": known.text}
        if habit == "icd10":
            code["coding"] = [{"system": _ICD10, "code": known.icd10, "display": known.text}]
        elif habit == "snomed" and known.snomed:
            code["coding"] = [{"system": _SNOMED, "code": known.snomed, "display": known.text}]
        self.resources.append(
            self._resource(
                "Condition",
                clinicalStatus={"coding": [{"system": _CLINICAL, "code": "active"}]},
                verificationStatus={"coding": [{"system": _VERIFICATION, "code": verification}]},
                code=code,
                subject=self.subject,
                onsetDateTime=self._day(since),
                recordedDate=self._day(since),
            )
        )

    # Drugs

    def _medication(self, drug: str, product: Product) -> Json:
        """``medication[x]`` of a record; the product is put on record once where the habit is to refer to it."""
        habit, known = self.habits.medication, coding().drug[drug]
        codings = []
        if habit in ("code", "resource") and product.rxnorm:
            codings = [{"system": RXNORM, "code": product.rxnorm, "display": product.display}]
        elif habit == "atc" or known.always_coded:
            codings = [{"system": ATC, "code": known.atc, "display": drug}]
        concept: Json = {"text": product.display} | ({"coding": codings} if codings else {})
        if habit != "resource":
            return {"medicationCodeableConcept": concept}
        identifier = f"{self.patient_id}-{drug}-{product.mg:g}".replace(".", "-")
        if identifier not in self._products:
            self._products.add(identifier)
            self.resources.append(
                {
                    "resourceType": "Medication",
                    "id": identifier,
                    "meta": _TEST_DATA,
                    "code": concept,
                    "status": "active",
                }
            )
        return {"medicationReference": {"reference": f"Medication/{identifier}", "display": product.display}}

    def _dosage(self, treatment: Treatment, product: Product) -> Json:
        tablets = treatment.mg / product.mg
        bedtime = treatment.drug == "clozapine" and treatment.per_day == 1
        when = " at bedtime" if bedtime else {1: " once daily", 2: " twice daily"}[treatment.per_day]
        text = f"Take {tablets:g} tablet{'s' if tablets != 1 else ''} by mouth{when}"
        if self.habits.dose == "text" and tablets == int(tablets):
            return {"text": text}
        repeat: Json = {"frequency": treatment.per_day, "period": 1, "periodUnit": "d"}
        if bedtime:
            repeat["when"] = ["HS"]
        if self.habits.dose == "tablets":
            quantity: Json = {"value": tablets, "unit": "tablet", "system": UCUM, "code": "{tbl}"}
        else:
            quantity = {"value": treatment.mg, "unit": "mg", "system": UCUM, "code": "mg"}
        return {"text": text, "timing": {"repeat": repeat}, "doseAndRate": [{"doseQuantity": quantity}]}

    def _order(self, treatment: Treatment, *, draft: bool = False) -> Json:
        product = coding().drug[treatment.drug].product_for(treatment.mg)
        dosage = self._dosage(treatment, product)
        status = "draft" if draft else "active"
        if treatment.until is not None:
            status = "stopped"
            period = {"start": self._day(treatment.since), "end": self._day(treatment.until)}
            dosage.setdefault("timing", {}).setdefault("repeat", {})["boundsPeriod"] = period
        made = self._resource(
            "MedicationRequest",
            status=status,
            intent="order",
            subject=self.subject,
            authoredOn=self._instant(self.as_of) if draft else self._day(treatment.since),
            dosageInstruction=[dosage],
            **self._medication(treatment.drug, product),
        )
        if treatment.replaces:
            running = next(
                r["id"]
                for r in reversed(self.resources)
                if r["resourceType"] == "MedicationRequest"
                and r["status"] == "active"
                and treatment.drug in str(r)
            )
            made["priorPrescription"] = {"reference": f"MedicationRequest/{running}"}
        return made

    def _dispenses(self) -> None:
        dispensed = self.story.dispensed
        if dispensed is None:
            return
        current = next(t for t in self.story.on if t.drug == "clozapine" and t.until is None)
        product = coding().drug["clozapine"].product_for(current.mg)
        for number in reversed(range(dispensed.times)):
            self.resources.append(
                self._resource(
                    "MedicationDispense",
                    status="completed",
                    subject=self.subject,
                    whenHandedOver=self._instant(self._morning(dispensed.newest + number * dispensed.every)),
                    daysSupply={"value": dispensed.supply, "unit": "days", "system": UCUM, "code": "d"},
                    **self._medication("clozapine", product),
                )
            )

    def _administrations(self) -> None:
        given = self.story.given
        if given is None:
            return
        current = next(t for t in self.story.on if t.drug == "clozapine" and t.until is None)
        product = coding().drug["clozapine"].product_for(current.mg)
        for number in reversed(range(given.times)):
            self.resources.append(
                self._resource(
                    "MedicationAdministration",
                    status="completed",
                    subject=self.subject,
                    effectiveDateTime=self._instant(self._at(number, given.newest_hours)),
                    dosage={"dose": {"value": current.mg, "unit": "mg", "system": UCUM, "code": "mg"}},
                    **self._medication("clozapine", product),
                )
            )

    # Results

    def _observation(self, category: str, code: Json, at: datetime, **content: object) -> Json:
        return self._resource(
            "Observation",
            status="final",
            category=[{"coding": [{"system": _CATEGORY, "code": category}]}],
            code=code,
            subject=self.subject,
            effectiveDateTime=self._instant(at),
            **content,
        )

    def _result(self, what: str, value: float, at: datetime) -> Json:
        known = coding().result[what]
        made = self._observation(
            known.category, self.habits.code(what), at, valueQuantity=self.habits.quantity(what, value)
        )
        if known.limit is not None:
            made["referenceRange"] = [{"high": self.habits.quantity(what, known.limit)}]
        self.resources.append(made)
        return made

    def _counts(self) -> None:
        story, known = self.story, coding().counts
        usual = self.random.uniform(*known.usual)
        counts = list(story.anc)
        if story.counts is not None:
            first = (story.course_days or 0) + 3
            days = story.counts.newest
            while days < first:
                value = usual * self.random.uniform(1 - known.change, 1 + known.change)
                counts.append(Count(round(value, 1), days))
                days += story.counts.every
            counts.append(Count(round(usual, 1), first))
        for blood in sorted(counts, key=lambda c: -c.days):
            self._count(blood)

    def _count(self, blood: Count) -> None:
        known, habits = coding().counts, self.habits
        way = blood.way or habits.counts
        at = self._morning(blood.days)
        if way == "direct":
            self._result("anc", blood.value, at)
            return
        if way in ("no-unit", "text"):
            value: Json = {"valueQuantity": {"value": blood.value}}
            if way == "text":
                value = {"valueString": habits.count_text.format(value=f"{blood.value:g}")}
            self.resources.append(self._observation("laboratory", habits.code("anc"), at, **value))
            return
        share = (habits.segs + habits.bands) / 100
        platelets = self.random.randrange(190, 320)
        # Rounded up, so that the calculated count never falls below the story's.
        white = round(blood.value / share + 0.005, 2)
        if way == "percent":
            self._result("wbc", white, at)
            self._result("neutrophils-percent", share * 100, at)
        elif way == "segs-and-bands":
            self._result("wbc", white, at)
            self._result("segs-percent", habits.segs, at)
            self._result("bands-percent", habits.bands, at)
        else:
            panel = {"coding": [{"system": LOINC, "code": known.panel}], "text": known.panel_text}
            parts = (("wbc", white), ("anc", blood.value), ("platelets", platelets))
            if way == "members":
                members = [{"reference": f"Observation/{self._result(w, v, at)['id']}"} for w, v in parts]
                self.resources.append(self._observation("laboratory", panel, at, hasMember=members))
                return
            component = [{"code": habits.code(w), "valueQuantity": habits.quantity(w, v)} for w, v in parts]
            self.resources.append(self._observation("laboratory", panel, at, component=component))

    def _visits(self) -> None:
        """Normal results on the days on which a patient is seen; a single visit where the story names one."""
        visit, began = coding().visit, self.story.course_days
        days = [] if self.story.visited is None else [(-3, self.story.visited)]
        if began is not None:
            stopped = min((t.until or 0 for t in self.story.on if t.drug == "clozapine"), default=0)
            days += [
                (day, began - day)
                for day in visit.days_until(began)
                if stopped <= began - day and (day < 0 or began - day <= visit.kept_days)
            ]
        usual = {what: self.random.uniform(*span) for what, span in visit.normal.items()}
        low, high = visit.later["level"]
        level = self.random.uniform(low, high)
        told = {(r.what, int(r.days)) for r in self.story.results}
        for course_day, ago in sorted(set(days), key=lambda d: -d[1]):
            at = self._morning(ago)
            for what, value in usual.items():
                if what in ("systolic", "diastolic") or (what, ago) in told:
                    continue
                self._result(what, value, at)
            self._blood_pressure(usual["systolic"], usual["diastolic"], at)
            if course_day >= visit.later["from_day"]:
                self._result("level", level, at)

    def _blood_pressure(self, systolic: float, diastolic: float, at: datetime) -> None:
        code = {
            "coding": [{"system": LOINC, "code": coding().visit.blood_pressure}],
            "text": "Blood pressure",
        }
        component = [
            {"code": self.habits.code(what), "valueQuantity": self.habits.quantity(what, value)}
            for what, value in (("systolic", systolic), ("diastolic", diastolic))
        ]
        self.resources.append(self._observation("vital-signs", code, at, component=component))

    def _smoking(self, answer: str, days: int) -> None:
        known = coding().smoking
        status = {"coding": [{"system": LOINC, "code": known["loinc"]}], "text": "Tobacco smoking status"}
        said = {
            "coding": [{"system": _SNOMED, **known[answer]}],
            "text": known[answer]["display"],
        }
        self.resources.append(
            self._observation("social-history", status, self._morning(days), valueCodeableConcept=said)
        )
