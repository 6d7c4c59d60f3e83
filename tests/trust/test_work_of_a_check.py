"""The work of ``$clozapine-check`` grows with its entries, and no faster, whatever is wrong with them."""

from __future__ import annotations

from functools import partial
from typing import Any

import orjson
import pytest

from service.operation.endpoint import check
from service.operation.question import Asked
from service.site.settings import Settings
from tests.data import LOINC, NOW, PATIENT
from tests.trust.test_bounded_work import _GROWTH, _growth

_OF_PATIENT = {"subject": {"reference": f"Patient/{PATIENT}"}}
_ENTRIES: dict[str, dict[str, Any]] = {
    "of no type of FHIR": {"resourceType": "Zzz"},
    "without a code": {"resourceType": "Observation", "status": "final"} | _OF_PATIENT,
    "with an unknown element": {"resourceType": "Condition", "x": 1, "code": {"text": "x"}} | _OF_PATIENT,
    "of a drug that nobody knows": {
        "resourceType": "MedicationRequest", "status": "active", "intent": "order", "medicationCodeableConcept": {"text": "qqq"},
    } | _OF_PATIENT,
    "of another patient": {
        "resourceType": "Observation", "status": "final", "code": {"coding": [{"system": LOINC, "code": "751-8"}]},
        "subject": {"reference": "Patient/other"},
    },
}  # fmt: skip


class _Noting:
    def rule_fault(self, rule: str, exception: str) -> None:
        raise AssertionError(f"{rule}: {exception}")

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


def _body(entry: dict[str, Any], n: int) -> bytes:
    entries = [{"resource": entry | {"id": f"e{i}"}} for i in range(n)]
    return orjson.dumps({"resourceType": "Bundle", "type": "collection", "entry": entries})


@pytest.mark.parametrize("what", _ENTRIES)
def test_twice_as_many_entries_are_twice_the_work(what: str) -> None:
    site = Settings(enrol=False).site()

    def run(body: bytes) -> None:
        check(site, Asked(body, PATIENT, False), NOW, _Noting())  # type: ignore[arg-type]

    run(_body(_ENTRIES[what], 3))  # tables are read when they are first used
    assert _growth(run, 60, partial(_body, _ENTRIES[what])) < _GROWTH
