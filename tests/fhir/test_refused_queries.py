"""A FHIR server that refuses the order of a search is asked once more without it; what decides which records come is never left out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import httpx
import pytest

from service.fhir.client import FhirServer
from service.fhir.gather import Gathered, gather, plainer
from service.fhir.queries import QUERIES
from tests.data import anc, bundle

_BASE = "https://ehr.example/fhir"
_COUNTS = {"counts": "Observation?patient=clz-p1&code=http://loinc.org|751-8&_sort=-date&_count=100"}


def _ask(
    answer: Callable[[httpx.Request], httpx.Response], queries: dict[str, str | None]
) -> tuple[Gathered, list[str]]:
    asked: list[str] = []

    def answered(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return answer(request)

    async def run() -> Gathered:
        async with httpx.AsyncClient(transport=httpx.MockTransport(answered)) as client:
            return await gather({}, queries, FhirServer(_BASE, client), 5.0)

    return asyncio.run(run()), asked


def _strict(*refused: str, status: int = 400) -> Callable[[httpx.Request], httpx.Response]:
    def answer(request: httpx.Request) -> httpx.Response:
        if any(name in request.url.params for name in refused):
            outcome = {
                "resourceType": "OperationOutcome",
                "issue": [{"severity": "error", "code": "not-supported"}],
            }
            return httpx.Response(status, stream=httpx.ByteStream(json.dumps(outcome).encode()))
        return httpx.Response(200, stream=httpx.ByteStream(json.dumps(bundle(anc(id="low"))).encode()))

    return answer


@pytest.mark.parametrize("status", [400, 422, 501])
def test_a_server_that_cannot_sort_is_asked_once_more_without(status: int) -> None:
    gathered, asked = _ask(_strict("_sort", status=status), _COUNTS)
    assert gathered.state("counts") == "complete"
    assert [r.id for r in gathered.sources["counts"].resources] == ["low"]
    assert len(asked) == 2
    assert "_sort" in asked[0]
    assert "_sort" not in asked[1]
    assert "751-8" in asked[1]
    assert "_count=100" in asked[1]


def test_a_search_that_is_not_sorted_is_asked_once_more_without_its_page_size() -> None:
    gathered, asked = _ask(_strict("_count"), {"conditions": "Condition?patient=clz-p1&_count=100"})
    assert gathered.state("conditions") == "complete"
    assert "_count" not in asked[1]


def test_one_more_time_and_no_more() -> None:
    gathered, asked = _ask(_strict("patient"), _COUNTS)
    assert gathered.state("counts") == "unavailable"
    assert len(asked) == 2
    assert all("patient=clz-p1" in url and "code=" in url for url in asked)


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 503])
def test_other_failures_are_no_refusal(status: int) -> None:
    gathered, asked = _ask(_strict("_sort", status=status), _COUNTS)
    assert gathered.state("counts") == "unavailable"
    assert len(asked) == 1


def test_a_read_has_nothing_to_leave_out() -> None:
    gathered, asked = _ask(lambda _: httpx.Response(400), {"patient": "Patient/clz-p1"})
    assert gathered.state("patient") == "unavailable"
    assert len(asked) == 1


def test_what_decides_which_records_come_stays() -> None:
    for source, query in QUERIES.items():
        plain = plainer(query)
        assert plain == "" or (plain.split("?")[0] == query.split("?")[0] and "patient=" in plain), source
        assert ("code=" in plain) is ("code=" in query)
