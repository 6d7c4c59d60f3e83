"""Several sites in one service: each call is bound to its own, and nothing crosses."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from sqlalchemy import select
from sqlmodel import Session

from service.registry.ehr_sites import save_ehr
from service.site import trust
from service.store.database import upgrade
from service.store.roster_tables import RegisteredPatient
from service.store.tables import CardFeedback, CardShown, HookCall
from service.trail.feedback import latest
from tests.data import anc, bundle, call, clozapine, codes, on_clozapine, prefetch
from tests.ehr import Ehr
from tests.server import serving
from tests.signing import BASE

_SIGN = "/cds-services/clozapine-order-sign"
_BODY = call("order-sign", prefetch(), clozapine())


@pytest.fixture
def other() -> Iterator[Ehr]:
    """A second EHR, with another access token."""
    server = Ehr(token="the-south-s-token")
    with serving(server.app) as base_url:
        server.base_url = base_url
        yield server


@pytest.fixture
def two(start_service: Any, ehr: Ehr, other: Ehr, tmp_path: Path) -> httpx.Client:
    """A service for ``north`` (the fixture ehr) and ``south`` (the fixture other), each with its own policy and zone."""
    policy = tmp_path / "south.toml"
    policy.write_text(
        'id = "south-policy"\ntitle = "South"\njurisdiction = "US"\ninherits = "us-label-2025"\n'
        'valid_from = 2026-01-01\nsummary = "x"\n'
    )
    return start_service(
        auth="required",
        base_url=BASE,
        ehr=[
            ehr.settings("north", fhir_deadline_ms=2000),
            other.settings("south", fhir_deadline_ms=2000, policy=str(policy), profile="epic"),
        ],
        sweep="",
        enrol=True,
    )


def _as(client: httpx.Client, ehr: Ehr, name: str, body: Any = _BODY, path: str = _SIGN) -> httpx.Response:
    return client.post(path, json=body, headers=ehr.signer.bearer(name, path))


def _rows(client: Any, table: Any, instance: str) -> list[Any]:
    """What was recorded of a call; it is written after the answer, so it may take a moment."""
    for _ in range(100):
        with Session(client.app.state.engine) as session:
            found = list(session.execute(select(table).where(table.hook_instance == instance)).scalars())
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("nothing was recorded")


def test_a_call_gets_its_own_site_s_policy_profile_and_record(
    two: httpx.Client, ehr: Ehr, other: Ehr
) -> None:
    for name, caller, policy, behaviour in (
        ("north", ehr, "us-label-2025", "at-most-one"),
        ("south", other, "south-policy", "any"),
    ):
        instance = f"bound-{name}-{time.monotonic_ns()}"
        card = _as(two, caller, name, _BODY | {"hookInstance": instance}).json()["cards"][0]
        assert card["links"][0]["url"] == f"{BASE}/policies/{policy}"
        assert card["selectionBehavior"] == behaviour
        assert card["links"][1]["url"] == f"{BASE}/policies/{policy}/patient#blood-tests"
        assert two.get(f"/policies/{policy}").json()["id"] == policy
        assert two.get(f"/policies/{policy}/patient").json()["policy"] == policy
        assert [(r.site, r.policy) for r in _rows(two, HookCall, instance)] == [(name, policy)]
        assert {r.site for r in _rows(two, CardShown, instance)} == {name}


def test_another_site_s_key_opens_nothing(two: httpx.Client, ehr: Ehr, other: Ehr) -> None:
    key = other.signer.keys[other.signer.kid]
    for changes in ({}, {"kid": ehr.signer.kid, "key": key}, {"header": {"jku": f"{other.base_url}/jwks"}}):
        token = other.signer.token("north", _SIGN, **changes)
        assert two.post(_SIGN, json=_BODY, headers={"Authorization": f"Bearer {token}"}).status_code == 401


def test_a_site_cannot_claim_another_s_name_in_the_body(two: httpx.Client, other: Ehr) -> None:
    instance = f"claims-{time.monotonic_ns()}"
    body = _BODY | {
        "hookInstance": instance,
        "extension": {"site": "north", "iss": "https://north.example"},
        "iss": "https://north.example",
        "principal": "north",
    }
    assert _as(two, other, "south", body).status_code == 200
    assert [r.site for r in _rows(two, HookCall, instance)] == ["south"]


def test_cross_site_patient_id_reads_nothing_of_the_other_site(
    two: httpx.Client, ehr: Ehr, other: Ehr
) -> None:
    """The same patient id exists at both; the south asks with the north's server and token, and with its own."""
    ehr.add(anc(0.4), on_clozapine())
    other.add(anc(3.2), on_clozapine())
    sent = prefetch(medications=bundle(on_clozapine()))
    del sent["counts"]
    stolen = {
        "fhirServer": f"{ehr.base_url}/fhir",
        "fhirAuthorization": {"access_token": ehr.token, "token_type": "Bearer"},
    }
    answer = _as(two, other, "south", call("order-sign", sent, clozapine(300), **stolen))
    assert ehr.asked == []
    assert "0.4" not in answer.text
    assert "400/µL" not in answer.text
    own = {
        "fhirServer": f"{other.base_url}/fhir",
        "fhirAuthorization": {"access_token": other.token, "token_type": "Bearer"},
    }
    found = codes(_as(two, other, "south", call("order-sign", sent, clozapine(300), **own)).json())
    assert "anc-severe-neutropenia" not in {c for c, _ in found}
    assert ehr.asked == []
    assert set(other.authorizations) == {f"Bearer {other.token}"}


