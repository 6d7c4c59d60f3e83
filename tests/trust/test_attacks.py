"""Attacks, each over real HTTP, each named for what it tries."""

from __future__ import annotations

import asyncio
import gzip
import logging
import resource
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.data import anc, bundle, call, clozapine, codes, on_clozapine, prefetch
from tests.ehr import Ehr
from tests.server import serving
from tests.signing import BASE, Signer, claims_of, hmac_signed, refused, unsigned

_SIGN = "/cds-services/clozapine-order-sign"
_BODY = call("order-sign", prefetch(), clozapine())


def _post(client: httpx.Client, token: str, body: Any = _BODY) -> httpx.Response:
    return client.post(_SIGN, json=body, headers={"Authorization": f"Bearer {token}"})


def _sound(client: httpx.Client, ehr: Ehr, body: Any = _BODY) -> httpx.Response:
    return _post(client, ehr.signer.token("north", _SIGN), body)


@contextmanager
def _stranger() -> Iterator[Ehr]:
    """A server that nobody listed."""
    server = Ehr()
    with serving(server.app) as base_url:
        server.base_url = base_url
        yield server


def test_all_refusals_look_the_same_and_their_reasons_are_logged(
    trusting: httpx.Client, ehr: Ehr, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    sign = ehr.signer.token
    now = claims_of("north", _SIGN)["iat"]
    used = sign("north", _SIGN)
    assert _post(trusting, used).status_code == 200
    attempts = {
        "malformed": "abc",
        "header": sign("north", _SIGN, header={"typ": "x"}),
        "algorithm": unsigned("north", _SIGN, ehr.signer.kid),
        "claims": sign("north", _SIGN, jti=None),
        "issuer": sign("south", _SIGN),
        "jku": sign("north", _SIGN, header={"jku": "https://stranger.example/jwks"}),
        "signature": sign("north", _SIGN)[:-8] + "AAAAAAAA",
        "audience": sign("north", "/cds-services"),
        "expired": sign("north", _SIGN, iat=now - 200, exp=now - 60),
        "from-the-future": sign("north", _SIGN, iat=now + 90),
        "lifetime": sign("north", _SIGN, exp=now + 3600),
        "replayed": used,
    }
    answers = set()
    with caplog.at_level(logging.DEBUG):
        for reason, token in attempts.items():
            before = refused(trusting, reason)
            response = _post(trusting, token)
            answers.add((response.status_code, response.text, response.headers["www-authenticate"]))
            assert refused(trusting, reason) == before + 1, reason
            assert f"refused: {reason} " in caplog.text
    assert len(answers) == 1
    printed = capfd.readouterr()
    logged = caplog.text + printed.out + printed.err
    assert [
        t
        for t in attempts.values()
        if len(t) > 20 and (t in logged or (t.split(".")[2] in logged and t.split(".")[2]))
    ] == []


def test_unsigned(trusting: httpx.Client, ehr: Ehr) -> None:
    assert _post(trusting, unsigned("north", _SIGN, ehr.signer.kid)).status_code == 401
    header, claims, _ = ehr.signer.token("north", _SIGN).split(".")
    assert _post(trusting, f"{header}.{claims}.").status_code == 401


def test_hmac_with_the_public_key(trusting: httpx.Client, ehr: Ehr) -> None:
    public = ehr.signer.keys[ehr.signer.kid].public_key()
    for secret in (
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint),
    ):
        for alg in ("HS384", "HS256"):
            assert (
                _post(trusting, hmac_signed("north", _SIGN, ehr.signer.kid, secret, alg)).status_code == 401
            )


def test_a_key_brought_along_in_the_token(trusting: httpx.Client, ehr: Ehr) -> None:
    mallory = Signer()
    jwk = mallory.jwks()["keys"][0]
    for header in (
        {"jwk": jwk},
        {"jwk": jwk, "kid": ehr.signer.kid},
        {"x5u": "https://stranger.example/cert"},
    ):
        key = mallory.keys[mallory.kid]
        token = mallory.token("north", _SIGN, header=header, key=key)
        assert _post(trusting, token).status_code == 401


