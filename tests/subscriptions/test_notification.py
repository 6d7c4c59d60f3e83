"""What EHRs send for a Subscription, read in all its forms."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from service.results.delivery import NotADelivery
from service.subscriptions.notification import Notification, read_notification
from tests.results.bundles import count
from tests.subscriptions.shapes import hapi, parameters, subscription_status

OWN = ("https://ehr.example/fhir",)


def read(content: Any, method: str = "POST", type_name: str = "", id: str = "") -> Notification:
    body = content if isinstance(content, bytes) else orjson.dumps(content)
    return read_notification(method, type_name, id, body, OWN)


def test_the_plain_forms() -> None:
    put = read(count("p1", 0.4), "PUT", "Observation", "new")
    assert put.delivery is not None
    assert [(p.fate, p.ref, p.patient_id) for p in put.delivery.parts] == [("taken", "Observation/new", "p1")]
    assert read(b"").unnamed
    assert read(b" \n").unnamed
    assert read(b"", "PUT", "Observation", "o1").refs == ["Observation/o1"]
    assert read(b"", "DELETE", "Observation", "o1").refs == ["Observation/o1"]
    assert read(b"", "DELETE", "Location", "o1").refs == []


@pytest.mark.parametrize("kind", ["handshake", "heartbeat", "query-status"])
def test_what_is_no_event_says_nothing_of_anybody(kind: str) -> None:
    for content in (parameters(kind, total=7), subscription_status(kind)):
        found = read(content)
        assert found.kind == (kind if kind != "query-status" else "status")
        assert (found.refs, found.unnamed, found.delivery, found.status) == ([], False, None, "active")
    assert read(parameters(kind, total=7)).total == 7


def test_events_by_id() -> None:
    for make in (parameters, subscription_status):
        found = read(
            make(
                "event-notification",
                "Observation/a",
                "https://ehr.example/fhir/Observation/b/_history/2",
                first=23,
            )
        )
        assert (found.kind, found.numbers, found.refs) == (
            "event",
            [23, 24],
            ["Observation/a", "Observation/b"],
        )


def test_an_older_hapi_names_the_type_twice() -> None:
    assert read(parameters("event-notification", "Observation/Observation/a")).refs == ["Observation/a"]


@pytest.mark.parametrize(
    "focus",
    [
        "https://elsewhere.example/fhir/Observation/a", "http://169.254.169.254/latest/Observation/a", "https://ehr.example/other/Observation/a",
        "Observation/../../admin", "Observation/a?x=1", "Location/a", "urn:uuid:0c3151bd-1cbf-4d64-b04d-cd9187a4c6e0", "#a",
    ],
)  # fmt: skip
def test_what_lies_elsewhere_is_never_read(focus: str) -> None:
    found = read(parameters("event-notification", focus))
    assert (found.refs, found.ignored) == ([], 1)


def test_an_event_without_a_focus_is_something_unnamed() -> None:
    assert read(parameters("event-notification", "")).unnamed
    assert read(parameters("event-notification", total=5)).unnamed


def test_resources_that_come_with_the_event_are_not_read_again() -> None:
    found = read(hapi(count("p1", 0.4)))
    assert found.delivery is not None
    assert [(p.fate, p.patient_id) for p in found.delivery.parts] == [("taken", "p1")]
    assert (found.refs, found.unnamed) == ([], False)
    not_whole = read(
        parameters("event-notification", "Observation/new", entries=({"fullUrl": "Observation/new"},))
    )
    assert not_whole.refs == ["Observation/new"]


def test_a_resource_that_cannot_be_read_is_asked_for() -> None:
    broken = count("p1", 0.4) | {"valueQuantity": 7}
    assert read(hapi(broken)).refs == ["Observation/new"]


@pytest.mark.parametrize(
    "content",
    [
        b"{", b"[]", b"1", b'{"resourceType":"Bundle","type":"history"}', b'{"resourceType":"Bundle","type":"searchset","entry":[]}',
        b'{"resourceType":"Bundle","type":"history","entry":[{"resource":{"resourceType":"Parameters"}}]}',
        b'{"resourceType":"Bundle","type":"history","entry":[7]}', b'{"a":1}', b"[" * 5000,
    ],
)  # fmt: skip
def test_what_is_none(content: bytes) -> None:
    with pytest.raises(NotADelivery):
        read(content)


@pytest.mark.parametrize("number", [True, -1, "x", 1.5, "9" * 10, None, {}])
def test_a_number_that_is_none(number: Any) -> None:
    content = parameters("event-notification", "Observation/a")
    content["entry"][0]["resource"]["parameter"][-1]["part"][0] = {
        "name": "event-number",
        "valueString": number,
    }
    found = read(content)
    assert (found.numbers, found.refs) == ([], ["Observation/a"])
