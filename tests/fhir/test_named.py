"""What was silent: texts beside the dose, drugs named instead of each other, rules nobody knows, selections of nothing – each with its border."""

from __future__ import annotations

from typing import Any

import pytest

from service.judge import judge
from tests.data import (
    LOINC,
    NOW,
    PATIENT,
    Json,
    ago,
    anc,
    bundle,
    call,
    clozapine,
    dosage,
    observation,
    on_clozapine,
    order,
    prefetch,
)
from tests.fhir.asking import cards, signed, visit

_SUBJECT = {"reference": f"Patient/{PATIENT}"}
_LOW = bundle(anc(0.4, 1))


# -- texts beside the dose -----------------------------------------------------------------------------------------

_MAY_MATTER = [
    "STOP clozapine", "hold tonight", "withheld since Monday", "do not give", "increase to 400 mg from Monday", "Reduce slowly", "450 mg at night", "abgesetzt",
    "ne pas donner", "niet geven",
]  # fmt: skip
_HARMLESS = [
    "patient prefers tablets", "given with breakfast", "hold if ANC below 1500", "stop if fever", "stop smoking advice given", "300 mg nocte",
    "three 100 mg tablets", "dispense weekly", "last seen by the clinic in May", "", "may cause drowsiness",
]  # fmt: skip


def _beside(text: str) -> list[Json]:
    """An order of 300 mg with a text in each place beside its dose."""
    advised, told = clozapine(300), clozapine(300)
    advised["dosageInstruction"][0]["additionalInstruction"] = [{"text": text}]
    told["dosageInstruction"][0]["patientInstruction"] = text
    return [clozapine(300) | {"note": [{"text": text}]}, advised, told]


@pytest.mark.parametrize("text", _MAY_MATTER)
def test_a_text_that_may_change_the_dose_is_named(text: str) -> None:
    for draft in _beside(text):
        assert signed(draft).keys() & {"data-unavailable", "dose-unreadable"}, draft
    live = on_clozapine() | {"note": [{"text": text}]}
    assert "data-unavailable" in visit(medications=bundle(live))
    # Of an order that is over, and of a drug whose dose no rule asks for, it is no matter.
    assert "data-unavailable" not in visit(
        medications=bundle(
            on_clozapine(), live | {"id": "old", "status": "completed", "authoredOn": "2024-01-01"}
        )
    )
    assert (
        visit(
            medications=bundle(
                on_clozapine(), order("atorvastatin", id="a", status="active", note=[{"text": text}])
            )
        )
        == {}
    )


@pytest.mark.parametrize("text", _HARMLESS)
def test_a_harmless_text_is_not_named(text: str) -> None:
    for draft in _beside(text):
        assert not signed(draft).keys() & {"data-unavailable", "dose-unreadable"}, draft
    assert visit(medications=bundle(on_clozapine() | {"note": [{"text": text}]})) == {}


def test_tablets_are_no_milligrams() -> None:
    """Two tablets of 100 mg do not explain "2 mg"."""
    draft = clozapine(300) | {"note": [{"text": "2 mg at night"}]}
    draft["dosageInstruction"][0]["doseAndRate"] = [{"doseQuantity": {"value": 2, "unit": "tablet"}}]
    assert "data-unavailable" in signed(draft)
    draft["note"] = [{"text": "200 mg at night"}]
    assert "data-unavailable" not in signed(draft)


@pytest.mark.parametrize("note", [None, [], [{}], [{"text": 7}], "stop", {"text": "stop"}, [None]])
def test_a_note_of_another_shape_costs_itself(note: Any) -> None:
    found = visit(medications=bundle(on_clozapine() | {"note": note}), counts=_LOW)
    assert "anc-severe-neutropenia" in found


# -- rules and modifiers that nobody knows -------------------------------------------------------------------------


def test_implicit_rules_are_not_understood() -> None:
    ruled = {"implicitRules": "http://example.org/rules"}
    assert "implicitRules" in visit(counts=bundle(anc(), anc(0.4, 1, id="x") | ruled))["anc-unusable"][1]
    assert "data-unavailable" in visit(medications=bundle(on_clozapine() | ruled))
    allergy = {
        "resourceType": "AllergyIntolerance",
        "id": "a",
        "patient": _SUBJECT,
        "code": {"text": "clozapine"},
    }
    assert "data-unavailable" in cards(
        call("order-sign", prefetch(counts=bundle(anc()), allergies=bundle(allergy | ruled)), clozapine(12.5))
    )
    # Beside clozapine another drug's record matters only where the drug does.
    harmless = order("atorvastatin", id="a", status="active") | ruled
    assert visit(medications=bundle(on_clozapine(), harmless)) == {}
    assert visit(counts=bundle(anc() | {"implicitRules": ""})) == {}


