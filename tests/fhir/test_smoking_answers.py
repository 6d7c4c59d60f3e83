"""Smoking as records write it: asked by LOINC or SNOMED CT, answered in the value or in the place of the question."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from msgspec import Raw

from service.fhir import snapshot
from service.fhir.gather import from_prefetch
from service.fhir.queries import QUERIES
from tests.data import NOW, bundle, observation

Json = dict[str, Any]
_SCT = "http://snomed.info/sct"


def _values(*observations: Json) -> list[str]:
    gathered, _ = from_prefetch({"smoking": Raw(orjson.dumps(bundle(*observations)))}, dict.fromkeys(QUERIES))
    facts = snapshot.build(patient_id="clz-p1", hook="patient-view", zone=NOW.tzinfo, gathered=gathered)
    return [c.value for c in facts.coded]


def _asked(system: str, code: str, **answer: Any) -> Json:
    made = observation("72166-2", None, None, **answer)
    made["code"] = {"coding": [{"system": system, "code": code}]}
    return made


_EX = {"valueCodeableConcept": {"coding": [{"system": _SCT, "code": "8517006"}]}}


@pytest.mark.parametrize(
    ("system", "code"),
    [
        ("http://loinc.org", "72166-2"),
        ("https://loinc.org/", "72166-2"),
        (_SCT, "365981007"),
        (_SCT, "229819007"),
        ("http://snomed.info/sct/83821000000107/version/20260401", "266918002"),
        ("urn:oid:2.16.840.1.113883.6.96", "365981007"),
    ],
)
def test_however_the_question_is_coded(system: str, code: str) -> None:
    assert _values(_asked(system, code, **_EX)) == ["former"]


def test_the_finding_may_stand_in_the_place_of_the_question() -> None:
    assert _values(_asked(_SCT, "160603005")) == ["current"]
    assert _values(_asked(_SCT, "722499006")) == ["former"]
    # Its own answer goes before it.
    assert _values(_asked(_SCT, "77176002", **_EX)) == ["former"]


def test_a_number_under_another_system_is_no_finding() -> None:
    assert _values(_asked("http://example.org/local", "77176002")) == []


def test_no_answer_is_unknown_and_a_strange_one_is_not_understood() -> None:
    assert _values(_asked("http://loinc.org", "72166-2")) == ["unknown"]
    strange = {"valueCodeableConcept": {"text": "see note"}}
    assert _values(_asked("http://loinc.org", "72166-2", **strange)) == ["not-understood"]


def test_the_query_asks_for_every_question() -> None:
    for code in ("loinc.org|72166-2", "snomed.info/sct|365981007", "snomed.info/sct|229819007"):
        assert code in QUERIES["smoking"]
