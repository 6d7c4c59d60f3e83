"""HAPI FHIR with the invented clinic on file, started once."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from service.synthetic.chart import Chart
from service.synthetic.clinic import clinic, transaction
from tests.data import NOW
from tests.hapi.build import running

TOKEN = "token-of-the-clinic"
CHARTS = list(clinic(30, seed=1, as_of=NOW))
FHIR_HEADERS = {
    "Authorization": f"Bearer {TOKEN}",
    "Content-Type": "application/fhir+json",
    "Cache-Control": "no-cache",
}


def _load(hapi: str, chart: Chart) -> None:
    answer = httpx.post(hapi, json=transaction(chart), headers=FHIR_HEADERS, trust_env=False, timeout=120)
    assert answer.status_code == 200, answer.text
    assert {e["response"]["status"].split()[0] for e in answer.json()["entry"]} <= {"200", "201"}


@pytest.fixture(scope="session")
def hapi() -> Iterator[str]:
    """HAPI FHIR with the clinic on file."""
    with running(TOKEN) as base_url:
        for chart in CHARTS:
            _load(base_url, chart)
        yield base_url
