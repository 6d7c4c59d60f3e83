"""An optional terminology server, on loopback: it helps, and it can neither fail nor hold up a call."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from service.alerts.knowledge.products import install
from tests import data
from tests.data import call, codes, prefetch
from tests.server import serving

StartService = Callable[..., httpx.Client]
SNOMED = "http://snomed.info/sct"


class Terminology:
    """Knows a few SNOMED CT codes made up for this test."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.delay = 0.0
        self.status = 200
        self.displays = {
            "900000000001": "Clozapine 25 mg oral tablet",
            "900000000002": "Product of the ward",
            "900000000003": "Bandage",
        }
        self.descends = {"900000000002"}
        self.app = Starlette(routes=[Route("/fhir/CodeSystem/{operation}", self.answer)])

    async def answer(self, request: Request) -> Response:
        """$lookup and $subsumes."""
        self.asked.append(
            f"{request.path_params['operation']} {request.query_params.get('code') or request.query_params.get('codeB')}"
        )
        await asyncio.sleep(self.delay)
        if self.status != 200:
            return JSONResponse({"resourceType": "OperationOutcome"}, self.status)
        if request.path_params["operation"] == "$lookup":
            display = self.displays.get(request.query_params["code"])
            if display is None:
                return JSONResponse({"resourceType": "OperationOutcome"}, 404)
            parameter: dict[str, Any] = {"name": "display", "valueString": display}
        else:
            below = (
                request.query_params["codeB"] in self.descends
                and request.query_params["codeA"] == "387568001"
            )
            parameter = {"name": "outcome", "valueCode": "subsumes" if below else "not-subsumed"}
        return JSONResponse({"resourceType": "Parameters", "parameter": [parameter]})


@pytest.fixture
def terminology() -> Iterator[tuple[Terminology, str]]:
    server = Terminology()
    with serving(server.app) as base_url:
        yield server, f"{base_url}/fhir"
    from service.alerts.knowledge import products
    from service.fhir.medication import forget_identified

    install({}, "")
    products._imported.learned.clear()
    forget_identified()


def _ask(service: httpx.Client, code: str) -> list[tuple[str, str]]:
    draft = data.clozapine(25)
    draft["medicationCodeableConcept"] = {"coding": [{"system": SNOMED, "code": code}]}
    answer = service.post("/cds-services/clozapine-order-sign", json=call("order-sign", prefetch(), draft))
    assert answer.status_code == 200
    return codes(answer.json())


@pytest.mark.parametrize("code", ["900000000001", "900000000002"])
def test_a_code_is_recognised_by_display_or_by_ancestor_and_asked_for_once(
    start_service: StartService, terminology: tuple[Terminology, str], code: str
) -> None:
    server, url = terminology
    service = start_service(terminology_server=url, terminology_deadline_ms=3000)
    assert ("anc-missing", "critical") in _ask(service, code)
    asked = len(server.asked)
    assert ("anc-missing", "critical") in _ask(service, code)
    assert len(server.asked) == asked


def test_what_is_something_else_stays_unrecognised_and_is_not_asked_again(
    start_service: StartService, terminology: tuple[Terminology, str]
) -> None:
    server, url = terminology
    service = start_service(terminology_server=url, terminology_deadline_ms=3000)
    assert ("anc-missing", "critical") not in _ask(service, "900000000003")
    asked = len(server.asked)
    _ask(service, "900000000003")
    assert len(server.asked) == asked


@pytest.mark.parametrize("fault", ["slow", "broken"])
def test_a_server_that_fails_holds_up_no_call(
    start_service: StartService, terminology: tuple[Terminology, str], fault: str
) -> None:
    server, url = terminology
    server.delay, server.status = (3.0, 200) if fault == "slow" else (0.0, 500)
    service = start_service(terminology_server=url, terminology_deadline_ms=100)
    started = time.monotonic()
    assert ("anc-missing", "critical") not in _ask(service, "900000000001")
    assert time.monotonic() - started < 2
    server.delay, server.status = 0.0, 200
    service = start_service(terminology_server=url, terminology_deadline_ms=3000)
    assert ("anc-missing", "critical") in _ask(service, "900000000001"), (
        "a failure is not remembered as an answer"
    )


def test_it_is_not_asked_unless_configured(
    start_service: StartService, terminology: tuple[Terminology, str]
) -> None:
    server, _ = terminology
    assert ("anc-missing", "critical") not in _ask(start_service(), "900000000001")
    assert server.asked == []
