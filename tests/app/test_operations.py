"""Health, metrics, pages, logs: what ops and governance rely on."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session, select

from service.alerts import evaluate as evaluate_module
from service.alerts.rules.asked import RuleBook
from service.site.settings import Settings
from service.store.database import engine_for
from service.store.tables import CardShown, HookCall
from service.web import app
from service.web.app import create_app
from tests.data import NOW, anc, bundle, call, clozapine, codes, on_clozapine, prefetch
from tests.schemas import validate
from tests.server import serving

_SIGN = "/cds-services/clozapine-order-sign"


def _recorded(client: Any, instance: str) -> HookCall:
    """The record of a call; it is written after the answer, so it may take a moment."""
    for _ in range(100):
        with Session(client.app.state.engine) as session:
            found = session.exec(select(HookCall).where(HookCall.hook_instance == instance)).first()
        if found is not None:
            return found
        time.sleep(0.05)
    raise AssertionError("the call was not recorded")


def test_live_and_ready(client: httpx.Client) -> None:
    assert client.get("/health/live").json()["status"] == "pass"
    for path in ("/health/ready", "/health"):
        response = client.get(path)
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("application/health+json")
        assert set(response.json()["checks"]) == {
            "database", "trail", "policies", "terminology", "sweep", "results", "connections", "large_calls", "reading", "subscriptions",
        }  # fmt: skip


def test_not_ready_says_why_and_hooks_still_answer(tmp_path: Path) -> None:
    settings = Settings(database_url=f"sqlite:///{tmp_path}/never-upgraded.db", ready_needs_database=True)
    app = create_app(settings, clock=lambda: NOW)
    with serving(app) as base_url, httpx.Client(base_url=base_url, trust_env=False) as broken:
        ready = broken.get("/health/ready")
        assert ready.status_code == 503
        assert "clozapine-cds db upgrade" in ready.json()["checks"]["database"][0]["output"]
        assert broken.get("/health/live").status_code == 200
        answer = broken.post(_SIGN, json=call("order-sign", prefetch(), clozapine()))
        assert codes(answer.json()) == [("anc-missing", "critical")]
        refused = broken.post(
            f"{_SIGN}/feedback",
            json={
                "feedback": [
                    {"card": "c", "outcome": "overridden", "outcomeTimestamp": "2026-11-20T10:00:00Z"}
                ]
            },
        )
        assert refused.status_code == 503
        assert refused.headers["retry-after"]


def test_metrics_count_calls_latencies_and_findings(client: httpx.Client) -> None:
    client.post(_SIGN, json=call("order-sign", prefetch(), clozapine()))
    client.post(_SIGN, content=b"x", headers={"Content-Type": "application/json"})
    text = client.get("/metrics").text
    assert 'clozapine_cds_requests_total{service="clozapine-order-sign",status="200"}' in text
    assert 'clozapine_cds_requests_total{service="clozapine-order-sign",status="400"}' in text
    assert 'clozapine_cds_request_seconds_bucket{le="0.001",service="clozapine-order-sign"}' in text
    assert 'clozapine_cds_findings_total{code="anc-missing",severity="critical"}' in text
    assert client.get("/metrics", headers={"Accept": "application/openmetrics-text"}).text.endswith("# EOF\n")


def test_calls_and_cards_are_recorded(client: httpx.Client) -> None:
    body = call("order-sign", prefetch(counts=bundle(anc(1.2))), clozapine()) | {
        "hookInstance": "recorded-call"
    }
    cards = client.post(_SIGN, json=body).json()["cards"]
    recorded = _recorded(client, "recorded-call")
    with Session(client.app.state.engine) as session:  # type: ignore[attr-defined]
        shown = session.exec(select(CardShown).where(CardShown.hook_instance == "recorded-call")).all()
    assert recorded.user_reference == "Practitioner/dr-lee"
    assert recorded.resources["counts"] == 1
    assert ["anc-below-initiation", "critical"] in recorded.findings
    assert {c.uuid for c in shown} == {c["uuid"] for c in cards}


_CANARIES = ("Canary-Name", "canary-id-77", "canary-comment", "tok-canary", "1944-04-04")


def _not_understood(client: httpx.Client) -> float:
    """Results that nobody understood, so far."""
    lines = client.get("/metrics").text.splitlines()
    counted = [
        x for x in lines if x.startswith("clozapine_cds_not_understood_total") and 'kind="result"' in x
    ]
    return sum(float(line.rpartition(" ")[2]) for line in counted)


def test_metrics_count_what_nobody_understands(client: httpx.Client) -> None:
    before = _not_understood(client)
    for _ in range(2):
        sent = prefetch(counts=bundle(anc(unit="bananas"), anc(id="anc-2", unit="bananas")))
        client.post("/cds-services/clozapine-patient-view", json=call("patient-view", sent))
    assert _not_understood(client) - before == 4


def test_nothing_of_a_patient_reaches_logs_metrics_or_errors(
    client: httpx.Client, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    patient = {
        "resourceType": "Patient",
        "id": "canary-id-77",
        "name": [{"family": "Canary-Name"}],
        "birthDate": "1944-04-04",
    }
    body = json.loads(
        json.dumps(
            call(
                "order-sign",
                prefetch(
                    patient=patient,
                    counts=bundle(anc(), {"resourceType": "Observation", "code": "Canary-Name"}),
                ),
                clozapine(),
            )
        ).replace("clz-p1", "canary-id-77")
    )
    body |= {
        "fhirServer": "https://ehr.example/fhir",
        "fhirAuthorization": {"access_token": "tok-canary", "token_type": "Bearer"},
    }
    broken = {**body, "context": {**body["context"], "draftOrders": "Canary-Name"}}
    with caplog.at_level(logging.DEBUG):
        client.post(_SIGN, json=body)
        errors = (
            client.post(_SIGN, json=broken).text + client.post(_SIGN, content=json.dumps(body)[:-30]).text
        )
        feedback = {
            "card": "c",
            "outcome": "overridden",
            "outcomeTimestamp": "2026-11-20T10:00:00Z",
            "overrideReason": {"userComment": "canary-comment"},
        }
        client.post(f"{_SIGN}/feedback", json={"feedback": [feedback]})
        client.app.state.recorder.flush(10)  # type: ignore[attr-defined]
    printed = capfd.readouterr()
    everything = caplog.text + printed.out + printed.err + errors + client.get("/metrics").text
    assert [c for c in _CANARIES if c in everything] == []


def test_a_failing_rule_is_named_and_silences_nothing(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check_of_the_moon(case: Any) -> Any:
        raise ZeroDivisionError("canary-comment")

    book = RuleBook((check_of_the_moon, *evaluate_module.RULEBOOK.rules))
    monkeypatch.setattr(evaluate_module, "RULEBOOK", book)
    answer = client.post(
        _SIGN,
        json=call(
            "order-sign",
            prefetch(medications=bundle(on_clozapine()), counts=bundle(anc(0.4, 0.5))),
            clozapine(300),
        ),
    )
    assert codes(answer.json()) == [("anc-severe-neutropenia", "critical"), ("data-unavailable", "warning")]
    assert "check of the moon" in answer.json()["cards"][1]["summary"]
    assert "canary-comment" not in answer.text
    assert (
        'rule_faults_total{exception="ZeroDivisionError",rule="check_of_the_moon"}'
        in client.get("/metrics").text
    )


def test_an_unexpected_fault_is_a_500_with_an_incident(
    start_service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import service.hooks.pipeline as pipeline

    def explode(*_: Any, **__: Any) -> None:
        raise RuntimeError("Canary-Name")

    monkeypatch.setattr(pipeline, "cards_of", explode)
    body = call("order-sign", prefetch(), clozapine())
    response = start_service(errors="status").post(_SIGN, json=body)
    assert response.status_code == 500
    assert "incident" in response.json()["issue"][0]["details"]["text"]
    assert "Canary-Name" not in response.text
    # By default the clinician is told, by the same incident.
    told = start_service().post(_SIGN, json=body)
    assert told.status_code == 200
    assert codes(told.json()) == [("data-unavailable", "warning")]
    assert "incident" in told.json()["cards"][0]["detail"]
    assert "Canary-Name" not in told.text


def test_policies_as_json_and_as_pages(client: httpx.Client) -> None:
    listed = client.get("/policies").json()["policies"]
    assert "us-label-2025" in {p["id"] for p in listed}
    for policy in listed:
        content = client.get(f"/policies/{policy['id']}").json()
        assert content["bands"]
        page = client.get(f"/policies/{policy['id']}", headers={"Accept": "text/html"})
        assert page.headers["content-type"].startswith("text/html")
        assert "not confirmed" in page.text
        assert "default-src 'self'" in page.headers["content-security-policy"]
    assert "/policies/us-label-2025" in client.get("/policies", headers={"Accept": "text/html"}).text


def test_the_sheet_for_the_patient_of_every_policy(client: httpx.Client) -> None:
    for policy in client.get("/policies").json()["policies"]:
        address = f"/policies/{policy['id']}/patient"
        content = client.get(address).json()
        assert content["referenceOnly"] == policy["referenceOnly"]
        page = client.get(address, headers={"Accept": "text/html"})
        assert page.headers["content-type"].startswith("text/html")
        assert "default-src 'self'" in page.headers["content-security-policy"]
        assert ("Reference only" in page.text) == bool(policy["referenceOnly"])
        assert all(f'<section id="{section["id"]}"' in page.text for section in content["sections"])
        assert (
            f'href="{address}"'
            in client.get(address.removesuffix("/patient"), headers={"Accept": "text/html"}).text
        )
    assert client.get("/policies/unknown/patient").status_code == 404


def test_openapi_is_served_kept_and_true(client: httpx.Client) -> None:
    served = client.get("/openapi.json").json()
    kept = json.loads((Path(__file__).parents[2] / "openapi" / "openapi.json").read_text())
    assert served == kept
    assert served["openapi"] == "3.1.0"
    body = call("order-sign", prefetch(), clozapine())
    schemas = {"components": served["components"]}
    operation = served["paths"][_SIGN]["post"]
    validate(body, operation["requestBody"]["content"]["application/json"]["schema"] | schemas)
    answer = client.post(_SIGN, json=body).json()
    validate(answer, operation["responses"]["200"]["content"]["application/json"]["schema"] | schemas)
    discovery = served["paths"]["/cds-services"]["get"]["responses"]["200"]["content"]["application/json"][
        "schema"
    ]
    validate(client.get("/cds-services").json(), discovery | schemas)
    for path in served["paths"]:
        if "{" not in path and not path.endswith("feedback") and "get" in served["paths"][path]:
            assert client.get(path).status_code == 200


def test_site_settings_reach_the_rules(start_service: Any) -> None:
    local = start_service(codes={"urn:lab|NEUT": "anc"}, units={"urn:lab|NEUT": "10*9/L"}, shadow=False)
    count = anc(0.4, 1, None)
    count["code"] = {"coding": [{"system": "urn:lab", "code": "NEUT"}]}
    body = call(
        "order-sign", prefetch(medications=bundle(on_clozapine()), counts=bundle(count)), clozapine(300)
    )
    assert codes(local.post(_SIGN, json=body).json())[0] == ("anc-severe-neutropenia", "critical")


def test_who_holds_the_counts_stands_in_health_and_on_the_card(start_service: Any) -> None:
    given = prefetch(medications=bundle(on_clozapine(600)), counts=bundle(anc(3.2, 200)))
    client = start_service(counts_elsewhere="the clozapine clinic")
    (check,) = client.get("/health").json()["checks"]["counts_elsewhere"]
    assert check == {"status": "pass", "output": "default: the clozapine clinic"}
    cards = client.post("/cds-services/clozapine-patient-view", json=call("patient-view", given)).json()[
        "cards"
    ]
    (overdue,) = [c for c in cards if c["source"]["topic"]["code"] == "anc-overdue"]
    assert overdue["indicator"] == "info"
    assert "the clozapine clinic" in overdue["summary"]
    assert not overdue.get("suggestions")  # no second sample where one may have been taken


def test_shadow_mode_records_and_shows_nothing(start_service: Any) -> None:
    shadow = start_service(shadow=True)
    body = call("order-sign", prefetch(), clozapine()) | {"hookInstance": "in-the-shadow"}
    assert shadow.post(_SIGN, json=body).json() == {"cards": []}
    assert _recorded(shadow, "in-the-shadow").findings


def test_the_site_s_time_zone_decides_the_date(start_service: Any) -> None:
    # 10:00 UTC is 23:00 in Auckland: a count of 14 November 12:00 UTC was taken on the 15th there.
    count = anc(3.2) | {"effectiveDateTime": "2026-11-12T12:00:00Z"}
    body = call(
        "order-sign", prefetch(medications=bundle(on_clozapine(60)), counts=bundle(count)), clozapine(300)
    )
    assert "anc-overdue" in {
        c for c, _ in codes(start_service(time_zone="UTC").post(_SIGN, json=body).json())
    }
    assert "anc-overdue" not in {
        c for c, _ in codes(start_service(time_zone="Pacific/Auckland").post(_SIGN, json=body).json())
    }


@pytest.mark.parametrize("instance", ["Smith, Jane 1944", "x" * 65, "a\nb", "\x1b[2J", "é"])
def test_what_stands_in_place_of_a_uuid_is_not_logged(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch, instance: str
) -> None:
    logged: list[str] = []
    monkeypatch.setattr(app, "log_call", lambda *told: logged.append(told[3]))
    for sent, told in (
        (instance, ""),
        ("9a3e7b10-55c4-4d1a-b7a9-6c1f2d3e4a03", "9a3e7b10-55c4-4d1a-b7a9-6c1f2d3e4a03"),
    ):
        body = call("patient-view", prefetch()) | {"hookInstance": sent}
        assert client.post("/cds-services/clozapine-patient-view", json=body).status_code == 200
        for _ in range(100):
            if logged:
                break
            time.sleep(0.01)
        assert logged.pop() == told


def test_errors_of_the_database_quote_nothing(tmp_path: Path) -> None:
    engine = engine_for(f"sqlite:///{tmp_path}/x.db")
    with engine.connect() as connection, pytest.raises(SQLAlchemyError) as error:
        connection.execute(text("INSERT INTO nowhere VALUES (:name)"), {"name": "Canary-Name"})
    assert "Canary" not in str(error.value)
