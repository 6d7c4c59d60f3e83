"""Places, bodies and feedback: what one EHR can take from another by sending slowly, much, or often."""

from __future__ import annotations

import asyncio
import socket
from contextlib import ExitStack
from typing import Any

import httpx
import orjson
import pytest

from cds_hooks.body import TooSlow, read_body
from cds_hooks.errors import BadRequest
from cds_hooks.feedback import read_feedback
from cds_hooks.limits import Overloaded, Shares
from tests.data import call, clozapine, codes, prefetch
from tests.ehr import Ehr
from tests.signing import BASE

_SIGN = "/cds-services/clozapine-order-sign"
_BODY = call("order-sign", prefetch(), clozapine())


def _take(shares: Shares, stack: ExitStack, who: str, times: int) -> int:
    got = 0
    for _ in range(times):
        try:
            stack.enter_context(shares.of(who))
        except Overloaded:
            break
        got += 1
    return got


def test_no_client_takes_all_places_and_one_alone_has_them_all() -> None:
    many = 2
    shares = Shares(200, lambda: many)
    with ExitStack() as stack:
        assert _take(shares, stack, "north", 300) == 150
        assert _take(shares, stack, "south", 300) == 50
    with ExitStack() as stack:  # all were given back
        many = 1
        assert _take(shares, stack, "north", 300) == 200
    many = 30
    with ExitStack() as stack:
        assert sum(_take(shares, stack, str(n), 300) for n in range(30)) == 200
        assert all(_take(shares, stack, f"{n}", 1) == 0 for n in range(30))
    with ExitStack() as stack:
        assert _take(Shares(1), stack, "north", 3) == 1


def test_slow_bodies_of_one_ehr_hold_no_place_of_its_own_calls_or_another_s(
    start_service: Any, ehr: Ehr
) -> None:
    client = start_service(
        auth="required",
        base_url=BASE,
        max_concurrent_calls=4,
        body_bytes_per_second=0,
        call_seconds=60,
        ehr=[ehr.settings("north", errors="status"), ehr.settings("south")],
    )
    port = client.base_url.port or 0
    with ExitStack() as stack:
        slow = []
        for _ in range(3):
            head = (
                f"POST {_SIGN} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n"
                f"Authorization: Bearer {ehr.signer.token('north', _SIGN)}\r\n\r\n{{"
            )
            slow.append(stack.enter_context(socket.create_connection(("127.0.0.1", port), 20)))
            slow[-1].sendall(head.encode())
        more = orjson.dumps(_BODY)[:-1]

        def in_parts() -> Any:
            yield more
            yield b"}"

        # North holds all that may come in at once; one body more is not even received, and south is served.
        statuses = set()
        for _ in range(2):
            headers = ehr.signer.bearer("north", _SIGN) | {"Content-Type": "application/json"}
            statuses.add(client.post(_SIGN, content=in_parts(), headers=headers).status_code)
            answer = client.post(_SIGN, json=_BODY, headers=ehr.signer.bearer("south", _SIGN))
            assert answer.status_code == 200
            assert codes(answer.json())
        assert statuses == {503}
    for _ in range(100):
        if client.post(_SIGN, json=_BODY, headers=ehr.signer.bearer("north", _SIGN)).status_code == 200:
            break
    else:
        raise AssertionError("the places were not given back")


def test_a_body_in_crumbs_is_given_up_and_a_slow_one_is_not() -> None:
    def read(bytes_at_once: int) -> bytes:
        now = 0.0
        left = 20_000

        async def receive() -> dict[str, Any]:
            nonlocal now, left
            now += 1.0
            left -= bytes_at_once
            return {"type": "http.request", "body": b" " * bytes_at_once, "more_body": left > 0}

        scope = {"headers": [(b"content-type", b"application/json")]}
        return asyncio.run(read_body(scope, receive, 100_000, 5000, lambda: now))  # type: ignore[arg-type]

    async def never() -> dict[str, Any]:
        await asyncio.sleep(3600)
        raise AssertionError

    async def stalls() -> None:
        parts = iter([{"type": "http.request", "body": b" ", "more_body": True}])

        async def receive() -> dict[str, Any]:
            return next(parts, None) or await never()

        await read_body({"headers": []}, receive, 100, 0.9)  # type: ignore[arg-type]

    with pytest.raises(TooSlow):
        asyncio.run(stalls())
    assert len(read(5000)) == 20_000
    with pytest.raises(TooSlow):
        read(100)


def _item(**more: Any) -> dict[str, Any]:
    return {"card": "11111111-2222-4333-8444-555555555555", "outcome": "overridden",
            "outcomeTimestamp": "2026-11-20T12:00:00Z"} | more  # fmt: skip


def _feedback(**more: Any) -> Any:
    return read_feedback(orjson.dumps({"feedback": [_item(**more)]}))[0]


@pytest.mark.parametrize(
    "more",
    [
        {"card": "c" * 201},
        {"outcome": "accepted", "acceptedSuggestions": [{"id": "s" * 201}]},
        {"outcome": "accepted", "acceptedSuggestions": [{"id": str(n)} for n in range(51)]},
    ],
    ids=["card", "suggestion", "suggestions"],
)
def test_ids_of_feedback_are_limited(more: dict[str, Any]) -> None:
    with pytest.raises(BadRequest):
        _feedback(**more)


def test_what_a_user_wrote_is_cut_and_never_refused() -> None:
    reason = {"reason": {"system": "s" * 9999, "code": "c" * 9999, "display": "d" * 9999}}
    found = _feedback(overrideReason=reason | {"userComment": "agreed " * 9999}).reason
    assert [len(t) for t in (found.system, found.code, found.display)] == [300] * 3
    assert len(found.comment) == 2000
    assert found.comment.startswith("agreed ")
    assert found.comment.endswith("…")


def test_a_body_of_feedback_is_a_few_sentences(client: httpx.Client) -> None:
    comment = {"userComment": "x" * 1_100_000}
    assert (
        client.post(f"{_SIGN}/feedback", json={"feedback": [_item(overrideReason=comment)]}).status_code
        == 413
    )
