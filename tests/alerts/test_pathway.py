"""The treatment-resistance pathway (clinical.md 2.8), over HTTP: off unless the site asks, visits only, information only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.data import (
    bundle,
    call,
    clozapine,
    codes,
    day_ago,
    observation,
    on_clozapine,
    order,
    prefetch,
)

StartService = Callable[..., httpx.Client]
SCALE = "urn:ward:scales"
PATHWAY = (
    "trs-criteria",
    "pseudo-resistance-checklist",
    "adequate-trial-not-met",
    "clozapine-resistance-review",
)


@pytest.fixture(scope="module")
def service(start_service: StartService) -> httpx.Client:
    return start_service(pathway=True, codes={f"{SCALE}|PANSS": "panss", f"{SCALE}|BPRS": "bprs"})


def _ask(service: httpx.Client, **given: Any) -> list[dict[str, Any]]:
    answer = service.post(
        "/cds-services/clozapine-patient-view", json=call("patient-view", prefetch(**given))
    )
    assert answer.status_code == 200, answer.text
    found = [c for c in answer.json()["cards"] if c["source"]["topic"]["code"] in PATHWAY]
    assert all(c["indicator"] == "info" for c in found)
    return found


def _codes(cards: list[dict[str, Any]]) -> set[str]:
    return {c["source"]["topic"]["code"] for c in cards}


def _schizophrenia() -> dict[str, Any]:
    return bundle(
        {
            "resourceType": "Condition",
            "id": "scz",
            "clinicalStatus": {"coding": [{"code": "active"}]},
            "code": {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": "F20.0"}]},
            "subject": {"reference": "Patient/clz-p1"},
        }
    )


#: Enough by both tables of equivalents.
_MG = {"olanzapine": 20, "risperidone": 10}


def _past(drug: str, begin: int, end: int, id: str) -> dict[str, Any]:
    made = order(f"{drug} oral tablet", id=id, status="completed", authoredOn=day_ago(begin))
    timing = {
        "repeat": {
            "frequency": 1,
            "period": 1,
            "periodUnit": "d",
            "boundsPeriod": {"start": day_ago(begin), "end": day_ago(end)},
        }
    }
    made["dosageInstruction"] = [
        {
            "timing": timing,
            "doseAndRate": [{"doseQuantity": {"value": _MG[drug], "unit": "mg", "code": "mg"}}],
        }
    ]
    return made


def _panss(value: float, days: int) -> dict[str, Any]:
    score = observation("x", value, "{score}", days, id=f"panss-{days}")
    score["code"] = {"coding": [{"system": SCALE, "code": "PANSS"}]}
    return score


def _level(value: float, days: int) -> dict[str, Any]:
    return observation("6896-5", value, "ng/mL", days, id=f"level-{days}")


@pytest.mark.parametrize(
    ("second", "says"),
    [
        (41, "1 more trial long and strong enough"),
        (42, "2 adequate antipsychotic trials"),
        (43, "2 adequate antipsychotic trials"),
    ],
)
def test_trials_are_counted_by_their_length(service: httpx.Client, second: int, says: str) -> None:
    orders = bundle(_past("olanzapine", 400, 300, "a"), _past("risperidone", 200, 200 - second, "b"))
    cards = _ask(service, medications=orders, conditions=_schizophrenia(), labs=bundle(_panss(98, 5)))
    assert _codes(cards) == {"trs-criteria", "pseudo-resistance-checklist"}
    criteria = next(c for c in cards if c["source"]["topic"]["code"] == "trs-criteria")
    assert says in criteria["summary"]
    assert (
        "Olanzapine: 100 days, up to 20 mg/day, equal to 600 mg (consensus) or 600 mg (DDD)"
        in criteria["detail"]
    )
    assert "resistan" not in criteria["summary"] + criteria["source"]["topic"]["display"]


def test_nothing_without_schizophrenia_or_with_clozapine(service: httpx.Client) -> None:
    orders = bundle(_past("olanzapine", 400, 300, "a"), _past("risperidone", 200, 100, "b"))
    assert _ask(service, medications=orders) == []
    with_clozapine = bundle(_past("olanzapine", 900, 800, "a"), on_clozapine())
    assert "trs-criteria" not in _codes(
        _ask(service, medications=with_clozapine, conditions=_schizophrenia())
    )


def _treated(mg: float = 300) -> dict[str, Any]:
    return bundle(clozapine(mg, id="mr-9", status="active", authoredOn=day_ago(500)))


@pytest.mark.parametrize(
    ("now", "poor"),
    # From 100 points, 70 above the lowest score of 30: 20 % better is 86.
    [(87, True), (86, False), (85, False)],
)
def test_a_poor_response_is_less_than_a_fifth(service: httpx.Client, now: float, poor: bool) -> None:
    labs = bundle(_panss(100, 300), _panss(now, 5), _level(200, 100))
    found = _codes(_ask(service, medications=_treated(), labs=labs))
    assert ("adequate-trial-not-met" in found) is poor


@pytest.mark.parametrize(
    ("levels", "met"),
    [
        (((400, 90), (420, 83)), True),
        (((400, 90), (420, 84)), False),
        (((400, 89), (420, 60)), False),
        (((400, 91), (349, 60)), False),
        (((400, 200),), False),
    ],
)
def test_an_adequate_trial_is_two_levels_a_week_apart_and_three_months(
    service: httpx.Client, levels: tuple[tuple[float, int], ...], met: bool
) -> None:
    labs = bundle(_panss(100, 300), _panss(98, 5), *(_level(*level) for level in levels))
    found = _codes(_ask(service, medications=_treated(), labs=labs))
    assert ("clozapine-resistance-review" in found, "adequate-trial-not-met" in found) == (met, not met)
    assert "pseudo-resistance-checklist" in found


@pytest.mark.parametrize(("mg", "met"), [(499, False), (500, True), (501, True)])
def test_without_levels_the_dose_decides(service: httpx.Client, mg: float, met: bool) -> None:
    labs = bundle(_panss(100, 300), _panss(98, 5))
    found = _codes(_ask(service, medications=_treated(mg), labs=labs))
    assert ("clozapine-resistance-review" in found) is met


def test_it_is_off_unless_the_site_switches_it_on(client: httpx.Client) -> None:
    orders = bundle(_past("olanzapine", 400, 300, "a"))
    body = call("patient-view", prefetch(medications=orders, conditions=_schizophrenia()))
    answer = client.post("/cds-services/clozapine-patient-view", json=body).json()
    assert not {code for code, _ in codes(answer)} & set(PATHWAY)
