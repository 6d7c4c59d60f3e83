"""JSON (checklist J1–J3)."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.data import anc, bundle, call, clozapine, codes, on_clozapine, prefetch

_ANSWERED = (
    call("order-sign", prefetch(), clozapine()),
    call("order-sign", prefetch(medications=bundle(on_clozapine()), counts=bundle(anc(0.4))), clozapine(300)),
    call("patient-view", prefetch(medications=bundle(on_clozapine()), counts=bundle(anc(1.2)))),
    call("order-sign", prefetch()),
)


def empties(value: Any, path: str = "$") -> list[str]:
    """Paths of members that hold null, "", [] or {}."""
    found: list[str] = []
    if isinstance(value, dict):
        for key, child in value.items():
            if child in (None, "", [], {}):
                found.append(f"{path}.{key}")
            found += empties(child, f"{path}.{key}")
    elif isinstance(value, list):
        for index, child in enumerate(value):
            found += empties(child, f"{path}[{index}]")
    return found


def test_J1_bodies_are_json_with_fhir_json_inside(client: httpx.Client) -> None:
    response = client.post("/cds-services/clozapine-order-sign", json=_ANSWERED[0])
    assert response.headers["content-type"] == "application/json"
    resources = [
        a["resource"]
        for c in json.loads(response.content)["cards"]
        for s in c["suggestions"]
        for a in s["actions"]
        if "resource" in a
    ]
    assert resources
    assert all(isinstance(r, dict) and r["resourceType"] for r in resources)


@pytest.mark.parametrize("body", _ANSWERED, ids=("missing", "severe", "mild", "nothing"))
def test_J2_nothing_empty_is_sent_except_cards(client: httpx.Client, body: dict[str, Any]) -> None:
    answer = client.post(f"/cds-services/clozapine-{body['hook']}", json=body).json()
    assert [p for p in empties(answer) if p != "$.cards"] == []
    assert empties(client.get("/cds-services").json()) == []


def test_J2_cards_is_sent_even_when_empty(client: httpx.Client) -> None:
    assert client.post("/cds-services/clozapine-order-sign", json=_ANSWERED[3]).content == b'{"cards":[]}'


def test_J3_unknown_fields_and_extensions_are_ignored_everywhere(client: httpx.Client) -> None:
    plain = _ANSWERED[1]
    odd = json.loads(json.dumps(plain))
    extra = {"com.epic.cdshooks.request.bpa-trigger-action": "23", "nested": {"deep": [1, None, {}]}}
    odd["extension"] = extra
    odd["vendorField"] = [extra]
    odd["context"]["extension"] = extra
    odd["context"]["more"] = None
    odd["prefetch"]["unasked"] = {"resourceType": "Basic"}
    odd["context"]["draftOrders"]["entry"][0]["resource"]["extension"] = [
        {"url": "urn:x", "valueString": "y"}
    ]
    odd["context"]["draftOrders"]["entry"][0]["resource"]["madeUp"] = {"a": 1}
    first = client.post("/cds-services/clozapine-order-sign", json=plain).json()
    second = client.post("/cds-services/clozapine-order-sign", json=odd)
    assert second.status_code == 200
    assert codes(second.json()) == codes(first)