def test_wrong_audience(trusting: httpx.Client, ehr: Ehr) -> None:
    token = ehr.signer.token("north", "/cds-services/clozapine-patient-view")
    assert _post(trusting, token).status_code == 401
    spoofed = {
        "Authorization": f"Bearer {ehr.signer.token('north', _SIGN, aud='https://evil.example' + _SIGN)}"
    }
    headers = spoofed | {
        "Host": "evil.example",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Proto": "https",
    }
    assert trusting.post(_SIGN, json=_BODY, headers=headers).status_code == 401


def test_expired(trusting: httpx.Client, ehr: Ehr) -> None:
    now = claims_of("north", _SIGN)["iat"]
    assert _post(trusting, ehr.signer.token("north", _SIGN, iat=now - 400, exp=now - 101)).status_code == 401


def test_from_the_future(trusting: httpx.Client, ehr: Ehr) -> None:
    now = claims_of("north", _SIGN)["iat"]
    assert (
        _post(trusting, ehr.signer.token("north", _SIGN, iat=now + 3600, exp=now + 3700)).status_code == 401
    )


def test_a_token_for_ever(trusting: httpx.Client, ehr: Ehr) -> None:
    now = claims_of("north", _SIGN)["iat"]
    for exp in (now + 10**9, 1e300, 2**62):
        assert _post(trusting, ehr.signer.token("north", _SIGN, exp=exp)).status_code == 401


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_replayed_on_a_second_replica(
    start_service: Any, ehr: Ehr, database: str, request: pytest.FixtureRequest, tmp_path: Any
) -> None:
    url = (
        f"sqlite:///{tmp_path}/shared.db"
        if database == "sqlite"
        else str(request.getfixturevalue("postgres_url"))
    )
    options = {"auth": "required", "base_url": BASE, "ehr": [ehr.settings("north")], "database_url": url}
    first, second = start_service(**options), start_service(**options)
    token = ehr.signer.token("north", _SIGN)
    assert _post(first, token).status_code == 200
    assert _post(second, token).status_code == 401
    assert refused(second, "replayed") == 1
    assert _sound(second, ehr).status_code == 200


def test_replayed_at_the_same_moment(start_service: Any, ehr: Ehr, postgres_url: str) -> None:
    options = {
        "auth": "required",
        "base_url": BASE,
        "ehr": [ehr.settings("north")],
        "database_url": postgres_url,
    }
    replicas = [start_service(**options) for _ in range(2)]
    for replica in replicas:
        assert _sound(replica, ehr).status_code == 200
    headers = ehr.signer.bearer("north", _SIGN)

    async def storm() -> list[int]:
        async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
            calls = [
                client.post(str(replica.base_url).rstrip("/") + _SIGN, json=_BODY, headers=headers)
                for _ in range(10)
                for replica in replicas
            ]
            return [r.status_code for r in await asyncio.gather(*calls)]

    statuses = asyncio.run(storm())
    assert sorted(statuses) == [200] + [401] * 19


def test_unknown_kid_storm(start_service: Any, ehr: Ehr) -> None:
    client = start_service(
        auth="required", base_url=BASE, ehr=[ehr.settings("north")], key_refetch_seconds=3600
    )
    assert _sound(client, ehr).status_code == 200
    asked = ehr.keys_asked
    for number in range(200):
        key = ehr.signer.keys[ehr.signer.kid]
        token = ehr.signer.token("north", _SIGN, kid=f"made-up-{number}", key=key)
        assert _post(client, token).status_code == 401
    assert ehr.keys_asked == asked == 1
    assert _sound(client, ehr).status_code == 200


def test_unknown_kid_storm_on_a_slow_key_server_does_not_hold_up_others(start_service: Any, ehr: Ehr) -> None:
    client = start_service(
        auth="required", base_url=BASE, ehr=[ehr.settings("north")], key_refetch_seconds=0.5,
        max_concurrent_calls=5,
    )  # fmt: skip
    assert _sound(client, ehr).status_code == 200
    ehr.keys_delay_seconds = 2.5
    time.sleep(0.6)
    key = ehr.signer.keys[ehr.signer.kid]
    stormers = [
        threading.Thread(
            target=_post, args=(client, ehr.signer.token("north", _SIGN, kid=f"made-up-{n}", key=key))
        )
        for n in range(40)
    ]
    for stormer in stormers:
        stormer.start()
    time.sleep(0.5)
    with httpx.Client(base_url=client.base_url, trust_env=False) as other:
        started = time.perf_counter()
        assert _sound(other, ehr).status_code == 200
        assert time.perf_counter() - started < 1.0
    for stormer in stormers:
        stormer.join()
    assert ehr.keys_asked <= 3


