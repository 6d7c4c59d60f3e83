"""Trust (checklist T1–T6), over HTTP, with an EHR that has keys."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest
from markdown_it import MarkdownIt

from tests.data import anc, bundle, call, clozapine, codes, on_clozapine, order, prefetch
from tests.ehr import Ehr
from tests.signing import BASE, Signer, claims_of, hmac_signed, refused, unsigned

_DISCOVERY = "/cds-services"
_SIGN = "/cds-services/clozapine-order-sign"
_FEEDBACK = f"{_SIGN}/feedback"
_BODY = call("order-sign", prefetch(), clozapine())
_OUTCOMES = {"feedback": [{"card": "c", "outcome": "overridden", "outcomeTimestamp": "2026-11-20T10:05:00Z"}]}
_ENDPOINTS = (
    (_DISCOVERY, "GET", None, 200),
    (_SIGN, "POST", _BODY, 200),
    (_FEEDBACK, "POST", _OUTCOMES, 204),
)


def _signed(client: httpx.Client, ehr: Ehr, body: Any = None, **changes: Any) -> httpx.Response:
    return client.post(_SIGN, json=body or _BODY, headers=ehr.signer.bearer("north", _SIGN, **changes))


def test_T1_every_endpoint_needs_a_token(trusting: httpx.Client, ehr: Ehr) -> None:
    for path, method, body, status in _ENDPOINTS:
        for headers in ({}, {"Authorization": "Basic bm9ydGg6eA=="}, {"Authorization": "Bearer"}):
            without = trusting.request(method, path, json=body, headers=headers)
            assert without.status_code == 401
            assert without.headers["www-authenticate"] == "Bearer"
            assert without.json()["resourceType"] == "OperationOutcome"
        signed = ehr.signer.bearer("north", path)
        assert trusting.request(method, path, json=body, headers=signed).status_code == status
    assert trusting.post("/cds-services/who-knows", json={}).status_code == 401


def test_T1_a_preflight_needs_none(start_service: Any, ehr: Ehr) -> None:
    client = start_service(
        auth="required", base_url=BASE, ehr=[ehr.settings("north")], allowed_origins=("https://ehr.example",)
    )
    asking = {"Origin": "https://ehr.example", "Access-Control-Request-Method": "POST"}
    assert client.options(_SIGN, headers=asking).status_code == 204
    refusal = client.post(_SIGN, json=_BODY, headers={"Origin": "https://ehr.example"})
    assert refusal.status_code == 401
    assert refusal.headers["access-control-allow-origin"] == "https://ehr.example"


def test_T2_algorithms(trusting: httpx.Client, ehr: Ehr, start_service: Any) -> None:
    rsa = ehr.signer.add_rsa()
    assert _signed(trusting, ehr).status_code == 200
    assert _eventually(trusting, ehr, kid=rsa, alg="RS384") == 200
    assert _signed(trusting, ehr, kid=rsa, alg="RS256").status_code == 401  # configurable, and not configured
    assert _signed(trusting, ehr, kid=rsa, alg="PS384").status_code == 401
    both = start_service(auth="required", base_url=BASE, ehr=[ehr.settings("north", algorithms=["RS256"])])
    assert _signed(both, ehr, kid=rsa, alg="RS256").status_code == 200
    assert _signed(both, ehr).status_code == 401


def _eventually(client: httpx.Client, ehr: Ehr, **changes: Any) -> int:
    """The status once refetching is allowed again."""
    import time

    for _ in range(20):
        status = _signed(client, ehr, **changes).status_code
        if status == 200:
            break
        time.sleep(0.1)
    return status


def test_T2_none_and_hmac_are_refused(trusting: httpx.Client, ehr: Ehr) -> None:
    signer = ehr.signer
    before = refused(trusting, "algorithm")
    for token in (
        unsigned("north", _SIGN, signer.kid),
        hmac_signed("north", _SIGN, signer.kid, b"secret"),
        hmac_signed("north", _SIGN, signer.kid, b"secret", "HS256"),
    ):
        response = trusting.post(_SIGN, json=_BODY, headers={"Authorization": f"Bearer {token}"})
        assert response.status_code == 401
    assert refused(trusting, "algorithm") == before + 3


@pytest.mark.parametrize(
    "header", [{"typ": ""}, {"typ": "at+jwt"}, {"kid": None}, {"kid": ""}, {"crit": ["x"], "x": 1}]
)
def test_T2_header_members(trusting: httpx.Client, ehr: Ehr, header: dict[str, Any]) -> None:
    assert _signed(trusting, ehr, header=header).status_code == 401


@pytest.mark.parametrize("claim", ["iss", "aud", "exp", "iat", "jti"])
def test_T3_every_claim_is_required(trusting: httpx.Client, ehr: Ehr, claim: str) -> None:
    assert _signed(trusting, ehr, **{claim: None}).status_code == 401


def test_T3_the_audience_is_the_very_endpoint(trusting: httpx.Client, ehr: Ehr) -> None:
    assert _signed(trusting, ehr, aud=BASE + _SIGN).status_code == 200
    assert _signed(trusting, ehr, aud=["https://elsewhere.example", BASE + _SIGN]).status_code == 200
    other = (
        BASE, BASE + _DISCOVERY, BASE + _FEEDBACK, BASE + "/cds-services/clozapine-order-select", BASE + _SIGN + "/",
        f"{trusting.base_url}{_SIGN.removeprefix('/')}", [], ["https://elsewhere.example"],
    )  # fmt: skip
    assert [_signed(trusting, ehr, aud=aud).status_code for aud in other] == [401] * len(other)


def test_T3_a_site_s_own_audience(start_service: Any, ehr: Ehr) -> None:
    typed = "https://typed.by.hand.example"
    client = start_service(auth="required", base_url=BASE, ehr=[ehr.settings("north", audience=[typed])])
    assert _signed(client, ehr, aud=typed).status_code == 200
    assert _signed(client, ehr, aud=typed + "/").status_code == 401


def test_T3_times_with_a_small_skew(trusting: httpx.Client, ehr: Ehr) -> None:
    now = claims_of("north", _SIGN)["iat"]
    sound = (
        (now + 300, now, None),
        (now - 20, now - 200, None),
        (now + 200, now + 20, None),
        (now + 1, now, now - 300),
    )
    for exp, iat, nbf in sound:
        assert _signed(trusting, ehr, exp=exp, iat=iat, nbf=nbf).status_code == 200, (exp - now, iat - now)
    wrong = (
        (now - 31, now - 200, None), (now + 200, now + 60, None), (now + 301, now, None), (now - 10, now, None),
        (now + 200, now, now + 60),
    )  # fmt: skip
    for exp, iat, nbf in wrong:
        assert _signed(trusting, ehr, exp=exp, iat=iat, nbf=nbf).status_code == 401, (exp - now, iat - now)


def test_T3_a_jti_opens_once(trusting: httpx.Client, ehr: Ehr) -> None:
    headers = ehr.signer.bearer("north", _SIGN)
    assert [trusting.post(_SIGN, json=_BODY, headers=headers).status_code for _ in range(3)] == [
        200,
        401,
        401,
    ]
    assert _signed(trusting, ehr, jti="the-same").status_code == 200
    assert _signed(trusting, ehr, jti="the-same", exp=claims_of("north", _SIGN)["exp"] - 1).status_code == 401


def test_T3_the_tenant_decides_between_sites(start_service: Any, ehr: Ehr) -> None:
    shared = {"issuer": "https://north.example"}
    client = start_service(
        auth="required",
        base_url=BASE,
        ehr=[
            ehr.settings("loud", **shared, tenant="t-1"),
            ehr.settings("silent", **shared, tenant="t-2", shadow=True),
        ],
    )
    assert codes(_signed(client, ehr, tenant="t-1").json()) == [("anc-missing", "critical")]
    assert _signed(client, ehr, tenant="t-2").json() == {"cards": []}
    assert _signed(client, ehr, tenant="t-3").status_code == 401
    assert _signed(client, ehr).status_code == 401


def test_T4_issuer_and_jku_lists(trusting: httpx.Client, ehr: Ehr) -> None:
    assert _signed(trusting, ehr, iss="https://stranger.example").status_code == 401
    assert _signed(trusting, ehr, header={"jku": f"{ehr.base_url}/jwks"}).status_code == 200
    before = ehr.keys_asked
    for jku in (f"{ehr.base_url}/jwks?x", f"{ehr.base_url}/fhir/jwks", "https://stranger.example/jwks", ""):
        assert _signed(trusting, ehr, header={"jku": jku}).status_code == 401
    assert ehr.keys_asked == before
    assert not ehr.asked


def test_T4_keys_are_cached_and_a_rotation_is_found(trusting: httpx.Client, ehr: Ehr) -> None:
    for _ in range(5):
        assert _signed(trusting, ehr).status_code == 200
    assert ehr.keys_asked == 1
    old = ehr.signer.kid
    old_key = ehr.signer.keys[old]
    ehr.signer.rotate()
    assert _eventually(trusting, ehr) == 200
    assert ehr.keys_asked == 2
    assert _signed(trusting, ehr, kid=old, key=old_key).status_code == 401


def test_T5_only_listed_fhir_servers_are_asked(trusting: httpx.Client, start_service: Any, ehr: Ehr) -> None:
    ehr.add(anc(0.4), on_clozapine())
    access = {"fhirAuthorization": {"access_token": ehr.token, "token_type": "Bearer"}}
    listed = {"fhirServer": f"{ehr.base_url}/fhir"}
    foreign = {"fhirServer": f"{ehr.base_url}/fhir2"}
    body = call("order-sign", None, clozapine(300), **access)
    strict = start_service(auth="required", base_url=BASE, ehr=[ehr.settings("north", errors="status")])
    assert _signed(strict, ehr, body | foreign).status_code == 412
    unread = _signed(trusting, ehr, body | foreign).json()
    assert codes(unread) == [("data-unavailable", "warning")]
    assert unread["cards"][0]["summary"].startswith("Clozapine was not checked: no data")
    assert ehr.asked == []
    assert codes(_signed(trusting, ehr, body | listed).json())[0] == ("anc-severe-neutropenia", "critical")
    assert set(ehr.authorizations) == {f"Bearer {ehr.token}"}


def test_T6_cards_link_to_the_service_only(trusting: httpx.Client, ehr: Ehr) -> None:
    evil = "[tap](https://evil.example) <https://evil.example> https://evil.example www.evil.example <a href=//evil.example>"
    count = anc(0.4, 1) | {"note": [{"text": evil}]}
    sent = prefetch(
        medications=bundle(on_clozapine(), order(f"fluvoxamine {evil}", id="flu", status="active")),
        counts=bundle(count),
        conditions=bundle(
            {
                "resourceType": "Condition",
                "id": "c1",
                "code": {"text": f"fever {evil}"},
                "subject": {"reference": "Patient/clz-p1"},
            }
        ),
    )
    body = call("order-sign", sent, clozapine(300), order(f"ciprofloxacin {evil}", id="cip"))
    cards = _signed(trusting, ehr, body).json()["cards"]
    assert cards
    links = [link["url"] for card in cards for link in card.get("links", [])]
    assert links
    assert all(url.startswith(f"{BASE}/") for url in links)
    renderer = MarkdownIt("gfm-like")
    for card in cards:
        page = renderer.render(card["detail"])
        assert "evil.example" not in "".join(re.findall(r'(?:href|src)="([^"]*)"', page))


def test_T2_a_stranger_s_signature_is_worth_nothing(trusting: httpx.Client, ehr: Ehr) -> None:
    stranger = Signer()
    token = stranger.token("north", _SIGN, kid=ehr.signer.kid, key=stranger.keys[stranger.kid])
    assert trusting.post(_SIGN, json=_BODY, headers={"Authorization": f"Bearer {token}"}).status_code == 401
    assert refused(trusting, "signature") == 1
