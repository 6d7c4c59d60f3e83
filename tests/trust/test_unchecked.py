"""Calls that cannot be judged: a card where a clinician must know, a status where the integrator must."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from sqlmodel import Session, select

from cds_hooks.errors import ProtocolError
from cds_hooks.unjudged import Hearing, Listening, concerns
from service.alerts.knowledge import products
from service.alerts.knowledge.drugs import names_of
from service.alerts.knowledge.hint import hints_at_clozapine
from service.alerts.knowledge.products import Product, install, product_rows
from service.hooks import pipeline
from service.hooks.causes import summary_of
from service.hooks.unchecked import finding_of
from service.options import weighed
from service.store.tables import CardShown, HookCall
from service.trail.audit import events
from tests.data import NOW, bundle, call, clozapine, codes, order, prefetch
from tests.ehr import Ehr
from tests.signing import BASE

_SIGN = "/cds-services/clozapine-order-sign"
_VIEW = "/cds-services/clozapine-patient-view"
_JSON = {"Content-Type": "application/json"}
_TOLD = [("data-unavailable", "warning")]
_AMOXICILLIN = order("amoxicillin 500 MG Oral Capsule", "308191")


def _told(response: httpx.Response, cause: str) -> dict[str, Any]:
    """The one card of an answer, which says why nothing was checked."""
    assert response.status_code == 200, response.text
    assert codes(response.json()) == _TOLD
    (card,) = response.json()["cards"]
    assert card["summary"] == f"Clozapine was not checked: {cause}. Look at the blood counts by hand."
    assert "Look at the blood counts (ANC)" in card["detail"]
    assert "call the operators of this service and name the incident" in card["detail"]
    assert {r["code"] for r in card["overrideReasons"]} >= {"result-known-outside"}
    assert "retry-after" not in response.headers
    found: dict[str, Any] = card
    return found


def _metric(client: httpx.Client, start: str) -> float:
    lines = [line for line in client.get("/metrics").text.splitlines() if line.startswith(start)]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def _rows(client: httpx.Client, table: Any, count: int = 1) -> list[Any]:
    """So many rows, which are written after the answers; all that there are when fewer come."""
    found: list[Any] = []
    for _ in range(40):
        client.app.state.recorder.flush()  # type: ignore[attr-defined]
        with Session(client.app.state.engine) as session:  # type: ignore[attr-defined]
            found = list(session.exec(select(table)).all())
        if len(found) >= count:
            break
        time.sleep(0.05)
    return found


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is evaluated fails."""

    def explode(*_: Any, **__: Any) -> None:
        raise RuntimeError("Canary-Name")

    monkeypatch.setattr(weighed, "evaluate_case", explode)


# 500


@pytest.mark.usefixtures("failing")
def test_a_fault_is_told_and_counts_as_one(start_service: Any, caplog: pytest.LogCaptureFixture) -> None:
    client = start_service()
    body = call("order-sign", prefetch(), clozapine()) | {"hookInstance": "a-fault"}
    card = _told(client.post(_SIGN, json=body), "the service failed")
    assert "Canary" not in json.dumps(card)
    assert "clz-p1" not in json.dumps(card)
    (incident,) = {
        r.getMessage().rpartition("incident ")[2].rstrip(")")
        for r in caplog.records
        if "incident" in r.getMessage()
    }
    assert incident in card["detail"]
    assert _metric(client, 'clozapine_cds_requests_total{service="clozapine-order-sign",status="500"}') == 1
    assert _metric(client, 'clozapine_cds_requests_total{service="clozapine-order-sign",status="200"}') == 0
    not_judged = (
        'clozapine_cds_calls_not_judged_total{cause="fault",said_by="card",service="clozapine-order-sign"}'
    )
    assert _metric(client, not_judged) == 1
    (row,) = _rows(client, HookCall)
    assert (row.status, row.hook_instance, row.user_reference) == (500, "a-fault", "Practitioner/dr-lee")
    (shown,) = _rows(client, CardShown)
    assert (shown.uuid, shown.code, shown.patient_key) == (card["uuid"], "data-unavailable", "")
    with client.app.state.engine.connect() as connection:
        (line,) = events(connection, row.at.replace(year=2000), row.at.replace(year=2100))
    assert json.loads(line)["outcome"] == "8"
    assert json.loads(line)["outcomeDesc"] == "The call could not be judged (500)."


