"""Bodies of the registry: what is no JSON, or more than a person says, is refused with a sentence and kept nowhere."""

from __future__ import annotations

from datetime import UTC

import httpx
import pytest

from service.registry.requests import moment_of
from service.registry.statements import NotStated, details_of
from tests.data import NOW

_DEEP = b'{"kind": "ben", "details": {"a": ' + b"[" * 30_000 + b"]" * 30_000 + b"}}"


@pytest.mark.parametrize("body", [_DEEP, b'{"kind": "\xff\xfe"}'], ids=["deep", "no UTF-8"])
def test_a_body_that_cannot_be_decoded_is_refused(client: httpx.Client, body: bytes) -> None:
    answer = client.post(
        "/registry/patients/p1/flags", content=body, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 400, answer.text
    assert answer.json()["issue"][0]["details"]["text"].startswith("The body cannot be used")


def test_texts_of_a_statement_are_bounded_and_on_one_line() -> None:
    def details(**more: object) -> dict[str, object]:
        given = {"receiver": "Ward\n 7\0", "begins": "2026-11-30", "contact": "tel. 1"} | more
        return details_of("transfer", given, NOW, lambda text: moment_of(text, UTC))[0]

    assert details()["receiver"] == "Ward 7\ufffd"
    with pytest.raises(NotStated, match="contact: at most 500 characters"):
        details(contact="x" * 60_000)
    again = {"reasons": ["other", "ileus"] * 5000}
    kept, _ = details_of("do-not-rechallenge", again, NOW, lambda text: moment_of(text, UTC))
    assert kept["reasons"] == ["other", "ileus"]