def test_a_dosage_instruction_that_is_modified_is_not_read() -> None:
    draft = clozapine(300)
    draft["dosageInstruction"][0]["modifierExtension"] = [
        {"url": "http://example.org/negated", "valueBoolean": True}
    ]
    assert "modifierExtension" in signed(draft)["dose-unreadable"][1]


# -- drugs named instead of each other -----------------------------------------------------------------------------


def _named(
    code: str, display: str, text: str, system: str = "http://www.nlm.nih.gov/research/umls/rxnorm"
) -> Json:
    made = clozapine(300)
    made["medicationCodeableConcept"] = {
        "coding": [{"system": system, "code": code, "display": display}],
        "text": text,
    }
    return made


@pytest.mark.parametrize(
    ("code", "display", "text", "both"),
    [
        ("197527", "clonazepam 0.5 MG Oral Tablet", "clozapine 100 mg tablet", ("clonazepam", "clozapine")),
        ("197535", "clozapine 100 MG Oral Tablet", "clonazepam 0.5 mg tablet", ("clonazepam", "clozapine")),
        ("197535", "", "olanzapine 10 mg", ("clozapine", "olanzapine")),
        ("42355", "", "Clozaril 100 mg", ("clozapine", "fluvoxamine")),
        ("", "atorvastatin 20 mg", "clozapine 100 mg", ("clozapine", "another drug")),
    ],
)  # fmt: skip
def test_code_and_words_that_name_two_drugs_are_said(
    code: str, display: str, text: str, both: tuple[str, str]
) -> None:
    asked = call(
        "order-sign",
        prefetch(medications=bundle(on_clozapine()), counts=bundle(anc())),
        _named(code, display, text),
    )
    assert "data-unavailable" in cards(asked)

    found = next(f for f in judge(asked, as_of=NOW).findings if f.code == "data-unavailable")
    assert all(any(name in line for line in found.why) for name in both)


@pytest.mark.parametrize(
    ("code", "display", "text"),
    [
        ("197535", "clozapine 100 MG Oral Tablet", "Clozaril 100 mg"),
        ("197535", "", "Clozapin-neuraxpharm 100 mg"),
        ("999", "Antipsychotic agent", "clozapine 100 mg"),
        ("197535", "clozapine 100 MG Oral Tablet", "for sleep"),
    ],
)
def test_code_and_words_that_agree_say_nothing(code: str, display: str, text: str) -> None:
    assert "data-unavailable" not in signed(_named(code, display, text))
    combined = order("Symbyax 6 mg/25 mg", id="s", status="active")
    combined["medicationCodeableConcept"]["coding"] = [
        {"display": "fluoxetine 25 MG / olanzapine 6 MG Oral Capsule"}
    ]
    assert "data-unavailable" not in visit(medications=bundle(on_clozapine(), combined))


# -- what is selected, and drafts of no known shape ----------------------------------------------------------------


@pytest.mark.parametrize(
    "selections",
    [[], ["MedicationRequest/zz"], ["ServiceRequest/zz"], ["ServiceRequest/draft-1"], [""], ["#zz"]],
)
def test_selections_that_name_no_draft_leave_every_draft_in_question(selections: list[str]) -> None:
    asked = call("order-select", prefetch(counts=_LOW), clozapine(12.5))
    asked["context"]["selections"] = selections
    assert cards(asked)["anc-below-initiation"][0] == "critical"


def test_another_order_that_is_selected_is_the_one_in_question() -> None:
    test = {
        "resourceType": "ServiceRequest",
        "id": "t",
        "status": "draft",
        "subject": _SUBJECT,
        "code": {"text": "Lipids"},
    }
    asked = call("order-select", prefetch(counts=_LOW), clozapine(12.5), test)
    asked["context"]["selections"] = ["ServiceRequest/t"]
    assert "anc-below-initiation" not in cards(asked)