@pytest.mark.usefixtures("failing")
def test_a_card_of_a_fault_takes_feedback_like_any_other(start_service: Any) -> None:
    client = start_service()
    card = _told(client.post(_SIGN, json=call("order-sign", prefetch(), clozapine())), "the service failed")
    given = {
        "card": card["uuid"],
        "outcome": "overridden",
        "outcomeTimestamp": "2026-11-20T10:00:00Z",
        "overrideReason": {"reason": card["overrideReasons"][0]},
    }
    assert client.post(f"{_SIGN}/feedback", json={"feedback": [given]}).status_code == 204
    assert _metric(client, 'clozapine_cds_feedback_total{card="known"') == 1


@pytest.mark.usefixtures("failing")
def test_a_fault_that_has_nothing_to_do_with_clozapine_stays_a_status(start_service: Any) -> None:
    client = start_service()
    assert client.post(_SIGN, json=call("order-sign", prefetch(), _AMOXICILLIN)).status_code == 500
    assert client.post(_VIEW, json=call("patient-view", prefetch())).status_code == 500
    assert _metric(client, 'clozapine_cds_calls_not_judged_total{cause="fault",said_by="status"') == 2
    assert [row.status for row in _rows(client, HookCall, 2)] == [500, 500]


@pytest.mark.usefixtures("failing")
def test_a_record_that_names_clozapine_is_enough(start_service: Any) -> None:
    client = start_service()
    chart = prefetch(medications=bundle(clozapine(300, id="mr-1", status="active")))
    _told(client.post(_VIEW, json=call("patient-view", chart)), "the service failed")
    _told(client.post(_SIGN, json=call("order-sign", chart, _AMOXICILLIN)), "the service failed")


def test_an_answer_that_cannot_be_written_is_a_fault_too(
    start_service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "render_all", lambda *_: (object(),))
    _told(start_service().post(_SIGN, json=call("order-sign", prefetch(), clozapine())), "the service failed")


