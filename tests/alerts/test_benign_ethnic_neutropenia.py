"""What relaxes the thresholds and what does not (clinical.md 3.3): ANC 600/µL is mild with proof of it, moderate without."""

from __future__ import annotations

from typing import Any

import pytest

from tests.alerts.test_result_properties import judge
from tests.data import anc, observation

Json = dict[str, Any]
_ICD = "http://hl7.org/fhir/sid/icd-10-cm"
_SNOMED = "http://snomed.info/sct"


def _band(*, problems: list[Json] | None = None, results: list[Json] | None = None) -> str:
    low = anc(0.6, 0.2, id="low")
    found = judge([low, *(results or [])], problems=problems)
    return next(f.code for f in found if f.code in ("anc-mild-neutropenia", "anc-moderate-neutropenia"))


def _condition(code: Json, **more: Any) -> Json:
    return {
        "resourceType": "Condition",
        "id": "ben",
        "clinicalStatus": {"coding": [{"code": "active"}]},
        "verificationStatus": {"coding": [{"code": "confirmed"}]},
        "code": code,
        "subject": {"reference": "Patient/clz-p1"},
    } | more


def _coded(system: str, code: str, display: str) -> Json:
    return {"coding": [{"system": system, "code": code, "display": display}]}


@pytest.mark.parametrize(
    "code",
    [
        {"text": "Benign ethnic neutropenia"},
        {"text": "Duffy-null associated neutrophil count"},
        _coded(_ICD, "D70.8", "Benign ethnic neutropenia"),
        _coded(_SNOMED, "129641002", "Benign ethnic neutropenia"),
    ],
)
def test_a_confirmed_problem_that_names_it(code: Json) -> None:
    assert _band(problems=[_condition(code)]) == "anc-mild-neutropenia"


@pytest.mark.parametrize(
    "code",
    [
        # The words of the code itself name another problem: neutropenia.
        _coded(_ICD, "D70.8", "Other neutropenia"),
        {"text": "Other neutropenia"} | _coded(_ICD, "D70.8", "Other neutropenia"),
        {"text": "Agranulocytosis secondary to drug"} | _coded(_ICD, "D70.8", "Other neutropenia"),
        _coded(_SNOMED, "129641002", "Neutropenia"),
        # Its check digit is wrong: no concept at all, whatever it was meant for.
        _coded(_SNOMED, "129641002", ""),
        {"text": "Possible benign ethnic neutropenia"},
        {"text": "?benign ethnic neutropenia"},
        {"text": "Benign ethnic neutropenia, ruled out"},
        {"text": "No evidence of benign ethnic neutropenia"},
        {"text": "Mother has benign ethnic neutropenia"},
        {"text": "Suspected benign ethnic neutropenia"}
        | _coded(_SNOMED, "129641002", "Benign ethnic neutropenia"),
    ],
)
def test_a_code_alone_or_a_doubt_relaxes_nothing(code: Json) -> None:
    assert _band(problems=[_condition(code)]) == "anc-moderate-neutropenia"


@pytest.mark.parametrize(
    "status",
    [
        {"verificationStatus": {"text": "Provisional"}},
        {"verificationStatus": {"text": "To be confirmed"}},
        {"verificationStatus": {"coding": [{"code": "differential"}]}},
        {"clinicalStatus": {"text": "Resolved"}},
        {"clinicalStatus": {"text": "Past"}},
    ],
)
def test_only_an_active_and_confirmed_problem(status: Json) -> None:
    assert (
        _band(problems=[_condition({"text": "Benign ethnic neutropenia"}, **status)])
        == "anc-moderate-neutropenia"
    )


_DUFFY = [
    ("Duffy phenotype", "Fy(a-b-)", True),
    ("Duffy phenotype", "Fy(a−b−), Duffy negative", True),
    ("Duffy-null phenotype", "Positive", True),
    ("ACKR1 rs2814778", "C/C", True),
    ("Duffy phenotype", "Fy(a+b-)", False),
    ("ACKR1 rs2814778", "T/C", False),
    ("Duffy-null phenotype", "Negative", False),
    ("Duffy-null phenotype", "Not detected", False),
    ("Duffy phenotype Fy(a-b-)", "Absent", False),
    ("Duffy phenotype", "Fy(a-b-) not detected", False),
    ("Duffy-null phenotype", "", False),
]


@pytest.mark.parametrize(("question", "answer", "proof"), _DUFFY)
def test_only_a_positive_answer_proves_the_duffy_null_phenotype(
    question: str, answer: str, proof: bool
) -> None:
    result = observation("0-0", None, None, 300, id="duffy", valueString=answer) | {
        "code": {"text": question}
    }
    expected = "anc-mild-neutropenia" if proof else "anc-moderate-neutropenia"
    assert _band(results=[result]) == expected
