"""The whole hook flow, with FHIR fallback, against HAPI FHIR (``make test-hapi``): thirty invented patients, each with a known outcome."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import select
from sqlmodel import Session

from cds_hooks.context import Context
from cds_hooks.prefetch import fill
from service.fhir.queries import QUERIES
from service.store.database import upgrade
from service.store.tables import CardFeedback
from service.synthetic.chart import Chart
from service.synthetic.clinic import HOOKS, hook_call
from tests.data import anc, clozapine, codes
from tests.ehr import Ehr
from tests.hapi.conftest import CHARTS, TOKEN
from tests.hapi.conftest import FHIR_HEADERS as _FHIR
from tests.server import serving
from tests.signing import BASE

pytestmark = pytest.mark.hapi


def _put(hapi: str, resource: dict[str, Any]) -> None:
    url = f"{hapi}/{resource['resourceType']}/{resource['id']}"
    assert httpx.put(url, json=resource, headers=_FHIR, trust_env=False, timeout=60).is_success


@pytest.fixture(scope="module")
def keys() -> Iterator[Ehr]:
    """The EHR's own face: it signs its calls."""
    ehr = Ehr()
    with serving(ehr.app) as base_url:
        ehr.base_url = base_url
        yield ehr


@pytest.fixture(scope="module")
def service(start_service: Any, keys: Ehr, hapi: str) -> httpx.Client:
    """The service, which reads this clinic from HAPI FHIR."""
    # Nothing is remembered between calls: every answer is made of what HAPI says now.
    site = keys.settings("clinic", fhir_servers=[hapi], fhir_deadline_ms=20_000, enrol=False)
    return start_service(auth="required", base_url=BASE, ehr=[site], sweep="")


class Clinic:
    """Calls the service as the clinic's EHR does."""

    def __init__(self, service: httpx.Client, keys: Ehr, hapi: str) -> None:
        self.service = service
        self.keys = keys
        self.hapi = hapi

    def post(
        self, call: dict[str, Any], name: str = "clinic", *, fallback: bool = True, token: str = TOKEN
    ) -> httpx.Response:
        """A hook call, signed by the EHR; with ``fallback`` it names the FHIR server and brings the access token."""
        path = f"/cds-services/clozapine-{call['hook']}"
        access = {
            "access_token": token,
            "token_type": "Bearer",
            "expires_in": 300,
            "scope": "patient/*.read",
            "subject": "clozapine-cds",
        }
        server = {"fhirServer": self.hapi, "fhirAuthorization": access} if fallback else {}
        body = call | {"hookInstance": str(uuid4())} | server
        return self.service.post(path, json=body, headers=self.keys.signer.bearer(name, path))

    def ask(self, call: dict[str, Any], *, fallback: bool) -> dict[str, Any]:
        """The answer to a hook call."""
        answer = self.post(call, fallback=fallback)
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture(scope="module")
def ehr(service: httpx.Client, keys: Ehr, hapi: str) -> Clinic:
    return Clinic(service, keys, hapi)