def test_cross_site_feedback_is_counted_and_not_kept(two: httpx.Client, ehr: Ehr, other: Ehr) -> None:
    body = _BODY | {"hookInstance": f"answered-{time.monotonic_ns()}"}
    card = _as(two, ehr, "north", body).json()["cards"][0]["uuid"]
    assert _rows(two, CardShown, body["hookInstance"])
    item = {"card": card, "outcome": "overridden", "outcomeTimestamp": "2026-11-20T12:00:00Z"}
    path = f"{_SIGN}/feedback"
    line = 'clozapine_cds_feedback_total{card="foreign",outcome="overridden"} 1.0'
    assert _as(two, other, "south", {"feedback": [item]}, path).status_code == 204
    assert line in two.get("/metrics").text
    engine = two.app.state.engine  # type: ignore[attr-defined]
    assert latest(engine, card, "north") is None
    with Session(engine) as session:
        assert not session.execute(select(CardFeedback).where(CardFeedback.card == card)).scalars().all()  # type: ignore[arg-type]
    assert _as(two, ehr, "north", {"feedback": [item]}, path).status_code == 204
    kept = latest(engine, card, "north")
    assert kept is not None
    assert kept.site == "north"


def test_feedback_sent_before_the_card_is_recorded_does_not_count_for_another_site(
    two: httpx.Client, ehr: Ehr, other: Ehr
) -> None:
    path, card = f"{_SIGN}/feedback", "11111111-2222-4333-8444-555555555555"
    late = {"card": card, "outcome": "overridden", "outcomeTimestamp": "2026-11-20T12:00:00Z"}
    own = late | {"outcomeTimestamp": "2026-11-20T11:00:00Z"}
    assert _as(two, other, "south", {"feedback": [late]}, path).status_code == 204
    assert _as(two, ehr, "north", {"feedback": [own]}, path).status_code == 204
    kept = latest(two.app.state.engine, card, "north")  # type: ignore[attr-defined]
    assert kept is not None
    assert kept.outcome_at.hour == 11


def test_one_site_s_rush_does_not_slow_another(start_service: Any, ehr: Ehr, other: Ehr) -> None:
    client = start_service(
        auth="required",
        base_url=BASE,
        ehr=[ehr.settings("north", calls_per_second=1, errors="status"), other.settings("south")],
    )
    statuses = [_as(client, ehr, "north").status_code for _ in range(4)]
    assert statuses == [200, 200, 429, 429]
    refusal = _as(client, ehr, "north")
    assert int(refusal.headers["retry-after"]) >= 1
    assert refusal.json()["resourceType"] == "OperationOutcome"
    assert [_as(client, other, "south").status_code for _ in range(4)] == [200] * 4


