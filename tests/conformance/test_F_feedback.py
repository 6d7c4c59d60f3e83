"""Feedback (checklist F1–F5, F4a)."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import select
from sqlmodel import Session

from service.store.tables import CardFeedback
from service.trail.feedback import latest
from tests.data import call, clozapine, prefetch

_PATH = "/cds-services/clozapine-order-sign/feedback"
_AT = "2026-11-20T10:05:00Z"


def _send(client: httpx.Client, *items: dict[str, Any]) -> httpx.Response:
    return client.post(_PATH, json={"feedback": list(items)})


def _history(client: httpx.Client, card: str) -> list[CardFeedback]:
    with Session(client.app.state.engine) as session:  # type: ignore[attr-defined]
        return list(session.execute(select(CardFeedback).where(CardFeedback.card == card)).scalars())  # type: ignore[arg-type]


def _overridden(card: str, **more: Any) -> dict[str, Any]:
    return {"card": card, "outcome": "overridden", "outcomeTimestamp": _AT} | more


@pytest.mark.parametrize(
    ("item", "names"),
    [
        ({"outcome": "overridden", "outcomeTimestamp": _AT}, "card"),
        ({"card": "c", "outcome": "ignored", "outcomeTimestamp": _AT}, "feedback[0].outcome"),
        ({"card": "c", "outcome": "overridden"}, "outcomeTimestamp"),
        (
            {"card": "c", "outcome": "overridden", "outcomeTimestamp": "yesterday"},
            "feedback[0].outcomeTimestamp",
        ),
        (
            {"card": "c", "outcome": "overridden", "outcomeTimestamp": "2026-11-20T10:05:00"},
            "feedback[0].outcomeTimestamp",
        ),
        ({"card": 7, "outcome": "overridden", "outcomeTimestamp": _AT}, "feedback[0].card must be a string."),
        ({"outcome": "overridden", "outcomeTimestamp": _AT}, "feedback[0].card is required."),
        ("x", "feedback[0] must be an object."),
        (
            {"card": "c", "outcome": "overridden", "outcomeTimestamp": _AT, "overrideReason": {"reason": []}},
            "feedback[0].overrideReason.reason must be an object.",
        ),
        ({"card": "c\0", "outcome": "overridden", "outcomeTimestamp": _AT}, "NUL"),
        # Instants that exist in no calendar once they are read in UTC.
        (
            {"card": "c", "outcome": "overridden", "outcomeTimestamp": "9999-12-31T23:59:59-14:00"},
            "feedback[0].outcomeTimestamp",
        ),
        (
            {"card": "c", "outcome": "overridden", "outcomeTimestamp": "0001-01-01T00:00:00+14:00"},
            "feedback[0].outcomeTimestamp",
        ),
    ],
)
def test_F1_items_are_checked(client: httpx.Client, item: Any, names: str) -> None:
    response = _send(client, item)
    assert response.status_code == 400
    assert names in response.json()["issue"][0]["details"]["text"]


def test_F1_lower_case_letters_of_an_instant_are_fine(client: httpx.Client) -> None:
    item = _overridden(str(uuid4())) | {"outcomeTimestamp": "2026-11-20t10:05:00z"}
    assert _send(client, item).status_code == 204


def test_F1_feedback_must_be_an_array(client: httpx.Client) -> None:
    for body in ({}, {"feedback": {}}, {"feedback": None}):
        assert client.post(_PATH, json=body).status_code == 400


def test_F2_accepted_names_its_suggestions(client: httpx.Client) -> None:
    card, suggestion = str(uuid4()), str(uuid4())
    item = {"card": card, "outcome": "accepted", "outcomeTimestamp": _AT}
    refused = _send(client, item)
    assert refused.status_code == 400
    assert "acceptedSuggestions" in refused.json()["issue"][0]["details"]["text"]
    assert _send(client, item | {"acceptedSuggestions": [{"id": suggestion}]}).status_code == 204
    assert [f.suggestions for f in _history(client, card)] == [[suggestion]]


def test_F3_override_reasons_in_every_shape(client: httpx.Client) -> None:
    reason = {"system": "urn:r", "code": "risk-benefit-ratio", "display": "Benefit"}
    shapes: list[tuple[dict[str, Any], str, str]] = [
        (
            {"overrideReason": {"reason": reason, "userComment": "talked to haematology"}},
            "risk-benefit-ratio",
            "talked to haematology",
        ),
        ({"overrideReason": {"userComment": "no"}}, "", "no"),
        ({"overrideReason": {"reason": {"system": "urn:r", "code": "x"}}}, "x", ""),
        ({"overrideReason": reason}, "risk-benefit-ratio", ""),
        ({}, "", ""),
    ]
    for more, code, comment in shapes:
        card = str(uuid4())
        assert _send(client, _overridden(card, **more)).status_code == 204
        stored = _history(client, card)[0]
        assert (stored.reason_code, stored.comment) == (code, comment)


def test_F4_idempotent_latest_wins_history_kept(client: httpx.Client) -> None:
    card = str(uuid4())
    first = _overridden(card)
    later = {
        "card": card,
        "outcome": "accepted",
        "outcomeTimestamp": "2026-11-20T11:00:00+00:00",
        "acceptedSuggestions": [{"id": "s"}],
    }
    assert _send(client, later, first).status_code == 204
    assert _send(client, first).status_code == 204  # the same report again, and late
    assert len(_history(client, card)) == 2
    newest = latest(client.app.state.engine, card)  # type: ignore[attr-defined]
    assert newest is not None
    assert newest.outcome == "accepted"


def test_F4_several_cards_in_one_call(client: httpx.Client) -> None:
    cards = [str(uuid4()) for _ in range(50)]
    assert _send(client, *(_overridden(c) for c in cards)).status_code == 204
    assert all(len(_history(client, c)) == 1 for c in cards)


def test_F4a_answers_204_without_body(client: httpx.Client) -> None:
    response = _send(client, _overridden(str(uuid4())))
    assert response.status_code == 204
    assert response.content == b""


def test_F5_unknown_and_known_cards_are_counted(client: httpx.Client) -> None:
    answer = client.post(
        "/cds-services/clozapine-order-sign", json=call("order-sign", prefetch(), clozapine())
    ).json()
    assert _send(client, _overridden(answer["cards"][0]["uuid"])).status_code == 204
    assert _send(client, _overridden("a-card-of-another-replica")).status_code == 204
    metrics = client.get("/metrics").text
    assert 'clozapine_cds_feedback_total{card="known",outcome="overridden"}' in metrics
    assert 'clozapine_cds_feedback_total{card="unknown",outcome="overridden"}' in metrics