@pytest.mark.usefixtures("failing")
def test_where_the_card_itself_fails_the_status_is_sent(
    start_service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import service.hooks.unchecked as unchecked

    monkeypatch.setattr(unchecked, "card_of", lambda *_: 1 / 0)
    response = start_service().post(_SIGN, json=call("order-sign", prefetch(), clozapine()))
    assert response.status_code == 500
    assert "incident" in response.json()["issue"][0]["details"]["text"]


# An order that names nothing


def _referring(**reference: Any) -> dict[str, Any]:
    draft = clozapine()
    del draft["medicationCodeableConcept"]
    return draft | {"medicationReference": reference}


@pytest.mark.usefixtures("failing")
def test_an_order_by_a_bare_reference_may_be_clozapine(start_service: Any) -> None:
    client = start_service()
    bare = {"reference": "Medication/m-1"}
    product = {"resourceType": "Medication", "id": "m-1", "code": {"text": "amoxicillin 500 MG"}}
    for hook in ("order-sign", "order-select", "medication-verify", "medication-refill"):
        response = client.post(
            f"/cds-services/clozapine-{hook}", json=call(hook, prefetch(), _referring(**bare))
        )
        assert "it may be clozapine" in _told(response, "the service failed")["detail"]
    contained = _referring(reference="#m") | {"contained": [product | {"id": "m"}]}
    for harmless in (
        call("order-sign", prefetch(), _referring(**bare, display="amoxicillin 500 MG")),
        call("order-sign", prefetch(medications=bundle(product)), _referring(**bare)),
        call(
            "order-sign",
            prefetch(medications=bundle(product)),
            _referring(reference="Medication/m-1/_history/3"),
        ),
        call("order-sign", prefetch(), contained),
    ):
        assert client.post(_SIGN, json=harmless).status_code == 500


# 413


def _padded(body: dict[str, Any], size: int, *, before: bool) -> bytes:
    """A body blown up by spaces, before or after what it says."""
    content = json.dumps(body).encode()
    return b" " * size + content if before else content + b" " * size


def _chunks(content: bytes, size: int = 7001) -> Iterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("before", [False, True])
def test_too_large_is_told_wherever_clozapine_stands(start_service: Any, before: bool, chunked: bool) -> None:
    client = start_service(max_body_bytes=20_000)
    for what, status in ((clozapine(), 200), (_AMOXICILLIN, 413)):
        content = _padded(call("order-sign", prefetch(), what), 40_000, before=before)
        response = client.post(_SIGN, content=_chunks(content) if chunked else content, headers=_JSON)
        assert response.status_code == status
        if status == 200:
            card = _told(response, "the data sent are too large to be read")
            assert "Trying again will not help" in card["detail"]
    assert _metric(client, 'clozapine_cds_requests_total{service="clozapine-order-sign",status="413"}') == 2
    # Refused unread: counted, and kept only where something was shown.
    time.sleep(0.1)
    assert [row.status for row in _rows(client, HookCall)] == [413]


def test_of_a_body_without_an_end_so_much_is_read_and_no_more(start_service: Any) -> None:
    client = start_service(max_body_bytes=20_000)
    content = _padded(call("order-sign", prefetch(), clozapine()), 3_000_000, before=True)
    assert client.post(_SIGN, content=_chunks(content), headers=_JSON).status_code == 413


# 429, 503


def test_too_many_calls_are_told(start_service: Any) -> None:
    client = start_service(calls_per_second=1)
    body = call("order-sign", prefetch(), clozapine())
    answers = [client.post(_SIGN, json=body) for _ in range(4)]
    assert [a.status_code for a in answers] == [200] * 4
    for answer in answers[2:]:
        _told(answer, "too many calls came at once")
    other = client.post(_SIGN, json=call("order-sign", prefetch(), _AMOXICILLIN))
    assert other.status_code == 429
    assert other.headers["retry-after"]


def _slow(ehr: Ehr, **sent: Any) -> dict[str, Any]:
    """A call whose counts are to be read at the EHR."""
    body = call("order-sign", prefetch(**sent), clozapine(300)) | {
        "fhirServer": f"{ehr.base_url}/fhir",
        "fhirAuthorization": {"access_token": ehr.token, "token_type": "Bearer"},
    }
    del body["prefetch"]["counts"]
    return body


def test_overload_is_told_at_once_and_only_where_it_matters(start_service: Any, ehr: Ehr) -> None:
    client = start_service(
        max_concurrent_calls=1, fhir_servers=(f"{ehr.base_url}/fhir",), fhir_deadline_ms=6000
    )
    ehr.delay_seconds = 4

    def first() -> None:
        with httpx.Client(base_url=client.base_url, trust_env=False, timeout=20) as own:
            own.post(_SIGN, json=_slow(ehr))

    thread = threading.Thread(target=first)
    thread.start()
    time.sleep(0.7)
    started = time.perf_counter()
    _told(client.post(_SIGN, json=call("order-sign", prefetch(), clozapine())), "the service was too busy")
    assert client.post(_SIGN, json=call("order-sign", prefetch(), _AMOXICILLIN)).status_code == 503
    # What the integrator must see does not hide behind the overload.
    named = json.dumps(call("order-sign", prefetch(), clozapine())).encode()
    assert client.post(_SIGN, content=named, headers={"Content-Type": "text/xml"}).status_code == 415
    assert time.perf_counter() - started < 3
    thread.join()


def test_a_call_that_takes_too_long_is_told(start_service: Any, ehr: Ehr) -> None:
    client = start_service(call_seconds=0.4, fhir_servers=(f"{ehr.base_url}/fhir",), fhir_deadline_ms=5000)
    ehr.delay_seconds = 4
    started = time.perf_counter()
    _told(client.post(_SIGN, json=_slow(ehr)), "the check took too long")
    assert time.perf_counter() - started < 3
    (row,) = _rows(client, HookCall)
    assert row.status == 503


@pytest.mark.parametrize(("begins", "status"), [(b'{"text": "Leponex', b"200"), (b'{"text": "Lep', b"503")])
def test_a_body_that_never_ends_is_judged_by_what_came(
    start_service: Any, begins: bytes, status: bytes
) -> None:
    client = start_service(call_seconds=0.3)
    head = f"POST {_SIGN} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
    started = time.perf_counter()
    with socket.create_connection(("127.0.0.1", client.base_url.port or 0), 10) as connection:
        connection.sendall(head.encode() + begins)
        answer = connection.recv(65_536)
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert time.perf_counter() - started < 2


# What stays a status


def test_what_the_integrator_must_see_stays_a_status(
    start_service: Any, trusting: httpx.Client, ehr: Ehr
) -> None:
    client = start_service(max_body_bytes=20_000)
    named = json.dumps(call("order-sign", prefetch(), clozapine())).encode()
    large = named + b" " * 40_000
    for path, content, headers, status in (
        (_SIGN, named[:-1], _JSON, 400),
        (_VIEW, named, _JSON, 400),  # another hook
        ("/cds-services/clozapine-nothing", named, _JSON, 404),
        (_SIGN, named, {"Content-Type": "text/plain"}, 415),
        (_SIGN, large, {"Content-Type": "text/plain"}, 415),
        (_SIGN, named, _JSON | {"Content-Encoding": "gzip"}, 415),
        (f"{_SIGN}/feedback", large, _JSON, 413),
        ("/fhir/$clozapine-check", large, _JSON, 413),
    ):
        response = client.post(path, content=content, headers=headers)
        assert response.status_code == status, (path, headers)
        assert response.json()["resourceType"] == "OperationOutcome"
    assert client.put(_SIGN, content=named, headers=_JSON).status_code == 405
    assert trusting.post(_SIGN, content=named, headers=_JSON).status_code == 401
    assert trusting.post(_SIGN, content=large, headers=_JSON).status_code == 401


@pytest.mark.usefixtures("failing")
def test_a_service_switched_off_stays_404_when_calls_are_too_many(start_service: Any, ehr: Ehr) -> None:
    site = ehr.settings("north", hooks=["patient-view"], calls_per_second=1)
    client = start_service(auth="required", base_url=BASE, ehr=[site])
    body = call("order-sign", prefetch(), clozapine())
    statuses = [
        client.post(_SIGN, json=body, headers=ehr.signer.bearer("north", _SIGN)).status_code for _ in range(4)
    ]
    assert statuses == [404] * 4


# Settings


@pytest.mark.usefixtures("failing")
@pytest.mark.parametrize(
    ("settings", "status"),
    [
        ({}, 200),
        ({"profile": "epic"}, 200),
        ({"profile": "oracle"}, 200),
        ({"profile": "athena"}, 200),
        ({"profile": "sandbox"}, 500),
        ({"profile": "sandbox", "errors": "card"}, 200),
        ({"profile": "epic", "errors": "status"}, 500),
        # Who sees nothing must see no card of this kind either.
        ({"shadow": True}, 500),
        ({"shadow_codes": ("data-unavailable",)}, 500),
        ({"shadow_codes": ("weight-gain",)}, 200),
    ],
)
def test_each_site_chooses(start_service: Any, settings: dict[str, Any], status: int) -> None:
    response = start_service(**settings).post(_SIGN, json=call("order-sign", prefetch(), clozapine()))
    assert response.status_code == status


@pytest.mark.usefixtures("failing")
def test_an_ehr_wins_over_the_general_setting(start_service: Any, ehr: Ehr) -> None:
    sites = [
        ehr.settings("north"),
        ehr.settings("east", errors="card"),
        ehr.settings("west", profile="sandbox"),
    ]
    client = start_service(auth="required", base_url=BASE, ehr=sites, errors="status")
    body = call("order-sign", prefetch(), clozapine())
    found = {
        name: client.post(_SIGN, json=body, headers=ehr.signer.bearer(name, _SIGN)).status_code
        for name in ("north", "east", "west")
    }
    assert found == {"north": 500, "east": 200, "west": 500}


# What hints


def _escaped(text: str) -> bytes:
    return "".join(f"\\u{ord(c):04x}" for c in text).encode()


def test_every_name_and_code_that_is_known_hints() -> None:
    for name in names_of("clozapine"):
        for written in (name, name.upper(), name.lower()):
            assert hints_at_clozapine(f'{{"text":"{written} 100 mg"}}'.encode()), written
        assert hints_at_clozapine(b'{"text":"' + _escaped(name) + b'"}'), name
    rows = [row for row in product_rows() if "clozapine" in row.drugs]
    assert len(rows) > 10
    for row in rows:
        for code in filter(None, (row.code, *row.codes)):
            assert hints_at_clozapine(f'{{"system":"{row.system}","code":"{code}"}}'.encode()), code


@pytest.mark.parametrize(
    "document",
    [
        b'{"text":"\\u0063lozapine"}',
        b'{"text":"CLOZAPINE"}',
        b'{"display":"clozapine100mg"}',
        b'{"code":"N05AH02"}',
        b'{"coding":[{"code":"387568001"}]}',
        b'{"code" : "2626"}',
        b"\xff\xfe Clozaril",
    ],
)
def test_hints(document: bytes) -> None:
    assert hints_at_clozapine(document)


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b'{"text":"olanzapine 10 mg"}',
        b'{"text":"clonazepam, clomipramine, clopidogrel, clobazam"}',
        b'{"value":2626}',
        b'{"id":"26260"}',
        b'{"id":"a-2626-b"}',
        b'{"code":"N05AH03"}',
        b'{"text":"\\u0063lonazepam \\ud83d\\ude00"}',
        json.dumps(call("order-sign", prefetch(), _AMOXICILLIN)).encode(),
    ],
)
def test_no_hints(document: bytes) -> None:
    assert not hints_at_clozapine(document)


