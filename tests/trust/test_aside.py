"""Large calls are judged in processes that can be ended: one call's work costs that call, and no other its answer."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from service.aside.messages import Begin
from service.aside.process import _without_secrets
from service.hooks.in_place import InPlace
from service.options.options import SiteOptions
from service.options.site import site_with
from tests.data import NOW, PATIENT, anc, bundle, call, clozapine, codes, on_clozapine, order, prefetch
from tests.ehr import Ehr
from tests.server import serving
from tests.signing import BASE

_SIGN = "/cds-services/clozapine-order-sign"
_CHECK = "/fhir/$clozapine-check"
#: Processor seconds of one call: a hundred times what an ordinary one takes, and a fraction of what ``_endless`` would.
_SHARE = 0.5


@pytest.fixture(scope="module")
def north() -> Iterator[Ehr]:
    server = Ehr()
    with serving(server.app) as base_url:
        server.base_url = base_url
        yield server


@pytest.fixture(scope="module")
def service(start_service: Any, north: Ehr) -> httpx.Client:
    """A service with one judging process, which is running."""
    client: httpx.Client = start_service(
        judging_processes=1, judging_seconds=_SHARE, call_seconds=60, auth="required", base_url=BASE,
        ehr=[north.settings("north", fhir_deadline_ms=20_000)],
    )  # fmt: skip
    client.timeout = httpx.Timeout(90)
    _wait_for(client)
    return client


@pytest.fixture(scope="module")
def in_place(start_service: Any, north: Ehr) -> httpx.Client:
    """The same without."""
    client: httpx.Client = start_service(
        auth="required",
        base_url=BASE,
        call_seconds=60,
        ehr=[north.settings("north", fhir_deadline_ms=20_000)],
    )
    return client


def _aside(client: httpx.Client) -> Any:
    return client.app.state.aside  # type: ignore[attr-defined]


def _wait_for(client: httpx.Client) -> None:
    while _aside(client).here() is None or not _aside(client)._idle:
        time.sleep(0.05)


def _post(client: httpx.Client, north: Ehr, body: Any, path: str = _SIGN) -> httpx.Response:
    return client.post(path, json=body, headers=north.signer.bearer("north", path))


def _large(**more: Any) -> dict[str, Any]:
    """An ordinary call of more than is judged in place: a low count among many."""
    results = [anc(3.0, 2 + i, id=f"a{i}", note=[{"text": "x" * 1000}]) for i in range(120)]
    return call(
        "order-sign", prefetch(medications=bundle(on_clozapine()), counts=bundle(anc(0.4, 1), *results)), clozapine(300), **more
    )  # fmt: skip


def _endless(drafts: int = 400) -> dict[str, Any]:
    """A call that is far more work than its share: dosage texts of as many words as fit."""
    orders = [
        clozapine(id=f"d{i}") | {"dosageInstruction": [{"text": f"{i} " + "1x" * 900}]} for i in range(drafts)
    ]
    return call("order-sign", prefetch(medications=bundle(on_clozapine())), *orders)


def _said(answer: httpx.Response) -> Any:
    """What stands on the cards, without what is drawn anew for each."""
    assert answer.status_code == 200, answer.text
    cards = answer.json()["cards"]
    return [{k: v for k, v in card.items() if k not in ("uuid", "suggestions")} for card in cards]


def _ended(client: httpx.Client, why: str) -> float:
    lines = client.get("/metrics").text.splitlines()
    name = f'clozapine_cds_judging_ended_total{{why="{why}"}} '
    return next((float(line.removeprefix(name)) for line in lines if line.startswith(name)), 0.0)


def test_a_large_call_is_answered_aside_as_in_place_and_kept(
    service: httpx.Client, in_place: httpx.Client, north: Ehr
) -> None:
    body = _large()
    assert len(json.dumps(body)) > InPlace().size
    aside = _post(service, north, body)
    assert codes(aside.json())[0] == ("anc-severe-neutropenia", "critical")
    assert _said(aside) == _said(_post(in_place, north, body))
    assert 'clozapine_cds_cards_total{code="anc-severe-neutropenia",hook="order-sign",site="north"}' in service.get("/metrics").text  # fmt: skip
    uuid = aside.json()["cards"][0]["uuid"]
    feedback = {"feedback": [{"card": uuid, "outcome": "overridden", "outcomeTimestamp": NOW.isoformat()}]}
    assert _post(service, north, feedback, f"{_SIGN}/feedback").status_code == 204
    assert (
        'clozapine_cds_feedback_total{card="known",outcome="overridden"} 1.0' in service.get("/metrics").text
    )


def test_a_large_question_is_answered_aside_as_in_place(
    service: httpx.Client, in_place: httpx.Client, north: Ehr
) -> None:
    results = [anc(3.0, 2 + i, id=f"a{i}", note=[{"text": "x" * 1000}]) for i in range(120)]
    record = [
        {"resourceType": "Patient", "id": PATIENT},
        on_clozapine(),
        clozapine(300),
        anc(0.4, 1),
        *results,
    ]
    body = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": r} for r in record]}
    found = []
    for client in (service, in_place):
        entries = _post(client, north, body, _CHECK).json()["entry"]
        issues = [e["resource"] for e in entries if e["resource"]["resourceType"] == "DetectedIssue"]
        found.append([(i["code"]["coding"][0]["code"], i["severity"], i["detail"]) for i in issues])
    assert found[0] == found[1]
    assert ("anc-severe-neutropenia", "high") in [(code, severity) for code, severity, _ in found[0]]


def test_what_is_wrong_with_a_large_call_is_said_as_in_place(service: httpx.Client, north: Ehr) -> None:
    answer = _post(service, north, _large() | {"hook": "patient-view"})
    assert answer.status_code == 400
    assert answer.json()["issue"][0]["expression"] == ["hook"]


def test_a_call_of_too_much_work_is_ended_and_costs_nobody_else_an_answer(
    service: httpx.Client, north: Ehr
) -> None:
    before = _ended(service, "work")
    answers: list[httpx.Response] = []
    endless = threading.Thread(target=lambda: answers.append(_post(service, north, _endless())))
    endless.start()
    others = [_post(service, north, _large()) for _ in range(3)]
    endless.join()
    assert [codes(other.json())[0] for other in others] == [("anc-severe-neutropenia", "critical")] * 3
    assert codes(answers[0].json()) == [("data-unavailable", "warning")]
    assert "take too long to be judged" in answers[0].json()["cards"][0]["summary"]
    assert _ended(service, "work") == before + 1
    assert 'clozapine_cds_calls_not_judged_total{cause="too-much-work"' in service.get("/metrics").text


def test_work_ends_when_its_caller_has_gone(service: httpx.Client, north: Ehr) -> None:
    """Whatever the process does: this one does not even run."""
    _wait_for(service)
    before = _ended(service, "late")
    aside = _aside(service)
    process = aside._idle[-1]
    os.kill(process.pid, signal.SIGSTOP)

    async def give_up() -> None:
        body = json.dumps(_large()).encode()
        call = Begin("hook", "north", body, NOW, "clozapine-order-sign", "order-sign")
        task = asyncio.create_task(aside._judged(call, site_with("north", SiteOptions()), lambda _: None))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await process._ended

    asyncio.run_coroutine_threadsafe(give_up(), aside._keeping.get_loop()).result(60)
    assert process._ended.result() == -signal.SIGKILL
    assert _ended(service, "late") == before + 1
    assert codes(_post(service, north, _large()).json())[0] == ("anc-severe-neutropenia", "critical")


@pytest.mark.parametrize("path", [_SIGN, _CHECK])
def test_a_caller_who_hangs_up_ends_the_work(service: httpx.Client, north: Ehr, path: str) -> None:
    _wait_for(service)
    before = _ended(service, "late")
    process = _aside(service)._idle[-1]
    os.kill(process.pid, signal.SIGSTOP)
    record = {
        "resourceType": "Bundle",
        "type": "collection",
        "entry": [{"resource": anc(3.0, 2, note=[{"text": "x" * 200_000}])}],
    }
    with pytest.raises(httpx.ReadTimeout):
        service.post(
            path, json=_large() if path == _SIGN else record, headers=north.signer.bearer("north", path), timeout=1
        )  # fmt: skip
    while _ended(service, "late") == before:
        time.sleep(0.02)


def test_a_small_call_whose_texts_are_too_much_work_goes_aside(
    service: httpx.Client, in_place: httpx.Client, north: Ehr, monkeypatch: pytest.MonkeyPatch
) -> None:
    drugs = [order(f"some remedy that nobody knows {i}", id=f"o{i}", status="active") for i in range(20)]
    sent = prefetch(medications=bundle(on_clozapine(), *drugs), counts=bundle(anc(0.4, 1)))
    body = call("order-sign", sent, clozapine(300))
    expected = _said(_post(in_place, north, body))
    taken: list[int] = []
    aside = _aside(service)
    judged = aside._judged
    monkeypatch.setattr(aside, "_in_place", InPlace(seconds=-1.0))
    monkeypatch.setattr(aside, "_judged", lambda *a: (taken.append(1), judged(*a))[1])
    for _ in range(2):  # texts that were read before are looked up
        assert _said(_post(service, north, body)) == expected
    assert taken == [1, 1]
    record = [{"resourceType": "Patient", "id": PATIENT}, on_clozapine(), anc(0.4, 1), clozapine(300), *drugs]
    asked = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": r} for r in record]}
    assert "anc-severe-neutropenia" in _post(service, north, asked, _CHECK).text
    assert taken == [1, 1, 1]


def test_a_call_whose_server_has_much_goes_aside_and_nothing_is_fetched_twice(
    service: httpx.Client, in_place: httpx.Client, north: Ehr, monkeypatch: pytest.MonkeyPatch
) -> None:
    north.add(anc(0.4, 1), *(anc(3.0, 2 + i, id=f"f{i}", note=[{"text": "x" * 1000}]) for i in range(220)))
    body = call("order-sign", prefetch(medications=bundle(on_clozapine())), clozapine(300))
    del body["prefetch"]["counts"]
    access = {
        "access_token": north.token,
        "token_type": "Bearer",
        "expires_in": 60,
        "scope": "x",
        "subject": "x",
    }
    body |= {"fhirServer": f"{north.base_url}/fhir", "fhirAuthorization": access}
    expected = _said(_post(in_place, north, body))
    asked = len(north.asked)
    taken: list[int] = []
    aside = _aside(service)
    go_on = aside.go_on
    monkeypatch.setattr(aside, "go_on", lambda *a: (taken.append(1), go_on(*a))[1])
    assert _said(_post(service, north, body)) == expected
    assert taken == [1]
    assert expected[0]["indicator"] == "critical"
    pages = north.asked[asked:]
    assert len(pages) == len(set(pages)) == 3


def test_a_judging_process_knows_no_secret() -> None:
    options = SiteOptions(webhook="https://events.hospital.example/x", webhook_secret="s3cret")
    assert "s3cret" not in repr(
        _without_secrets(site_with("north", options)).options.model_dump(mode="python")
    )
    assert _without_secrets(site_with("north", options)).options.webhook_secret.get_secret_value() == ""


def test_without_processes_calls_are_judged_in_place_until_there_are_some_again(
    service: httpx.Client, north: Ehr
) -> None:
    aside = _aside(service)
    template = aside._template
    template._popen.send_signal(signal.SIGKILL)
    while template.alive:
        time.sleep(0.02)
    assert "processes for large calls are not running" in aside.problem
    assert codes(_post(service, north, _large()).json())[0] == ("anc-severe-neutropenia", "critical")
    _wait_for(service)
    assert aside.problem == ""
    assert codes(_post(service, north, _large()).json())[0] == ("anc-severe-neutropenia", "critical")
