"""Ordinary orders – the most prescribed drugs, and those of a ward – draw no card about what was not read."""

from __future__ import annotations

import pytest

from service.judge import judge
from tests.data import KEYS, NOW, PATIENT, anc, bundle, call, on_clozapine, order
from tools.noise import orders

_ORDERS = tuple(dict.fromkeys(o.drug for o in orders()))
_NOTHING = {key: bundle() for key in KEYS} | {
    "patient": bundle({"resourceType": "Patient", "id": PATIENT, "gender": "male", "birthDate": "1984-05-02"})
}
_ON_CLOZAPINE = _NOTHING | {"medications": bundle(on_clozapine(600)), "counts": bundle(anc(3.2, 3))}


@pytest.mark.parametrize("drug", _ORDERS)
def test_an_ordinary_order(drug: str) -> None:
    elsewhere = judge(call("order-sign", _NOTHING, order(drug)), as_of=NOW).findings
    assert elsewhere == ()
    beside = {f.code for f in judge(call("order-sign", _ON_CLOZAPINE, order(drug)), as_of=NOW).findings}
    assert not beside & {"data-unavailable", "anc-unusable", "medication-unrecognized"}