def test_foreign_jku(trusting: httpx.Client, ehr: Ehr) -> None:
    assert _sound(trusting, ehr).status_code == 200
    with _stranger() as mallory:
        jku = f"{mallory.base_url}/jwks"
        signer = mallory.signer
        for token in (
            signer.token("north", _SIGN, header={"jku": jku}),
            ehr.signer.token("north", _SIGN, header={"jku": jku}),
        ):
            assert _post(trusting, token).status_code == 401
        assert mallory.keys_asked == 0


def test_key_server_redirects(start_service: Any, ehr: Ehr) -> None:
    with _stranger() as mallory:
        mallory.signer = ehr.signer
        ehr.keys_redirect = f"{mallory.base_url}/jwks"
        client = start_service(auth="required", base_url=BASE, ehr=[ehr.settings("north")])
        assert _sound(client, ehr).status_code == 401
        assert refused(client, "keys-unavailable") == 1
        assert ehr.keys_asked >= 1
        assert mallory.keys_asked == 0


@pytest.mark.parametrize("what", ["too large", "compressed", "not json", "too many keys"])
def test_key_server_misbehaves(start_service: Any, ehr: Ehr, what: str) -> None:
    key = ehr.signer.jwks()["keys"][0]
    ehr.keys_raw = {
        "too large": (b'{"keys":[]' + b" " * 300_000 + b"}", {}),
        "compressed": (gzip.compress(b'{"keys":[]}'), {"content-encoding": "gzip"}),
        "not json": (b"<html>", {}),
        "too many keys": (str({"keys": [key] * 101}).replace("'", '"').encode(), {}),
    }[what]
    client = start_service(
        auth="required", base_url=BASE, ehr=[ehr.settings("north")], key_refetch_seconds=0.2
    )
    assert _sound(client, ehr).status_code == 401
    checks = client.get("/health").json()["checks"]
    assert "north" in checks["keys"][0]["output"]
    ehr.keys_raw = None
    time.sleep(0.3)
    assert _sound(client, ehr).status_code == 200
    assert "output" not in client.get("/health").json()["checks"]["keys"][0]


def _reading(ehr: Ehr, **more: Any) -> dict[str, Any]:
    """A call that lets the service read the EHR."""
    access = {
        "access_token": ehr.token,
        "token_type": "Bearer",
        "expires_in": 60,
        "scope": "x",
        "subject": "x",
    }
    body = call("order-sign", prefetch(medications=bundle(on_clozapine())), clozapine(300))
    del body["prefetch"]["counts"]
    return body | {"fhirServer": f"{ehr.base_url}/fhir", "fhirAuthorization": access} | more


def test_foreign_fhir_server(trusting: httpx.Client, ehr: Ehr) -> None:
    with _stranger() as mallory:
        mallory.token = ehr.token
        mallory.add(anc(3.2))
        for url in (
            f"{mallory.base_url}/fhir",
            f"{ehr.base_url}/fhir@{mallory.base_url.removeprefix('http://')}/fhir",
            f"{ehr.base_url}/fhir/../../x",
            "http://169.254.169.254/latest/meta-data",
            "file:///etc/passwd",
        ):
            answer = _sound(trusting, ehr, _reading(ehr, fhirServer=url))
            assert answer.status_code == 200
            assert "data-unavailable" in {c for c, _ in codes(answer.json())}
        assert mallory.asked == []
    assert "clozapine_cds_foreign_fhir_servers_total 5.0" in trusting.get("/metrics").text


def test_redirecting_server(trusting: httpx.Client, ehr: Ehr) -> None:
    with _stranger() as mallory:
        ehr.redirect_to = f"{mallory.base_url}/fhir/Observation"
        answer = _sound(trusting, ehr, _reading(ehr)).json()
        assert "data-unavailable" in {c for c, _ in codes(answer)}
        assert ehr.asked
        assert mallory.asked == []


