"""The work of a call grows with what it holds, and no faster: neither with the length of a text nor with the number of its parts.

Growth is counted in lines of Python that are run, which is the same on every machine: each time the size is doubled twice as many
lines may be added as the time before (a square adds four times as many). What a pattern does is not seen in lines: patterns are
tried by themselves, on texts twenty times as long as any that is read, where a square takes seconds and a line milliseconds.
"""

from __future__ import annotations

import copy
import functools
import gc
import inspect
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, timedelta
from itertools import pairwise
from types import FrameType
from typing import Any

import httpx
import pytest

from cds_hooks import HOOKS, BadRequest
from cds_hooks.request import envelope_reader, read_request
from service.alerts.evaluate import evaluate
from service.alerts.facts.record_text import DOSAGE, NAME, VALUE
from service.alerts.knowledge.conditions import is_suspected, kinds_by_text, kinds_denied_by_text
from service.alerts.knowledge.drug_names import drugs_by_name
from service.alerts.policy.policy import policy_by_id
from service.alerts.say.cards import cards_of
from service.fhir import snapshot
from service.fhir.decode import Value
from service.fhir.dosage_text import read_text, read_timing
from service.fhir.gather import from_prefetch
from service.fhir.queries import QUERIES
from service.fhir.strength import Strength, strength_in_name
from service.fhir.units import split_text
from tests.data import (
    LOINC,
    NOW,
    PATIENT,
    RXNORM,
    ago,
    bundle,
    call,
    clozapine,
    codes,
    dosage,
    observation,
    on_clozapine,
    order,
    prefetch,
)  # fmt: skip
from tests.texts import Json, Place, calls, element, full_call, places, put

_read_envelope = envelope_reader(Value | None)
_POLICIES = [policy_by_id("us-label-2025"), policy_by_id("uk-smpc")]
_LONGEST_TEXT_SECONDS = 0.5
_EACH = 4
#: Parts of a list, doubled three times; lines that a doubling may add for each that the one before has added.
_PARTS, _GROWTH = 60, 2.2


@pytest.fixture(autouse=True)
def _no_collections() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def _judge(body: bytes, hook: str) -> None:
    """A call from its bytes to the texts of its cards, under a policy that judges the ANC and one that judges the WBC, too."""
    try:
        request = read_request(body, f"clozapine-{hook}", HOOKS[hook], None, _read_envelope)
    except BadRequest:
        return  # an envelope that is refused is answered, too
    gathered, _ = from_prefetch(request.prefetch, dict.fromkeys(QUERIES))
    facts = snapshot.build(
        patient_id=request.context.patient_id, hook=hook, zone=UTC, gathered=gathered, orders=request.context.orders
    )  # fmt: skip
    for policy in _POLICIES:
        cards_of(evaluate(facts, policy, NOW), hook)


def _seconds(body: Json, enough: float, rounds: int = 5) -> float:
    """Processor time of a call: the least of some rounds; no more rounds than it takes to be below ``enough``.

    Of this thread alone: servers of other tests run beside it.
    """
    content = json.dumps(body).encode()
    least = float("inf")
    for _ in range(rounds):
        begun = time.thread_time()
        _judge(content, body["hook"])
        least = min(least, time.thread_time() - begun)
        if least < enough:
            break
    return least


# -- texts ------------------------------------------------------------------------------------------------------

_BLANKS_AFTER = "1 mg per"
_REPEATED = (
    _BLANKS_AFTER, " ", "()", "(", "1 ", "1 mg per ", "1/2 ", "1,", "one and ", "no ", "history of ", "stage ,", "-", "mg ", "1 mg bid ", "evening ",
    "hold if ", "for 1 ", "x10", "<", "&lt;", ".", "a", "9", "\u00a0", "\x00", "\u202e", "clozapine ",
)  # fmt: skip


def _long(part: str, length: int) -> str:
    if part == _BLANKS_AFTER:
        return part + " " * length
    return (part * length)[:length]


def test_no_text_holds_the_service_up() -> None:
    elements: dict[str, tuple[Json, tuple[str | int, ...]]] = {}
    for body in calls().values():
        for place in places(body):
            if place[0] != "hook":
                elements.setdefault(element(body, place), (body, place))
    slow: list[str] = []
    for n, (what, (body, place)) in enumerate(elements.items()):
        # Each element with some of them, each of them in some elements; `make fuzz` tries all.
        for part in _REPEATED if "FUZZ" in os.environ else _REPEATED[n % _EACH :: _EACH]:
            seconds = _seconds(put(body, place, _long(part, 32_000)), _LONGEST_TEXT_SECONDS)
            if seconds > _LONGEST_TEXT_SECONDS:
                slow.append(f"{what} {part!r}: {seconds * 1000:.0f} ms")
    assert slow == []


