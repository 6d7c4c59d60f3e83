"""What is remembered of texts is bounded in bytes, not only in number."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from contextlib import suppress

import orjson
import pytest
from msgspec import Raw

from service.alerts.knowledge.code_systems import canonical, icd10_edition
from service.fhir.absence import is_on_leave
from service.fhir.code_fates import is_of_a_terminology
from service.fhir.references import base_of
from service.fhir.resources import CodeableConcept, Coding
from service.fhir.sig import dose_of, sig_of
from service.fhir.strength import strength_in_name
from service.judge import JudgeError, judge
from tests.data import NOW
from tests.texts import Place, element, full_call, places, put

_LONG = 100_000
_READERS: dict[str, Callable[[str], object]] = {
    "dosage": lambda text: sig_of(Raw(f'[{{"text":"{text}"}}]'.encode())),
    "dose": lambda text: dose_of(Raw(f'[{{"text":"{text}"}}]'.encode()), strength_in_name("clozapine")),
    "absence": lambda text: is_on_leave(Raw(f'[{{"text":"{text}"}}]'.encode())),
    "system": canonical,
    "edition": icd10_edition,
    "code": lambda text: is_of_a_terminology(CodeableConcept(coding=[Coding(system=text, code="1")])),
    "server": lambda text: base_of(f"https://{text}"),
}


@pytest.mark.parametrize("name", _READERS)
def test_long_texts_are_read_and_not_remembered(name: str) -> None:
    read = _READERS[name]
    read("x" * _LONG)
    gc.collect()
    tracemalloc.start()
    try:
        for n in range(40):
            read(f"{n:06d}" + "x" * _LONG)
        gc.collect()
        kept = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert kept < 10 * _LONG


def test_no_text_of_a_call_stays_wherever_it_stood() -> None:
    """Every place of a full call: what is remembered of it is bounded, whichever function remembers it."""
    body = full_call()
    tried: dict[str, Place] = {}
    for place in places(body):
        tried.setdefault(element(body, place), place)

    def ask(place: Place, text: str) -> None:
        with suppress(JudgeError):  # a call that is refused is remembered no more than another
            judge(orjson.dumps(put(body, place, text)), as_of=NOW)

    long, times = 30_000, 3
    for place in tried.values():
        ask(place, "warm" + "x" * long)
    kept: dict[str, int] = {}
    tracemalloc.start()
    try:
        for name, place in tried.items():
            gc.collect()
            before = tracemalloc.get_traced_memory()[0]
            for n in range(times):
                ask(place, f"{n:06d}" + "x" * long)
            gc.collect()
            kept[name] = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert len(tried) > 80
    assert {name: size for name, size in kept.items() if size > (times - 1) * long} == {}