def test_paging_that_leads_to_a_stranger(trusting: httpx.Client, ehr: Ehr) -> None:
    with _stranger() as mallory:
        ehr.add(anc(3.2))
        ehr.next_link = f"{mallory.base_url}/fhir/Observation?page=2"
        assert _sound(trusting, ehr, _reading(ehr)).status_code == 200
        assert mallory.asked == []


def test_endless_paging(trusting: httpx.Client, ehr: Ehr) -> None:
    ehr.add(anc(3.2))
    ehr.endless = True
    started = time.perf_counter()
    answer = _sound(trusting, ehr, _reading(ehr))
    assert time.perf_counter() - started < 4
    assert answer.status_code == 200
    assert "data-unavailable" in {c for c, _ in codes(answer.json())}
    assert len([a for a in ehr.asked if "Observation" in a]) <= 20


def test_decompression_bomb_in_a_request(trusting: httpx.Client, ehr: Ehr) -> None:
    for encoding in ("gzip", "deflate", "br", "zstd", "gzip, gzip"):
        headers = ehr.signer.bearer("north", _SIGN) | {
            "Content-Type": "application/json",
            "Content-Encoding": encoding,
        }
        response = trusting.post(_SIGN, content=gzip.compress(b" " * 5_000_000), headers=headers)
        assert response.status_code == 415


def test_decompression_bomb_from_the_fhir_server(trusting: httpx.Client, ehr: Ehr) -> None:
    bomb = gzip.compress(b'{"resourceType":"Bundle","entry":[]' + b" " * 400_000_000 + b"}", 1)
    ehr.raw = (bomb, {"content-encoding": "gzip"})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answer = _sound(trusting, ehr, _reading(ehr))
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert "data-unavailable" in {c for c, _ in codes(answer.json())}
    assert grown < 100_000  # kB; unpacked it is 400 MB


def test_a_compressed_answer_of_the_fhir_server_is_read(trusting: httpx.Client, ehr: Ehr) -> None:
    import orjson

    ehr.raw = (gzip.compress(orjson.dumps(bundle(anc(0.4)))), {"content-encoding": "gzip"})
    answer = _sound(trusting, ehr, _reading(ehr)).json()
    assert codes(answer)[0] == ("anc-severe-neutropenia", "critical")


@pytest.mark.parametrize("depth", [101, 500, 1100, 5000, 200_000])
def test_json_bomb_nested(trusting: httpx.Client, ehr: Ehr, depth: int) -> None:
    import orjson

    deep = b"[" * depth + b"]" * depth
    marked = orjson.dumps(call("order-sign", prefetch(counts={"x": "HERE"}), clozapine(25, note="HERE")))
    headers = {"Content-Type": "application/json"}
    orders, counts = marked.replace(b'"HERE"', deep, 1), marked
    if marked.index(b'"HERE"') > marked.index(b'"prefetch"'):
        orders, counts = counts, orders
    both = marked.replace(b'"HERE"', deep)
    for body in (orders, counts, both):
        response = trusting.post(_SIGN, content=body, headers=headers | ehr.signer.bearer("north", _SIGN))
        assert response.status_code in (200, 400)
    in_orders = trusting.post(_SIGN, content=both, headers=headers | ehr.signer.bearer("north", _SIGN))
    assert in_orders.status_code == 400
    assert "nested" in in_orders.json()["issue"][0]["details"]["text"]


def test_json_bomb_of_entries(trusting: httpx.Client, ehr: Ehr) -> None:
    many = bundle(*[{"resourceType": "Observation"}] * 10_001)
    started = time.perf_counter()
    answer = _sound(
        trusting,
        ehr,
        call("order-sign", prefetch(medications=bundle(on_clozapine()), counts=many), clozapine(300)),
    )
    assert time.perf_counter() - started < 10
    found = answer.json()
    assert "data-unavailable" in {c for c, _ in codes(found)}
    assert "10000 entries" in answer.text


def test_json_bomb_of_feedback(trusting: httpx.Client, ehr: Ehr) -> None:
    item = {"card": "c", "outcome": "overridden", "outcomeTimestamp": "2026-11-20T10:05:00Z"}
    path = f"{_SIGN}/feedback"
    answer = trusting.post(path, json={"feedback": [item] * 501}, headers=ehr.signer.bearer("north", path))
    assert answer.status_code == 400
    assert "500" in answer.json()["issue"][0]["details"]["text"]