def test_hooks_that_are_switched_off(start_service: Any, ehr: Ehr, other: Ehr) -> None:
    client = start_service(
        auth="required",
        base_url=BASE,
        ehr=[ehr.settings("north", hooks=["patient-view", "order-sign"]), other.settings("south")],
    )
    seen = {
        name: [s["hook"] for s in client.get("/cds-services", headers=caller.signer.bearer(name, "/cds-services")).json()["services"]]
        for name, caller in (("north", ehr), ("south", other))
    }  # fmt: skip
    assert seen["north"] == ["order-sign", "patient-view"]
    assert len(seen["south"]) == 7
    path = "/cds-services/clozapine-order-select"
    body = call("order-select", prefetch(), clozapine())
    assert _as(client, ehr, "north", body, path).status_code == 404
    assert _as(client, other, "south", body, path).status_code == 200


def test_local_codes_stay_with_their_site(start_service: Any, ehr: Ehr, other: Ehr) -> None:
    local = {"codes": {"urn:lab|NEUT": "anc"}, "units": {"urn:lab|NEUT": "10*9/L"}}
    client = start_service(
        auth="required", base_url=BASE, ehr=[ehr.settings("north", **local), other.settings("south")]
    )
    count = anc(0.4, 1, None)
    count["code"] = {"coding": [{"system": "urn:lab", "code": "NEUT"}]}
    body = call(
        "order-sign", prefetch(medications=bundle(on_clozapine()), counts=bundle(count)), clozapine(300)
    )
    assert codes(_as(client, ehr, "north", body).json())[0] == ("anc-severe-neutropenia", "critical")
    assert "anc-severe-neutropenia" not in {c for c, _ in codes(_as(client, other, "south", body).json())}