def test_an_entry_without_a_resource_is_an_order_nobody_can_read() -> None:
    asked = call("order-sign", prefetch(counts=_LOW))
    asked["context"]["draftOrders"]["entry"] = [clozapine(12.5)]
    assert "An order" in cards(asked)["data-unavailable"][1]
    assert "data-unavailable" not in cards(call("order-sign", prefetch(counts=_LOW)))


# -- records of no day ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["completed", "stopped"])
@pytest.mark.parametrize("kind", ["MedicationStatement", "MedicationRequest"])
def test_a_record_that_is_over_and_names_no_day_is_said_where_a_count_is_low_alone(
    kind: str, status: str
) -> None:
    record = {"resourceType": kind, "id": "x", "status": status, "intent": "order", "subject": _SUBJECT, "medicationCodeableConcept": {"text": "Leponex"}}  # fmt: skip
    source = "statements" if kind == "MedicationStatement" else "medications"
    sent: Json = {"medications": bundle(), source: bundle(record)}
    assert "Is clozapine taken?" in visit(**sent, counts=_LOW)["data-unavailable"][1]
    assert visit(**sent) == {}
    other = record | {"medicationCodeableConcept": {"text": "atorvastatin"}}
    assert visit(**(sent | {source: bundle(other)}), counts=_LOW) == {}
    assert "data-unavailable" not in visit(
        **(sent | {source: bundle(record | {"status": "entered-in-error"})}), counts=_LOW
    )


# -- doses of another drug, supply to go home with -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("mg", "said"), [(1, True), (0.5, True), (2, True), (6.25, True), (12.5, False), (25, False)]
)
def test_a_dose_smaller_than_any_start_is_asked_about(mg: float, said: bool) -> None:
    asked = call(
        "order-sign", prefetch(medications=bundle(), counts=bundle(anc())), clozapine(mg, frequency=2)
    )
    assert ("dose-below-smallest" in cards(asked)) == said
    # What is taken already is no slip.
    taken = order(
        "clozapine 25 mg",
        id="mr-9",
        status="active",
        authoredOn="2026-01-05",
        dosageInstruction=dosage(mg, 2),
    )
    again = call(
        "order-sign", prefetch(medications=bundle(taken), counts=bundle(anc())), clozapine(mg, frequency=2)
    )
    assert "dose-below-smallest" not in cards(again)


@pytest.mark.parametrize(
    ("hook", "more", "said"),
    [
        ("encounter-discharge", {}, True),
        ("encounter-discharge", {"authoredOn": "2026-09-01"}, False),
        ("encounter-discharge", {"category": []}, False),
        (
            "encounter-discharge",
            {"dispenseRequest": {"expectedSupplyDuration": {"value": 7, "code": "d"}}},
            False,
        ),
        ("patient-view", {}, False),
    ],
)
def test_supply_to_go_home_with_is_weighed_at_the_discharge(hook: str, more: Json, said: bool) -> None:
    home = on_clozapine(20, id="tto") | {
        "authoredOn": ago()[:10], "category": [{"coding": [{"code": "discharge"}]}],
        "dispenseRequest": {"expectedSupplyDuration": {"value": 28, "unit": "days", "code": "d"}},
    }  # fmt: skip
    asked = call(hook, prefetch(medications=bundle(on_clozapine(60), home | more), counts=bundle(anc(3, 1))))
    assert ("supply-exceeds-interval" in cards(asked)) == said


# -- panels and reports whose results did not come -----------------------------------------------------------------


def _panel(code: str = "58410-2", **more: Any) -> Json:
    return observation(code, None, None, 1, id="p", **more)


def _report(title: str = "Full blood count", **more: Any) -> Json:
    made = {
        "resourceType": "DiagnosticReport",
        "id": "d",
        "status": "final",
        "subject": _SUBJECT,
        "effectiveDateTime": ago(1),
    }
    return made | {"code": {"text": title}} | more


_NOT_THERE = [{"reference": "Observation/nowhere"}]
_WITHOUT_RESULTS = [
    _panel(), _panel("57021-8"), _panel(hasMember=_NOT_THERE), _report(), _report("Großes Blutbild"), _report("CBC"), _report(result=_NOT_THERE),
    _report(conclusion="within normal limits"), _report(conclusionCode=[{"text": "normal"}]), _report(presentedForm=[{"contentType": "application/pdf"}]),
    _report("", code={"coding": [{"system": LOINC, "code": "57021-8"}]}),
]  # fmt: skip


