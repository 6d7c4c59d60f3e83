"""Text of the record is text: whatever stands in one element of a call, it is answered, and no card says or does what the text wanted."""

from __future__ import annotations

import os
import unicodedata
from typing import Any

import httpx
import pytest
from markdown_it import MarkdownIt

from tests.data import codes
from tests.texts import Json, Place, calls, element, places, put

#: A word that nothing knows: what hostile text is compared with.
_HARMLESS = "zzqx"
_HOSTILE = {
    "line breaks": "zz\nqx\r\n\r\n# qx\n\n---\n",
    "controls": "zz\x00\x01\x1b[31mqx\x7f\x85",
    "directions": "zz\u202eqx\u2066\u200f\u2028\u2029",
    "html": "zz<script>alert(1)</script>qx<img src=x onerror=y><!-- &lt;b&gt;",
    "links": "zz[qx](http://evil.example)![i](http://evil.example/i.png) https://evil.example www.evil.example a@evil.example <http://evil.example>",
    "blocks": "zz\n# qx\n\n| a | b |\n|---|---|\n| c | d |\n\n- x\n\n> y\n\n    z\n\n1. q",
    "marks": "zz`qx` ``` ~~~ **qx** _qx_ ~~qx~~ \\<b\\> &#60; \\",
}
#: A little of each, within what is read of a unit.
_EVERYTHING = (
    "zz\n\n# q\n\n|a|b|\n|-|-|\n\x00\u202e\u2028<script>x</script><img src=x onerror=y>"
    "[l](http://evil.example)![i](http://evil.example) www.evil.example `c` **b** &lt;i&gt; \\<b>\n\n> - 1. x"
)
#: Longer than anything that is read.
_LONG = {
    "100 kB of words": "zzqx " * 20_000,
    "100 kB of one word": "q" * 100_000,
    "blanks": "zz" + " " * 30_000 + "qx",
}
#: Findings that say that something was not read.
_NAMED = {"data-unavailable", "anc-unusable", "dose-unreadable", "medication-unrecognized", "anc-missing"}
_RENDERER = MarkdownIt("gfm-like")


def _find_places() -> tuple[list[tuple[str, Json, Place]], list[tuple[str, Json, Place]]]:
    """Every element: once of all calls, and once of each part of the call that holds them all."""
    found: dict[str, tuple[str, Json, Place]] = {}
    full: dict[str, tuple[str, Json, Place]] = {}
    for name, body in calls().items():
        for place in places(body):
            if place[0] in ("hook", "hookInstance"):
                continue
            what = (f"{name}: {'.'.join(map(str, place))}", body, place)
            found.setdefault(element(body, place), what)
            if name == "full, patient-view" and place[0] == "prefetch" and "search" not in place:
                full.setdefault(f"{place[1]} {element(body, place)}", what)
    return list(found.values()), list(full.values())


_ELEMENTS, _TEXTS = _find_places()


def _post(client: httpx.Client, body: Json) -> httpx.Response:
    return client.post(f"/cds-services/clozapine-{body['hook']}", json=body)


_plain: dict[str, tuple[int, Json]] = {}


def _with_a_harmless_word(client: httpx.Client, where: str, body: Json, place: Place) -> tuple[int, Json]:
    """Status and answer of the call with a word that nobody knows in the same place."""
    if where not in _plain:
        response = _post(client, put(body, place, _HARMLESS))
        _plain[where] = response.status_code, response.json()
    return _plain[where]


def _shape(detail: str) -> list[str]:
    """What a reader of Markdown makes of a text: its blocks and marks, without the words."""
    shape: list[str] = []
    for token in _RENDERER.parse(detail):
        shape.append(token.type)
        shape += [child.type for child in token.children or () if not child.type.startswith("text")]
    return shape


def _texts(card: dict[str, Any]) -> list[str]:
    suggestions = card.get("suggestions", [])
    labels = [s["label"] for s in suggestions] + [a["description"] for s in suggestions for a in s["actions"]]
    return [card["summary"], *card["detail"].split("\n"), *labels]