def test_an_ehr_in_the_database_may_call_and_one_added_later_is_found(
    start_service: Any, ehr: Ehr, other: Ehr, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from service.store.database import engine_for

    monkeypatch.setattr(trust, "_RELOAD_SECONDS", 0.2)
    url = f"sqlite:///{tmp_path}/sites.db"
    upgrade(url)
    engine = engine_for(url)
    now = datetime.now(UTC)
    broken = {"name": "broken", "issuer": "https://broken.example", "jwks_uri": "no"}
    assert save_ehr(engine, "broken", broken, now, replace=False)
    assert save_ehr(engine, "north", ehr.settings("north"), now, replace=False)
    assert not save_ehr(engine, "north", ehr.settings("north"), now, replace=False)
    client = start_service(auth="required", base_url=BASE, database_url=url)
    assert _as(client, ehr, "north").status_code == 200
    assert _as(client, other, "south").status_code == 401
    save_ehr(engine, "south", other.settings("south"), now, replace=False)
    engine.dispose()
    for _ in range(50):
        if _as(client, other, "south").status_code == 200:
            break
        time.sleep(0.1)
    assert _as(client, other, "south").status_code == 200
    assert ehr.keys_asked == 1  # an EHR that did not change keeps its keys


def test_a_stored_ehr_with_a_slip_in_a_finding_code_still_calls(
    start_service: Any, ehr: Ehr, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from service.store.database import engine_for

    url = f"sqlite:///{tmp_path}/sites.db"
    upgrade(url)
    engine = engine_for(url)
    table = ehr.settings("north", shadow_codes=["weight-gian"])
    save_ehr(engine, "north", table, datetime.now(UTC), replace=False)
    engine.dispose()
    client = start_service(auth="required", base_url=BASE, database_url=url)
    assert _as(client, ehr, "north").status_code == 200
    assert "did you mean 'weight-gain'" in caplog.text


def test_a_stored_ehr_that_could_tell_nobody_still_calls(
    start_service: Any, ehr: Ehr, other: Ehr, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A webhook that nobody can sign for costs itself."""
    from service.store.database import engine_for

    url = f"sqlite:///{tmp_path}/sites.db"
    upgrade(url)
    engine = engine_for(url)
    now = datetime.now(UTC)
    save_ehr(engine, "north", ehr.settings("north"), now, replace=False)
    unsigned = other.settings("south") | {"webhook": "https://events.example/x"}
    save_ehr(engine, "south", unsigned, now, replace=False)
    engine.dispose()
    client = start_service(auth="required", base_url=BASE, database_url=url)
    assert _as(client, ehr, "north").status_code == 200
    assert _as(client, other, "south").status_code == 200
    assert client.app.state.directory.named("south").channels == ()  # type: ignore[attr-defined]
    assert "webhook_secret: a webhook must be signed" in caplog.text


def test_keys_from_a_file_and_from_the_settings(start_service: Any, ehr: Ehr, tmp_path: Path) -> None:
    file = tmp_path / "north-jwks.json"
    file.write_bytes(orjson.dumps(ehr.signer.jwks()))
    table = ehr.settings("north") | {"jwks_uri": ""}
    by_file = start_service(
        auth="required", base_url=BASE, ehr=[table | {"jwks_file": str(file)}], key_refetch_seconds=0.2
    )
    inline = start_service(auth="required", base_url=BASE, ehr=[table | {"keys": ehr.signer.jwks()["keys"]}])
    for client in (by_file, inline):
        assert _as(client, ehr, "north").status_code == 200
        headers = ehr.signer.bearer("north", _SIGN, header={"jku": f"{ehr.base_url}/jwks"})
        assert client.post(_SIGN, json=_BODY, headers=headers).status_code == 401  # no jku is on the list
    ehr.signer.rotate()
    file.write_bytes(orjson.dumps(ehr.signer.jwks()))
    time.sleep(0.3)
    assert _as(by_file, ehr, "north").status_code == 200
    assert _as(inline, ehr, "north").status_code == 401
    assert ehr.keys_asked == 0


_VIEW = "/cds-services/clozapine-patient-view"


def _visit(days: float, **more: Any) -> dict[str, Any]:
    given = {"medications": bundle(on_clozapine()), "counts": bundle(anc(3.2, days))} | more
    return call("patient-view", prefetch(**given))


def test_what_one_site_remembers_another_never_sees(two: httpx.Client, ehr: Ehr, other: Ehr) -> None:
    """Both have a patient with the same id; the registry, flags and silences of one mean nothing in the other."""
    app: Any = two.app  # type: ignore[attr-defined]
    assert _as(two, ehr, "north", _visit(40), _VIEW).status_code == 200
    time.sleep(0.05)
    assert app.state.recorder.flush(20)
    with app.state.engine.connect() as connection:
        table = RegisteredPatient.__table__
        assert [row.site for row in connection.execute(select(table.c.site))] == ["north"]
    unread = _visit(3)
    del unread["prefetch"]["counts"]
    north = _as(two, ehr, "north", unread, _VIEW).json()
    south = _as(two, other, "south", unread, _VIEW).json()
    assert ("anc-overdue", "warning") in codes(north), "north remembers the count of 40 days ago"
    assert not any(code == "anc-overdue" for code, _ in codes(south))
    assert "registry" not in str(south)


def test_an_override_in_one_site_silences_nothing_in_another(two: httpx.Client, ehr: Ehr, other: Ehr) -> None:
    app: Any = two.app  # type: ignore[attr-defined]
    card = next(
        c
        for c in _as(two, ehr, "north", _visit(40), _VIEW).json()["cards"]
        if c["source"]["topic"]["code"] == "anc-overdue"
    )
    time.sleep(0.05)
    assert app.state.recorder.flush(20)
    item = {
        "card": card["uuid"],
        "outcome": "overridden",
        "outcomeTimestamp": "2026-11-20T10:00:00Z",
        "overrideReason": {"reason": {"code": "risk-benefit-ratio", "system": "urn:x", "display": "Benefit"}},
    }
    path = f"{_VIEW}/feedback"
    # The other site answers north's card first: it must not count.
    assert _as(two, other, "south", {"feedback": [item]}, path).status_code == 204
    assert ("anc-overdue", "warning") in codes(_as(two, ehr, "north", _visit(40), _VIEW).json())
    assert _as(two, ehr, "north", {"feedback": [item]}, path).status_code == 204
    assert ("anc-overdue", "warning") not in codes(_as(two, ehr, "north", _visit(40), _VIEW).json())
    assert ("anc-overdue", "warning") in codes(_as(two, other, "south", _visit(40), _VIEW).json())


def test_clozapine_check_needs_a_token_too(two: httpx.Client, ehr: Ehr) -> None:
    path = "/fhir/$clozapine-check"
    body = bundle(on_clozapine(), anc(0.4, 1))
    assert two.post(path, json=body).status_code == 401
    answer = _as(two, ehr, "north", body, path)
    assert answer.status_code == 200
    assert "anc-severe-neutropenia" in answer.text
