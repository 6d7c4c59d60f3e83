"""Reading vignettes: compact rows to FHIR, FHIR to findings."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from service.alerts.facts.patient import PatientSnapshot
from service.alerts.facts.practice import Practice
from service.alerts.knowledge.codes import kinds, kinds_by_loinc, source_of
from service.alerts.say.finding import Finding
from service.fhir.queries import QUERIES
from service.hooks.site_facts import site_facts
from service.judge import SiteOptions, judge
from service.judge.inquiry import read_inquiry
from service.judge.site_for import site_for
from tests.data import LOINC, NOW, ago, bundle, call, clozapine, day_ago, dosage, observation, order

FOLDER = Path(__file__).parent / "vignettes"
_KINDS = {
    "ANC": "751-8", "WBC": "6690-2", "eosinophils": "711-2", "platelets": "777-3", "neutrophils": "770-8", "temperature": "8310-5",
    "troponin": "67151-1", "CRP": "1988-5", "HbA1c": "4548-4", "LDL": "13457-7", "ALT": "1742-6", "QTc": "8636-3", "weight": "29463-7",
    "pulse": "8867-4", "systolic": "8480-6", "diastolic": "8462-4", "level": "6896-5", "AST": "1920-8", "bilirubin": "1975-2",
    "glucose": "2345-7", "fasting": "1558-6",
}  # fmt: skip
#: Every other kind goes by its id.
_KINDS |= {id: kind.loinc[0] for id, kind in kinds().items() if kind.loinc and id not in _KINDS}
#: Words before the drug: how the order differs from a plain one.
_SORTS: dict[str, dict[str, Any]] = {
    "cancelled ": {"status": "cancelled"},
    "on-hold ": {"status": "on-hold"},
    "completed ": {"status": "completed"},
    "stopped ": {"status": "stopped"},
    "ended ": {"status": "ended"},
    "unknown ": {"status": "unknown"},
    "do not give ": {"doNotPerform": True},
    "proposed ": {"intent": "proposal"},
    "optional ": {"intent": "option"},
    "planned ": {"intent": "plan"},
    "reported ": {"intent": "plan", "reportedBoolean": True},
    "inpatient ": {"category": [{"coding": [{"code": "inpatient"}]}]},
    "outpatient ": {"category": [{"coding": [{"code": "outpatient"}]}]},
    "discharge ": {"category": [{"coding": [{"code": "discharge"}]}]},
}
#: Symptom scales have no LOINC code that says which version was used: a site maps its own.
_SCALES = {"PANSS": "panss", "BPRS": "bprs", "CGI": "cgi", "GAF": "gaf", "SOFAS": "sofas"}
_WARD = "urn:ward:scales"
_PARTS = {"bedtime": "HS", "morning": "MORN", "noon": "NOON", "afternoon": "AFT", "evening": "EVE"}
_POSTURE = {"standing": "8460-8 8454-1", "lying": "8461-6 8455-8", "sitting": "8459-0 8453-3"}


@cache
def rows() -> tuple[tuple[str, list[str], dict[str, Any]], ...]:
    """(id, about, row) of every vignette, read once; to be left as they are."""
    found = []
    for path in sorted(FOLDER.glob("*.toml")):
        content = tomllib.loads(path.read_text())
        for row in content["vignette"]:
            if "policy" in content:
                row.setdefault("policy", content["policy"])
            found.append((f"{path.stem}: {row['name']}", content["about"], row))
    return tuple(found)


@cache
def patients() -> tuple[tuple[str, dict[str, Any], PatientSnapshot], ...]:
    """(id, row, facts) of every vignette, read once for all who put another question to them."""
    return tuple((name, row, facts_of(row)) for name, _, row in rows())


def _result(text: str, index: int) -> tuple[str, dict[str, Any]]:
    match = re.fullmatch(
        r"([\w-]+) (?:([<>]?)([\d.]+)(?: (\S+))?|'([^']+)')(?: limit ([\d.]+))?(?: range '([^']+)')?(?: (standing|lying|sitting))?"
        r" (?:(-?[\d.]+) (d|h) ago( by day)?|(undated))(?: (preliminary|corrected|cancelled|entered-in-error))?",
        text,
    )
    assert match, f"not a result: {text}"
    kind, comparator, value, unit, words, limit, span, posture, age, age_unit, by_day, undated, status = (
        match.groups()
    )
    assert kind in _KINDS or kind in _SCALES, f"no such result: {kind}"
    result = observation(_KINDS.get(kind, ""), float(value) if value else None, unit, id=f"r-{index}")
    if kind in _SCALES:
        result["code"] = {"coding": [{"system": _WARD, "code": kind}]}
    if words:
        result["valueString"] = words
    if undated:
        del result["effectiveDateTime"]
    elif by_day:
        result["effectiveDateTime"] = day_ago(int(age))
    else:
        result["effectiveDateTime"] = ago(float(age)) if age_unit == "d" else ago(0, float(age))
    result["status"] = status or "final"
    if span:
        result["referenceRange"] = [{"text": span}]
    if comparator:
        result["valueQuantity"]["comparator"] = comparator
    if limit:
        result["referenceRange"] = [{"high": {"value": float(limit), "unit": unit}}]
    if posture:
        systolic, diastolic = _POSTURE[posture].split()
        result["code"]["coding"][0]["code"] = systolic if kind == "systolic" else diastolic
    source = source_of(kinds_by_loinc()[_KINDS[kind]].id) if kind in _KINDS else "labs"
    return source, result


def _repeated(text: str) -> list[str]:
    """“ANC 3.0 10*3/uL every 28 d from 400 d to 20 d”: a result again and again; any other text is one result."""
    match = re.fullmatch(r"(.+) every (\d+) d from (\d+) d to (\d+) d", text)
    if match is None:
        return [text]
    result, every, first, last = match.group(1), *map(int, match.groups()[1:])
    return [f"{result} {days} d ago" for days in range(last, first + 1, every)]


def _stopped(text: str, index: int) -> dict[str, Any]:
    """A draft that stops (or cancels) a drug: the running order itself, an order linked to it, or one that names none."""
    match = re.fullmatch(r"(stop|cancel) (.+) \((linked to )?(mr-\d+|unlinked)\)(?: because (.+))?", text)
    assert match, f"not a stop: {text}"
    verb, name, linked, target, reason = match.groups()
    own = not linked and target != "unlinked"
    identifier, status = target if own else f"draft-{index}", "stopped" if verb == "stop" else "cancelled"
    if name == "clozapine":
        made = clozapine(300, id=identifier, status=status)
    else:
        made = order(f"{name} oral tablet", id=identifier, status=status)
    if linked:
        made["priorPrescription"] = {"reference": f"MedicationRequest/{target}"}
    if reason:
        made["statusReason"] = {"text": reason}
    return made


def _titration(text: str, identifier: str, status: str) -> dict[str, Any]:
    """One order with steps that follow each other."""
    lines = []
    for sequence, step in enumerate(text.split(), 1):
        mg, days = step.split("x")
        line = dosage(float(mg))[0] | {"sequence": sequence}
        line["timing"]["repeat"]["boundsDuration"] = {"value": int(days), "unit": "d", "code": "d"}
        lines.append(line)
    made = clozapine(25, id=identifier, status=status)
    return made | {"dosageInstruction": lines}


def _order(text: str, index: int, *, draft: bool) -> dict[str, Any]:
    if text.startswith(("stop ", "cancel ")):
        return _stopped(text, index)
    plain, _, days = text.removesuffix(" d ago").partition(" updated ")
    if days:
        return _order(plain, index, draft=draft) | {"meta": {"lastUpdated": ago(float(days))}}
    plain, _, days = text.partition(" valid to ")
    if days:
        made = _order(plain, index, draft=draft)
        valid = {"validityPeriod": {"end": ago(int(days.removesuffix(" d ago")))}}
        return made | {"dispenseRequest": made.get("dispenseRequest", {}) | valid}
    plain, _, number = text.partition(" numbered ")
    if number:
        identifier = {"system": "https://ehr.example.com/orders", "value": number}
        return _order(plain, index, draft=draft) | {"identifier": [identifier]}
    if branded := re.search(r" of ([A-Z]\w+)", text):
        made = _order(text.replace(branded[0], ""), index, draft=draft)
        return made | {"medicationCodeableConcept": {"text": f"{branded[1]} 100 mg tablets"}}
    for word, change in _SORTS.items():
        if text.startswith(word):
            return _order(text.removeprefix(word), index, draft=draft) | change
    if text.endswith("'") and " written '" in text:
        plain, _, written = text.removesuffix("'").partition(" written '")
        made = _order(plain, index, draft=draft)
        in_fields = made["dosageInstruction"] if " mg" in plain else [{}]
        return made | {"dosageInstruction": [in_fields[0] | {"text": written}]}
    if " by route " in text:
        plain, _, route = text.partition(" by route ")
        return _order(plain, index, draft=draft) | {"dosageInstruction": [{"route": {"text": route}}]}
    if " as " in text:
        plain, _, own = text.partition(" as ")
        return _order(plain, index, draft=draft) | {"id": own}
    if text.endswith(" tablets"):
        plain, _, tablets = text.removesuffix(" tablets").partition(" with ")
        quantity = {"quantity": {"value": int(tablets), "unit": "tablet"}}
        return _order(plain, index, draft=draft) | {"dispenseRequest": quantity}
    if " linked to " in text or " part of " in text:
        plain, link, target = re.split(r" (linked to|part of) ", text)
        related = {"reference": f"MedicationRequest/{target}"}
        change = (
            {"priorPrescription": related}
            if link == "linked to"
            else {"intent": "instance-order", "basedOn": [related]}
        )
        return _order(plain, index, draft=draft) | change
    if text.startswith("clozapine steps "):
        steps, _, since = text.removeprefix("clozapine steps ").partition(" since ")
        made = _titration(steps, f"draft-{index}" if draft else f"mr-{index}", "draft" if draft else "active")
        return made | ({"authoredOn": day_ago(int(since.removesuffix(" d")))} if since else {})
    renewed, _, replaced = text.partition(" renewing ")
    if replaced:
        prior = {"priorPrescription": {"reference": f"MedicationRequest/{replaced}"}}
        return _order(renewed, index, draft=draft) | prior
    if text.startswith("completed "):
        return _order(text.removeprefix("completed "), index, draft=draft) | {"status": "completed"}
    if first := re.search(r" first in (\d+) (h|d)$", text):
        made = _order(text[: first.start()], index, draft=draft)
        begins = ago(0, -float(first[1])) if first[2] == "h" else day_ago(-int(first[1]))
        made["dosageInstruction"][0]["timing"]["repeat"]["boundsPeriod"] = {"start": begins}
        return made
    match = re.fullmatch(
        r"(.+?)(?: (at )?([\d.]+) mg)?(?: x(\d))?(?: every (\d+) d)?( at (?:bedtime|morning|noon|afternoon|evening|\d\d:\d\d))?(?: for (\d+) d)?(?: since (\d+) d| from (\d+) d to (\d+) d)?",
        text,
    )
    assert match, f"not an order: {text}"
    name, dosed, mg, times, every, bedtime, supply, since, begin, end = match.groups()
    identifier, status = (f"draft-{index}", "draft") if draft else (f"mr-{index}", "active")
    if name == "clozapine":
        made = clozapine(float(mg or 300), id=identifier, status=status, frequency=int(times or 1))
    else:
        made = order(f"{name} oral tablet" if " " not in name else name, id=identifier, status=status)
        if dosed:  # of other drugs the dose is read only where a vignette is about it
            made["dosageInstruction"] = dosage(float(mg), int(times or 1))
    if every:
        made["dosageInstruction"][0]["timing"]["repeat"]["period"] = int(every)
    if bedtime:
        repeat = made["dosageInstruction"][0]["timing"]["repeat"]
        named = bedtime.removeprefix(" at ")
        if named[0].isdigit():
            repeat["timeOfDay"] = [f"{named}:00"]
        else:
            repeat["when"] = [_PARTS[named]]
    if supply:
        made["dispenseRequest"] = {
            "expectedSupplyDuration": {"value": int(supply), "unit": "days", "code": "d"}
        }
    if since:
        made["authoredOn"] = day_ago(int(since))
    if begin and end:
        made["status"] = "stopped"
        made["authoredOn"] = day_ago(int(begin))
        timing = made.setdefault(
            "dosageInstruction", [{"timing": {"repeat": {"frequency": 1, "period": 1, "periodUnit": "d"}}}]
        )[0]["timing"]
        timing["repeat"]["boundsPeriod"] = {"start": day_ago(int(begin)), "end": day_ago(int(end))}
    return made


#: Doses not given because the patient was not there.
_ABSENT = {"on-leave": "Patient on leave", "without-leave": "Absent without leave"}


def _given(text: str, index: int) -> dict[str, Any]:
    match = re.fullmatch(r"([\d.]+) (h|d by day)(?: ([\d.]+) (mg|tablets?))?(?: of (.+)|(?: (\S+))?)", text)
    assert match, f"not a dose given: {text}"
    since, since_unit, amount, unit, drug, status = match.groups()
    made: dict[str, Any] = {
        "resourceType": "MedicationAdministration",
        "id": f"given-{index}",
        "status": status or "completed",
        "medicationCodeableConcept": {
            "text": drug or ("clozapine 25 mg tablet" if unit != "mg" and amount else "clozapine")
        },
        "subject": {"reference": "Patient/clz-p1"},
        "effectiveDateTime": ago(0, float(since)) if since_unit == "h" else day_ago(int(since)),
    }
    if status in _ABSENT:
        return made | {"status": "not-done", "statusReason": [{"text": _ABSENT[status]}]}
    return made | ({"dosage": {"dose": {"value": float(amount), "unit": unit}}} if amount else {})


def _all_given(texts: list[str]) -> list[str]:
    """Single doses, and runs of them: “every 12 h from 200 h to 44 h 150 mg”."""
    found = []
    for text in texts:
        match = re.fullmatch(r"every (\d+) h from ([\d.]+) h to ([\d.]+) h(.*)", text)
        if not match:
            found.append(text)
            continue
        step, begin, end = int(match[1]), float(match[2]), float(match[3])
        found += [f"{begin - i * step:g} h{match[4]}" for i in range(int((begin - end) / step) + 1)]
    return found


def _stated(text: str, index: int) -> dict[str, Any]:
    """What the patient is said to take: “stopped 3 d ago” (since long), “not-taken 5 d ago”, “active since 300 d”."""
    text, _, updated = text.partition(" updated ")
    if updated:
        return _stated(text, index) | {"meta": {"lastUpdated": ago(float(updated.removesuffix(" d ago")))}}
    text, _, said = text.partition(" said ")
    if said:
        return _stated(text, index) | {"dateAsserted": ago(float(said.removesuffix(" d ago")))}
    match = re.fullmatch(
        r"(\S+)(?: undated| (?:since (\d+) d(?: to (\d+) d)?|([\d.]+) d ago)( asserted)?)", text
    )
    assert match, f"not a statement: {text}"
    status, since, to, days, asserted = match.groups()
    made: dict[str, Any] = {
        "resourceType": "MedicationStatement",
        "id": f"statement-{index}",
        "status": status,
        "medicationCodeableConcept": {"text": "clozapine"},
        "subject": {"reference": "Patient/clz-p1"},
    }
    if since:
        return made | {
            "effectivePeriod": {"start": day_ago(int(since))} | ({"end": day_ago(int(to))} if to else {})
        }
    if not days:
        return made
    if asserted:
        return made | {"dateAsserted": ago(float(days))}
    if status == "not-taken":
        return made | {"effectiveDateTime": ago(float(days))}
    return made | {"effectivePeriod": {"start": day_ago(1000), "end": ago(float(days))}}


def _counted(text: str, index: int) -> dict[str, Any] | None:
    """A dispense that says how many tablets, not for how many days: “84 tablets of 100 mg 49 d ago filling mr-0 told 1 x3”."""
    match = re.fullmatch(
        r"(\d+)( tablets?| packs?)?(?: of (\d+) mg)? ([\d.]+) d ago(?: filling (\S+))?(?: told ([\d.]+) x(\d))?",
        text,
    )
    if not match:
        return None
    number, unit, mg, days, fills, tablets, times = match.groups()
    made: dict[str, Any] = {
        "resourceType": "MedicationDispense",
        "id": f"dispense-{index}",
        "status": "completed",
        "medicationCodeableConcept": {"text": f"clozapine {mg or 100} mg tablet"},
        "subject": {"reference": "Patient/clz-p1"},
        "whenHandedOver": ago(float(days)),
        "quantity": {"value": int(number)} | ({"unit": unit.strip()} if unit else {}),
    }
    if fills:
        made["authorizingPrescription"] = [{"reference": f"MedicationRequest/{fills}"}]
    if times:
        made["dosageInstruction"] = dosage(float(tablets) * float(mg or 100), int(times))
    return made


def _dispensed(text: str, index: int) -> dict[str, Any]:
    if (counted := _counted(text, index)) is not None:
        return counted
    match = re.fullmatch(r"(\d+) d supply(?: of (\d+) mg)? ([\d.]+) d ago(?: (\S+))?", text)
    assert match, f"not a dispense: {text}"
    return {
        "resourceType": "MedicationDispense",
        "id": f"dispense-{index}",
        "status": match.group(4) or "completed",
        "medicationCodeableConcept": {"text": f"clozapine {match.group(2) or 100} mg tablet"},
        "subject": {"reference": "Patient/clz-p1"},
        "whenPrepared" if match.group(4) else "whenHandedOver": ago(float(match.group(3))),
        "daysSupply": {"value": int(match.group(1)), "unit": "days", "code": "d"},
    }


def _problem_code(name: str) -> dict[str, Any]:
    """A text, or an ICD-10 code without one."""
    if not name.startswith("code "):
        return {"text": name}
    return {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": name.removeprefix("code ")}]}


def _problem(text: str, index: int) -> dict[str, Any]:
    name, _, verification = text.partition(" (")
    verification = verification.rstrip(")")
    status = verification if verification in ("resolved", "inactive") else "active"
    name, _, since = name.partition(" since ")
    onset = (
        {"onsetDateTime": day_ago(int(since.removesuffix(" d"))) if since.endswith(" d") else since}
        if since
        else {}
    )
    return {
        "resourceType": "Condition",
        "id": f"problem-{index}",
        "clinicalStatus": {"coding": [{"code": status}]},
        "verificationStatus": {
            "coding": [{"code": "confirmed" if status != "active" else verification or "confirmed"}]
        },
        "code": _problem_code(name),
        "subject": {"reference": "Patient/clz-p1"},
    } | onset


def _allergy(text: str, index: int) -> dict[str, Any]:
    name, _, verification = text.partition(" (")
    return {
        "resourceType": "AllergyIntolerance",
        "id": f"allergy-{index}",
        "clinicalStatus": {"coding": [{"code": "active"}]},
        "verificationStatus": {"coding": [{"code": verification.rstrip(")") or "confirmed"}]},
        "code": {"text": name},
        "patient": {"reference": "Patient/clz-p1"},
    }


_ANSWERS = {"positive": "10828004", "negative": "260385009"}


def _answer(loinc: str, text: str, id: str) -> dict[str, Any]:
    """A coded answer: a code (a SNOMED CT one for a plain result), or, in quotation marks, an answer in words."""
    match = re.fullmatch(r'("?)(.+?)"? ([\d.]+) d ago', text)
    assert match, f"not an answer: {text}"
    in_words, said, days = match.groups()
    result = observation(loinc, None, None, float(days), id=id)
    if in_words:
        return result | {"valueCodeableConcept": {"text": said}}
    return result | {"valueCodeableConcept": {"coding": [{"code": _ANSWERS.get(said, said)}]}}


def _test_order(text: str, index: int) -> dict[str, Any]:
    text, _, days = text.partition(" every ")
    if days:
        repeat = {"frequency": 1, "period": int(days.removesuffix(" d")), "periodUnit": "d"}
        return _test_order(text, index) | {"occurrenceTiming": {"repeat": repeat}}
    code = {"coding": [{"system": LOINC, "code": text}]} if text[0].isdigit() else {"text": text}
    return {
        "resourceType": "ServiceRequest",
        "id": f"test-{index}",
        "status": "draft",
        "intent": "order",
        "code": code,
        "subject": {"reference": "Patient/clz-p1"},
    }


def findings(row: dict[str, Any]) -> list[Finding]:
    """Evaluate one row, as whoever asks the service in Python does."""
    policy = row.get("policy", "us-label-2025")
    return list(judge(request_of(row), policy=policy, as_of=NOW, site=_site(row)).findings)


def facts_of(row: dict[str, Any]) -> PatientSnapshot:
    """The facts of one row, read as for a question."""
    asked = read_inquiry(request_of(row), None)
    return site_facts(
        site_for(None, _site(row)),
        asked.gathered,
        patient_id=asked.patient_id,
        hook=asked.hook,
        orders=asked.orders,
        selections=asked.selections,
    )


def practice_of(row: dict[str, Any], **more: Any) -> Practice:
    """How the site of one row works."""
    return site_for(None, _site(row)).options.model_copy(update=more)


def _site(row: dict[str, Any]) -> SiteOptions:
    options: SiteOptions = {
        "smoke_free_wards": row.get("smoke_free_wards", False),
        "counts_elsewhere": row.get("counts_elsewhere", ""),
        "clozapine_brand": row.get("clozapine_brand", ""),
    }
    if row.get("pathway"):
        options |= {"pathway": True, "codes": {f"{_WARD}|{code}": kind for code, kind in _SCALES.items()}}
    return options


def request_of(row: dict[str, Any]) -> dict[str, Any]:
    """The hook call of one row; tests in Python may add ``resources`` as they are, by source."""
    sources: dict[str, list[dict[str, Any]]] = {key: [] for key in QUERIES}
    sources["patient"].append(
        {
            "resourceType": "Patient",
            "id": "clz-p1",
            "gender": row.get("sex", "male"),
            "birthDate": row.get("born", "1984-05-02") or None,
        }
    )
    counts = [one for text in row.get("counts", []) for one in _repeated(text)]
    for index, text in enumerate(counts):
        source, result = _result(text, index)
        sources[source].append(result)
    sources["medications"] += [_order(t, i, draft=False) for i, t in enumerate(row.get("on", []))]
    sources["administrations"] += [_given(t, i) for i, t in enumerate(_all_given(row.get("given", [])))]
    sources["dispenses"] += [_dispensed(t, i) for i, t in enumerate(row.get("dispensed", []))]
    sources["statements"] += [_stated(t, i) for i, t in enumerate(row.get("stated", []))]
    sources["conditions"] += [_problem(t, i) for i, t in enumerate(row.get("problems", []))]
    sources["allergies"] += [_allergy(t, i) for i, t in enumerate(row.get("allergies", []))]
    sources["labs"] += [
        _answer("2106-3", t, f"hcg-{i}") for i, t in enumerate(row.get("pregnancy_tests", []))
    ]
    sources["labs"] += [
        _answer("82810-3", t, f"status-{i}") for i, t in enumerate(row.get("pregnancy_status", []))
    ]
    sources["smoking"] += [
        _answer("72166-2", t, f"smoking-{i}") for i, t in enumerate(row.get("smoking", []))
    ]
    for key, resources in row.get("resources", {}).items():
        sources[key] += resources
    drafts = [_order(t, i, draft=True) for i, t in enumerate(row.get("draft", []))]
    drafts += [_test_order(t, i) for i, t in enumerate(row.get("ordered", []))]
    sources["labs"] += [
        _test_order(t, i) | {"id": f"standing-{i}", "status": "active"}
        for i, t in enumerate(row.get("standing", []))
    ]
    hook = row.get("hook", "order-sign" if drafts else "patient-view")
    unread = row.get("unread", [])
    return call(hook, {key: bundle(*found) for key, found in sources.items() if key not in unread}, *drafts)
