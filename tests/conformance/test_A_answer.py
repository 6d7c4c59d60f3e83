"""Answers (checklist A1–A3)."""

from __future__ import annotations

import httpx
import pytest
from fhir.resources.R4B.operationoutcome import OperationOutcome

from tests.data import anc, bundle, call, clozapine, on_clozapine, order, prefetch

_SIGN = "/cds-services/clozapine-order-sign"


def test_A1_200_with_cards(client: httpx.Client) -> None:
    response = client.post(_SIGN, json=call("order-sign", prefetch(), clozapine()))
    assert response.status_code == 200
    assert isinstance(response.json()["cards"], list)
    assert "systemActions" not in response.json()


def test_A2_no_guidance_is_an_empty_array(client: httpx.Client) -> None:
    unrelated = call("order-sign", prefetch(), order("amoxicillin 500 MG Oral Capsule"))
    fine = call(
        "order-sign", prefetch(medications=bundle(on_clozapine()), counts=bundle(anc())), clozapine(300)
    )
    for body in (unrelated, fine):
        assert client.post(_SIGN, json=body).json() == {"cards": []}


@pytest.mark.parametrize(
    ("method", "path", "content", "headers", "status"),
    [
        ("POST", _SIGN, b"not json", {}, 400),
        ("POST", _SIGN, b"[1,2]", {}, 400),
        ("POST", _SIGN, b"\xff\xfe{}", {}, 400),
        ("POST", _SIGN, b"{}", {}, 400),
        ("POST", "/cds-services/unknown", b"{}", {}, 404),
        ("POST", "/cds-services/unknown/feedback", b"{}", {}, 404),
        ("GET", _SIGN, None, {}, 405),
        ("DELETE", "/cds-services", None, {}, 405),
        ("POST", _SIGN, b"{}", {"Content-Type": "text/xml"}, 415),
        ("POST", _SIGN, b"{}", {"Content-Encoding": "gzip"}, 415),
        ("POST", _SIGN, b" " * 5_000_001, {}, 413),
        ("POST", f"{_SIGN}/feedback", b"{}", {}, 400),
        ("GET", "/nowhere", None, {}, 404),
        ("GET", "/policies/unknown", None, {}, 404),
    ],
)
def test_A3_every_error_is_an_operation_outcome(
    client: httpx.Client, method: str, path: str, content: bytes | None, headers: dict[str, str], status: int
) -> None:
    response = client.request(
        method, path, content=content, headers={"Content-Type": "application/json"} | headers
    )
    assert response.status_code == status
    outcome = OperationOutcome.model_validate(response.json())
    text = str(outcome.issue[0].details.text)
    assert len(text) > 20
    assert "Traceback" not in response.text
