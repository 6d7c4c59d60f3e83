"""The whole latency matrix, against the small FHIR server of the tests: ``make test`` runs a sample of it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.data import PATIENT, codes
from tests.ehr import Ehr
from tests.latency import CLOZAPINE, MORE_CHARTS, TYPES, ask, silent

pytestmark = pytest.mark.hapi


@pytest.mark.parametrize("seconds", [0.0, 0.1, 0.2, 0.3, 0.4, 0.5])
@pytest.mark.parametrize("chart", MORE_CHARTS)
def test_never_an_empty_answer(start_service: Any, ehr: Ehr, chart: str, seconds: float) -> None:
    server = f"{ehr.base_url}/fhir"
    access = {"fhirServer": server, "fhirAuthorization": {"access_token": ehr.token, "token_type": "Bearer"}}
    records, hook, drafts = MORE_CHARTS[chart]
    ehr.add({"resourceType": "Patient", "id": PATIENT}, CLOZAPINE, *records)
    client = start_service(fhir_servers=(server,))
    full = codes(ask(client, hook, drafts, access).json())
    assert full
    assert full[0][0] != "data-unavailable"
    assert list(silent(client, ehr, access, MORE_CHARTS[chart], seconds, TYPES)) == []
