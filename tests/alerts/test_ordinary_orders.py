"""Ordinary orders – the most prescribed drugs, and those of a ward – draw no card about what was not read."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.judge import judge
from tests.data import KEYS, NOW, PATIENT, anc, bundle, call, on_clozapine, order

_ORDERS = (Path(__file__).parent / "ordinary_orders.txt").read_text(encoding="utf-8").splitlines()
_NOTHING = {key: bundle() for key in KEYS} | {
    "patient": bundle({"resourceType": "Patient", "id": PATIENT, "gender": "male", "birthDate": "1984-05-02"})
}
_ON_CLOZAPINE = _NOTHING | {"medications": bundle(on_clozapine(600)), "counts": bundle(anc(3.2, 3))}
#: Not decided yet: nobody has said that they are harmless beside clozapine, nor that they are not.
_UNDECIDED = frozenset(
    {
        "semaglutide", "famotidine", "buspirone", "cyclobenzaprine", "estradiol", "dulaglutide", "hydralazine", "nifedipine", "donepezil", "methocarbamol",
        "liraglutide", "meclizine", "nitrofurantoin", "metronidazole", "guanfacine", "atomoxetine", "colchicine", "tamoxifen", "ticagrelor", "ranolazine",
        "lansoprazole", "rabeprazole", "adalimumab", "etanercept", "oxcarbazepine", "medroxyprogesterone", "norethindrone", "progesterone", "pirenzepine",
        "ivabradine", "cyclizine",
    }
)  # fmt: skip


@pytest.mark.parametrize("drug", _ORDERS)
def test_an_ordinary_order(drug: str) -> None:
    elsewhere = judge(call("order-sign", _NOTHING, order(drug)), as_of=NOW).findings
    assert elsewhere == ()
    beside = {f.code for f in judge(call("order-sign", _ON_CLOZAPINE, order(drug)), as_of=NOW).findings}
    assert not beside & {"data-unavailable", "anc-unusable"}
    if drug.split()[0] not in _UNDECIDED:
        assert "medication-unrecognized" not in beside
