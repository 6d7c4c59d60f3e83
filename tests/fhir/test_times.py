"""Dates that are none: the year 1 and the year 9999, which some systems write for "unknown" and "for ever"."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from service.fhir.times import read_moment
from tests.data import NOW, anc, bundle, call, clozapine, codes, on_clozapine, prefetch

VIEW = "/cds-services/clozapine-patient-view"


@pytest.mark.parametrize(
    "text", ["0001-01-01", "0001-01-01T00:00:00Z", "9999-12-31", "9999-12-31T23:59:59+14:00"]
)
def test_they_are_no_moments(text: str) -> None:
    assert read_moment(text, NOW.tzinfo) is None  # type: ignore[arg-type]


def _for_ever(order: dict[str, Any]) -> dict[str, Any]:
    order["dosageInstruction"][0]["timing"]["repeat"]["boundsPeriod"] = {
        "start": "2025-01-01",
        "end": "9999-12-31",
    }
    return order


@pytest.mark.parametrize(
    "record",
    [
        _for_ever(on_clozapine()),
        {k: v for k, v in clozapine(300, status="active").items() if k != "intent"}
        | {
            "resourceType": "MedicationStatement",
            "effectivePeriod": {"start": "2025-01-01", "end": "9999-12-31"},
        },
    ],
    ids=("order", "statement"),
)
def test_an_end_for_ever_is_no_end(client: httpx.Client, record: dict[str, Any]) -> None:
    answer = client.post(
        VIEW, json=call("patient-view", prefetch(medications=bundle(record), counts=bundle(anc(0.4, 0.5))))
    ).json()
    assert codes(answer)[0] == ("anc-severe-neutropenia", "critical")
    assert "data-unavailable" not in dict(codes(answer))


def test_a_count_of_the_year_1_is_not_used_and_does_not_hide_the_others(start_service: Any) -> None:
    west = start_service(time_zone="America/New_York")
    counts = bundle(anc(0.4, 0.5), anc(3.0, id="old", effectiveDateTime="0001-01-01T00:00:00Z"))
    answer = west.post(
        VIEW, json=call("patient-view", prefetch(medications=bundle(on_clozapine()), counts=counts))
    ).json()
    assert codes(answer)[0] == ("anc-severe-neutropenia", "critical")
    assert "data-unavailable" not in dict(codes(answer))