def _assert_harmless(answer: Json, what: str) -> None:
    for card in answer["cards"]:
        for token in _RENDERER.parse(card["detail"]):
            kinds = {token.type, *(child.type for child in token.children or ())}
            assert not kinds & {"html_block", "html_inline", "image", "link_open", "heading_open", "table_open", "code_inline", "fence"}, what  # fmt: skip
        for text in _texts(card):
            unseen = [c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")]
            assert not unseen, f"{what}: {text!r}"
        assert "<" not in card["summary"], what


def test_the_places_are_those_that_reach_cards() -> None:
    elements = {element(body, place) for _, body, place in _ELEMENTS}
    assert {
        "Observation.valueQuantity.unit", "Observation.valueString", "Observation.referenceRange.text", "Observation.component.valueQuantity.unit",
        "Observation.valueCodeableConcept.text", "Condition.code.text", "Condition.verificationStatus.text", "AllergyIntolerance.reaction.manifestation.text",
        "MedicationRequest.medicationCodeableConcept.text", "MedicationRequest.dosageInstruction.text", "MedicationRequest.statusReason.text",
        "MedicationStatement.dosage.text", "MedicationRequest.id", "context.selections",
    } <= elements  # fmt: skip
    assert len(_ELEMENTS) > 120
    assert len(_TEXTS) > 100


def _answered_as_for_a_word(client: httpx.Client, where: str, body: Json, place: Place, text: str) -> None:
    status, expected = _with_a_harmless_word(client, where, body, place)
    answered = _post(client, put(body, place, text))
    if status != 200 or ("\0" in text and len(place) == 2) or place[-1] == "patientId":
        # An envelope that is refused for a word is refused for this, too; and what is no id of FHIR, or NUL, in the context is refused by name.
        assert answered.status_code in (status, 400), where
        return
    assert answered.status_code == 200, where
    got = answered.json()
    assert codes(got) == codes(expected), where
    _assert_harmless(got, where)
    if place[-1] == "resourceType":
        return  # what is no name of a type names no resource: the card has no evidence to show
    for one, other in zip(got["cards"], expected["cards"], strict=True):
        assert _shape(one["detail"]) == _shape(other["detail"]), f"{where}: {one['detail']}"


def test_hostile_text_in_any_element_is_no_more_than_a_word_nobody_knows(client: httpx.Client) -> None:
    for where, body, place in _ELEMENTS:
        _answered_as_for_a_word(client, where, body, place, _EVERYTHING)


@pytest.mark.parametrize("kind", _HOSTILE)
def test_each_kind_of_hostile_text_in_a_record_is_no_more_than_a_word(
    client: httpx.Client, kind: str
) -> None:
    # Every second text, the others with the next kind; `make fuzz` tries all.
    texts = _TEXTS if "FUZZ" in os.environ else _TEXTS[list(_HOSTILE).index(kind) % 2 :: 2]
    for where, body, place in texts:
        _answered_as_for_a_word(client, where, body, place, _HOSTILE[kind])


@pytest.mark.parametrize("kind", _LONG)
def test_what_is_longer_than_is_read_costs_itself_and_is_named(client: httpx.Client, kind: str) -> None:
    for where, body, place in _ELEMENTS:
        status, expected = _with_a_harmless_word(client, where, body, place)
        answered = _post(client, put(body, place, _LONG[kind]))
        if place[-1] == "patientId":
            assert answered.status_code == 400, where
            continue
        assert answered.status_code == status, where
        if status != 200:
            continue
        got = answered.json()
        _assert_harmless(got, where)
        found = {code for code, _ in codes(got)}
        lost = {code for code, _ in codes(expected)} - found
        assert not lost or found & _NAMED, f"{where}: {lost} lost without a word"
        assert all(len(card["summary"]) < 140 for card in got["cards"])
