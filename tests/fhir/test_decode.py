"""Decoding (design "Read only what you use"): a rotten resource spoils only itself."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from cds_hooks.request import envelope_reader
from service.fhir.decode import Value, read_value
from service.fhir.gather import from_prefetch
from service.fhir.queries import QUERIES
from service.fhir.resources import Observation
from tests.data import anc, bundle, clozapine, words


def _read(value: Any) -> Any:
    return read_value(orjson.dumps(value), "counts")


def test_a_sound_bundle() -> None:
    decoded = _read(bundle(anc(), clozapine(), {"resourceType": "Basic", "id": "x"}))
    # An unknown type sends the Bundle the careful way, and is ignored there.
    assert [type(r).__name__ for r in decoded.resources] == ["Observation", "MedicationRequest"]
    assert decoded.problems == []
    assert not decoded.partial


def test_a_rotten_resource_spoils_only_itself() -> None:
    rotten = anc(id="bad-1") | {"code": "ANC"}
    decoded = _read(bundle(anc(id="a"), rotten, anc(id="b")))
    assert [r.id for r in decoded.resources] == ["a", "b"]
    assert decoded.partial
    assert [(p.ref, "code" in words(p.reason)) for p in decoded.problems] == [("Observation/bad-1", True)]


def test_problems_never_repeat_values() -> None:
    secret = "Jane Canary 1980-01-01"
    rotten = anc(id=secret) | {"code": secret, "status": 7}
    problems = _read(bundle(rotten, {"resourceType": secret, "id": 1}, secret, [secret])).problems
    assert problems
    assert secret not in str(problems)


def test_outcomes() -> None:
    failed = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "timeout"}]}
    note = {
        "resourceType": "OperationOutcome",
        "issue": [{"severity": "information", "code": "informational"}],
    }
    assert _read(failed).failed
    assert _read(bundle(anc(), failed)).partial
    assert not _read(bundle(anc(), note)).partial


@pytest.mark.parametrize("severity", ["error", "warning", "information"])
@pytest.mark.parametrize(
    "code",
    ["suppressed", "incomplete", "security", "forbidden", "timeout", "transient", "throttled", "too-costly"],
)
def test_an_outcome_inside_that_says_data_were_withheld(code: str, severity: str) -> None:
    outcome = {"resourceType": "OperationOutcome", "issue": [{"severity": severity, "code": code}]}
    assert _read(bundle(anc(), outcome)).partial
    # So does one issue of several.
    outcome["issue"].insert(0, {"severity": "information", "code": "informational"})  # type: ignore[attr-defined]
    assert _read(bundle(anc(), outcome)).partial


def test_an_outcome_inside_that_found_nothing_is_harmless() -> None:
    details = {"coding": [{"system": "urn:oid:1.2.840.114350.1.13.0.1.7.2.657369", "code": "4101"}]}
    for code in ("processing", "not-found", "informational", "business-rule"):
        outcome = {
            "resourceType": "OperationOutcome",
            "issue": [{"severity": "warning", "code": code, "details": details}],
        }
        assert not _read(bundle(anc(), outcome)).partial


def test_single_resources_and_other_things() -> None:
    assert isinstance(_read(anc()).resources[0], Observation)
    assert _read({"resourceType": "Basic"}).failed
    for nonsense in (
        7,
        "x",
        [],
        {},
        {"entry": []},
        {"resourceType": 5},
        {"resourceType": "Bundle", "entry": 5},
    ):
        assert _read(nonsense).failed


def test_next_link() -> None:
    assert (
        _read(
            bundle(anc()) | {"link": [{"relation": "self", "url": "a"}, {"relation": "next", "url": "b"}]}
        ).next_link
        == "b"
    )


def test_an_outcome_of_unknown_severity_is_taken_for_a_failure() -> None:
    for severity in (["error"], None, "dreadful"):
        assert _read(bundle({"resourceType": "OperationOutcome", "issue": [{"severity": severity}]})).partial


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["resourceType", "entry", "resource", "id", "status", "code", "valueQuantity", "link"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)


@given(_JSON)
def test_reading_never_raises(anything: Any) -> None:
    _read(anything)
    _read({"resourceType": "Bundle", "entry": anything})


_VALUES = st.sampled_from(
    [
        None,
        bundle(anc(id="a"), clozapine()),
        bundle(anc(id="a"), anc(id="bad") | {"code": "ANC"}),
        bundle(anc())
        | {"link": [{"relation": "next", "url": "https://ehr.example/fhir/Observation?page=2"}]},
        bundle(anc(), {"resourceType": "OperationOutcome", "issue": [{"severity": "error"}]}),
        {"resourceType": "OperationOutcome", "issue": [{"severity": "error"}]},
        {"resourceType": "Patient", "id": "clz-p1", "gender": "female"},
        {"resourceType": "Basic", "id": "x"},
        {"resourceType": "Bundle"},
        {"entry": []},
        anc(),
        7,
        "x",
        [],
    ]
)


@given(st.dictionaries(st.sampled_from([*QUERIES, "unknown-key"]), _VALUES, max_size=5))
def test_values_read_with_the_call_are_those_read_one_by_one(prefetch: dict[str, Any]) -> None:
    """One pass over the body or one pass per value: the same resources, problems, states and queries that remain."""
    body = orjson.dumps(
        {
            "hook": "patient-view",
            "hookInstance": "i",
            "context": {"patientId": "clz-p1"},
            "prefetch": prefetch,
        }
    )
    queries = {key: f"{key}?patient=1" for key in QUERIES}
    together = from_prefetch(envelope_reader(Value | None)(body).prefetch or {}, queries)
    alone = from_prefetch(envelope_reader(Raw)(body).prefetch or {}, queries)
    assert together == alone
