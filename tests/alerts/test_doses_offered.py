"""What a card offers can be done: a dose that raises no finding itself, on a tablet that gives it; a test, once."""

from __future__ import annotations

from typing import Any

import pytest

from service.alerts.say.finding import ChangeDose, OrderTest
from service.judge import judge
from tests.alerts.vignette import findings, request_of
from tests.data import NOW

ROWS: list[tuple[dict[str, Any], tuple[float, int]]] = [
    ({"on": ["clozapine 225 mg x2 since 500 d"], "draft": ["clozapine 225 mg x2"], "given": ["40 h"]}, (225, 2)),
    ({"on": ["clozapine 237.5 mg x2 since 500 d"], "draft": ["clozapine 237.5 mg x2"], "given": ["40 h"]}, (225, 2)),
    ({"on": ["clozapine 150 mg x2 since 500 d"], "draft": ["clozapine 150 mg x2"], "given": ["60 h"]}, (75, 1)),
    ({"on": ["clozapine 150 mg x2 since 500 d"], "draft": ["clozapine 150 mg x2"], "given": ["80 h"]}, (12.5, 1)),
    ({"draft": ["clozapine 100 mg"]}, (12.5, 1)),
]  # fmt: skip


@pytest.mark.parametrize(("row", "expected"), ROWS)
def test_the_offered_dose_passes(row: dict[str, Any], expected: tuple[float, int]) -> None:
    row = row | {"counts": ["ANC 3.2 10*3/uL 1 d ago"]}
    offers = {o for f in findings(row) for o in f.offers if isinstance(o, ChangeDose)}
    assert {(o.mg_per_day, o.doses_per_day) for o in offers} == {expected}
    mg, times = expected
    again = findings(row | {"draft": [f"clozapine {mg / times} mg x{times}"]})
    assert [f.code for f in again if f.code.startswith(("missed-dose", "dose-s", "dose-t", "dose-e"))] == []


def test_a_dose_is_offered_on_a_tablet_that_gives_it() -> None:
    row = {"draft": ["clozapine 100 mg"], "counts": ["ANC 3.2 10*3/uL 1 d ago"]}
    (card,) = [c for c in judge(request_of(row), as_of=NOW).cards if "start dose" in c.summary]
    assert "The tablet of this order cannot give 12.5 mg: use one of 25 mg." in card.detail
    changed = next(a.resource for s in card.suggestions for a in s.actions if a.type == "update")
    assert changed is not None
    assert changed["medicationCodeableConcept"] == {"text": "clozapine 25 mg oral tablet"}
    again = row | {"draft": [], "resources": {}}
    asked = request_of(again | {"hook": "patient-view"}) | {"hook": "order-sign"}
    asked["context"]["draftOrders"] = {"resourceType": "Bundle", "entry": [{"resource": changed}]}
    assert [f.code for f in judge(asked, as_of=NOW).findings if f.code.startswith("dose-")] == []


def test_a_tablet_that_gives_the_dose_stays() -> None:
    row = {"draft": ["clozapine 25 mg x2"], "counts": ["ANC 3.2 10*3/uL 1 d ago"]}
    offers = [o for f in findings(row) for o in f.offers if isinstance(o, ChangeDose)]
    assert [o.tablet_mg for o in offers] == [None]


def test_two_cards_never_ask_for_the_same_test() -> None:
    """A fever and a count that is overdue both want a blood count: one card orders it, as urgently as any of them asks."""
    row = {
        "hook": "patient-view",
        "on": ["clozapine 300 mg since 500 d"],
        "counts": ["ANC 3.2 10*3/uL 33 d ago", "temperature 39.1 Cel 2 h ago"],
    }
    wanted = [o for f in findings(row) for o in f.offers if isinstance(o, OrderTest)]
    counts = [o for o in wanted if o.test == "cbc-with-differential"]
    assert len(counts) > 1
    ordered = [
        a.resource
        for card in judge(request_of(row), as_of=NOW).cards
        for s in card.suggestions
        for a in s.actions
        if a.resource and a.resource["resourceType"] == "ServiceRequest"
    ]
    blood = [r for r in ordered if "57021-8" in str(r["code"])]
    assert len(blood) == 1
    assert blood[0]["priority"] == min(
        (o.priority for o in counts), key=["stat", "asap", "urgent", "routine"].index
    )