def test_imported_and_local_codes_hint() -> None:
    ndc = "http://hl7.org/fhir/sid/ndc"
    assert not hints_at_clozapine(b'{"code":"00078-0126-05"}')
    before, release = products._imported.products, products._imported.release
    try:
        install(
            {
                (ndc, "00078012605"): Product(("clozapine",), "Clozaril 25 MG"),
                (ndc, "00093443501"): Product(("amoxicillin",), "x"),
            },
            "t",
        )
        for written in ("00078-0126-05", "00078012605", "0078-0126-05", "0078012605"):
            assert hints_at_clozapine(f'{{"code":"{written}"}}'.encode()), written
        assert not hints_at_clozapine(b'{"code":"00093443501"}')
    finally:
        install(before, release)
    assert not hints_at_clozapine(b'{"code":"00078-0126-05"}')
    assert hints_at_clozapine(b'{"code":"house drug 7"}', ["house drug 7"])
    assert not hints_at_clozapine(b'{"code":"house drug 77"}', ["house drug 7"])


@pytest.mark.usefixtures("failing")
def test_a_site_s_own_code_hints_there_and_nowhere_else(start_service: Any) -> None:
    draft = _AMOXICILLIN | {"medicationCodeableConcept": {"coding": [{"system": "urn:house", "code": "H7"}]}}
    body = call("order-sign", prefetch(), draft)
    assert start_service(codes={"urn:house|H7": "clozapine"}).post(_SIGN, json=body).status_code == 200
    assert start_service(codes={"urn:house|H7": "fluvoxamine"}).post(_SIGN, json=body).status_code == 500