def _said(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """Cards without what is new in every answer."""
    cards = []
    for card in answer["cards"]:
        offers = [{k: v for k, v in offer.items() if k != "uuid"} for offer in card.get("suggestions", ())]
        cards.append({k: v for k, v in card.items() if k != "uuid"} | {"suggestions": offers})
    return cards


def _findings(answer: dict[str, Any]) -> list[str]:
    return sorted(f"{code} {indicator}" for code, indicator in codes(answer))


def _search(hapi: str, query: str, **headers: str) -> httpx.Response:
    url = f"{hapi}/{query}" if not query.startswith(hapi) else query
    return httpx.get(url, headers=_FHIR | headers, trust_env=False, timeout=60)


def test_discovery_asks_for_nothing_hapi_does_not_know(ehr: Clinic, hapi: str) -> None:
    """With strict handling HAPI refuses a search parameter it does not know instead of passing over it."""
    path = "/cds-services"
    offered = ehr.service.get(path, headers=ehr.keys.signer.bearer("clinic", path)).json()["services"]
    assert {s["hook"] for s in offered} >= set(HOOKS)
    assert _search(hapi, "Patient?no-such=1", Prefer="handling=strict").status_code == 400
    for key, template in offered[0]["prefetch"].items():
        query = fill(template, Context(patient_id=CHARTS[0].patient_id))
        answer = _search(hapi, str(query), Prefer="handling=strict")
        assert answer.status_code == 200, (key, answer.text)


def test_the_clinic_makes_hapi_page(hapi: str) -> None:
    """Otherwise the comparison below would not show that pages are followed."""
    paged = set()
    for chart in CHARTS:
        query = fill(QUERIES["counts"], Context(patient_id=chart.patient_id))
        links = {link["relation"]: link["url"] for link in _search(hapi, str(query)).json()["link"]}
        if "next" in links:
            paged.add(chart.story.id)
    assert len(paged) >= 3


def test_orders_come_newest_first(hapi: str) -> None:
    """What arrives before the deadline, and on the first pages, must be what matters most."""
    chart = next(c for c in CHARTS if c.story.id == "myocarditis")
    found = _search(hapi, str(fill(QUERIES["medications"], Context(patient_id=chart.patient_id)))).json()
    written = [e["resource"]["authoredOn"] for e in found["entry"]]
    assert len(written) == 4
    assert written == sorted(written, reverse=True)


def test_sorting_loses_nothing_that_has_no_date(hapi: str) -> None:
    chart = next(c for c in CHARTS if c.story.id == "toxic-level")
    context = Context(patient_id=chart.patient_id)
    subject = {"reference": f"Patient/{chart.patient_id}"}
    undated = clozapine(300, id=f"{chart.patient_id}-undated-order", status="completed", subject=subject)
    count = anc(3.1, id=f"{chart.patient_id}-undated-count", subject=subject, issued="2026-11-01T10:00:00Z")
    del count["effectiveDateTime"]
    for key, resource in (("medications", undated), ("counts", count)):
        _put(hapi, resource)
        found: set[str] = set()
        query: str | None = fill(QUERIES[key], context)
        while query:
            page = _search(hapi, query).json()
            found |= {e["resource"]["id"] for e in page["entry"]}
            query = next((link["url"] for link in page["link"] if link["relation"] == "next"), None)
        gone = httpx.delete(
            f"{hapi}/{resource['resourceType']}/{resource['id']}", headers=_FHIR, trust_env=False, timeout=60
        )
        assert gone.is_success
        assert resource["id"] in found


@pytest.mark.parametrize("chart", CHARTS, ids=[c.story.id for c in CHARTS])
@pytest.mark.parametrize("hook", HOOKS)
def test_the_service_finds_in_hapi_what_the_story_says_and_what_prefetch_says(
    ehr: Clinic, chart: Chart, hook: str
) -> None:
    fetched = ehr.ask(hook_call(chart, hook, with_prefetch=False), fallback=True)
    sent = ehr.ask(hook_call(chart, hook), fallback=False)
    assert _findings(fetched) == chart.story.expected(hook)
    assert _said(fetched) == _said(sent)


def test_a_count_that_has_just_come_in_is_seen(ehr: Clinic, hapi: str) -> None:
    """HAPI answers the same search for a minute from its memory, unless it is told not to."""
    chart = next(c for c in CHARTS if c.story.id == "steady-for-years")
    call = hook_call(chart, "patient-view", with_prefetch=False)
    assert _findings(ehr.ask(call, fallback=True)) == []
    late = anc(0.4, 0.05, id=f"{chart.patient_id}-just-in", patient=chart.patient_id)
    late["subject"] = {"reference": f"Patient/{chart.patient_id}"}
    _put(hapi, late)
    try:
        assert _findings(ehr.ask(call, fallback=True)) == ["anc-severe-neutropenia critical"]
    finally:
        gone = httpx.delete(f"{hapi}/Observation/{late['id']}", headers=_FHIR, trust_env=False, timeout=60)
        assert gone.is_success


def test_a_deadline_that_cuts_in_is_never_passed_over(start_service: Any, keys: Ehr, hapi: str) -> None:
    """Whatever has arrived by then: all of it is judged, or the answer says what is missing."""
    for deadline in (10, 60, 400):
        site = keys.settings("hurried", fhir_servers=[hapi], fhir_deadline_ms=deadline, enrol=False)
        hurried = Clinic(start_service(auth="required", base_url=BASE, ehr=[site], sweep=""), keys, hapi)
        for chart in CHARTS[::3]:
            call = hook_call(chart, "patient-view", with_prefetch=False)
            answer = hurried.post(call, "hurried")
            if answer.status_code == 412:
                continue
            found = _findings(answer.json())
            assert found == chart.story.expected("patient-view") or any(
                f.startswith("data-unavailable") for f in found
            ), (deadline, chart.story.id)


def test_a_patient_hapi_does_not_know_is_never_called_safe(ehr: Clinic) -> None:
    call = deepcopy(hook_call(CHARTS[0], "order-sign", with_prefetch=False))
    call["context"]["patientId"] = "nobody"
    call["context"]["draftOrders"]["entry"][0]["resource"]["subject"] = {"reference": "Patient/nobody"}
    assert "anc-missing critical" in _findings(ehr.ask(call, fallback=True))


def test_with_a_wrong_token_nothing_is_read_and_nothing_is_called_checked(ehr: Clinic) -> None:
    answer = ehr.post(hook_call(CHARTS[0], "order-sign", with_prefetch=False), token="of-another-clinic")
    assert _findings(answer.json()) == ["data-unavailable warning"], answer.text
    assert answer.json()["cards"][0]["summary"].startswith("Clozapine was not checked")


def test_feedback_on_a_card_made_from_hapi_s_data_is_kept(ehr: Clinic) -> None:
    chart = next(c for c in CHARTS if c.story.id == "count-overdue")
    card = ehr.ask(hook_call(chart, "order-sign", with_prefetch=False), fallback=True)["cards"][0]
    path = "/cds-services/clozapine-order-sign/feedback"
    given = {
        "card": card["uuid"],
        "outcome": "overridden",
        "outcomeTimestamp": "2026-11-20T10:05:00Z",
        "overrideReason": {"reason": card["overrideReasons"][0]},
    }
    answer = ehr.service.post(
        path, json={"feedback": [given]}, headers=ehr.keys.signer.bearer("clinic", path)
    )
    assert answer.is_success, answer.text
    app = ehr.service.app  # type: ignore[attr-defined]
    assert app.state.recorder.flush(20)
    with Session(app.state.engine) as session:
        kept = session.execute(select(CardFeedback).where(CardFeedback.card == card["uuid"])).scalars().all()
    assert [k.outcome for k in kept] == ["overridden"]


def test_ehr_check_finds_nothing_to_complain_of(keys: Ehr, hapi: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "service.toml").write_text(
        f'auth = "required"\nbase_url = "{BASE}"\ndatabase_url = "sqlite:///{tmp_path}/ehrs.db"\n'
        f'[[ehr]]\nname = "clinic"\nissuer = "https://clinic.example"\njwks_uri = "{keys.base_url}/jwks"\n'
        f'fhir_servers = ["{hapi}"]\n'
    )
    upgrade(f"sqlite:///{tmp_path}/ehrs.db")
    command = ["ehr", "check", "clinic", "--patient", CHARTS[0].patient_id]
    done = subprocess.run(
        [sys.executable, "-m", "service.cli.main", *command, "--token-file", str(tmp_path / "token")],
        env=os.environ | {"CLOZAPINE_CDS_CONFIG": str(tmp_path / "service.toml"), "COLUMNS": "250"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("Search ") == len(QUERIES)