@pytest.mark.parametrize("empty", _WITHOUT_RESULTS)
def test_a_blood_count_whose_results_did_not_come_is_named_where_one_is_due_or_missing(empty: Json) -> None:
    assert "blood counts" in visit(counts=bundle(anc(3, 60), empty))["data-unavailable"][1]
    assert "data-unavailable" in visit(counts=bundle(empty))
    # Not where a usable count is as new, where none is due, nor in somebody who takes no clozapine.
    assert visit(counts=bundle(anc(3, 1), empty)) == {}
    assert visit(counts=bundle(anc(3, 9), empty)) == {}
    assert visit(medications=bundle(), counts=bundle(anc(3, 60), empty)) == {}
    # Nor one that was withdrawn, or that is older than the last count.
    assert "data-unavailable" not in visit(counts=bundle(anc(3, 60), empty | {"status": "entered-in-error"}))
    assert "data-unavailable" not in visit(counts=bundle(anc(3, 60), empty | {"effectiveDateTime": ago(90)}))


def test_a_panel_whose_members_came_is_a_heading() -> None:
    for holder in (
        _panel(hasMember=[{"reference": "Observation/o"}]),
        _report(result=[{"reference": "Observation/o"}]),
    ):
        told = anc(3, 60, id="o")
        assert "data-unavailable" not in visit(counts=bundle(told, holder))
    inside = {k: v for k, v in anc(3, id="o").items() if k != "effectiveDateTime"}
    assert visit(counts=bundle(_report(result=[{"reference": "#o"}], contained=[inside]))) == {}


@pytest.mark.parametrize(
    "said",
    [
        {"conclusion": "Severe neutropenia."},
        {
            "conclusionCode": [
                {
                    "coding": [
                        {"system": "http://snomed.info/sct", "code": "165517008", "display": "Neutropenia"}
                    ]
                }
            ]
        },
        {"conclusionCode": [{"coding": [{"system": "http://hl7.org/fhir/sid/icd-10", "code": "D70"}]}]},
    ],
)
def test_a_conclusion_that_names_neutropenia_is_said_though_no_count_is_due(said: Json) -> None:
    for title in ("Full blood count", "Haematology"):
        assert "data-unavailable" in visit(counts=bundle(anc(3, 9), _report(title, **said)))
        assert visit(counts=bundle(anc(3, 1), _report(title, **said))) == {}
    assert visit(counts=bundle(anc(3, 9), _report("Haematology", conclusion="No neutropenia."))) == {}


def test_a_troponin_in_words_is_shown_as_not_used() -> None:
    early = {
        "medications": bundle(on_clozapine(20)),
        "labs": bundle(_report("Troponin T", conclusion="raised")),
    }
    assert "data-unavailable" in visit(**early)
    assert "data-unavailable" not in visit(
        **(early | {"labs": bundle(_report("Chest X-ray", conclusion="clear"))})
    )


# -- codes that no table holds -------------------------------------------------------------------------------------


def _problem(code: str, system: str = "http://snomed.info/sct", **more: Any) -> Json:
    return {
        "resourceType": "Condition",
        "id": "c",
        "subject": _SUBJECT,
        "code": {"coding": [{"system": system, "code": code}]},
    } | more


def _ordered(*conditions: Json, **sources: Any) -> dict[str, tuple[str, str]]:
    asked = prefetch(medications=bundle(on_clozapine()), counts=bundle(anc()), conditions=bundle(*conditions))
    return cards(call("order-sign", asked | sources, clozapine(300)))


@pytest.mark.parametrize(
    "system",
    [
        "http://snomed.info/sct",
        "urn:oid:2.16.840.1.113883.6.96",
        "http://snomed.info/sct|http://snomed.info/sct/45991000052106",
    ],
)
def test_a_problem_in_an_unknown_code_is_said_where_clozapine_is_ordered(system: str) -> None:
    unknown = _problem("9999999999", system)
    assert "problem list" in _ordered(unknown)["data-unavailable"][1]
    # Not at every visit, not at the order of anything else, not once it is over, and not where words say what it is.
    assert visit(conditions=bundle(unknown)) == {}
    assert "data-unavailable" not in cards(
        call(
            "order-sign",
            prefetch(medications=bundle(on_clozapine()), counts=bundle(anc()), conditions=bundle(unknown)),
            order("fluvoxamine 50 mg"),
        )
    )
    resolved = {"clinicalStatus": {"coding": [{"code": "resolved"}]}}
    refuted = {"verificationStatus": {"coding": [{"code": "refuted"}]}}
    for more in (resolved, refuted):
        assert "data-unavailable" not in _ordered(unknown | more)
    unknown["code"]["coding"][0]["display"] = "Bunion"
    assert "data-unavailable" not in _ordered(unknown)