class Looking:
    """A fallback that looks for one word."""

    def __init__(self, word: bytes) -> None:
        self.word = word
        self.looked_at = 0

    def wanted(self, principal: Any) -> bool:
        return True

    def concerned(self, principal: Any, part: bytes) -> bool:
        self.looked_at += len(part)
        return self.word in part

    def respond(self, failure: Any, concerned: bool) -> None:
        return None


def _concerned(
    parts: list[bytes], *, heard: int = 0, places: int = 1, code: str = "too-long", limit: int = 1000
) -> bool:
    """Whether a body that comes in parts concerns; ``heard`` of them came before the call failed."""
    messages = [
        {"type": "http.request", "body": part, "more_body": n < len(parts) - 1}
        for n, part in enumerate(parts)
    ]

    async def play() -> bool:
        async def receive() -> Any:
            return messages.pop(0)

        hearing = Hearing(receive)
        for _ in range(heard):
            await hearing()
        error = ProtocolError(413, "", code=code)
        return await concerns(Looking(b"leponex"), None, hearing, error, limit, Listening(places))

    return asyncio.run(play())


@pytest.mark.parametrize("heard", [0, 1, 2, 3])
def test_a_word_is_found_across_the_borders_of_parts(heard: int) -> None:
    assert _concerned([b"..le", b"pon", b"ex.."], heard=heard)
    assert not _concerned([b"..le", b"pon", b"e.."], heard=heard)


