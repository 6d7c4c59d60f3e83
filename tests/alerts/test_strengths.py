"""A clozapine product that contradicts itself is said, in whichever unit the dose is; one that names one strength, or none, is not."""

from __future__ import annotations

from typing import Any

import pytest

from service.judge import judge
from tests.data import NOW, RXNORM, anc, bundle, call, clozapine, on_clozapine, prefetch

Json = dict[str, Any]
_CODE_100 = {"system": RXNORM, "code": "197535"}
_CODE_25 = {"system": RXNORM, "code": "197536"}


def _ordered(concept: Json, ratio: Json | None = None, dose: Json | None = None) -> list[tuple[str, str]]:
    draft = clozapine(300)
    del draft["medicationCodeableConcept"]
    ingredient = {"itemCodeableConcept": {"text": "clozapine"}} | ({"strength": ratio} if ratio else {})
    draft["contained"] = [
        {"resourceType": "Medication", "id": "m", "code": concept, "ingredient": [ingredient]}
    ]
    draft["medicationReference"] = {"reference": "#m"}
    if dose is not None:
        draft["dosageInstruction"][0]["doseAndRate"][0]["doseQuantity"] = dose
    given = prefetch(medications=bundle(on_clozapine(600)), counts=bundle(anc(3.2, 3)))
    found = judge(call("order-sign", given, draft), as_of=NOW).findings
    return [(f.subject, f.summary) for f in found if f.code == "dose-unreadable"]


def _ratio(mg: float, **per: Any) -> Json:
    return {"numerator": {"value": mg, "unit": "mg"}, "denominator": per}


_TABLET = {"value": 1, "unit": "tablet"}


@pytest.mark.parametrize(
    ("concept", "ratio", "says"),
    [
        ({"coding": [_CODE_100], "text": "clozapine 25 mg tablet"}, None, "100 mg by the product code, 25 mg by the product name"),
        ({"coding": [_CODE_25], "text": "Clozaril 100 mg"}, None, "25 mg by the product code, 100 mg by the product name"),
        ({"text": "clozapine 100 mg tablet"}, _ratio(25, **_TABLET), "25 mg by the Medication resource, 100 mg by the product name"),
        ({"coding": [_CODE_100]}, _ratio(25, **_TABLET), "25 mg by the Medication resource, 100 mg by the product code"),
        ({"text": "clozapine 50 mg/mL suspension"}, _ratio(100, value=1, unit="mL"), "100 mg/mL by the Medication resource, 50 mg/mL by the product name"),
        ({"coding": [_CODE_100, _CODE_25]}, None, "100 mg by the product code, 25 mg by the product code"),
    ],
)  # fmt: skip
def test_a_contradiction_is_said(concept: Json, ratio: Json | None, says: str) -> None:
    ((subject, summary),) = _ordered(concept, ratio)
    assert subject == "dose-product"
    assert says in summary
    assert len(summary) < 140
    tablets = {"value": 3, "unit": "mL" if "mL" in says else "tablet"}
    ((subject, _),) = _ordered(concept, ratio, tablets)
    assert subject != "dose-product"  # then the dose itself could not be read, and that card says why


@pytest.mark.parametrize(
    ("concept", "ratio"),
    [
        ({"coding": [_CODE_100], "text": "clozapine 100 mg tablet"}, _ratio(100, **_TABLET)),
        ({"coding": [_CODE_100], "text": "clozapine"}, None),
        ({"coding": [_CODE_100], "text": "clozapine 100 mg tablet"}, _ratio(100, value=100, unit="MG")),
        ({"coding": [_CODE_100], "text": "clozapine 100 mg tablet"}, _ratio(0.1, value=1, unit="blister")),
        ({"coding": [_CODE_100], "text": "clozapine 0.1 g tablet"}, None),
        ({"text": "clozapine 25 mg and 100 mg tablets"}, _ratio(25, **_TABLET)),
    ],
)
def test_what_agrees_or_says_nothing_is_not(concept: Json, ratio: Json | None) -> None:
    assert _ordered(concept, ratio) == []