def test_an_allergy_in_an_unknown_code_is_said_where_clozapine_is_ordered() -> None:
    allergy = {"resourceType": "AllergyIntolerance", "id": "a", "patient": _SUBJECT}
    unknown = allergy | {"code": {"coding": [{"system": "http://snomed.info/sct", "code": "9999999999"}]}}
    assert "data-unavailable" in _ordered(allergies=bundle(unknown))
    assert visit(allergies=bundle(unknown)) == {}
    known = allergy | {"code": {"coding": [{"system": "http://snomed.info/sct", "code": "387568001"}]}}
    assert "hypersensitivity" in _ordered(allergies=bundle(known))
    harmless = allergy | {"code": {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10", "code": "Z88.0"}]}}
    assert "data-unavailable" not in _ordered(allergies=bundle(harmless))


# -- beginnings that name no day -----------------------------------------------------------------------------------


def _since(began: str) -> list[Json]:
    live = {k: v for k, v in on_clozapine().items() if k != "authoredOn"} | {"authoredOn": began}
    told = {
        "resourceType": "MedicationStatement",
        "id": "s",
        "status": "active",
        "subject": _SUBJECT,
        "medicationCodeableConcept": {"text": "Leponex"},
    }
    return [live, told | {"effectivePeriod": {"start": began}}]


@pytest.mark.parametrize(
    ("began", "due"), [("2026", True), ("2026-11", True), ("2026-05", True), ("2025", False), ("2026-04", False), ("2026-01-05", False)]
)  # fmt: skip
def test_a_course_that_began_in_a_month_or_a_year_may_have_begun_at_its_end(began: str, due: bool) -> None:
    """Weekly counts for 26 weeks, to 21 May: the last one was 10 days ago."""
    for record in _since(began):
        source = "medications" if record["resourceType"] == "MedicationRequest" else "statements"
        found = visit(**{"medications": bundle(), source: bundle(record), "counts": bundle(anc(3, 10))})
        assert ("anc-overdue" in found) == due, record
    # Another record that is exact bounds it.
    exact = on_clozapine(300)
    assert "anc-overdue" not in visit(
        medications=bundle(exact, _since(began)[0] | {"id": "v"}), counts=bundle(anc(3, 10))
    )


@pytest.mark.parametrize(
    ("began", "exact", "alike"),
    [("2026-09", "2026-09-30", True), ("2026-03", "2026-03-31", True), ("2026-11", "2026-11-19", True), ("2026-10", "2026-10-01", False), ("2026", "2026-01-01", False)],
)  # fmt: skip
def test_an_inhibitor_since_some_month_is_not_taken_for_one_of_long_standing(
    began: str, exact: str, alike: bool
) -> None:
    def said(day: str) -> tuple[str, str]:
        taken = order("fluvoxamine 50 mg", id="f", status="active", authoredOn=day)
        return visit(medications=bundle(on_clozapine(), taken))["interaction-cyp1a2-strong-inhibitor"]

    # It may be new or settled: then neither is said.
    assert (said(began) == said(exact)) == alike


@pytest.mark.parametrize(
    ("onset", "last"), [("2026", "2026-11-20"), ("2026-11", "2026-11-20"), ("2026-10", "2026-10-31"), ("2025", "2025-12-31")]
)  # fmt: skip
def test_a_problem_of_some_month_may_have_begun_on_its_last_day(onset: str, last: str) -> None:
    seizure = {"resourceType": "Condition", "id": "c", "subject": _SUBJECT, "code": {"text": "Seizure"}}
    found = [
        visit(conditions=bundle(seizure | {"onsetDateTime": at})).get("seizure", ("", ""))[0]
        for at in (onset, last)
    ]
    assert found[0] == found[1]