def test_how_much_of_a_body_is_listened_to() -> None:
    assert _concerned([b"." * 500] * 7 + [b"leponex"])
    assert not _concerned([b"." * 500] * 9 + [b"leponex"])
    # Nobody listens beyond the places for it; what had come decides.
    assert not _concerned([b"...", b"leponex"], heard=1, places=0)
    assert _concerned([b"leponex", b"..."], heard=1, places=0)
    # A client that was too slow is not waited for again.
    assert not _concerned([b"...", b"leponex"], heard=1, code="timeout")


def test_a_large_body_that_was_read_is_looked_through_in_slices() -> None:
    assert _concerned([b"." * 300_000 + b"leponex" + b"." * 300_000], heard=1)
    assert _concerned([b"." * (65_536 - 3) + b"leponex"], heard=1)


def test_crumbs_are_put_together_before_they_are_looked_at() -> None:
    looking = Looking(b"leponex")
    crumbs = [b"." * 5] * 40_000
    messages = [{"type": "http.request", "body": c, "more_body": n < 39_999} for n, c in enumerate(crumbs)]

    async def play() -> bool:
        async def receive() -> Any:
            return messages.pop()

        hearing = Hearing(receive)
        messages.reverse()
        for _ in range(20_000):
            await hearing()
        return await concerns(
            looking, None, hearing, ProtocolError(413, "", code="too-long"), 100_000, Listening(1)
        )

    assert not asyncio.run(play())
    assert looking.looked_at < 1.1 * 200_000


def test_between_two_slices_of_any_bodies_every_call_gets_its_turn() -> None:
    slices = 0

    class Counting(Looking):
        def concerned(self, principal: Any, part: bytes) -> bool:
            nonlocal slices
            slices += 1
            return super().concerned(principal, part)

    listening = Listening(50)
    most = 0

    async def one() -> None:
        messages = [{"type": "http.request", "body": b"." * 700_000, "more_body": False}]

        async def receive() -> Any:
            return messages.pop()

        hearing = Hearing(receive)
        await hearing()
        error = ProtocolError(429, "", code="throttled")
        assert not await concerns(Counting(b"leponex"), None, hearing, error, 1_000_000, listening)

    async def others() -> None:
        nonlocal most
        while True:
            before = slices
            await asyncio.sleep(0)
            most = max(most, slices - before)

    async def play() -> None:
        ticking = asyncio.create_task(others())
        await asyncio.gather(*(one() for _ in range(50)))
        ticking.cancel()

    asyncio.run(play())
    assert slices >= 500
    assert most <= 2


def test_the_sentence_fits_and_says_what_to_do() -> None:
    for code in ("required", "too-long", "throttled", "transient", "timeout", "exception", "of another kind"):
        assert len(summary_of(code)) < 140
        found = finding_of(code, "4711")
        assert found.suggested
        assert any("4711" in step for step in found.suggested)


def test_the_log_names_the_call_by_its_failure(start_service: Any, caplog: pytest.LogCaptureFixture) -> None:
    client = start_service()
    with caplog.at_level(logging.WARNING):
        client.post(_SIGN, json=call("order-sign", None, clozapine()))
    (line,) = [r.getMessage() for r in caplog.records if "was not judged" in r.getMessage()]
    assert line.startswith("call to clozapine-order-sign was not judged: required (412, incident ")
    assert NOW.isoformat()[:4] not in line
