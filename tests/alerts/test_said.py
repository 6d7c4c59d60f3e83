"""What was not understood and may matter is said; what cannot matter is not: by pairs of a readable record, harmless and harmful, and unread ones.

Where the harmful record would have changed the answer by a warning or an alarm, the unread one is named; where it would not, no card speaks of
it. What is left out on purpose stands in ``_ON_PURPOSE``.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import orjson
import pytest

from service.judge import judge
from service.judge.judgement import Judgement
from tests.data import (
    KEYS,
    NOW,
    PATIENT,
    anc,
    baseline_labs,
    bundle,
    call,
    clozapine,
    day_ago,
    normal_vitals,
    observation,
    on_clozapine,
    order,
)  # fmt: skip

Json = dict[str, Any]
_OTHER = "Patient/somebody-else"
_WHOSE = {"reference": f"Patient/{PATIENT}"}
_LIMIT = [{"high": {"value": 14, "unit": "ng/L"}}]
_OWN_CODE = {"coding": [{"system": "urn:own", "code": "9"}]}
_BY_REFERENCE = {"medicationReference": {"reference": "Medication/gone"}}

#: name -> (hook, drafts, records)
_QUESTIONS: dict[str, tuple[str, list[Json], list[Json]]] = {
    "visit, on clozapine": ("patient-view", [], [on_clozapine(600)]),
    "visit, in the first weeks": ("patient-view", [], [on_clozapine(12, 100)]),
    "visit, nothing hints at clozapine": ("patient-view", [], []),
    "discharge, on clozapine": ("encounter-discharge", [], [on_clozapine(600)]),
    "clozapine renewed": ("order-sign", [clozapine(300)], [on_clozapine(600)]),
    "clozapine raised in the first weeks": ("order-sign", [clozapine(100)], [on_clozapine(12, 100)]),
    "first dose": ("order-sign", [clozapine(12.5)], []),
    "fluvoxamine, on clozapine": ("order-sign", [order("fluvoxamine 50 mg oral tablet")], [on_clozapine(600)]),
    "fluvoxamine, nothing hints at clozapine": ("order-sign", [order("fluvoxamine 50 mg oral tablet")], []),
    "ibuprofen, on clozapine": ("order-sign", [order("ibuprofen 400 mg oral tablet")], [on_clozapine(600)]),
    "ibuprofen, in the first weeks": ("order-sign", [order("ibuprofen 400 mg oral tablet")], [on_clozapine(12, 100)]),
    "ibuprofen, nothing hints at clozapine": ("order-sign", [order("ibuprofen 400 mg oral tablet")], []),
}  # fmt: skip
_COUNTS: dict[str, list[Json]] = {
    "fresh": [anc(3.2, 3, id="a0")],
    "none": [],
    "old": [anc(3.2, 200, id="a0")],
}


def _result(code: str, value: float, unit: str, days: float = 1, **more: Any) -> Json:
    return observation(code, value, unit, days, id="x1", **more)


def _called(result: Json, text: str, system: str = "urn:own") -> Json:
    return result | {"code": {"coding": [{"system": system, "code": "L1", "display": text}]}}


def _statement(**more: Any) -> Json:
    said: Json = {"resourceType": "MedicationStatement", "id": "x1", "status": "active", "subject": _WHOSE}
    return said | {"effectivePeriod": {"start": day_ago(20)}} | more


def _order(**more: Any) -> Json:
    made: Json = {"resourceType": "MedicationRequest", "id": "x1", "status": "active", "intent": "order"}
    return made | {"subject": _WHOSE, "authoredOn": day_ago(20)} | more


def _dispense(**more: Any) -> Json:
    made: Json = {"resourceType": "MedicationDispense", "id": "x1", "status": "completed", "subject": _WHOSE}
    supply = {"whenHandedOver": f"{day_ago(2)}T10:00:00Z", "daysSupply": {"value": 28, "code": "d"}}
    return made | supply | more


def _condition(**more: Any) -> Json:
    made: Json = {"resourceType": "Condition", "id": "x1", "subject": _WHOSE, "recordedDate": day_ago(3)}
    return made | {"clinicalStatus": {"coding": [{"code": "active"}]}} | more


def _allergy(**more: Any) -> Json:
    return {"resourceType": "AllergyIntolerance", "id": "x1", "patient": _WHOSE} | more


def _of(text: str) -> Json:
    return {"medicationCodeableConcept": {"text": text}}


def _results(
    code: str, harmless: float, harmful: float, unit: str, days: float = 1, **more: Any
) -> tuple[Json, list[Json], Json]:
    """A result, harmless and harmful, and the harmful one in a unit that is none."""
    return (
        _result(code, harmless, unit, days, **more),
        [_result(code, harmful, unit, days, **more)],
        _result(code, harmful, "bananas", days, **more),
    )


def _kinds() -> dict[str, tuple[str, Json, list[Json], dict[str, Json]]]:
    """kind -> (source, harmless, harmful ones, name -> unread)."""
    low = anc(0.4, 1, id="x1")
    kinds: dict[str, tuple[str, Json, list[Json], dict[str, Json]]] = {
        "ANC": (
            "counts",
            anc(3.2, 1, id="x1"),
            [low],
            {
                "own code": _called(low, "Neutrophile abs."),
                "SNOMED CT": _called(low, "Neutrophil count", "http://snomed.info/sct"),
                "text alone": low | {"code": {"text": "NEUT#"}},
                "unit": anc(0.4, 1, unit="bananas", id="x1"),
                "status": anc(0.4, 1, id="x1", status="odd"),
                "form": low | {"code": "751-8"},
                "subject": anc(0.4, 1, id="x1", patient="somebody-else"),
            },
        ),
    }
    taken = [_statement(**_of("fluvoxamine 50 mg tablet")), _statement(**_of("clozapine 100 mg tablet"))]
    kinds["statement"] = (
        "statements",
        _statement(**_of("paracetamol 500 mg tablet")),
        taken,
        {
            "product": _statement(**_BY_REFERENCE),
            "own code": _statement(medicationCodeableConcept=_OWN_CODE),
            "name": _statement(**_of("blue tablets")),
            "form": _statement(medicationCodeableConcept="fluvoxamine"),
        },
    )
    ordered = [_order(**_of("fluvoxamine 50 mg tablet")), _order(**_of("clozapine 100 mg tablet"))]
    kinds["order"] = (
        "medications",
        _order(**_of("paracetamol 500 mg tablet")),
        ordered,
        {
            "product": _order(**_BY_REFERENCE),
            "own code": _order(medicationCodeableConcept=_OWN_CODE),
            "name": _order(**_of("blue tablets")),
            "subject": ordered[0] | {"subject": {"reference": _OTHER}},
        },
    )
    kinds["dispense"] = (
        "dispenses",
        _dispense(**_of("paracetamol 500 mg tablet")),
        [_dispense(**_of("clozapine 100 mg tablet")), _dispense(**_of("fluvoxamine 50 mg tablet"))],
        {"product": _dispense(**_BY_REFERENCE), "form": _dispense(medicationCodeableConcept=7)},
    )
    kinds["problem"] = (
        "conditions",
        _condition(code={"text": "ingrown toenail"}),
        [_condition(code={"text": "myocarditis"})],
        {
            "own code": _condition(code=_OWN_CODE),
            "form": _condition(code="myocarditis"),
            "subject": _condition(code={"text": "myocarditis"}, subject={"reference": _OTHER}),
        },
    )
    kinds["allergy"] = (
        "allergies",
        _allergy(code={"text": "penicillin"}),
        [_allergy(code={"text": "clozapine"})],
        {"own code": _allergy(code=_OWN_CODE), "form": _allergy(code="clozapine")},
    )
    for kind, source, made in (
        ("troponin", "labs", _results("67151-1", 4, 400, "ng/L", referenceRange=_LIMIT)),
        ("level", "labs", _results("6896-5", 420, 1500, "ng/mL")),
        ("QTc", "labs", _results("8636-3", 412, 600, "ms")),
        ("eosinophils", "counts", _results("711-2", 0.1, 5, "10*3/uL")),
        ("platelets", "counts", _results("777-3", 200, 20, "10*3/uL")),
        ("pulse", "vitals", _results("8867-4", 70, 150, "/min", 0.5)),
        ("glucose", "labs", _results("2345-7", 90, 500, "mg/dL")),
    ):
        kinds[kind] = (source, made[0], made[1], {"unit": made[2]})
    kinds["troponin"][3]["own code"] = _called(kinds["troponin"][2][0], "Troponin T hs")
    # A range in foreign words is nothing to judge by; the unit of a troponin is that of its range.
    del kinds["troponin"][3]["unit"]
    kinds["level"][3]["own code"] = _called(kinds["level"][2][0], "Clozapin")
    return kinds


_KINDS = _kinds()
_PAIRS = [
    (question, counts, kind, unread)
    for question in _QUESTIONS
    for counts in _COUNTS
    for kind, (_, _, _, unreads) in _KINDS.items()
    for unread in unreads
]


@lru_cache(maxsize=2048)
def _judged(question: str, counts: str, source: str, record: bytes) -> Judgement:
    hook, drafts, records = _QUESTIONS[question]
    sources: dict[str, list[Json]] = {key: [] for key in KEYS}
    sources["patient"] = [{"resourceType": "Patient", "id": PATIENT}]
    sources["medications"] += records
    sources["counts"] += _COUNTS[counts]
    sources[source].append(orjson.loads(record))
    return judge(call(hook, {k: bundle(*v) for k, v in sources.items()}, *drafts), as_of=NOW)


def _findings(question: str, counts: str, source: str, record: Json) -> set[tuple[str, str, str]]:
    judged = _judged(question, counts, source, orjson.dumps(record))
    return {(f.code, f.subject, f.severity) for f in judged.findings}


def _matters(question: str, counts: str, kind: str) -> bool:
    """Whether the harmful record draws a warning or an alarm that the harmless one does not."""
    source, harmless, harmful, _ = _KINDS[kind]
    plain = _findings(question, counts, source, harmless)
    more = {f for one in harmful for f in _findings(question, counts, source, one) - plain}
    return any(severity != "info" for _, _, severity in more)


def _names_it(judged: Judgement) -> bool:
    """Whether a card names the record, or says that one of another patient was left out."""
    said = repr([(f.summary, f.why, f.evidence) for f in judged.findings])
    return "/x1" in said or "another patient" in said


#: Of whom nothing hints at clozapine, it is not said at every visit and every order that a drug or a count could not be read.
_NO_HINT = ("visit, nothing hints at clozapine",)


def _on_purpose(question: str, kind: str, unread: str) -> bool:
    if question in _NO_HINT:
        return True
    # A name that nothing recognises is hardly ever clozapine: it hints at it only while a count is low.
    return question == "fluvoxamine, nothing hints at clozapine" and unread == "name"


@pytest.mark.parametrize(("question", "counts", "kind", "unread"), _PAIRS)
def test_what_may_matter_is_said(question: str, counts: str, kind: str, unread: str) -> None:
    if not _matters(question, counts, kind) or _on_purpose(question, kind, unread):
        return
    source, _, _, unreads = _KINDS[kind]
    assert _names_it(_judged(question, counts, source, orjson.dumps(unreads[unread])))


@pytest.mark.parametrize(("question", "counts", "kind", "unread"), _PAIRS)
def test_what_cannot_matter_is_not_a_warning(question: str, counts: str, kind: str, unread: str) -> None:
    if _matters(question, counts, kind) or unread == "form":
        return  # of what form is broken nobody knows what it is
    source, harmless, _, unreads = _KINDS[kind]
    plain = _findings(question, counts, source, harmless)
    more = _findings(question, counts, source, unreads[unread]) - plain
    assert {f for f in more if f[2] != "info" and f[0] == "data-unavailable"} == set()


def test_the_pairs_have_both_sides() -> None:
    for kind in _KINDS:
        assert {_matters(q, c, kind) for q in _QUESTIONS for c in _COUNTS} == {True, False}, kind


def test_one_card_of_at_most_five_lines() -> None:
    drugs = [_statement(id=f"s{n}", **_BY_REFERENCE) for n in range(9)]
    broken = [_order(id=f"o{n}") | {"medicationCodeableConcept": n} for n in range(4)]
    problems = [_condition(id=f"c{n}", code=_OWN_CODE) for n in range(8)]
    foreign = [anc(0.4, 1, id=f"f{n}", patient="somebody-else") for n in range(3)]
    given = {k: bundle() for k in KEYS} | {
        "patient": bundle({"resourceType": "Patient", "id": PATIENT}),
        "medications": bundle(on_clozapine(600), *broken),
        "statements": bundle(*drugs),
        "conditions": bundle(*problems, _condition(id="cx", code=7)),
        "allergies": bundle(_allergy(code=_OWN_CODE), _allergy(id="ax", code=7)),
        "counts": bundle(anc(3.2, 3, id="a0"), *foreign),
    }
    judged = judge(call("patient-view", given), as_of=NOW)
    (said,) = [f for f in judged.findings if f.code == "data-unavailable"]
    causes = [line for line in said.why if " – " in line or "other causes" in line]
    assert len(causes) == 5
    assert "other causes" in causes[-1]
    assert any("and 6 more" in line for line in causes)  # three of nine statements are named


# -- words ---------------------------------------------------------------------------------------------------------


def _visit(result: Json, *, counts: tuple[Json, ...] = (anc(3.2, 3, id="a0"),), days: int = 12) -> set[str]:
    given = {k: bundle() for k in KEYS} | {
        "patient": bundle({"resourceType": "Patient", "id": PATIENT}),
        "medications": bundle(on_clozapine(days, 100)),
        "counts": bundle(*counts),
        "labs": bundle(result),
    }
    judged = judge(call("patient-view", given), as_of=NOW)
    return {f.code for f in judged.findings if "/x1" in repr((f.why, f.evidence))}


@pytest.mark.parametrize(
    "title",
    [
        "Neutrophils", "Neutrophil count", "Absolute Neutrophil Count (ANC)", "ANC", "NEUT#", "Neut abs", "Neutrophile Granulozyten", "Neutrophile absolut",
        "Polynucléaires neutrophiles (mm3)", "PNN", "Neutrofiele granulocyten", "Neutrófilos", "Neutrofilos segmentados", "Neutrofili assoluti", "好中球数",
        "NEUTROPHILS, BLOOD", "Neutrophils [#/volume] in Blood by some new method",
    ],
)  # fmt: skip
def test_a_neutrophil_count_by_its_words(title: str) -> None:
    assert _visit(_called(anc(0.4, 1, id="x1"), title)) == {"anc-unusable"}
    assert _visit(anc(0.4, 1, id="x1") | {"code": {"text": title}}) == {"anc-unusable"}


@pytest.mark.parametrize(
    "title",
    [
        "Neutrophils in urine", "Neutrophile im Liquor", "Neutrophils/100 leukocytes in Body fluid", "ANCA", "Anti-neutrophil cytoplasmic antibody",
        "Neutrophil gelatinase-associated lipocalin", "Neutrophil-to-lymphocyte ratio", "Hypersegmented neutrophils", "Neutralisation test", "Neutropenia",
        "Haemoglobin", "Chance of rain", "Pancreatic lipase", "Sputum neutrophils",
    ],
)  # fmt: skip
def test_what_is_no_neutrophil_count(title: str) -> None:
    assert _visit(_called(anc(0.4, 1, id="x1"), title)) == set()


@pytest.mark.parametrize(
    ("title", "result", "said"),
    [
        ("Clozapine level", _result("6896-5", 1500, "ng/mL"), True),
        ("Clozapin i.S.", _result("6896-5", 1500, "ng/mL"), True),
        ("Clozapina", _result("6896-5", 1.5, "mg/L"), True),
        ("クロザピン", _result("6896-5", 1500, "ng/mL"), True),
        ("Norclozapine", _result("6896-5", 1500, "ng/mL"), False),
        ("Desmethylclozapin", _result("6896-5", 1500, "ng/mL"), False),
        ("Clozapine dose", _result("6896-5", 300, "mg"), False),
        ("Clozapine monitoring status", _result("6896-5", 1, "1"), False),
        ("Troponin T hs", _result("67151-1", 400, "ng/L"), True),
        ("Troponina I", _result("67151-1", 400, "ng/L"), True),
        ("Troponine ultrasensible", _result("67151-1", 400, "ng/L"), True),
        ("Tropomyosin", _result("67151-1", 400, "ng/L"), False),
    ],
)
def test_a_level_and_a_troponin_by_their_words(title: str, result: Json, said: bool) -> None:
    assert _visit(_called(result, title)) == ({"data-unavailable"} if said else set())


@pytest.mark.parametrize(
    ("title", "unit", "said"),
    [
        ("White cell count", "10*9/L", True),
        ("Leukozyten", "Tsd/µl", True),
        ("Leucocytes", "G/L", True),
        ("Globuli bianchi", "10*3/uL", True),
        ("Glóbulos blancos", "10*3/uL", True),
        ("Leukocyten", "10*9/L", True),
        ("白血球数", "10*3/uL", True),
        ("WBC", "10*3/uL", True),
        ("Leukozyten", "/HPF", False),
        ("Leukocyte esterase", "10*3/uL", False),
        ("Leukocytes in urine", "10*3/uL", False),
        ("WBC crossmatch", "10*3/uL", False),
    ],
)
def test_white_cells_where_the_policy_judges_them(title: str, unit: str, said: bool) -> None:
    given = {k: bundle() for k in KEYS} | {
        "patient": bundle({"resourceType": "Patient", "id": PATIENT}),
        "medications": bundle(on_clozapine(600)),
        "counts": bundle(
            anc(3.2, 3, id="a0"),
            observation("6690-2", 6, "10*3/uL", 3, id="w0"),
            _called(_result("6690-2", 2.0, unit), title),
        ),
    }
    judged = judge(call("patient-view", given), policy="uk-smpc", as_of=NOW)
    assert any("/x1" in repr(f) for f in judged.findings if f.code == "anc-unusable") is said


def test_when_a_count_by_its_words_answers_nothing_new() -> None:
    low = anc(0.4, 1, id="x1")
    own = _called(low, "Neutrophile abs.")
    # Reported twice, or older than a usable one, it is no news; without a value, or taken back, it is no result.
    assert _visit(own, counts=(anc(3.2, 1, id="a0"),)) == set()
    assert _visit(own, counts=(anc(3.2, 0.99, id="a0"),)) == set()
    assert _visit(own, counts=(anc(3.2, 0.5, id="a0"),)) == set()
    assert _visit({k: v for k, v in own.items() if k != "valueQuantity"}) == set()
    for status in ("entered-in-error", "cancelled", "registered"):
        assert _visit(own | {"status": status}) == set()
    assert _visit(own, counts=()) == {"anc-unusable"}
    assert _visit(own | {"valueQuantity": {"value": 8, "unit": "%"}}) == {"anc-unusable"}
    inside = {"code": {"text": "Neutrophils"}, "valueQuantity": {"value": 0.4, "unit": "10*9/L"}}
    panel = low | {"code": {"text": "Full blood count"}, "component": [inside]}
    del panel["valueQuantity"]
    assert _visit(panel) == {"anc-unusable"}


def test_a_mapped_code_is_read() -> None:
    own = _called(anc(0.4, 1, id="x1"), "Neutrophile abs.")
    given = {"medications": bundle(on_clozapine(600)), "counts": bundle(own)}
    judged = judge(call("patient-view", given), as_of=NOW, site={"codes": {"urn:own|L1": "anc"}})
    assert "anc-severe-neutropenia" in {f.code for f in judged.findings}
    assert "anc-unusable" not in {f.code for f in judged.findings}


# -- no noise ------------------------------------------------------------------------------------------------------

_ABOUT_UNREAD = frozenset({"data-unavailable", "anc-unusable", "medication-unrecognized"})


def _clean(*records: Json) -> Json:
    nothing = {k: bundle() for k in KEYS}
    return nothing | {
        "patient": bundle({"resourceType": "Patient", "id": PATIENT, "gender": "male", "birthDate": "1984-05-02"}),
        "medications": bundle(*records),
        "counts": bundle(anc(3.2, 3), observation("6690-2", 6.1, "10*3/uL", 3, id="w0")),
        "labs": baseline_labs(),
        "vitals": normal_vitals(),
    }  # fmt: skip


@pytest.mark.parametrize(
    "hook", ["patient-view", "encounter-start", "encounter-discharge", "order-select", "order-sign"]
)
@pytest.mark.parametrize("records", [(), (on_clozapine(600),), (on_clozapine(12, 100),)], ids=len)
def test_a_clean_course_has_no_card_about_what_was_not_read(hook: str, records: tuple[Json, ...]) -> None:
    drafts = [clozapine(300)] if hook.startswith("order") and records else []
    for policy in ("us-label-2025", "uk-smpc"):
        judged = judge(call(hook, _clean(*records), *drafts), policy=policy, as_of=NOW)
        assert not _ABOUT_UNREAD & {f.code for f in judged.findings}
