"""Overload, slow clients, headers: what one caller may take from the others."""

from __future__ import annotations

import socket
import threading
import time
from typing import Any

import httpx
import pytest

from cds_hooks.limits import TokenBuckets, TooManyCalls, nested_deeper_than
from tests.data import anc, bundle, call, clozapine, on_clozapine, prefetch
from tests.ehr import Ehr
from tests.signing import BASE

_SIGN = "/cds-services/clozapine-order-sign"
_BODY = call("order-sign", prefetch(), clozapine())


def test_one_call_too_many_is_turned_away_at_once(start_service: Any, ehr: Ehr) -> None:
    client = start_service(
        auth="required",
        base_url=BASE,
        max_concurrent_calls=1,
        ehr=[ehr.settings("north", fhir_deadline_ms=3000, errors="status")],
    )
    ehr.add(anc())
    ehr.delay_seconds = 1.5
    slow = call("order-sign", prefetch(medications=bundle(on_clozapine())), clozapine(300)) | {
        "fhirServer": f"{ehr.base_url}/fhir",
        "fhirAuthorization": {"access_token": ehr.token, "token_type": "Bearer"},
    }
    del slow["prefetch"]["counts"]
    statuses: list[int] = []

    def first() -> None:
        with httpx.Client(base_url=client.base_url, trust_env=False, timeout=20) as own:
            statuses.append(own.post(_SIGN, json=slow, headers=ehr.signer.bearer("north", _SIGN)).status_code)

    thread = threading.Thread(target=first)
    thread.start()
    time.sleep(0.7)
    second = client.post(_SIGN, json=_BODY, headers=ehr.signer.bearer("north", _SIGN))
    assert second.status_code == 503
    assert second.headers["retry-after"] == "1"
    assert "busy" in second.json()["issue"][0]["details"]["text"]
    assert client.get("/health/live").status_code == 200
    thread.join()
    assert statuses == [200]
    assert client.post(_SIGN, json=_BODY, headers=ehr.signer.bearer("north", _SIGN)).status_code == 200


def test_a_body_that_never_ends_is_given_up(start_service: Any, ehr: Ehr) -> None:
    client = start_service(auth="required", base_url=BASE, call_seconds=0.5, ehr=[ehr.settings("north")])
    token = ehr.signer.token("north", _SIGN)
    head = (
        f"POST {_SIGN} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n"
        f"Authorization: Bearer {token}\r\n\r\n{{"
    )
    started = time.perf_counter()
    with socket.create_connection(("127.0.0.1", client.base_url.port or 0), 10) as connection:
        connection.sendall(head.encode())
        answer = connection.recv(4096).decode()
    assert time.perf_counter() - started < 3
    assert answer.startswith("HTTP/1.1 503")
    assert "given up after 0.5 s" in answer


def test_a_stranger_s_body_is_not_read(trusting: httpx.Client) -> None:
    head = f"POST {_SIGN} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 4000000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", trusting.base_url.port or 0), 10) as connection:
        connection.sendall(head.encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 401")


def test_open_mode_is_not_limited_unless_asked(start_service: Any) -> None:
    free, limited = start_service(), start_service(calls_per_second=1, errors="status")
    assert [free.post(_SIGN, json=_BODY).status_code for _ in range(5)] == [200] * 5
    assert [limited.post(_SIGN, json=_BODY).status_code for _ in range(4)] == [200, 200, 429, 429]


def test_token_buckets_fill_again() -> None:
    now = 0.0
    buckets = TokenBuckets(clock=lambda: now)
    for _ in range(4):
        buckets.take("north", 2)
    with pytest.raises(TooManyCalls) as refusal:
        buckets.take("north", 2)
    assert refusal.value.headers["Retry-After"] == "1"
    buckets.take("south", 2)
    now = 0.5
    buckets.take("north", 2)
    with pytest.raises(TooManyCalls):
        buckets.take("north", 2)


@pytest.mark.parametrize(
    ("document", "depth"),
    [
        (b"{}", 1),
        (b'{"a":[{"b":1}]}', 3),
        (b'["[[[[", "]]]]"]', 1),
        (rb'["\"[[[[", "\\", "[["]', 1),
        (rb'["\\\"[[[[\\"]', 1),
        (rb'{"\\":{"\"":[1]}}', 3),
        (b"[[],[[]],[]]", 3),
    ],
)
def test_nesting_is_counted_outside_of_strings(document: bytes, depth: int) -> None:
    assert not nested_deeper_than(document, depth)
    assert nested_deeper_than(document, depth - 1)


@pytest.mark.parametrize(
    "path",
    ["/", "/policies", "/policies/us-label-2025", "/docs", "/openapi.json", "/health", "/metrics", "/nowhere", "/static/swagger-ui.css"],
)  # fmt: skip
def test_security_headers_on_every_page(trusting: httpx.Client, path: str) -> None:
    for accept in ("text/html", "application/json"):
        headers = trusting.get(path, headers={"Accept": accept}).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert "default-src 'self'" in headers["content-security-policy"]
        assert headers["referrer-policy"] == "no-referrer"
        assert "max-age" in headers["strict-transport-security"]
        assert len(headers.get_list("x-frame-options")) == 1


def test_no_strict_transport_without_https(client: httpx.Client) -> None:
    assert "strict-transport-security" not in client.get("/").headers
    assert client.get("/cds-services").headers["x-content-type-options"] == "nosniff"
