"""Leave from the ward as the reason why a dose was not given."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from msgspec import Raw

from service.fhir.absence import is_on_leave


def _reason(*texts: str) -> Raw:
    return Raw(orjson.dumps([{"text": text} for text in texts]))


@pytest.mark.parametrize(
    "text",
    ["Patient on leave", "On Leave", "LOA", "leave of absence", "Weekend leave", "Section 17 leave", "on pass", "Beurlaubung", "beurlaubt", "met verlof", "weekendverlof", "en permission"],
)  # fmt: skip
def test_agreed_leave(text: str) -> None:
    assert is_on_leave(_reason(text))
    assert is_on_leave(Raw(orjson.dumps([{"coding": [{"code": "x", "display": text}]}])))


@pytest.mark.parametrize(
    "text",
    ["Patient refused", "Absent without leave", "AWOL", "unauthorised leave", "did not return from leave: overdue", "Patient asleep", "nil by mouth", "leave tablets at bedside", "sans permission", "unerlaubt beurlaubt", "off ward", "loading"],
)  # fmt: skip
def test_everything_else_is_no_leave(text: str) -> None:
    assert not is_on_leave(_reason(text))


@pytest.mark.parametrize("content", [b"", b"null", b"7", b"[[]]", b"{", b'"on leave"', b'[{"text": 7}]'])
def test_what_is_no_reason_is_no_leave(content: bytes) -> None:
    assert not is_on_leave(Raw(content))


def test_several_reasons_are_read_together() -> None:
    assert is_on_leave(_reason("Not given", "Patient on leave"))
    assert not is_on_leave(_reason("Patient on leave", "absconded"))


def test_a_reason_of_any_length_is_not_read() -> None:
    assert not is_on_leave(_reason("on leave " * 100_000))


def test_a_single_concept_is_read_as_well() -> None:
    single: dict[str, Any] = {"text": "on leave"}
    assert is_on_leave(Raw(orjson.dumps(single)))