_READERS: dict[str, tuple[Callable[[str], object], int]] = {
    "dose": (lambda text: read_text(text, Strength()), DOSAGE),
    "timing": (read_timing, DOSAGE),
    "strength": (strength_in_name, NAME),
    "drugs": (drugs_by_name, NAME),
    "problems": (kinds_by_text, NAME),
    "suspected": (is_suspected, NAME),
    "denied": (kinds_denied_by_text, NAME),
    "answer": (split_text, VALUE),
}


@pytest.mark.parametrize("reader", _READERS)
def test_a_text_of_twice_the_length_is_twice_the_work(reader: str) -> None:
    read, most = _READERS[reader]
    for part in (*_REPEATED, "1x", "? ", "A. b. ", "day 1: 1 mg, ", "½ "):
        read(_long(part, 40))
        assert _growth(lambda n, p=part: read(_long(p, n)), most // 8) < _GROWTH, part


def _patterns() -> dict[str, re.Pattern[Any]]:
    """The patterns of the modules that read, those that a function makes among them."""
    found: dict[str, re.Pattern[Any]] = {}
    for name, module in list(sys.modules.items()):
        if not name.startswith(("service.fhir.", "service.alerts.", "service.operation.", "cds_hooks.")):
            continue
        for member, value in vars(module).items():
            if isinstance(value, functools._lru_cache_wrapper) and not inspect.signature(value).parameters:
                value = value()
            for part in value if isinstance(value, tuple) else (value,):
                if isinstance(part, re.Pattern):
                    found[f"{name}.{member}"] = part
    return found


#: Tried where they are used: at one place of a text, never at each.
_AT_ONE_PLACE = {"_no_allergy", "_METABOLITE"}


def test_no_pattern_backtracks() -> None:
    length, seconds = 40_000, 1.0
    slow = []
    for name, pattern in _patterns().items():
        once = name.rpartition(".")[2] in _AT_ONE_PLACE
        for part in (" ", "-", "1", "1 ", "a", "(", "no ", "A.", "1,", "<", "\u00a0", "? ", "<sup>1"):
            text: Any = _long(part, length)
            text = text.encode() if isinstance(pattern.pattern, bytes) else text
            least = float("inf")
            for _ in range(3):
                begun = time.thread_time()
                pattern.match(text) if once else pattern.sub(text[:0], text)
                least = min(least, time.thread_time() - begun)
                if least < seconds:
                    break
            if least >= seconds:
                slow.append(f"{name} {part!r}: {least:.1f} s")
    assert slow == []


def test_eight_kilobytes_of_brackets_in_a_dosage_text_are_not_read_and_named(client: httpx.Client) -> None:
    draft = clozapine(12.5, id="d1") | {"dosageInstruction": [{"text": "()" * 4000}]}
    body = call("order-sign", prefetch(medications=bundle(on_clozapine())), draft)
    answer = client.post("/cds-services/clozapine-order-sign", json=body)
    assert ("dose-unreadable", "warning") in codes(answer.json())


# -- lists ------------------------------------------------------------------------------------------------------


def _results(code: str, value: float, unit: str, n: int, *, apart: float = 0.1, **more: Any) -> list[Json]:
    """So many results, seconds apart."""
    return [
        observation(code, value, unit, id=f"{code}-{i}", effectiveDateTime=(NOW - timedelta(days=1, seconds=i * apart)).isoformat(), **more)
        for i in range(n)
    ]  # fmt: skip


def _visit(**sources: Json) -> Json:
    return call("patient-view", prefetch(**{"medications": bundle(on_clozapine())} | sources))


def _sign(*drafts: Json, **sources: Json) -> Json:
    return call("order-sign", prefetch(**{"medications": bundle(on_clozapine())} | sources), *drafts)


def _parts(n: int) -> list[Json]:
    return [
        {
            "code": {"coding": [{"system": LOINC, "code": code}]},
            "valueQuantity": {"value": value, "unit": unit},
        }
        for _ in range(n)
        for code, value, unit in (("6690-2", 5, "10*3/uL"), ("770-8", 50, "%"))
    ]


def _of(kind: str, n: int, **more: Any) -> list[Json]:
    """So many records of the patient; ``{i}`` in a text is their number."""
    subject = "patient" if kind == "AllergyIntolerance" else "subject"
    return [
        json.loads(json.dumps({"resourceType": kind, "id": f"x{i}", subject: {"reference": f"Patient/{PATIENT}"}} | more).replace("{i}", str(i)).replace("{t}", ago(i / 7)).replace("{s}", ago(90 + i / 7)))
        for i in range(n)
    ]  # fmt: skip


_CLOZAPINE = {"text": "clozapine 100 mg tablet"}
_Make = Callable[[int], Json]
_LISTS: dict[str, _Make] = {
    "WBC and share within the hour": lambda n: _visit(counts=bundle(*_results("6690-2", 5, "10*3/uL", n), *_results("770-8", 50, "%", n))),
    "WBC and share of one specimen": lambda n: _visit(
        counts=bundle(*_results("6690-2", 5, "10*3/uL", n, specimen={"reference": "Specimen/1"}), *_results("770-8", 50, "%", n, specimen={"reference": "Specimen/1"}))
    ),
    "WBC and share of one panel": lambda n: _visit(
        counts=bundle(observation("57021-8", None, None, 1, id="p", hasMember=[{"reference": f"Observation/{code}-{i}"} for i in range(n) for code in ("6690-2", "770-8")]), *_results("6690-2", 5, "10*3/uL", n), *_results("770-8", 50, "%", n))
    ),
    "WBC and share as components": lambda n: _visit(counts=bundle(*(observation("57021-8", None, None, i / 900, id=f"p{i}", component=_parts(1)) for i in range(n)))),
    "components of one result": lambda n: _visit(counts=bundle(observation("57021-8", None, None, 1, component=_parts(n)))),
    "contained results": lambda n: _visit(counts=bundle(observation("57021-8", None, None, 1, contained=_results("6690-2", 5, "10*3/uL", n)))),
    "ANC above the WBC of its sample": lambda n: _visit(counts=bundle(*_results("6690-2", 1, "10*3/uL", n), *_results("751-8", 5, "10*3/uL", n))),
    "ANC that cannot be used": lambda n: _visit(counts=bundle(*_results("751-8", 5, "furlongs", n), *_results("6690-2", 5, "furlongs", n), *_results("770-8", 50, "%", n))),
    "preliminary ANC": lambda n: _visit(counts=bundle(*_results("751-8", 1.2, "10*3/uL", n, status="preliminary"))),
    "ANC by day": lambda n: _visit(counts=bundle(*(observation("751-8", 1.2, "10*3/uL", id=f"a{i}", effectiveDateTime=ago(i)[:10]) for i in range(n)))),
    "results of another patient": lambda n: _visit(counts=bundle(*_results("751-8", 5, "10*3/uL", n, patient="other"))),
    "laboratory results": lambda n: _visit(
        labs=bundle(*_results("67151-1", 20, "ng/L", n, referenceRange=[{"high": {"value": 14, "unit": "ng/L"}}]), *_results("1988-5", 90, "mg/L", n), *_results("6896-5", 900, "ng/mL", n), *_results("1742-6", 200, "U/L", n), *_results("8636-3", 510, "ms", n))
    ),
    "vital signs": lambda n: _visit(vitals=bundle(*_results("8310-5", 39, "Cel", n), *_results("8867-4", 130, "/min", n), *_results("8480-6", 80, "mm[Hg]", n), *_results("29463-7", 90, "kg", n))),
    "reference ranges": lambda n: _visit(labs=bundle(*_results("67151-1", 20, "ng/L", 1, referenceRange=[{"text": "0-14 ng/L"}] * n))),
    "smoking answers": lambda n: _visit(smoking=bundle(*_of("Observation", n, status="final", code={"coding": [{"system": LOINC, "code": "72166-2"}]}, effectiveDateTime="{t}", valueCodeableConcept={"text": "Current smoker"}))),
    "active orders": lambda n: _sign(clozapine(300), medications=bundle(*_of("MedicationRequest", n, status="active", intent="order", medicationCodeableConcept=_CLOZAPINE, authoredOn="{t}", dosageInstruction=dosage(300)))),
    "active orders of one day": lambda n: _sign(clozapine(300), medications=bundle(*_of("MedicationRequest", n, status="active", intent="order", medicationCodeableConcept=_CLOZAPINE, authoredOn="2025-07-08", dosageInstruction=dosage(300)))),
    "orders that ended without a date": lambda n: _visit(
        medications=bundle(*(order for status in ("completed", "stopped", "on-hold") for order in _of("MedicationRequest", n // 3, status=status, intent="order", medicationCodeableConcept=_CLOZAPINE, authoredOn="{t}", dosageInstruction=dosage(300)))),
        counts=bundle(*_results("751-8", 3, "10*3/uL", n)),
    ),
    "orders of an interacting drug": lambda n: _sign(clozapine(300), medications=bundle(on_clozapine(), *_of("MedicationRequest", n, status="active", intent="order", medicationCodeableConcept={"text": "ciprofloxacin {i}"}, authoredOn="{t}"))),
    "orders of an interacting drug at a visit": lambda n: _visit(medications=bundle(on_clozapine(), *_of("MedicationRequest", n, status="active", intent="order", medicationCodeableConcept={"text": "ciprofloxacin {i}"}, authoredOn="{t}"))),
    "ended orders of an interacting drug": lambda n: _visit(medications=bundle(on_clozapine(), *_of("MedicationRequest", n, status="completed", intent="order", medicationCodeableConcept={"text": "carbamazepine {i}"}, authoredOn="{s}", dosageInstruction=[{"text": "1 tablet", "timing": {"repeat": {"boundsPeriod": {"start": "{s}", "end": "{t}"}}}}]))),
    "orders of unknown drugs": lambda n: _visit(medications=bundle(on_clozapine(), *_of("MedicationRequest", n, status="active", intent="order", medicationCodeableConcept={"text": "remedy {i}"}, authoredOn="{t}"))),
    "orders by reference": lambda n: _visit(
        medications=bundle(*_of("Medication", n, code=_CLOZAPINE), *_of("MedicationRequest", n, status="active", intent="order", medicationReference={"reference": "Medication/x{i}"}, authoredOn="{t}"))
    ),
    "drafts of clozapine": lambda n: _sign(*(clozapine(12.5, id=f"d{i}") for i in range(n))),
    "drafts of interacting drugs": lambda n: _sign(*(order(f"ciprofloxacin {i}", id=f"d{i}") for i in range(n))),
    "drafts of tests": lambda n: _sign(clozapine(), *_of("ServiceRequest", n, status="draft", code={"coding": [{"system": LOINC, "code": "57021-8"}]})),
    "codings of one drug": lambda n: _sign(order("x", "", medicationCodeableConcept={"coding": [{"system": RXNORM, "code": str(i), "display": f"remedy {i}"} for i in range(n)]})),
    "instructions of one order": lambda n: _sign(clozapine() | {"dosageInstruction": [dosage(12.5)[0] | {"sequence": i} for i in range(n)]}),
    "dated instructions of many orders": lambda n: _sign(
        *(clozapine(id=f"d{k}") | {"dosageInstruction": [{"text": "12.5 mg at night", "timing": {"repeat": {"boundsPeriod": {"start": f"2026-11-{20 + i % 9}"}}}} for i in range(20)]} for k in range(n // 20))
    ),
    "statements": lambda n: _visit(statements=bundle(*_of("MedicationStatement", n, status="active", medicationCodeableConcept=_CLOZAPINE, effectivePeriod={"start": "{t}"}))),
    "statements that it is not taken": lambda n: _visit(statements=bundle(*_of("MedicationStatement", n, status="not-taken", medicationCodeableConcept=_CLOZAPINE, dateAsserted="{t}"))),
    "dispenses": lambda n: _visit(dispenses=bundle(*_of("MedicationDispense", n, status="completed", medicationCodeableConcept={"text": "clozapine 100 mg tablet {i}"}, whenHandedOver="{t}", daysSupply={"value": 7, "unit": "d"}))),
    "administrations": lambda n: _visit(administrations=bundle(*_of("MedicationAdministration", n, status="completed", medicationCodeableConcept=_CLOZAPINE, effectiveDateTime="{t}", dosage={"dose": {"value": 100, "unit": "mg"}}))),
    "problems": lambda n: _visit(conditions=bundle(*(c for text in ("myocarditis", "neutropenia", "benign ethnic neutropenia", "ileus") for c in _of("Condition", n // 4, code={"text": text + " {i}"}, recordedDate="{t}")))),
    "allergies": lambda n: _sign(clozapine(), allergies=bundle(*_of("AllergyIntolerance", n, code={"text": "clozapine {i}"}))),
    "reactions of one allergy": lambda n: _sign(clozapine(), allergies=bundle(*_of("AllergyIntolerance", 1, code={"text": "clozapine"}, reaction=[{"substance": {"text": f"Clozaril {i}"}, "manifestation": [{"text": f"rash {i}"}]} for i in range(n)]))),
    "records that cannot be read": lambda n: _visit(counts=bundle(*({**r, "code": "x"} for r in _results("751-8", 5, "10*3/uL", n)))),
}  # fmt: skip


def _forget() -> None:
    """What was read before would be looked up: every run begins alike."""
    for remembered in _REMEMBERED:
        remembered.cache_clear()


_REMEMBERED = [
    o for o in gc.get_objects() if isinstance(o, functools._lru_cache_wrapper) and o.cache_parameters()["maxsize"] is not None
]  # fmt: skip


def _lines(run: Callable[[], object]) -> int:
    """Lines of Python that are run."""
    lines = 0

    def trace(frame: FrameType, event: str, arg: object) -> Any:
        nonlocal lines
        lines += 1
        return trace

    _forget()
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        run()
    finally:
        sys.settrace(before)
    return lines


def _growth(run: Callable[[int], object], size: int) -> float:
    """Lines added by a doubling over those added by the one before: two for work that is proportional to the size.

    Where it is more than that, the next doubling decides: what is begun at some size adds its lines to one of them.
    """
    growth = float("inf")
    lines = [_lines(lambda n=size * times: run(n)) for times in (1, 2)]
    for times in (4, 8):
        lines.append(_lines(lambda n=size * times: run(n)))
        less, more = (max(more - less, 500) for less, more in pairwise(lines[-3:]))
        growth = min(growth, more / less)
        if growth < _GROWTH:
            break
    return growth


@pytest.mark.parametrize("what", _LISTS)
def test_twice_as_many_parts_are_twice_the_work(what: str) -> None:
    bodies = {n: json.dumps(_LISTS[what](n)).encode() for n in (_PARTS * times for times in (1, 2, 4, 8))}
    hook = json.loads(bodies[_PARTS])["hook"]
    _judge(bodies[_PARTS], hook)  # tables are read when they are first used
    assert _growth(lambda n: _judge(bodies[n], hook), _PARTS) < _GROWTH


def _lists(node: Any, here: Place = ()) -> Iterator[Place]:
    """Where the lists of a document stand."""
    if isinstance(node, list):
        yield here
    for step, value in (
        node.items() if isinstance(node, dict) else enumerate(node if isinstance(node, list) else ())
    ):
        yield from _lists(value, (*here, step))


def _every_list() -> dict[str, Place]:
    body = full_call()
    return {f"{'.'.join(map(str, place[:2]))} {element(body, place)}": place for place in _lists(body)}


def _lengthened(place: Place, n: int) -> bytes:
    """The full call with so many members in one of its lists, each with an id of its own."""
    body = full_call()
    node: Any = body
    for step in place:
        node = node[step]
    members = list(node)
    for number in range(len(members), n):
        member = copy.deepcopy(members[number % len(members)])
        resource = member.get("resource", member) if isinstance(member, dict) else {}
        if "id" in resource:
            resource["id"] = f"{resource['id']}-{number}"
        node.append(member)
    return json.dumps(body).encode()


def test_twice_as_many_members_of_any_list_are_twice_the_work() -> None:
    _judge(json.dumps(full_call()).encode(), "order-sign")
    grown: dict[str, float] = {}
    for what, place in _every_list().items():
        bodies = {n: _lengthened(place, n) for n in (25, 50, 100, 200)}
        grown[what] = _growth(lambda n, b=bodies: _judge(b[n], "order-sign"), 25)
    assert len(grown) > 40
    assert {what: growth for what, growth in grown.items() if growth >= _GROWTH} == {}


def test_a_card_about_very_many_orders_is_one_that_can_be_read(client: httpx.Client) -> None:
    drafts = [clozapine(300, id=f"d{i}") for i in range(400)]
    unread = [clozapine(id=f"u{i}") | {"dosageInstruction": []} for i in range(400)]
    for orders in (drafts, unread):
        body = call("order-sign", prefetch(medications=bundle(on_clozapine())), *orders)
        cards = client.post("/cds-services/clozapine-order-sign", json=body).json()["cards"]
        assert len(json.dumps(cards)) < 40_000
        for card in cards:
            assert len(card.get("suggestions", [])) <= 20
            assert all(len(part.splitlines()) <= 22 for part in card["detail"].split("\n\n**"))
        assert any("… and 3" in card["detail"] for card in cards)
