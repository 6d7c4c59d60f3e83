"""What is longer than is read is not understood, and named: never cut so that it reads as something else."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from msgspec import Raw

from service.alerts.facts.patient import Dose, Medication, PatientSnapshot
from service.alerts.facts.reason import because
from service.alerts.facts.record_text import DOSAGE, NAME, VALUE
from service.fhir import snapshot
from service.fhir.gather import from_prefetch
from service.fhir.queries import QUERIES
from tests.data import NOW, PATIENT, anc, baseline_labs, bundle, clozapine, observation, order, words

Json = dict[str, Any]


def _read(drafts: list[Json] | None = None, **sources: Json) -> PatientSnapshot:
    given = {source: Raw(orjson.dumps(resource)) for source, resource in sources.items()}
    gathered, _ = from_prefetch(given, dict.fromkeys(QUERIES))
    orders = Raw(orjson.dumps(bundle(*drafts))) if drafts else None
    return snapshot.build(
        patient_id=PATIENT, hook="order-sign", zone=NOW.tzinfo, gathered=gathered, orders=orders
    )  # type: ignore[arg-type]


def _draft(**more: Any) -> Medication:
    (draft,) = _read([clozapine(12.5) | more]).drafts
    return draft


def _dose(*lines: Json) -> Dose:
    dose = _draft(dosageInstruction=list(lines)).dose
    assert dose is not None
    return dose


_STRUCTURED = {
    "timing": {"repeat": {"frequency": 1, "period": 1, "periodUnit": "d"}},
    "doseAndRate": [{"doseQuantity": {"value": 100, "unit": "mg"}}],
}
_WRITTEN = "100 mg at night"


# -- values and units -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "reason"),
    [
        (anc(1.2, 1, "10*3/uL" + "x" * VALUE), "its unit is longer than 200 characters"),
        (anc(1.2, 1, "10*3/uL") | {"valueQuantity": {"value": 1.2, "unit": "10*3/uL", "code": "y" * 9000}}, "its unit is longer than 200 characters"),
        (observation("751-8", None, None, 1, valueString="1.2 10*3/uL" + " (by hand)" * 30), "its text is longer than 200 characters"),
        (observation("751-8", None, None, 1, valueString=" " * 50_000 + "1.2 10*3/uL"), "its text is longer than 200 characters"),
        (anc(1.2, 1, "furlongs\n<b>"), "“furlongs <b>” is not a unit of this result"),
        (anc(1.2, 1, "f" * 150), f"“{'f' * 59}…” is not a unit of this result"),
    ],
)  # fmt: skip
def test_values_and_units(count: Json, reason: str) -> None:
    facts = _read(counts=bundle(count))
    assert [words(u.reason) for u in facts.unusable] == [reason]
    assert "anc" not in facts.measurements
    assert len(facts.unusable[0].raw) <= VALUE


@pytest.mark.parametrize(
    "text", ["1.2 10*3/uL", "  1.2\n10*3/uL ", " " * 1000 + "1.2 10*3/uL", "1.2\u00a0\u00a010*3/uL\u200b"]
)
def test_blanks_are_no_part_of_a_value(text: str) -> None:
    facts = _read(counts=bundle(observation("751-8", None, None, 1, valueString=text)))
    assert [m.value for m in facts.measurements["anc"]] == [1200]
    assert facts.measurements["anc"][0].raw == "1.2 10*3/uL"


@pytest.mark.parametrize(
    "code", ["751-8", "67151-1"]
)  # a troponin is judged by its own range, whatever its unit
@pytest.mark.parametrize("text", ["1\x002 10*3/uL", "\u202e2.1 10*3/uL", "1\x00 10*3/uL"])
def test_a_value_with_what_cannot_be_seen_in_it_is_not_read(text: str, code: str) -> None:
    facts = _read(counts=bundle(observation(code, None, None, 1, valueString=text)))
    assert not facts.measurements
    assert "\ufffd" in facts.unusable[0].raw


def test_a_reference_range_that_is_too_long_or_impossible_is_no_range() -> None:
    for odd in (
        {"text": "0-14 ng/L" + " " * 9000 + "x"},
        {"high": {"value": 1e305, "unit": "ng/L"}},
        {"high": {"value": 14, "unit": "n" * 900}},
    ):
        result = observation(
            "67151-1", 20, "ng/L", 1, referenceRange=[odd, {"high": {"value": 50, "unit": "ng/L"}}]
        )
        (troponin,) = _read(labs=bundle(result)).measurements["troponin"]
        assert troponin.upper_limit == 50


def test_parts_and_contained_results_are_bounded_and_what_is_beyond_is_named() -> None:
    part = {
        "code": {"coding": [{"system": "http://loinc.org", "code": "751-8"}]},
        "valueQuantity": {"value": 1.2, "unit": "10*3/uL"},
    }
    panel = observation("57021-8", None, None, 1, id="panel")
    assert len(_read(counts=bundle(panel | {"component": [part] * 200})).measurements["anc"]) == 200
    facts = _read(counts=bundle(panel | {"component": [part] * 201}, anc(3, 2)))
    assert len(facts.measurements["anc"]) == 1
    assert facts.state("counts") == "incomplete"
    assert words(facts.read_problems[0].reason) == "it has more than 200 components, which were not read"
    facts = _read(counts=bundle(panel | {"contained": [anc(3, 2, id=f"in-{n}") for n in range(1001)]}))
    assert facts.state("counts") == "incomplete"
    assert "more than 1000" in words(facts.read_problems[0].reason)


# -- names ------------------------------------------------------------------------------------------------------


def test_a_name_that_is_too_long_is_named_even_when_it_hides_clozapine_at_its_end() -> None:
    long = "compound " * 80 + "clozapine 100 mg"
    facts = _read(medications=bundle(order(long, id="m", status="active")))
    (record,) = facts.medications
    assert record.drugs == ()
    assert len(record.label) <= VALUE
    assert (facts.read_problems[0].ref, facts.read_problems[0].matters) == ("MedicationRequest/m", True)
    assert facts.state("medications") == "incomplete"
    drafted = _read([order(long)])
    assert [p.source for p in drafted.read_problems if "longer than 500" in words(p.reason)] == [
        "draftOrders"
    ]


def test_a_drug_at_the_beginning_of_a_long_name_is_taken_at_its_word_but_no_strength_or_route_is() -> None:
    long = "ciprofloxacin 500 mg eye drops " + "and so on " * 80
    (record,) = _read(medications=bundle(order(long, status="active"))).medications
    assert record.drugs == ("ciprofloxacin",)
    assert record.systemic
    draft = _draft(
        medicationCodeableConcept={"text": "clozapine 100 mg tablet " + "x " * 400},
        dosageInstruction=[{"text": "1 tablet at night"}],
    )
    assert draft.drugs == ("clozapine",)
    assert draft.dose is not None
    assert draft.dose.mg_per_day is None


def test_a_code_tells_the_drug_whatever_the_length_of_its_name() -> None:
    long = clozapine(100, status="active")
    long["medicationCodeableConcept"]["text"] = "x" * 9000
    facts = _read(medications=bundle(long))
    assert facts.medications[0].drugs == ("clozapine",)
    assert facts.state("medications") == "complete"


@pytest.mark.parametrize(
    "name",
    [
        "1 mg per" + " " * 400 + "clozapine",
        "cloza\u00adpine",
        "clozapine\x00 100 mg",
        "\x00clozapine",
        "clozapine\n100 mg",
    ],
)
def test_blanks_and_controls_hide_no_drug(name: str) -> None:
    (record,) = _read(medications=bundle(order(name, status="active"))).medications
    assert record.drugs == ("clozapine",)


def _condition(**code: Any) -> Json:
    return {
        "resourceType": "Condition",
        "id": "c",
        "code": code,
        "subject": {"reference": f"Patient/{PATIENT}"},
    }


def test_a_problem_or_an_allergy_of_too_long_a_name_is_named() -> None:
    facts = _read(conditions=bundle(_condition(text="myocarditis " + "x" * NAME)))
    assert facts.problems == ()
    assert words(facts.read_problems[0].reason) == "its name is longer than 500 characters"
    assert facts.state("conditions") == "incomplete"
    facts = _read(conditions=bundle(_condition(text="x" * 600, coding=[{"display": "myocarditis"}])))
    assert "myocarditis" in facts.problems[0].kinds
    allergy = {"resourceType": "AllergyIntolerance", "id": "a", "code": {"text": "clozapine " + "x" * NAME}, "patient": {"reference": f"Patient/{PATIENT}"}}  # fmt: skip
    facts = _read(allergies=bundle(allergy))
    assert facts.read_problems[0].ref == "AllergyIntolerance/a"
    assert facts.state("allergies") == "incomplete"


def test_a_reason_that_is_too_long_is_not_read_in_part() -> None:
    stopped = clozapine(100, status="stopped", statusReason={"text": "neutropenia was ruled out " * 40})
    (record,) = _read(medications=bundle(stopped)).medications
    assert not record.stop_reason
    assert record.stopped_because == because("unread.reason-too-long", most=500)


# -- dosage instructions ----------------------------------------------------------------------------------------


def test_an_instruction_that_is_too_long_is_not_read_in_part() -> None:
    long = _WRITTEN + " with water" * 200
    assert words(_dose({"text": long}).unreadable) == "its text is longer than 2000 characters"
    assert _dose({"text": long, "patientInstruction": _WRITTEN}).mg_per_day is None
    assert _dose({"text": _WRITTEN}, {"text": long}).mg_per_day is None
    assert _dose({"text": f"\n {_WRITTEN}\n" + " " * DOSAGE}).mg_per_day == 100


def test_a_structured_dose_stands_and_the_card_can_say_that_its_text_was_not_read() -> None:
    dose = _dose(_STRUCTURED | {"text": "x" * 2001})
    assert (dose.mg_per_day, tuple(map(words, dose.notes))) == (
        100,
        ("its text is longer than 2000 characters and was not read",),
    )
    assert _dose(_STRUCTURED | {"text": "x" * 2000}).notes == ()
    assert _dose(_STRUCTURED | {"extension": [{"valueString": "x" * 9000}]}).notes == ()


def test_instructions_are_bounded() -> None:
    assert (
        _dose(
            *[_STRUCTURED | {"doseAndRate": [{"doseQuantity": {"value": 1, "unit": "mg"}}]}] * 100
        ).mg_per_day
        == 100
    )
    assert words(_dose(*[_STRUCTURED] * 101).unreadable) == "it has more than 100 dosage instructions"
    assert _dose({"text": "1 mg once daily, " * 110}).mg_per_day is None
    assert "larger than" in words(
        _dose(_STRUCTURED | {"extension": [{"valueString": "x" * 300_000}]}).unreadable
    )


def test_a_route_that_is_too_long_keeps_no_drug_out_of_the_circulation() -> None:
    eye = _draft(dosageInstruction=[_STRUCTURED | {"route": {"text": "eye"}}])
    assert not eye.systemic
    assert _draft(dosageInstruction=[_STRUCTURED | {"route": {"text": "eye" + " drops" * 200}}]).systemic


def test_the_whole_baseline_is_read_as_before() -> None:
    assert len(_read(labs=baseline_labs()).measurements) == 7
