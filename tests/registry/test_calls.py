"""The registry at work in hook calls, over HTTP: enrolment, facts the EHR lacks, flags, overrides, shadow, database away."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests import data
from tests.data import NOW, ago, bundle, call, codes, prefetch

StartService = Callable[..., httpx.Client]


@pytest.fixture(params=["sqlite", "postgresql"])
def service(request: pytest.FixtureRequest, start_service: StartService) -> httpx.Client:
    """A service that remembers, on either database, with a site of its own."""
    more: dict[str, Any] = {"enrol": True, "site_name": f"site-{uuid4()}", "sweep": ""}
    if request.param == "postgresql":
        more["database_url"] = request.getfixturevalue("postgres_url")
    return start_service(**more)


def _ask(service: httpx.Client, body: dict[str, Any]) -> dict[str, Any]:
    answer = service.post(f"/cds-services/clozapine-{body['hook']}", json=body)
    assert answer.status_code == 200, answer.text
    time.sleep(0.05)  # a call is recorded just after its answer
    assert service.app.state.recorder.flush(20)  # type: ignore[attr-defined]
    return answer.json()


def _visit(**more: Any) -> dict[str, Any]:
    given = {"medications": bundle(data.on_clozapine()), "counts": bundle(data.anc(3.2, 3))} | more
    return call("patient-view", prefetch(**given))


def _site(service: httpx.Client) -> str:
    """Name of the one site of a service without authentication."""
    [name] = service.app.state.directory.by_name  # type: ignore[attr-defined]
    return name


def _patient(service: httpx.Client) -> dict[str, Any]:
    answer = service.get(f"/registry/patients/{data.PATIENT}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_call_enrols_a_patient_on_clozapine_and_nobody_else(service: httpx.Client) -> None:
    _ask(service, call("patient-view", prefetch()))
    assert service.get(f"/registry/patients/{data.PATIENT}").status_code == 404
    _ask(service, _visit())
    found = _patient(service)
    assert (found["state"], found["last_anc"], found["next_due"]) == ("on", 3200, "2026-12-17")
    assert found["course_start"] == data.day_ago(500)
    assert [c["value"] for c in found["counts"]] == [3200]
    assert found["doses"][0]["mgPerDay"] == 300


def test_counts_that_a_call_lacks_come_from_the_registry_and_the_card_says_so(service: httpx.Client) -> None:
    _ask(service, _visit(counts=bundle(data.anc(3.2, 40))))
    later = _visit()
    del later["prefetch"]["counts"]
    answer = _ask(service, later)
    overdue = next(c for c in answer["cards"] if c["source"]["topic"]["code"] == "anc-overdue")
    assert "3200/µL" in overdue["summary"]
    assert "From this service's registry" in overdue["detail"]
    assert "Used for this check, because the EHR's data lack it: blood counts" in overdue["detail"]


def test_a_patient_the_registry_knows_is_not_one_of_whom_nothing_is_known(service: httpx.Client) -> None:
    """Orders complete and without clozapine, another source failed: said of a patient who is registered, of nobody else."""
    failed = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "timeout"}]}
    body = _visit(medications=None, statements=failed)
    assert _ask(service, body) == {"cards": []}
    _ask(service, _visit())
    assert ("data-unavailable", "warning") in codes(_ask(service, body))


def test_an_order_keeps_its_drug_when_its_product_cannot_be_read(service: httpx.Client) -> None:
    nameless = data.on_clozapine() | {"medicationReference": {"reference": "Medication/gone"}}
    del nameless["medicationCodeableConcept"]
    low = _visit(medications=bundle(nameless), counts=bundle(data.anc(0.4, 1, id="low")))
    assert codes(_ask(service, low)) == [("data-unavailable", "warning")]
    _ask(service, _visit())
    answer = _ask(service, low)
    assert codes(answer)[0] == ("anc-severe-neutropenia", "critical")
    assert "which drug an order is of" in answer["cards"][0]["detail"]


def test_a_source_the_ehr_sends_completely_is_believed_alone(service: httpx.Client) -> None:
    _ask(
        service, _visit(counts=bundle(data.anc(0.4, 3, id="wrong")))
    )  # a result the laboratory takes back later
    answer = _ask(service, _visit(counts=bundle(data.anc(3.2, 3))))
    assert not any(code.startswith("anc-") for code, _ in codes(answer))


def test_a_start_that_no_record_tells_comes_from_the_registry(service: httpx.Client) -> None:
    _ask(service, _visit())
    undated = data.clozapine(300, id="mr-77", status="active")
    answer = _ask(service, _visit(medications=bundle(undated), counts=bundle(data.anc(3.2, 12))))
    assert ("anc-overdue", "warning") not in codes(answer)  # weekly, were the start unknown


def test_benign_ethnic_neutropenia_stated_by_a_clinician_sets_the_thresholds(service: httpx.Client) -> None:
    visit = _visit(counts=bundle(data.anc(1.2, 0.5)))
    assert ("anc-mild-neutropenia", "warning") in codes(_ask(service, visit))
    flags = f"/registry/patients/{data.PATIENT}/flags"
    made = service.post(
        flags, json={"kind": "ben", "by": "Dr Hema", "text": "Duffy-null, two baselines of 1.1"}
    )
    assert made.status_code == 200, made.text
    assert ("anc-mild-neutropenia", "warning") not in codes(_ask(service, visit))
    assert service.delete(f"{flags}/{made.json()['id']}").status_code == 200
    assert ("anc-mild-neutropenia", "warning") in codes(_ask(service, visit))


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"kind": "other"}, "kind"),
        ({"kind": "deviation", "text": "go on", "continueAt": 900}, "expires"),
        ({"kind": "deviation", "text": "go on", "continueAt": 900, "expires": "2020-01-01"}, "future"),
        ({"kind": "deviation", "text": "go on", "continueAt": -1, "expires": "2027-01-01"}, "continueAt"),
        ({"kind": "ben", "unknown": 1}, "unknown"),
    ],
)
def test_a_flag_that_cannot_be_used_is_refused_with_the_field(
    service: httpx.Client, body: dict[str, Any], says: str
) -> None:
    _ask(service, _visit())
    answer = service.post(f"/registry/patients/{data.PATIENT}/flags", json=body)
    assert answer.status_code == 400
    assert says in answer.json()["issue"][0]["details"]["text"]


def _override(service: httpx.Client, answer: dict[str, Any], code: str, *, reason: bool = True) -> None:
    card = next(c for c in answer["cards"] if c["source"]["topic"]["code"] == code)
    item: dict[str, Any] = {"card": card["uuid"], "outcome": "overridden", "outcomeTimestamp": ago(0)}
    if reason:
        item["overrideReason"] = {
            "reason": {"code": "risk-benefit-ratio", "system": "urn:x", "display": "Benefit"}
        }
    sent = service.post("/cds-services/clozapine-patient-view/feedback", json={"feedback": [item]})
    assert sent.status_code in (200, 204), sent.text


def test_an_override_with_a_reason_silences_the_finding_until_it_is_worse(service: httpx.Client) -> None:
    overdue = _visit(counts=bundle(data.anc(3.2, 40)))
    _override(service, _ask(service, overdue), "anc-overdue")
    assert ("anc-overdue", "warning") not in codes(_ask(service, overdue))
    worse = _visit(counts=bundle(data.anc(3.2, 65)))
    assert ("anc-overdue", "critical") in codes(_ask(service, worse))


def test_an_override_without_a_reason_silences_nothing(service: httpx.Client) -> None:
    overdue = _visit(counts=bundle(data.anc(3.2, 40)))
    _override(service, _ask(service, overdue), "anc-overdue", reason=False)
    assert ("anc-overdue", "warning") in codes(_ask(service, overdue))


def test_a_critical_count_is_said_every_time(service: httpx.Client) -> None:
    severe = _visit(counts=bundle(data.anc(0.4, 0.5)))
    _override(service, _ask(service, severe), "anc-severe-neutropenia")
    assert ("anc-severe-neutropenia", "critical") in codes(_ask(service, severe))


@pytest.mark.parametrize(
    ("loinc", "value", "code"), [("777-3", 30, "thrombocytopenia"), ("711-2", 4, "eosinophilia")]
)
def test_other_counts_that_say_stop_are_said_every_time(
    start_service: StartService, loinc: str, value: float, code: str
) -> None:
    service = start_service(policy="uk-smpc", enrol=True, sweep="")
    low = data.observation(loinc, value, "10*3/uL", 0.5, id="other")
    visit = _visit(counts=bundle(data.anc(3.2, 3), low))
    first = _ask(service, visit)
    assert (code, "critical") in codes(first)
    _override(service, first, code)
    assert (code, "critical") in codes(_ask(service, visit))


def test_analytics_count_what_became_of_the_cards(service: httpx.Client) -> None:
    overdue = _visit(counts=bundle(data.anc(3.2, 40)))
    _override(service, _ask(service, overdue), "anc-overdue")
    site = _site(service)
    found = service.get("/analytics/alerts", params={"site": site, "by": "code,hook,week"}).json()
    row = next(r for r in found["alerts"] if r["code"] == "anc-overdue")
    assert (row["fired"], row["overridden"], row["hook"], row["week"]) == (1, 1, "patient-view", "2026-W47")
    assert row["reasons"] == {"risk-benefit-ratio": 1}
    told = service.get("/metrics").text
    labels = f'code="anc-overdue",hook="patient-view",outcome="overridden",reason="risk-benefit-ratio",site="{site}"'
    assert f"clozapine_cds_card_answers_total{{{labels}}} 1.0" in told
    assert f'clozapine_cds_cards_total{{code="anc-overdue",hook="patient-view",site="{site}"}} 1.0' in told
    assert f'clozapine_cds_card_response_seconds_count{{code="anc-overdue",site="{site}"}} 1.0' in told
    assert service.get("/analytics/alerts", params={"by": "shoe-size"}).status_code == 400


def test_unenrolled_patients_stay_off_and_deleted_ones_leave_nothing(service: httpx.Client) -> None:
    _ask(service, _visit())
    path = f"/registry/patients/{data.PATIENT}"
    assert service.post(f"{path}/unenrol").status_code == 200
    _ask(service, _visit())
    assert _patient(service)["state"] == "unenrolled"
    assert service.post(f"{path}/enrol").json() == {"state": "on"}
    assert service.post("/registry/patients/nobody/enrol").status_code == 404
    assert service.post(f"{path}/merge", json={"into": data.PATIENT}).status_code == 400
    assert service.post(f"{path}/merge", json={"into": "no id"}).status_code == 400
    proof = service.delete(path).json()
    assert proof["rows"]["patients"] == 1
    assert data.PATIENT not in str(proof)
    assert service.get(path).status_code == 404


def test_merging_puts_two_records_of_one_patient_together(service: httpx.Client) -> None:
    _ask(service, _visit(counts=bundle(data.anc(0.9, 90, id="old"), data.anc(3.2, 40, id="first"))))
    second = _visit(counts=bundle(data.anc(3.0, 3, id="second")))
    second = _renamed(second, "clz-p2")
    _ask(service, second)
    assert (
        service.post(f"/registry/patients/{data.PATIENT}/merge", json={"into": "clz-p2"}).status_code == 200
    )
    assert service.get(f"/registry/patients/{data.PATIENT}").status_code == 404
    counts = service.get("/registry/patients/clz-p2").json()["counts"]
    assert [c["value"] for c in counts] == [3000, 3200, 900]


def _renamed(body: dict[str, Any], patient: str) -> dict[str, Any]:
    return json.loads(json.dumps(body).replace(data.PATIENT, patient))


def test_a_database_that_is_away_never_stops_a_call(start_service: StartService, tmp_path: Any) -> None:
    service = start_service(enrol=True, site_name="away", sweep="")
    service.app.state.engine.dispose()  # type: ignore[attr-defined]
    url = service.app.state.engine.url.database  # type: ignore[attr-defined]
    import pathlib

    for file in pathlib.Path(url).parent.glob("service.db*"):
        file.unlink()
    pathlib.Path(url).parent.chmod(0o500)
    pathlib.Path(url).mkdir()  # nothing can be opened here any more
    visit = _visit(counts=bundle(data.anc(0.4, 0.5)))
    del visit["prefetch"]["labs"]
    started = time.monotonic()
    answer = service.post("/cds-services/clozapine-patient-view", json=visit)
    assert answer.status_code == 200
    assert time.monotonic() - started < 5
    card = answer.json()["cards"][0]
    assert card["source"]["topic"]["code"] == "anc-severe-neutropenia"
    assert "registry could not be read" in card["detail"]
    # Hooks go on: a red light on every replica would make an outage of it.
    ready = service.get("/health/ready")
    assert (ready.status_code, ready.json()["status"]) == (200, "warn")
    assert "the database cannot be reached" in ready.json()["checks"]["database"][0]["output"]


def test_the_worklist_is_paged_and_shows_what_is_due_first(service: httpx.Client) -> None:
    for number, days in enumerate((3, 50, 33, 45)):
        _ask(service, _renamed(_visit(counts=bundle(data.anc(3.2, days))), f"clz-{number}"))
    site = _site(service)
    seen: list[str] = []
    cursor: str | None = None
    while True:
        query = {"status": "overdue", "limit": "2", "site": site} | ({"cursor": cursor} if cursor else {})
        page = service.get("/registry/patients", params=query).json()
        seen += [p["patient_id"] for p in page["patients"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert seen == ["clz-1", "clz-3", "clz-2"]
    assert service.get("/registry/patients", params={"status": "late"}).status_code == 400
    for path, values in (
        ("/registry/patients", "xyz"),
        ("/registry/patients", [None, 5]),
        ("/registry/patients", ["late", 5]),
        ("/registry/patients", ["2026-11-20", True]),
        ("/registry/patients", ["2026-11-20", 10**20]),
        ("/alerts", ["worst", 5]),
        ("/alerts", [None, 5]),
    ):
        cursor = values if isinstance(values, str) else base64.b64encode(json.dumps(values).encode()).decode()
        assert service.get(path, params={"cursor": cursor}).status_code == 400, values
    for limit in ("0", "501", "²", "9" * 5000, "-1"):
        assert service.get("/registry/patients", params={"limit": limit}).status_code == 400


def test_credentials_are_bound_to_site_and_role(start_service: StartService) -> None:
    import hashlib

    def client(name: str, role: str, *sites: str) -> dict[str, Any]:
        return {
            "name": name,
            "token_sha256": hashlib.sha256(name.encode()).hexdigest(),
            "role": role,
            "sites": sites,
        }

    service = start_service(
        enrol=True, site_name="north", sweep="",
        clients=[client("reader", "viewer", "north"), client("doctor", "clinician", "north"), client("chief", "admin"), client("stranger", "admin", "south")],
    )  # fmt: skip
    _ask(service, _visit())
    path = f"/registry/patients/{data.PATIENT}"

    def status(method: str, url: str, token: str | None, **more: Any) -> int:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return service.request(method, url, headers=headers, **more).status_code

    assert status("GET", path, None) == 401
    assert status("GET", path, "guess") == 401
    assert status("GET", path, "reader") == 200
    assert status("GET", f"{path}?site=north", "stranger") == 403
    assert status("GET", "/registry/patients?site=north", "stranger") == 403
    assert (
        service.get("/registry/patients", headers={"Authorization": "Bearer stranger"}).json()["patients"]
        == []
    )
    assert status("POST", f"{path}/flags", "reader", json={"kind": "ben"}) == 403
    assert status("POST", f"{path}/flags", "doctor", json={"kind": "ben"}) == 200
    assert status("DELETE", path, "doctor") == 403
    assert status("DELETE", path, "chief") == 200


def test_an_alert_is_listed_and_closed_with_a_note(start_service: StartService) -> None:
    import asyncio

    service = start_service(enrol=True, site_name="closing", sweep="")
    _ask(service, _visit(counts=bundle(data.anc(3.2, 40))))
    state = service.app.state  # type: ignore[attr-defined]
    scheduler = state.schedulers.make(state.directory.by_name["closing"])
    asyncio.run(scheduler.run(NOW + timedelta(minutes=1)))
    alerts = service.get("/alerts").json()["alerts"]
    alert = next(a for a in alerts if a["code"] == "anc-overdue")
    assert alert["patient_id"] == data.PATIENT
    path = f"/alerts/{alert['id']}/close"
    assert service.post(path, json={"note": " "}).status_code == 400
    assert service.post(path, json={"note": "taken elsewhere", "by": "Practitioner/7"}).status_code == 200
    assert service.post(path, json={"note": "again"}).status_code == 409
    history = _patient(service)["history"]
    assert [(e["what"], e["by"]) for e in history if e["code"] == "anc-overdue"] == [
        ("closed", "Practitioner/7"),
        ("opened", "sweep"),
    ]
    assert b'clozapine_cds_alerts_total{what="opened"}' in service.get("/metrics").content


def test_a_shadowed_finding_is_recorded_and_not_shown(start_service: StartService) -> None:
    service = start_service(shadow_codes=("anc-overdue",))
    answer = _ask(service, _visit(counts=bundle(data.anc(3.2, 40))))
    assert "anc-overdue" not in {code for code, _ in codes(answer)}
    assert b'clozapine_cds_findings_total{code="anc-overdue"' in service.get("/metrics").content


def test_an_order_that_the_registry_saw_active_is_no_treatment_of_long_ago(service: httpx.Client) -> None:
    """Completed since nobody knows when, and no count in the EHR: without the registry a start, with it a gap of unknown length."""
    over = bundle({**data.on_clozapine(600), "status": "completed"})
    signed = call("order-sign", prefetch(medications=over), data.clozapine(300))
    unknown = codes(_ask(service, signed))
    assert ("dose-start-too-high", "critical") in unknown
    _ask(service, _visit(medications=bundle(data.on_clozapine(600)), counts=bundle()))
    known = codes(_ask(service, signed))
    assert ("dose-start-too-high", "critical") not in known
    assert ("missed-dose-retitrate", "warning") in known
